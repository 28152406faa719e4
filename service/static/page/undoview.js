// Draws the preview of what undoing a request would do.
import { historyFault } from "./changes.js";
import { toggle } from "./dialogview.js";
import { byId, make, part, setText } from "./dom.js";
import { cellItem } from "./historyview.js";
import { setOff } from "./importview.js";
import { count, counted } from "./numbers.js";
import { changed, fate } from "./undoplan.js";

const MOST_SHOWN = 200;

export const showUndo = part(
  ({ undoing, run }) => [undoing, run],
  (state, undoing, run) => {
    if (undoing) {
      draw(undoing, run);
    }
    toggle("undo_dialog", Boolean(undoing));
  },
);

function draw({ state, done, total, plan, failure }, run) {
  const { rows, others } = plan ?? { rows: [], others: [] };
  byId("undo_dialog").setAttribute("aria-busy", String(state === "loading"));
  setText(byId("undo_note"), state === "failed" ? historyFault(failure) : noteOf(state, rows));
  byId("undo_progress").hidden = state !== "loading";
  byId("undo_progress").max = total || 1;
  byId("undo_progress").value = done;
  byId("undo-retry-btn").hidden = !failure?.isTemporary;
  setText(byId("undo-apply-btn"), `Set back ${counted(rows.length)}`);
  setOff(byId("undo-apply-btn"), rows.length === 0 || run !== null);
  drawOthers(others);
  byId("undo_rows").replaceChildren(...rows.slice(0, MOST_SHOWN).map(rowItem));
}

function noteOf(state, rows) {
  if (state === "loading") {
    return "Looking at what was changed…";
  }
  const isMore = rows.length > MOST_SHOWN;
  const will = `${counted(rows.length)} will be set back`;
  return rows.length ? `${will}${isMore ? `; the first ${MOST_SHOWN} are shown` : ""}.` : "Nothing is left to set back.";
}

function drawOthers(others) {
  const more = others.length - MOST_SHOWN;
  const items = others.slice(0, MOST_SHOWN).map(({ name }) => make("li", name, { dir: "auto" }));
  byId("undo_others").hidden = others.length === 0;
  byId("undo_others").querySelector("ul").replaceChildren(...items);
  if (more > 0) {
    byId("undo_others").querySelector("ul").append(make("li", `and ${count(more)} more`));
  }
}

function rowItem(row) {
  const item = make("li", make("strong", row.product.name, { dir: "auto" }));
  if (fate(row)) {
    item.append(` will be ${fate(row)}`);
  } else {
    const cells = make("ul", "");
    cells.replaceChildren(...changed(row).map(cellItem));
    item.append(cells);
  }
  return item;
}
