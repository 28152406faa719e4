// The editor's commands: open, save, clear, duplicate. An answer to one session touches no other.
import * as api from "./api.js";
import { complain, loadFacets, place, placeOf, refresh } from "./commands.js";
import { deleteNow } from "./deletion.js";
import { ask, mayDiscard } from "./dialogs.js";
import { loadLowest } from "./following.js";
import { focusEditor, focusRow, isNarrow, isWaiting } from "./focus.js";
import { MEMBERS } from "./members.js";
import * as sessions from "./session.js";
import * as states from "./state.js";
import { edit, editSession, now, set, update } from "./store.js";

function number() {
  update(states.tick);
  return now().clock;
}

const isCurrent = (session) => now().editor.number === session.number;
const named = (product) => `“${product.name}”`;

// Opens a product by its id, an empty editor ("new") or none, and asks what is to become of
// unsaved changes.
export async function open(product) {
  deleteNow();
  const { editor } = now();
  const isThere = product === placeOf(editor) && product !== "new";
  if (isThere && editor.state !== "failed") {
    focusEditor();
    return;
  }
  if (!(await mayLeave(editor))) {
    return;
  }
  update(states.say, "");
  place(product, { opened: !isThere });
  openSession(product);
  focusEditor();
}

// Asks about unsaved changes; resolves with whether this session may be left.
async function mayLeave(session) {
  return (
    !sessions.isDirty(session) ||
    ((await mayDiscard(session.state === "saving")) && isCurrent(session))
  );
}

// Begins a session, without a question.
export function openSession(product) {
  if (/^\d+$/.test(product)) {
    set({ editor: { ...sessions.loadingSession(number(), Number(product)), isOpen: true } });
    load(now().editor);
  } else {
    set({ editor: { ...sessions.blankSession(number()), isOpen: product === "new" } });
  }
}

async function load(session) {
  update(states.tick);
  const at = now().clock;
  try {
    const { body, etag } = await api.get(session.id);
    update(states.learned, body.id, body, etag, at);
    const known = now().known[body.id];
    const newest = known.etag ? known : { product: body, etag };
    editSession(session.number, sessions.loaded, newest.product, newest.etag);
    loadLowest(session, session.id);
    if (isCurrent(session) && isWaiting()) {
      focusEditor();
    }
  } catch (failure) {
    editSession(session.number, sessions.failedToLoad, failure);
  }
}

export const reload = () => openSession(placeOf(now().editor));

export function type(member, text) {
  update(states.unsay);
  edit(sessions.typedInto, member, text, now().rules);
}

// Leaves the editor on a narrow screen: back to where it was opened, if that was here.
export async function close() {
  deleteNow();
  const { editor } = now();
  if (!(await mayLeave(editor))) {
    return;
  }
  openSession("");
  if (history.state?.opened) {
    history.back();
  } else {
    place("", { replace: true });
  }
  focusRow(editor.id);
}

// Empties the editor.
export function clear() {
  const { editor } = now();
  const isNew = isNarrow();
  openSession(isNew ? "new" : "");
  place(isNew ? "new" : "", { replace: true });
  update(states.say, "");
  if (sessions.isDirty(editor)) {
    update(states.say, "The editor is empty.", { restore: () => restore(editor) });
  }
  focusEditor();
}

// Brings a session back; asks if something else has been typed meanwhile.
export async function restore(session) {
  if (!(await mayLeave(now().editor))) {
    return;
  }
  // While it is still being saved, the answer is for this session.
  const isSaving = session.state === "saving";
  set({ editor: { ...session, number: isSaving ? session.number : number() } });
  place(placeOf(session), { replace: true });
  if (session.state === "loading") {
    load(now().editor);
  }
  focusEditor();
}

export async function duplicate() {
  const { editor } = now();
  const isMine = await mayLeave(editor);
  if (isMine) {
    const base = { ...editor.base, id: undefined };
    set({ editor: { ...sessions.blankSession(number(), base, true), isOpen: true } });
    place("new", { opened: true });
    update(states.say, "This is a copy. Save makes a new product of it.");
    focusEditor("name");
  }
}

// Fills the editor with an earlier state of its product, without saving it.
export async function fill(earlier) {
  deleteNow();
  const { editor } = now();
  if (!(await mayLeave(editor))) {
    return;
  }
  edit(sessions.filledWith, earlier);
  const [member] = Object.keys(now().editor.typed);
  const isSame = member === undefined;
  update(states.say, isSame ? "The product is as it was then." : "Save puts the product back as it was then.");
  focusEditor(member ?? "name");
}

// Saving

