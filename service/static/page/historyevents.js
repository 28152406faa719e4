// What a person does about the history of a product, what was deleted, and what is to be undone.
import { onCancel } from "./dialogevents.js";
import * as deleted from "./deleted.js";
import { click, on } from "./dom.js";
import { fill } from "./editing.js";
import * as history from "./history.js";
import { now } from "./store.js";
import * as undoing from "./undoing.js";

export function listenToHistory() {
  listenToTab();
  listenToDeleted();
  listenToUndo();
}

function listenToTab() {
  for (const tab of ["product", "history"]) {
    click(`${tab}-tab`, () => history.showTab(tab));
  }
  on("editor_tabs", "keydown", history.stepTab);
  click("history-more-btn", history.more);
  click("history-retry-btn", history.load);
  click("history_entries", ({ target }) => {
    const { action } = target.dataset;
    const change = Number(target.closest("[data-change]")?.dataset.change);
    const entry = now().editor.history.entries.find((each) => each.change === change);
    if (action === "fill") {
      fill(entry.before);
    } else if (action === "undo") {
      undoing.open(entry.request_id);
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

function listenToUndo() {
  click("undo-apply-btn", undoing.apply);
  click("undo-retry-btn", undoing.look);
  click("undo-close-btn", undoing.close);
  onCancel("undo_dialog", undoing.close);
}
