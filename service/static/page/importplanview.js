// Draws the plan of an import: its numbers, what is different, faults, changed cells, new products.
import { byId, make, part, setText } from "./dom.js";
import { changedCells, createdRows, groups } from "./importplan.js";
import { ignored, isBlocked } from "./importsession.js";
import { LABELS, STATUS_NAMES } from "./members.js";
import { count, money, percent } from "./numbers.js";

const COUNTS = { create: "new", update: "changed", unchanged: "unchanged", faulty: "faulty" };
const MOST_LISTED = 200; // by the service
const LARGE_JUMP = 0.5;
const MOST_SHOWN = 120; // characters of a text
const BEFORE_DIFFERENCE = 30;

export function drawPlan(session, names) {
  if (session.plan) {
    for (const draw of PARTS) {
      draw({ ...session, names });
    }
    byId("import_skip").checked = session.isLeavingOut;
  }
}

const drawCounts = part(
  ({ plan, columns, match }) => [plan, columns, match],
  (session, plan) => {
    const headings = ignored(session);
    setText(byId("import_ignored"), headings.length ? `Ignored: ${headings.join(", ")}.` : "");
    byId("import_counts").replaceChildren(
      ...Object.entries(COUNTS).map(([name, words]) => counted(name, plan[name], words)),
    );
  },
);

function counted(name, number, words) {
  const item = make("li", make("strong", count(number)));
  item.append(` ${words}`);
  item.dataset.count = number ? name : "";
  return item;
}

const drawDifferent = part(
  ({ different, names }) => [different, names],
  (session, different, names) => {
    byId("import_different").hidden = !different;
    if (different) {
      showDifferent(different, names);
    }
  },
);

function showDifferent({ counts, rows }, names) {
  const isSame = counts.length + rows.length === 0;
  const same = "What this file changes is the same as before: others have created products.";
  setText(
    byId("import_different_text"),
    `Nothing was written. ${isSame ? same : "This is different now, and planned again below:"}`,
  );
  const items = counts.map(({ name, was, is }) =>
    make("li", `${count(was)} ${COUNTS[name]} before, ${count(is)} now`),
  );
  byId("import_different_counts").replaceChildren(...items);
  byId("import_different_rows").parentElement.hidden = rows.length === 0;
  byId("import_different_rows").replaceChildren(
    ...rows.map(({ row, was, is }) => tableRow([row, fateText(was, names), fateText(is, names)])),
  );
}

// Says what becomes of a row.
function fateText({ faults, change }, names) {
  if (faults) {
    return faults.map(faultText).join("; ");
  }
  if (!change) {
    return "changes nothing";
  }
  const { id, before, after } = change;
  if (id === null) {
    return `creates “${after.name}”`;
  }
  const cells = Object.keys(after).map(
    (member) => `${LABELS[member]} ${shown(member, before[member])} → ${shown(member, after[member])}`,
  );
  return `${nameOf(change, names)}: ${cells.join(", ")}`;
}

const nameOf = ({ id, before }, names) => before.name ?? names[id] ?? `Product ${id}`;

const drawThere = part(
  ({ there }) => [there],
  ({ plan }, there) => {
    byId("import_there").hidden = !there || there.count === 0;
    if (there?.failure) {
      setText(byId("import_there_title"), "This file only creates products");
      const unknown = "Whether there are products of these names could not be found out";
      setText(byId("import_there_text"), `${unknown}: ${there.failure.message}`);
    } else if (there) {
      setText(
        byId("import_there_title"),
        `${count(there.count)} of the ${count(plan.create)} new products would be there twice`,
      );
      setText(byId("import_there_text"), thereText(there));
    }
    byId("import-match-btn").hidden = Boolean(there?.failure);
  },
);

function thereText({ count: number, names }) {
  const first = names.slice(0, 5).map((name) => `“${name}”`);
  const others = number - first.length;
  const listed = [first.join(", "), others > 0 ? `and ${count(others)} more` : ""].filter(Boolean);
  return `This file only creates, and products of these names exist already: ${listed.join(" ")}.`;
}

