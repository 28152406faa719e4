// What a person does to import: choose, drop or paste, say how it is read, carry it out.
import { byId } from "./dom.js";
import { open as openProduct } from "./editing.js";
import * as importing from "./importing.js";
import { now } from "./store.js";

const on = (id, type, act) => byId(id).addEventListener(type, act);

// A button that is off says so, and does nothing.
function click(id, act) {
  on(id, "click", ({ currentTarget }) => currentTarget.getAttribute("aria-disabled") === "true" || act());
}

export function listenToImport() {
  click("import-btn", importing.open);
  listenToChoice();
  listenToColumns();
  click("import-apply-btn", importing.apply);
  click("import-columns-btn", importing.toColumns);
  click("import-match-btn", importing.matchByName);
  click("import-download-btn", importing.downloadFaulty);
  click("import-back-btn", importing.toChoice);
  click("import-close-btn", importing.close);
  click("import-retry-btn", () => now().importing.failure.retry());
  on("import_skip", "change", ({ target }) => importing.leaveOut(target.checked));
  on("import_dialog", "cancel", cancel);
  on("import_dialog", "click", follow);
}

function listenToChoice() {
  on("import_file", "change", ({ target }) => {
    const [file] = target.files;
    if (file) {
      importing.take(file);
    }
    // The same file, once it is corrected, is a change again.
    target.value = "";
  });
  on("import_cells", "input", ({ target }) => importing.typeCells(target.value));
  click("import-cells-btn", importing.takeCells);
  document.addEventListener("dragover", (event) => isOfFile(event) && event.preventDefault());
  document.addEventListener("drop", drop);
}

function listenToColumns() {
  on("import_charset", "change", ({ target }) => importing.setCharset(target.value));
  on("import_match", "change", ({ target }) => importing.setMatch(target.value));
  on("import_columns", "change", ({ target }) => {
    importing.mapColumn(Number(target.dataset.place), target.value);
  });
  click("import-plan-btn", () => importing.plan());
}

const isOfFile = ({ dataTransfer }) => dataTransfer?.types.includes("Files");

// A file that is dropped anywhere is imported: the browser would leave the page to show it.
function drop(event) {
  if (isOfFile(event)) {
    event.preventDefault();
    const isAsked = document.querySelector("dialog[open]:not(#import_dialog)");
    const [file] = event.dataTransfer.files;
    if (file && !isAsked) {
      importing.take(file);
    }
  }
}

// The cancel of a file's chooser comes here as well.
function cancel(event) {
  if (event.target === event.currentTarget) {
    event.preventDefault();
    importing.close();
  }
}

function follow(event) {
  const id = event.target.dataset.open;
  const { button, ctrlKey, metaKey, shiftKey, altKey } = event;
  if (id && button === 0 && !ctrlKey && !metaKey && !shiftKey && !altKey) {
    event.preventDefault();
    importing.close();
    openProduct(id);
  }
}
