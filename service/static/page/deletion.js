// A delete waits for the next action, so that it can be undone without haste.
import * as api from "./api.js";
import { complain, loadFacets, place, placeOf, refresh } from "./commands.js";
import { confirmed } from "./dialogs.js";
import { openSession, restore } from "./editing.js";
import { focusOn } from "./focus.js";
import { count, counted } from "./numbers.js";
import { inParallel, reasonOf, surely } from "./parallel.js";
import { isDirty, orphaned } from "./session.js";
import * as states from "./state.js";
import { edit, now, set, update } from "./store.js";

const CHANGED = "somebody else has changed it meanwhile. Look at it again.";

// Deletes the product in the editor, after a question; who may not write is told at once.
export async function remove() {
  deleteNow();
  const session = now().editor;
  const name = `“${session.base.name}”`;
  if (!(await confirmed({ title: "Delete this product?", text: name, yes: "Delete" }))) {
    return;
  }
  try {
    const { body, etag } = await api.probe(session.id, session.etag);
    if (now().editor.number === session.number) {
      openSession("");
      place("", { replace: true });
    }
    wait([{ product: body, etag }], isDirty(session) || session.isOpen ? session : null);
  } catch (failure) {
    await explain(session, failure);
  }
}

// Lets the deletes wait for the next action. `session` is brought back if they are undone.
export function wait(items, session = null) {
  deleteNow();
  set({ pending: { items, session } });
  update(states.say, "");
  focusOn("undo-btn");
}

export function undo() {
  const { pending, editor } = now();
  set({ pending: null });
  update(states.say, "Nothing was deleted");
  focusOn("new-btn");
  if (pending.session && !isDirty(editor)) {
    restore(pending.session);
  }
}

// Carries out what waits; when the page is left, without waiting for the answers.
export async function deleteNow({ leaving = false } = {}) {
  const { pending } = now();
  if (!pending) {
    return;
  }
  const ids = pending.items.map(({ product }) => product.id);
  set({ pending: null, leaving: [...now().leaving, ...ids] });
  const request = api.newKey();
  if (leaving) {
    pending.items.forEach(({ product, etag }) => {
      api.remove(product.id, etag, { keepalive: true, request }).catch(() => {});
    });
    return;
  }
  const failures = await inParallel(pending.items, ({ product, etag }) =>
    send(product, etag, request),
  );
  set({ leaving: now().leaving.filter((id) => !ids.includes(id)) });
  tell(pending, failures);
  refresh();
}

async function send(product, etag, request) {
  await surely(() => api.remove(product.id, etag, { request }), product.id, null);
  update(states.written, product.id, null, null);
  leaveDeleted(product);
}

// Text that was typed into a product that is gone can be saved as a new one.
export function leaveDeleted({ id }) {
  const { editor } = now();
  if (editor.id !== id) {
    return;
  }
  if (isDirty(editor)) {
    edit(orphaned);
  } else {
    openSession("");
  }
  place(placeOf(now().editor), { replace: true });
}

function tell({ items, session }, failures) {
  if (failures.length === 0) {
    const what = session || items.length === 1 ? "Product has" : `${counted(items.length)} have`;
    sayUnlessFault(`${what} been deleted`);
    return;
  }
  if (items.length === 1) {
    const [{ failure }] = failures;
    const { product } = items[0];
    const text = failure.status === 412 ? CHANGED : failure.message;
    update(states.say, `“${product.name}” is not deleted: ${text}`, {
      kind: "error",
      retry: failure.isTemporary ? () => wait(items, session) : undefined,
    });
    return;
  }
  const rows = failures.map(({ item, failure }) => ({
    product: item.product,
    reason: reasonOf(failure),
  }));
  const done = items.length - failures.length;
  const title = `${counted(done)} have been deleted, ${count(failures.length)} not`;
  set({ result: { title, rows, isShown: true } });
}

const sayUnlessFault = (text) =>
  now().message.kind !== "error" && update(states.say, text, { kind: "success" });

async function explain(session, failure) {
  if (![404, 412].includes(failure.status)) {
    complain(failure, remove);
    return;
  }
  const name = `“${session.base.name}”`;
  try {
    const { body, etag } = await api.get(session.id);
    update(states.written, body.id, body, etag);
    update(states.say, `${name} is not deleted: ${CHANGED}`, { kind: "error" });
    if (now().editor.number === session.number && !isDirty(now().editor)) {
      openSession(String(session.id));
    }
  } catch (missing) {
    const isGone = missing.status === 404;
    update(states.say, isGone ? "Product has been deleted" : missing.message, {
      kind: isGone ? "success" : "error",
    });
    if (isGone) {
      update(states.written, session.id, null, null);
      loadFacets();
    }
  }
}
