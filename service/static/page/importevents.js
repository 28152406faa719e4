// What a person does to import: choose, drop or paste, say how it is read, carry it out.
import { click, on } from "./dom.js";
import { open as openProduct } from "./editing.js";
import * as importing from "./importing.js";
import { now } from "./store.js";
import * as undoing from "./undoing.js";

// A button that is off says so, and does nothing.
function press(id, act) {
  click(id, ({ currentTarget }) => currentTarget.getAttribute("aria-disabled") === "true" || act());
}

export function listenToImport() {
  press("import-btn", importing.open);
  listenToChoice();
  listenToColumns();
  press("import-apply-btn", importing.apply);
  press("import-columns-btn", importing.toColumns);
  press("import-match-btn", importing.matchByName);
  press("import-download-btn", importing.downloadFaulty);
  press("import-back-btn", importing.toChoice);
  press("import-close-btn", importing.close);
  press("import-undo-btn", undoImport);
  press("import-retry-btn", () => now().importing.failure.retry());
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
  press("import-cells-btn", importing.takeCells);
  document.addEventListener("dragover", (event) => isOfFile(event) && event.preventDefault());
  document.addEventListener("drop", drop);
}

function listenToColumns() {
  on("import_charset", "change", ({ target }) => importing.setCharset(target.value));
  on("import_match", "change", ({ target }) => importing.setMatch(target.value));
  on("import_columns", "change", ({ target }) => {
    importing.mapColumn(Number(target.dataset.place), target.value);
  });
  press("import-plan-btn", () => importing.plan());
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

function undoImport() {
  const { key } = now().importing;
  importing.close();
  undoing.open(key);
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