// Saves the session under the condition that nobody else has meanwhile.
export async function save({ andNew = false } = {}) {
  deleteNow();
  const session = now().editor;
  if (session.state !== "ready") {
    return;
  }
  const faults = sessions.faultsOf(session, now().rules);
  if (Object.keys(faults).length) {
    refuse(session, faults);
    return;
  }
  const key = session.key ?? api.newKey();
  set({ editor: { ...sessions.saving(session), key } });
  update(states.say, "Saving…");
  try {
    const answer = sessions.isSaved(session)
      ? await api.change(session.id, sessions.members(session), session.etag)
      : await api.create(sessions.members(session), key);
    accept(session, answer, andNew);
  } catch (failure) {
    await recover(session, failure, andNew);
  }
}

// Takes what the service has stored: the row always, the editor if it is still that session.
function accept(session, { body, etag }, andNew = false) {
  const isNew = !sessions.isSaved(session);
  const has = `has been ${isNew ? "created" : "updated"}`;
  const wasCurrent = isCurrent(session);
  update(states.written, body.id, body, etag);
  if (isNew) {
    set({ fresh: [body.id, ...now().fresh] });
  }
  editSession(session.number, sessions.saved, body, etag, session.typed);
  loadLowest(session, body.id);
  update(states.say, wasCurrent ? `Product ${has}` : `${named(body)} ${has}`, { kind: "success" });
  if (wasCurrent) {
    place(String(body.id), { replace: true });
  }
  refresh();
  if (andNew && wasCurrent && !sessions.isDirty(now().editor)) {
    place("new", { replace: true });
    openSession("new");
    focusEditor("name");
  }
}

function refuse(session, faults, others = []) {
  if (!isCurrent(session)) {
    return;
  }
  edit(sessions.refused, faults);
  const told = others.map(({ pointer, detail }) => `${pointer?.slice(1) || "The product"} ${detail}`);
  update(states.say, told.join("; ") || "The product is not saved: see beside the fields.", {
    kind: "error",
  });
  focusEditor(Object.keys(faults)[0]);
}

async function recover(session, failure, andNew) {
  const errors = failure.status === 400 ? (failure.errors ?? []) : [];
  const shown = errors.filter(({ pointer }) => MEMBERS.includes(pointer?.slice(1)));
  if (!isCurrent(session)) {
    tellLost(session, failure);
  } else if (sessions.isSaved(session) && [404, 412].includes(failure.status)) {
    await reconcile(session, andNew);
  } else if (failure.status === 400) {
    const faults = shown.map(({ pointer, detail }) => [pointer.slice(1), detail]);
    refuse(session, Object.fromEntries(faults), errors.filter((each) => !shown.includes(each)));
  } else {
    edit(sessions.refused);
    complain(failure, () => isCurrent(session) && save({ andNew }));
  }
}

// A session that was left could not be saved: what was typed can be brought back.
function tellLost(session, failure) {
  const name = named(sessions.edited(session));
  update(states.say, `${name} is not saved. ${failure.message}`, {
    kind: "error",
    restore: () => restore(session),
  });
}

// Somebody else has written: nothing of theirs is overwritten, nothing of mine is lost.
async function reconcile(session, andNew) {
  let theirs;
  try {
    theirs = await api.get(session.id);
  } catch (failure) {
    giveUp(session, failure, andNew);
    return;
  }
  update(states.written, session.id, theirs.body, theirs.etag);
  if (!isCurrent(session)) {
    return tellLost(session, { message: "Somebody else has changed it meanwhile." });
  }
  const members = sessions.conflict({ ...now().editor, typed: session.typed }, theirs.body);
  if (members.length === 0) {
    accept(session, theirs, andNew);
    return;
  }
  await choose(session, theirs, members, andNew);
}

function giveUp(session, failure, andNew) {
  if (!isCurrent(session)) {
    tellLost(session, failure);
  } else if (failure.status === 404) {
    update(states.written, session.id, null, null);
    edit(sessions.orphaned);
    place("new", { replace: true });
    update(
      states.say,
      "Somebody else has deleted this product. Save makes a new one of what is here.",
      { kind: "error" },
    );
    loadFacets();
  } else {
    edit(sessions.refused);
    complain(failure, () => isCurrent(session) && save({ andNew }));
  }
}

async function choose(session, theirs, members, andNew) {
  update(states.say, "");
  edit(sessions.refused);
  const picks = await ask({ kind: "conflict", members });
  if (!isCurrent(session)) {
    return;
  }
  if (picks) {
    edit(sessions.merged, theirs.body, theirs.etag, picks);
    await (sessions.isDirty(now().editor) ? save({ andNew }) : tellTheirs());
  } else {
    update(states.say, "The product is not saved.", { kind: "error" });
  }
}

function tellTheirs() {
  update(states.say, "The product is as somebody else has saved it.");
}
