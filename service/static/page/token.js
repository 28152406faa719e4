// The token of who may write: asked for once, kept until the tab is closed.
import { answered, byId } from "./dom.js";

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

async function ask(refused) {
  const input = byId("api_token");
  input.value = "";
  byId("token_error").textContent = refused ? "This token was not accepted" : "";
  input.toggleAttribute("aria-invalid", Boolean(refused));
  const answer = answered(byId("token_dialog"), [
    ["token_form", "submit", () => input.value.trim() || undefined],
    ["token-cancel-btn", "click", () => null],
    ["token_dialog", "cancel", () => null],
  ]);
  input.focus();
  const given = await answer;
  if (given) {
    sessionStorage.setItem(KEY, given);
  }
  return given;
}
