// The product in the editor may be another one now.
import * as api from "./api.js";
import * as states from "./state.js";
import { now, update } from "./store.js";

// Reads the product of a session again; resolves with it, null if it is not there.
export async function follow({ id }) {
  if (id === null) {
    return null;
  }
  update(states.tick);
  const at = now().clock;
  const { body, etag } = await api.get(id).catch(gone);
  update(states.noticed, id, body, etag, at);
  return body;
}

function gone(failure) {
  if (failure.status !== 404) {
    throw failure;
  }
  return { body: null, etag: null };
}
