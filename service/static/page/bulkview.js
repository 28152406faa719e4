// Draws the preview of a bulk change, its result, and the large picture.
import { toggle } from "./dialogview.js";
import { byId, make, part, setFault, setText, setValue, showPicture } from "./dom.js";
import { STATUS_NAMES } from "./members.js";
import { count, money } from "./numbers.js";
import { isChange, plan } from "./planning.js";
import { changed, fate } from "./undoplan.js";

const MOST_SHOWN = 200;
const TITLES = { status: "Change the status", category: "Change the category", price: "Change the price" };

export function valueText(member, value) {
  const shown = { price: money, status: (status) => STATUS_NAMES[status] }[member];
  return shown ? shown(value) : String(value ?? "") || "none";
}

export const showBulkDialog = part(
  ({ bulk, selected }) => [bulk, selected],
  (state, bulk) => {
    if (bulk) {
      drawForm(bulk);
      drawPreview(plan(state));
    }
    toggle("bulk_dialog", Boolean(bulk));
  },
);

function drawForm({ kind, form }) {
  setText(byId("bulk_title"), TITLES[kind]);
  for (const part of byId("bulk_form").querySelectorAll("[data-kind]")) {
    part.hidden = part.dataset.kind !== kind;
  }
  for (const [name, value] of Object.entries(form)) {
    setValue(byId("bulk_form").elements[name], value);
  }
}

function drawPreview({ rows, fault }) {
  const changes = rows.filter(isChange).length;
  const faulty = rows.filter((row) => row.fault).length;
  const same = rows.length - changes - faulty;
  const field = byId("bulk_by").offsetParent ? byId("bulk_by") : byId("bulk_category");
  setFault(field, byId("bulk_fault"), fault);
  const parts = [
    `${count(changes)} will change`,
    same ? `${count(same)} stay as they are` : "",
    faulty ? `${count(faulty)} cannot be changed` : "",
    rows.length > MOST_SHOWN ? `the first ${MOST_SHOWN} are shown` : "",
  ];
  setText(byId("bulk_summary"), fault ? "" : parts.filter(Boolean).join(", "));
  byId("bulk_preview").replaceChildren(...rows.slice(0, MOST_SHOWN).map(previewRow));
  byId("bulk-apply-btn").disabled = changes === 0;
}

function previewRow({ product, member, before, after, fault }) {
  const line = make("tr", make("th", product.name, { scope: "row", dir: "auto" }));
  line.dataset.id = product.id;
  const next = fault ? `${valueText(member, after)} ${fault}` : valueText(member, after);
  line.append(make("td", valueText(member, before)), make("td", next, fault ? { class: "error" } : {}));
  return line;
}

export const showResult = part(
  ({ result }) => [result],
  (state, result) => {
    if (result?.isShown) {
      const failures = result.rows.filter(({ reason }) => reason);
      const changes = result.rows.filter(({ reason }) => !reason);
      setText(byId("summary_text"), result.title);
      list("summary_failures", failures, ({ reason }) => reason);
      list("summary_changes", changes, changeText);
    }
    toggle("summary_dialog", Boolean(result?.isShown));
  },
);

// Of a bulk change it is one member, of an undone request all that were changed.
function changeText(row) {
  const cells = row.member ? [row] : changed(row);
  const texts = cells.map(
    ({ member, before, after }) => `${valueText(member, before)} → ${valueText(member, after)}`,
  );
  return fate(row) || texts.join(", ");
}

function list(id, rows, text) {
  byId(id).hidden = rows.length === 0;
  byId(id).replaceChildren(
    ...rows.slice(0, MOST_SHOWN).map((row) => {
      const item = make("li", make("strong", row.product.name, { dir: "auto" }));
      item.append(` ${text(row)}`);
      return item;
    }),
  );
}

export const showPictureDialog = part(
  ({ picture }) => [picture],
  (state, picture) => {
    if (picture) {
      setText(byId("picture_title"), picture.name);
      showPicture(byId("picture_large"), picture.address);
    }
    toggle("picture_dialog", Boolean(picture));
  },
);
