// The token of who may write: asked for once, kept until the tab is closed.
import { ask } from "./dialogs.js";
import { set } from "./store.js";

const KEY = "products-token";
let asking = null;

export const token = () => readable(sessionStorage.getItem(KEY) ?? "").token || null;

// Returns {token} without what cannot be seen around it, or {fault}.
export function readable(text) {
  const trimmed = text.replace(/^[\s\p{C}]+|[\s\p{C}]+$/gu, "");
  const isPlain = /^[\x21-\x7e]*$/.test(trimmed);
  return isPlain
    ? { token: trimmed, fault: trimmed ? "" : "Enter a token" }
    : { token: "", fault: "A token has only letters, digits and signs of plain English" };
}

// Resolves with a token that is not `refused`, null if none is given; asks once for all who wait.
export async function newToken(refused) {
  if (token() !== refused) {
    return token();
  }
  asking ??= changeToken(refused ? "This token was not accepted" : "").finally(() => {
    asking = null;
  });
  return asking;
}

// Asks for a token; resolves with it, null if none is given.
export async function changeToken(fault = "") {
  const given = await ask({ kind: "token", fault });
  if (given === "") {
    sessionStorage.removeItem(KEY);
  } else if (given) {
    sessionStorage.setItem(KEY, given);
  }
  set({ hasToken: token() !== null });
  return given || null;
}
