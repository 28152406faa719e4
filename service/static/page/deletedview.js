// Draws the list of what was deleted.
import { historyFault, moment, writer } from "./changes.js";
import { toggle } from "./dialogview.js";
import { byId, copyOf, part, setText } from "./dom.js";
import { setOff } from "./importview.js";
import { money } from "./numbers.js";

export const showDeleted = part(
  ({ deleted }) => [deleted],
  (state, deleted) => {
    if (deleted) {
      draw(deleted);
    }
    toggle("deleted_dialog", Boolean(deleted));
  },
);

function draw({ state, rows, next, failure, note, busy }) {
  byId("deleted_dialog").setAttribute("aria-busy", String(state === "loading"));
  setText(byId("deleted_note"), note || noteOf(state, rows, failure));
  byId("deleted-retry-btn").hidden = !failure?.isTemporary;
  byId("deleted-more-btn").hidden = state === "failed" || !next;
  drawRows(rows, busy);
}

function noteOf(state, rows, failure) {
  const ready = rows.length ? "" : "Nothing that was deleted is on record.";
  return state === "failed" ? historyFault(failure) : { loading: "Loading…", ready }[state];
}

// Where a row goes, the next one has the focus.
function drawRows(rows, busy) {
  const list = byId("deleted_rows");
  const place = [...list.children].findIndex((item) => item.contains(document.activeElement));
  const there = new Map([...list.children].map((item) => [item.dataset.change, item]));
  list.append(...rows.map((row) => there.get(String(row.change)) ?? newItem(row)).filter(isNew));
  there.forEach((item, change) => rows.some((row) => String(row.change) === change) || item.remove());
  for (const item of list.children) {
    setOff(item.querySelector("button"), busy.includes(Number(item.dataset.id)));
  }
  if (place >= 0 && !list.contains(document.activeElement)) {
    const item = list.children[Math.min(place, list.children.length - 1)];
    (item?.querySelector("button") ?? byId("deleted-close-btn")).focus();
  }
}

const isNew = (item) => !item.isConnected;

function newItem({ change, id, at, before, ...entry }) {
  const item = copyOf("deleted_template");
  item.dataset.change = change;
  item.dataset.id = id;
  setText(item.querySelector("strong"), before.name);
  setText(item.querySelector(".note"), `${money(before.price)}, product ${id}`);
  setText(item.querySelector(".writer"), `Deleted ${writer(entry)}`);
  const time = item.querySelector("time");
  time.dateTime = at;
  setText(time, moment(at));
  item.querySelector("button").setAttribute("aria-label", `Bring back ${before.name}`);
  return item;
}
