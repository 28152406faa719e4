// Draws the import: what to import, how it is read, what would change, and what has changed.
import { toggle } from "./dialogview.js";
import { byId, copyOf, make, part, setText, setValue } from "./dom.js";
import { drawPlan } from "./importplanview.js";
import { createdProducts } from "./importplan.js";
import { isOnce, mayApply, readAs } from "./importsession.js";
import { count } from "./numbers.js";
import { addressOf } from "./query.js";

const TITLES = {
  choose: "Import products",
  columns: "How is the file read?",
  plan: "What would change",
  done: "Imported",
};
const BUSY = {
  planning: "Reading the file and comparing it with the products…",
  applying: "Importing…",
  collecting: "Collecting the faulty rows…",
};

const ENCODING = "This file is not UTF-8: choose its origin, and look below whether all letters are right.";

export const showImport = part(
  ({ importing, productNames }) => [importing, productNames],
  (state, importing, names) => {
    const isShown = importing?.isShown ?? false;
    toggle("import_dialog", isShown);
    if (isShown) {
      drawFrame(importing);
      drawStep(importing, names);
    }
  },
);

// The focus is on the title of each new step: a button of the step before would lose it.
function drawFrame({ step, file, busy, failure }) {
  const dialog = byId("import_dialog");
  const isNew = dialog.dataset.step !== step;
  dialog.dataset.step = step;
  dialog.setAttribute("aria-busy", String(Boolean(busy)));
  setText(byId("import_title"), TITLES[step]);
  setText(byId("import_source"), file?.name ?? "");
  byId("import_source").hidden = !file;
  setText(byId("import_busy"), BUSY[busy] ?? "");
  byId("import_failure").hidden = !failure;
  setText(byId("import_failure_text"), failure?.text ?? "");
  byId("import-retry-btn").hidden = !failure?.retry;
  if (isNew) {
    byId("import_title").focus();
  }
}

function drawStep(session, names) {
  byId("import_plan").hidden = session.step !== "plan" || !session.plan;
  setText(byId("import_done"), session.step === "done" ? doneText(session.done) : "");
  for (const section of byId("import_dialog").querySelectorAll("[data-step]")) {
    const isAwaited = section.dataset.step === "plan" && !session.plan;
    section.hidden = section.dataset.step !== session.step || isAwaited;
  }
  drawButtons(session);
  const draw = { choose: drawChoice, columns: drawColumns, plan: drawPlan, done: drawDone };
  draw[session.step](session, names);
}

function drawButtons({ step, plan, columns, busy, ...session }) {
  const isHidden = {
    "import-apply-btn": !plan,
    "import-columns-btn": columns.length === 0,
  };
  for (const button of byId("import_dialog").querySelectorAll("[data-steps]")) {
    button.hidden = isHidden[button.id] || !button.dataset.steps.split(" ").includes(step);
    setOff(button, busy === "applying");
  }
  setOff(byId("import-close-btn"), busy === "applying");
  if (step === "plan" && plan) {
    drawApply({ ...session, plan }, busy);
  }
}

function drawApply(session, busy) {
  const { create, update } = session.plan;
  const parts = [create && `create ${count(create)}`, update && `change ${count(update)}`];
  const text = parts.filter(Boolean).join(" and ") || "nothing to import";
  setText(byId("import-apply-btn"), text[0].toUpperCase() + text.slice(1));
  setOff(byId("import-apply-btn"), Boolean(busy) || !mayApply(session));
}

// What is off keeps the focus.
export function setOff(button, isOff) {
  button.setAttribute("aria-disabled", String(isOff));
}

function drawChoice({ pasted }) {
  setValue(byId("import_cells"), pasted);
  setOff(byId("import-cells-btn"), pasted.trim() === "");
}

function drawColumns({ text, columns, charset, match, isEncodingAsked }) {
  byId("import_charset_field").hidden = !isEncodingAsked;
  setValue(byId("import_charset"), charset);
  setValue(byId("import_match"), match);
  const unknown = columns.filter(({ known }) => known === undefined).length;
  const notes = [isEncodingAsked ? ENCODING : "", unknown ? unknownNote(unknown) : ""];
  setText(byId("import_columns_note"), notes.filter(Boolean).join(" "));
  setOff(byId("import-plan-btn"), text === null);
  byId("import_columns").hidden = columns.length === 0;
  drawColumnRows(columns, match);
}

const unknownNote = (number) =>
  number === 1
    ? "One column is not known: say what it is, or leave it ignored."
    : `${count(number)} columns are not known: say what they are, or leave them ignored.`;

function drawColumnRows(columns, match) {
  const body = byId("import_columns").tBodies[0];
  const key = JSON.stringify(columns.map(({ heading, samples }) => [heading, samples]));
  if (body.dataset.key !== key) {
    body.dataset.key = key;
    body.replaceChildren(...columns.map(columnRow));
  }
  columns.forEach((column, i) => {
    const select = body.rows[i].querySelector("select");
    setValue(select, readAs(column, match));
    select.disabled = readAs(column, match) !== column.member || !isOnce(column, i, columns);
  });
}

function columnRow({ heading, samples, known }, place) {
  const line = copyOf("import_column_template");
  line.toggleAttribute("data-unknown", known === undefined);
  setText(line.querySelector("th"), heading);
  setText(line.querySelector("td"), samples.join(" · "));
  const select = line.querySelector("select");
  select.dataset.place = place;
  select.setAttribute("aria-label", `What the column ${heading} is`);
  return line;
}

const doneText = ({ created, updated, unchanged }) =>
  `${count(created.length)} created, ${count(updated)} changed, ${count(unchanged)} unchanged.`;

function drawDone({ done, plan }, names) {
  const changed = plan.changes.filter(({ id }) => id !== null);
  const products = changed.map(({ id, after }) => ({ id, name: after.name ?? names[id] }));
  drawLinks("import_done_created", createdProducts(done, plan), done.created.length);
  drawLinks("import_done_updated", products, done.updated);
}

function drawLinks(id, products, total) {
  const [list, note] = byId(id).querySelectorAll("ul, p");
  byId(id).hidden = total === 0;
  list.replaceChildren(...products.map(productLink));
  const more = total - products.length;
  setText(note, more > 0 ? `and ${count(more)} more` : "");
}

function productLink({ id, name }) {
  const address = location.pathname + addressOf({}, String(id));
  const link = make("a", name ?? `Product ${id}`, { href: address, dir: "auto" });
  link.dataset.open = id;
  return make("li", link);
}