const drawFaults = part(
  ({ plan, headingRow }) => [plan, headingRow],
  (session, plan) => {
    const isBlocking = isBlocked(session);
    byId("import_faulty").hidden = plan.faulty === 0;
    setText(byId("import_faulty_text"), faultyNote(plan, isBlocking));
    byId("import_skip").disabled = isBlocking;
    byId("import-download-btn").hidden = isBlocking;
    const found = groups(plan.faults);
    byId("import_faults").replaceChildren(...found.map((group, i) => faultGroup(group, i === 0)));
  },
);

function faultyNote({ faulty, faults }, isBlocking) {
  const rows = `${count(faulty)} ${faulty === 1 ? "row" : "rows"} cannot be imported.`;
  const listed = faults.length >= MOST_LISTED ? ` The first ${MOST_LISTED} faults are listed.` : "";
  const heading = " The row of headings must be right first: correct the file, or say what its columns are.";
  return `${rows}${isBlocking ? heading : ""}${listed}`;
}

function faultGroup({ column, detail, faults }, isOpen) {
  const group = make("details", make("summary", placed(column, detail)));
  group.open = isOpen;
  group.firstChild.append(" ", make("small", count(faults.length)));
  const list = make("ul", "");
  list.append(...faults.map((fault) => make("li", faultLine(fault, detail), { dir: "auto" })));
  group.append(list);
  return group;
}

function faultLine({ row, value, detail }, kind) {
  const told = detail === kind ? "" : ` ${detail}`;
  return `Row ${row}${value === null ? "" : `: “${value}”`}${told}`;
}

// Says what is wrong with a column or, where there is none, with the row or the file.
function placed(column, detail) {
  const isOfRow = /^\p{Ll}/u.test(detail);
  return column === null ? `${isOfRow ? "The row " : ""}${detail}` : `${column}: ${detail}`;
}

const faultText = ({ column, value, detail }) =>
  `${placed(column, detail)}${value === null ? "" : ` (“${value}”)`}`;

const drawChanged = part(
  ({ plan, names }) => [plan, names],
  (session, plan, names) => {
    const cells = changedCells(plan);
    byId("import_changed").hidden = cells.length === 0;
    const changed = plan.changes.filter(({ id }) => id !== null);
    const products = new Map(changed.map((change) => [change.row, nameOf(change, names)]));
    setText(byId("import_changed_title"), title("Changed cells", changed.length, plan.update));
    byId("import_cells_changed").replaceChildren(
      ...cells.map((cell) => changedRow(cell, products.get(cell.row))),
    );
  },
);

function title(words, listed, all) {
  return listed < all ? `${words}: ${count(listed)} of ${count(all)} products are listed` : words;
}

function changedRow({ row, member, before, after, share }, product) {
  const texts = [shown(member, before, after), shown(member, after, before)];
  const line = tableRow([row, product, LABELS[member], ...texts]);
  const isFromNothing = member === "price" && share === null;
  line.toggleAttribute("data-large", isFromNothing || Math.abs(share) >= LARGE_JUMP);
  if (share) {
    line.lastChild.append(" ", make("small", percent(share)));
  }
  return line;
}

const drawCreated = part(
  ({ plan }) => [plan],
  (session, plan) => {
    const rows = createdRows(plan);
    byId("import_created").hidden = rows.length === 0;
    setText(byId("import_created_title"), title("New products", rows.length, plan.create));
    byId("import_rows_created").replaceChildren(
      ...rows.map(({ row, after }) => tableRow([row, after.name, money(after.price)])),
    );
  },
);

function tableRow(texts) {
  const line = document.createElement("tr");
  line.append(...texts.map((text) => make("td", text, { dir: "auto" })));
  return line;
}

const WORDS = { price: money, rating: count, status: (status) => STATUS_NAMES[status] };

// A long text is shown around the first character that differs from `other`.
function shown(member, value, other = "") {
  const text = WORDS[member]?.(value) ?? (value === "" ? "empty" : (value ?? "none"));
  if (text.length <= MOST_SHOWN) {
    return text;
  }
  const differs = [...text].findIndex((character, i) => character !== String(other)[i]);
  const from = differs > MOST_SHOWN - BEFORE_DIFFERENCE ? differs - BEFORE_DIFFERENCE : 0;
  const cut = text.slice(from, from + MOST_SHOWN);
  return `${from ? "…" : ""}${cut}${from + MOST_SHOWN < text.length ? "…" : ""}`;
}

const PARTS = [drawCounts, drawDifferent, drawThere, drawFaults, drawChanged, drawCreated];
