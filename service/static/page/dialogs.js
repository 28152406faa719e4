// Questions: each is a dialog that waits for an answer, the last one on top.
import { answeredDialog, asks } from "./state.js";
import { update } from "./store.js";

// Shows a dialog {kind, …}; resolves with its answer, null if it is left without one.
export function ask(dialog) {
  return new Promise((resolve) => {
    update(asks, { ...dialog, resolve });
  });
}

export function answer(dialog, value) {
  update(answeredDialog, dialog);
  dialog.resolve(value);
}

// Asks a question; resolves with whether the answer is yes. Enter says yes only if `safe`.
export async function confirmed({ title, text, yes, no = "Cancel", safe = true }) {
  return (await ask({ kind: "confirm", title, text, yes, no, safe })) === true;
}

export const mayDiscard = (isSaving) =>
  confirmed({
    title: "Discard the unsaved changes?",
    text: isSaving ? "They are being saved; that goes on." : "They are in the editor only.",
    yes: "Discard",
    no: "Keep editing",
    safe: false,
  });
