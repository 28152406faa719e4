// A delete waits ten seconds for second thoughts before it is sent.
import { byId, copyOf } from "./dom.js";

const UNDO_MS = 10_000;
const waiting = new Set();

// Calls `perform` after ten seconds, at once when the page is left (then with true), or `undone`.
export function withUndo(label, perform, undone) {
  const item = copyOf("pending_template");
  item.querySelector("span").textContent = label;
  byId("pending_deletes").append(item);
  item
    .querySelector(".clock")
    .animate([{ transform: "none" }, { transform: "scaleX(0)" }], UNDO_MS);

  const end = (act) => (leaving) => {
    clearTimeout(timer);
    waiting.delete(send);
    if (item.contains(document.activeElement)) {
      byId("new-btn").focus();
    }
    item.remove();
    act(leaving);
  };
  const send = end(perform);
  const timer = setTimeout(send, UNDO_MS, false);
  waiting.add(send);
  const undo = item.querySelector("button");
  undo.addEventListener("click", () => end(undone)());
  undo.focus();
}

window.addEventListener("pagehide", () => {
  for (const send of waiting) {
    send(true);
  }
});
