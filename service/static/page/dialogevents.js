// What a person does in a dialog.
import * as bulk from "./bulk.js";
import { answer } from "./dialogs.js";
import { questionOf } from "./dialogview.js";
import { byId, on } from "./dom.js";
import { now, set } from "./store.js";
import { readable } from "./token.js";

// The state closes a dialog, not the browser: so the two never differ.
export function onCancel(id, act) {
  on(id, "cancel", (event) => {
    event.preventDefault();
    act();
  });
}

function onSubmit(id, act) {
  on(id, "submit", (event) => {
    event.preventDefault();
    act(event.target);
  });
}

function give(kind, value) {
  const question = questionOf(now().dialogs, kind);
  if (question) {
    answer(question, value);
  }
}

function giveToken() {
  const { token, fault } = readable(byId("api_token").value);
  if (fault) {
    const question = questionOf(now().dialogs, "token");
    const marked = { ...question, fault };
    set({ dialogs: now().dialogs.map((each) => (each === question ? marked : each)) });
  } else {
    give("token", token);
  }
}

const picked = (form) =>
  Object.fromEntries([...new FormData(form)].map(([name, side]) => [name.slice("pick_".length), side]));

export function listenToDialogs() {
  on("confirm-btn", "click", () => give("confirm", true));
  on("cancel-btn", "click", () => give("confirm", false));
  onCancel("confirm_dialog", () => give("confirm", false));
  onSubmit("conflict_form", (form) => give("conflict", picked(form)));
  on("conflict-cancel-btn", "click", () => give("conflict", null));
  onCancel("conflict_dialog", () => give("conflict", null));
  onSubmit("token_form", giveToken);
  on("token-forget-btn", "click", () => give("token", ""));
  on("token-cancel-btn", "click", () => give("token", null));
  onCancel("token_dialog", () => give("token", null));
  onSubmit("bulk_form", bulk.apply);
  on("bulk_form", "input", ({ target }) => bulk.choose(target.name, target.value));
  on("bulk_form", "change", ({ target }) => bulk.choose(target.name, target.value));
  on("bulk-cancel-btn", "click", bulk.cancel);
  onCancel("bulk_dialog", bulk.cancel);
  const closeResult = () => set({ result: { ...now().result, isShown: false } });
  on("summary-close-btn", "click", closeResult);
  onCancel("summary_dialog", closeResult);
  const closePicture = () => set({ picture: null });
  on("picture-close-btn", "click", closePicture);
  onCancel("picture_dialog", closePicture);
}
