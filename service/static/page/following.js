// The product in the editor may be another one now, and what goes with it.
import * as api from "./api.js";
import { priced } from "./session.js";
import * as states from "./state.js";
import { editSession, now, update } from "./store.js";

// Reads the product of a session again; resolves with it, null if it is not there.
export async function follow(session) {
  const { id } = session;
  if (id === null) {
    return null;
  }
  const at = asked();
  const { body, etag } = await api.get(id).catch(gone);
  update(states.noticed, id, body, etag, at);
  if (body) {
    loadLowest(session, id);
  }
  return body;
}

// Reads the lowest price of a product; without it, it is not told.
export async function loadLowest({ number }, id) {
  const at = asked();
  const { body } = await api.lowestPrice(id).catch(() => ({ body: null }));
  editSession(number, priced, at, body);
}

function asked() {
  update(states.tick);
  return now().clock;
}

function gone(failure) {
  if (failure.status !== 404) {
    throw failure;
  }
  return { body: null, etag: null };
}
