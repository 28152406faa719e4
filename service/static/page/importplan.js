// What an import would do, as the service has planned it: pure functions for the page to show it.
import { MEMBERS } from "./members.js";

const MOST_LISTED = 200;
const PRICE_FIRST = ["price", ...MEMBERS.filter((member) => member !== "price")];
const SEVERAL = "several products have this name";
// What the service says to programs, in the words of the page.
const SECOND = /^is a second column for .*/;
const TOLD = {
  "is not the present ETag: the product was changed":
    "the product was changed after this file was exported: export it again",
  "is not a column of a product; map it, or ignore it": "is not known: say what it is, or ignore it",
};

const told = (detail) =>
  TOLD[detail] ?? detail.replace(SECOND, "$&: ignore one of them, or rename it in the file");

// Returns [{row, id, member, before, after, share}] of the cells that change: `share` is the
// relative change of a price, null where it was 0.
export function changedCells({ changes }) {
  return changes
    .filter(({ id }) => id !== null)
    .flatMap(({ row, id, before, after }) =>
      PRICE_FIRST.filter((member) => member in after).map((member) => ({
        ...{ row, id, member, before: before[member], after: after[member] },
        share: member === "price" ? shareOf(before.price, after.price) : null,
      })),
    );
}

const shareOf = (before, after) => (before ? (after - before) / before : null);

export const createdRows = ({ changes }) => changes.filter(({ id }) => id === null);

// Returns the faults of the same kind together: [{column, detail, faults}]. Details that differ in
// their numbers alone are of one kind.
export function groups(faults) {
  const found = new Map();
  for (const fault of faults) {
    const own = { ...fault, detail: told(fault.detail) };
    const detail = own.detail.replace(/\d[\d.,]*/g, "…");
    const key = JSON.stringify([own.column, detail]);
    found.set(key, [...(found.get(key) ?? []), own]);
  }
  return [...found.values()].map((same) => ({
    column: same[0].column,
    detail: kindOf(same.map(({ detail }) => detail)),
    faults: same,
  }));
}

function kindOf(details) {
  const isSame = details.every((detail) => detail === details[0]);
  return isSame ? details[0] : details[0].replace(/\d[\d.,]*/g, "…");
}

// Returns what is wrong with each row, by its number.
export function faultsByRow(faults) {
  const found = new Map();
  for (const { column, detail, row } of faults) {
    const text = [column, told(detail)].filter(Boolean).join(" ");
    found.set(row, [found.get(row), text].filter(Boolean).join("; "));
  }
  return found;
}

// A plan that only creates may be a file without its ids.
export const onlyCreates = ({ create, update, unchanged }) =>
  create > 0 && update === 0 && unchanged === 0;

// Returns {count, names} of the new products whose names others have already; `byName` is the plan
// of the same file, by name.
export function namesThere(plan, byName) {
  const several = byName.faults.filter(({ detail }) => detail === SEVERAL);
  const rows = new Set([...rowsThere(byName), ...several.map(({ row }) => row)]);
  const found = createdRows(plan).filter(({ row }) => isThere(row, rows, byName));
  return {
    count: byName.update + byName.unchanged + several.length,
    names: found.map(({ after }) => after.name),
  };
}

const rowsThere = ({ changes }) => changes.filter(({ id }) => id !== null).map(({ row }) => row);

// A row that is not listed is unchanged, if all are listed.
function isThere(row, rows, { create, update, changes, faults, faulty }) {
  const isWhole = changes.length === create + update && faults.length >= faulty;
  const isListed = [...changes, ...faults].some((each) => each.row === row);
  return rows.has(row) || (isWhole && !isListed);
}

// Returns what is different in a later plan: {counts: [{name, was, is}], rows: [{row, was, is}]}.
export function differences(was, is) {
  const counts = ["create", "update", "unchanged", "faulty"]
    .filter((name) => was[name] !== is[name])
    .map((name) => ({ name, was: was[name], is: is[name] }));
  const numbers = new Set([was, is].flatMap(listed).map(({ row }) => row));
  const rows = [...numbers]
    .sort((one, other) => one - other)
    .map((row) => ({ row, was: fateOf(was, row), is: fateOf(is, row) }))
    .filter((each) => each.was && each.is && JSON.stringify(each.was) !== JSON.stringify(each.is));
  return { counts, rows };
}

const listed = ({ changes, faults }) => [...changes, ...faults];

// Returns what becomes of a row: {faults}, {change} or {}; null where it is not known.
function fateOf(plan, row) {
  const faults = plan.faults.filter((each) => each.row === row);
  const change = plan.changes.find((each) => each.row === row);
  if (faults.length > 0) {
    return { faults: groups(faults).flatMap((group) => group.faults) };
  }
  const isWhole = plan.changes.length < MOST_LISTED && plan.faults.length < MOST_LISTED;
  return change ? { change } : isWhole ? {} : null;
}

// Returns the products of a result: [{id, name}] of those that are known by name.
export function createdProducts({ created }, plan) {
  const rows = createdRows(plan);
  return created.slice(0, rows.length).map((id, i) => ({ id, name: rows[i].after.name }));
}
