// The token of who may write: asked for once, kept until the tab is closed.
import { byId } from "./dom.js";

const KEY = "products-token";
let asking = null;

export const token = () => sessionStorage.getItem(KEY);

// Resolves with a token that is not `refused`, null if none is given; asks once for all who wait.
export async function newToken(refused) {
  if (token() !== refused) {
    return token();
  }
  asking ??= ask(refused).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(refused) {
  const dialog = byId("token_dialog");
  const input = byId("api_token");
  input.value = "";
  byId("token_error").textContent = refused ? "This token was not accepted" : "";
  input.toggleAttribute("aria-invalid", Boolean(refused));
  return new Promise((resolve) => {
    const done = new AbortController();
    const answer = (given) => {
      done.abort();
      dialog.close();
      if (given) {
        sessionStorage.setItem(KEY, given);
      }
      resolve(given);
    };
    const on = (id, event, act) =>
      byId(id).addEventListener(
        event,
        (happened) => {
          happened.preventDefault();
          act();
        },
        { signal: done.signal },
      );
    on("token_form", "submit", () => input.value.trim() && answer(input.value.trim()));
    on("token-cancel-btn", "click", () => answer(null));
    on("token_dialog", "cancel", () => answer(null));
    dialog.showModal();
    input.focus();
  });
}
