// The one place where the page says what has happened, and offers what can be done about it.
import { byId } from "./dom.js";

const actions = { retry: byId("retry-btn"), restore: byId("restore-btn") };
let offered = {};

// Says it to eyes and to screen readers; `retry` and `restore` are what their buttons do.
export function say(text, { kind = "info", ...offers } = {}) {
  const message = byId("flash_message");
  const focused = byId("flash").contains(document.activeElement);
  message.textContent = text;
  message.dataset.kind = kind;
  byId("flash").dataset.kind = kind;
  byId("flash-close-btn").hidden = !text;
  offered = offers;
  for (const [name, button] of Object.entries(actions)) {
    button.hidden = !offers[name];
  }
  if (focused) {
    byId(text ? "flash-close-btn" : "new-btn").focus();
  }
}

// Says why a request has failed.
export function complain(failure, retry) {
  say(failure.message, { kind: "error", retry: failure.isTemporary ? retry : undefined });
}

for (const [name, button] of Object.entries(actions)) {
  button.addEventListener("click", () => {
    const act = offered[name];
    say("");
    act();
  });
}
byId("flash-close-btn").addEventListener("click", () => say(""));
