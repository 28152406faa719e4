// What a person does about the history of a product.
import { click, on } from "./dom.js";
import { fill } from "./editing.js";
import * as history from "./history.js";
import { now } from "./store.js";

export function listenToHistory() {
  for (const tab of ["product", "history"]) {
    click(`${tab}-tab`, () => history.showTab(tab));
  }
  on("editor_tabs", "keydown", history.stepTab);
  click("history-more-btn", history.more);
  click("history-retry-btn", history.retry);
  click("history_entries", ({ target }) => {
    const { action } = target.dataset;
    const change = Number(target.closest("[data-change]")?.dataset.change);
    const entry = now().editor.history.entries.find((each) => each.change === change);
    if (action === "fill") {
      fill(entry.before);
    }
  });
}
