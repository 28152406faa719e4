// Several products at once: each only if it is still what was seen.
import * as api from "./api.js";
import { refresh } from "./commands.js";
import { deleteNow, wait } from "./deletion.js";
import { confirmed } from "./dialogs.js";
import { isSame } from "./members.js";
import { count, counted } from "./numbers.js";
import { changeSurely, inParallel, reasonOf } from "./parallel.js";
import { FORMS, isChange, plan } from "./planning.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";

const NAMED = 3;
const changedMeanwhile = () => new api.Failure("", 412);

// Shows the form of a change, with its preview.
export function begin(kind) {
  deleteNow();
  set({ bulk: { kind, form: FORMS[kind] } });
}

export function choose(name, value) {
  const { bulk } = now();
  set({ bulk: { ...bulk, form: { ...bulk.form, [name]: value } } });
}

export const cancel = () => set({ bulk: null });
export const stop = () => set({ run: { ...now().run, isStopped: true } });

// Carries out what the preview shows.
export async function apply() {
  if (now().run || !now().bulk) {
    return;
  }
  const { rows } = plan(now());
  set({ bulk: null });
  await changeAll(rows.filter(isChange), "updated", rows.filter(({ fault }) => fault));
}

// Changes the `member` of each row; `done` says what has been done then. All of it is one request to
// the history, so that it can be undone later.
async function changeAll(rows, done, refused = []) {
  const changed = [];
  const request = api.newKey();
  const failures = await running(`Changing ${counted(rows.length)}…`, rows, async (row) => {
    const { body, etag } = row.etag ? { etag: row.etag } : await fetched(row.product);
    const answer = await changeSurely(body ?? row.product, { [row.member]: row.after }, etag, request);
    update(states.written, answer.body.id, answer.body, answer.etag);
    changed.push({ ...row, product: answer.body, etag: answer.etag });
  });
  summarize({ rows, changed, failures, done, refused });
}

// Reads a product, which must be what was seen.
export async function fetched(product) {
  const answer = await api.get(product.id);
  if (!isSame(answer.body, product)) {
    update(states.written, product.id, answer.body, answer.etag);
    throw changedMeanwhile();
  }
  return answer;
}

export async function running(title, items, work) {
  set({ run: { title, done: 0, total: items.length, isStopped: false } });
  update(states.say, title);
  const step = (item) => work(item).finally(() => set({ run: { ...now().run, done: now().run.done + 1 } }));
  const failures = await inParallel(items, step, () => now().run.isStopped);
  set({ run: null });
  return failures;
}

// Says what has been done; what was not stays selected, with its reason.
function summarize({ rows, changed, failures, done, refused }) {
  const left = undone([...rows, ...refused], changed, failures);
  update(states.selectOnly, left.map(({ product }) => now().known[product.id]?.product ?? product));
  report(changed, left, done, {
    undo: changed.length && done === "updated" ? () => undo(changed) : undefined,
  });
}

// Returns the rows that are not done, each with its reason.
export function undone(rows, done, failures) {
  const ids = new Set(done.map(({ product }) => product.id));
  const failed = new Map(failures.map(({ item, failure }) => [item.product.id, reasonOf(failure)]));
  const reason = ({ product, fault }) => fault || failed.get(product.id) || "was not reached";
  return rows
    .filter(({ product }) => !ids.has(product.id))
    .map((row) => ({ ...row, reason: reason(row) }));
}

// Says how many are done, and which are not.
export function report(done, left, words, offers = {}) {
  const has = done.length === 1 ? "has" : "have";
  const text = `${counted(done.length)} ${has} been ${words}`;
  const title = left.length ? `${text}, ${count(left.length)} not` : text;
  const result = { title, isShown: left.length > 0, rows: [...left, ...done] };
  set({ result });
  update(states.say, title, {
    kind: left.length ? "error" : "success",
    ...offers,
    details: () => set({ result: { ...result, isShown: true } }),
  });
  refresh();
}

// Gives each product back what it had, if nobody has changed it since.
function undo(changed) {
  deleteNow();
  return changeAll(
    changed.map((row) => ({ ...row, before: row.after, after: row.before })),
    "put back",
  );
}

export async function remove() {
  deleteNow();
  const products = Object.values(now().selected);
  const text = `${counted(products.length)}: ${names(products)}`;
  if (now().run || !(await confirmed({ title: "Delete the selected products?", text, yes: "Delete" }))) {
    return;
  }
  const items = [];
  const failures = await running(`Looking at ${counted(products.length)}…`, products, async (product) => {
    const { body, etag } = await fetched(product);
    await (items.length ? null : api.probe(product.id, etag));
    items.push({ product: body, etag });
  });
  if (failures.length) {
    tellUnseen(failures);
  }
  if (items.length) {
    wait(items);
  }
}

function tellUnseen(failures) {
  const rows = failures.map(({ item, failure }) => ({ product: item, reason: reasonOf(failure) }));
  set({ result: { title: `${counted(failures.length)} cannot be deleted`, rows, isShown: true } });
  refresh();
}

function names(products) {
  const first = products.slice(0, NAMED).map(({ name }) => `“${name}”`);
  const others = products.length - first.length;
  return first.join(", ") + (others ? ` and ${count(others)} more` : "");
}
