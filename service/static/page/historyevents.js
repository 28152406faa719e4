// What a person does about the history of a product, and about what was deleted.
import { onCancel } from "./dialogevents.js";
import * as deleted from "./deleted.js";
import { click, on } from "./dom.js";
import { fill } from "./editing.js";
import * as history from "./history.js";
import { now } from "./store.js";

export function listenToHistory() {
  listenToTab();
  listenToDeleted();
}

function listenToTab() {
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

function listenToDeleted() {
  click("deleted-btn", deleted.open);
  click("deleted-more-btn", deleted.more);
  click("deleted-retry-btn", deleted.more);
  click("deleted-close-btn", deleted.close);
  onCancel("deleted_dialog", deleted.close);
  click("deleted_rows", ({ target }) => {
    const id = Number(target.closest("[data-id]")?.dataset.id);
    if (target.dataset.action === "bring") {
      deleted.bringBack(id);
    }
  });
}
