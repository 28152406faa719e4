// Draws the history of the product in the editor.
import { valueText } from "./bulkview.js";
import { OP_NAMES, excerpts, historyFault, moment, versions, writer } from "./changes.js";
import { byId, copyOf, make, part, setText } from "./dom.js";
import { LABELS } from "./members.js";
import { count } from "./numbers.js";
import { isSaved } from "./session.js";

export const showHistory = part(
  ({ editor, requestSizes }) => [editor, requestSizes],
  (state, editor, sizes) => {
    const isHistory = editor.tab === "history";
    byId("editor_tabs").hidden = !isSaved(editor) || editor.state === "failed";
    drawTab("product-tab", !isHistory);
    drawTab("history-tab", isHistory);
    byId("product_panel").hidden = byId("editor_footer").hidden = isHistory;
    byId("history_panel").hidden = !isHistory;
    if (isHistory && editor.history) {
      drawHistory(editor.history, sizes);
    }
  },
);

function drawTab(id, isSelected) {
  byId(id).setAttribute("aria-selected", String(isSelected));
  byId(id).tabIndex = isSelected ? 0 : -1;
}

function drawHistory({ state, entries, present, next, failure }, sizes) {
  const isThere = state === "ready" || entries.length > 0;
  setText(byId("history_note"), noteOf(state, entries, failure));
  byId("history_panel").setAttribute("aria-busy", String(state === "loading"));
  byId("history-retry-btn").hidden = state !== "failed" || !failure.isTemporary;
  hide("history-more-btn", state === "failed" || !next);
  drawEntries(isThere ? versions(entries, present) : [], sizes);
}

function noteOf(state, entries, failure) {
  const none = entries.length ? "" : "No change of this product is on record.";
  return state === "failed" ? historyFault(failure) : { loading: "Loading…", ready: none }[state];
}

// A button that goes hands the focus to the tab.
function hide(id, isHidden) {
  const hadFocus = byId(id) === document.activeElement;
  byId(id).hidden = isHidden;
  if (hadFocus && isHidden) {
    byId("history-tab").focus();
  }
}

// Keeps the entries that are there, and with them the focus.
function drawEntries(entries, sizes) {
  const list = byId("history_entries");
  const there = new Map([...list.children].map((item) => [item.dataset.change, item]));
  const items = entries.map((entry) => {
    const item = there.get(String(entry.change)) ?? newItem(entry);
    item.querySelector("ul").replaceChildren(...entry.cells.map(cellItem));
    drawUndo(item.querySelector('[data-action="undo"]'), sizes[entry.request_id]);
    return item;
  });
  [...there.values()].filter((item) => !items.includes(item)).forEach((item) => item.remove());
  items.forEach((item, i) => {
    if (list.children[i] !== item) {
      list.insertBefore(item, list.children[i] ?? null);
    }
  });
}

function newItem({ change, op, at, before, ...entry }) {
  const item = copyOf("history_template");
  item.dataset.change = change;
  setText(item.querySelector("strong"), OP_NAMES[op]);
  setText(item.querySelector(".writer"), writer(entry));
  const time = item.querySelector("time");
  time.dateTime = at;
  setText(time, moment(at));
  const fill = item.querySelector('[data-action="fill"]');
  fill.hidden = before === null;
  fill.setAttribute("aria-label", `${fill.textContent}, before ${moment(at)}`);
  return item;
}

// A request that has changed this product alone is undone by restoring.
function drawUndo(button, { changes, isMore } = { changes: 0 }) {
  button.hidden = changes < 2;
  const number = isMore ? `more than ${count(changes)}` : `all ${count(changes)}`;
  setText(button, `Undo ${number} changes made together…`);
}

export function cellItem({ member, before, after }) {
  const [old, next] = excerpts(valueText(member, before), valueText(member, after));
  const item = make("li", make("span", LABELS[member], { class: "member" }));
  item.append(" ", make("del", old, { dir: "auto" }), " → ", make("ins", next, { dir: "auto" }));
  return item;
}
