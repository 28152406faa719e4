// The price or the status of a product, changed in its row.
import * as api from "./api.js";
import { loadFacets } from "./commands.js";
import { deleteNow } from "./deletion.js";
import { focusInline } from "./focus.js";
import { faultOf, textOf, valueOf } from "./members.js";
import { changeSurely } from "./parallel.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";

export function begin(id, member) {
  deleteNow();
  if (states.isInlineDirty(now())) {
    update(states.say, "Save or leave the other row first.");
    focusInline(now().inline);
    return;
  }
  const seen = states.visibleRows(now()).find((row) => row.id === id);
  set({ inline: { id, member, seen, text: textOf(member, seen[member]), fault: "", isSaving: false } });
  focusInline(now().inline, { select: true });
}

export function type(text) {
  const { inline } = now();
  if (inline && inline.text !== text) {
    set({ inline: { ...inline, text, fault: "" } });
  }
}

export function leave() {
  const { inline } = now();
  set({ inline: null });
  focusInline(inline);
}

// Saves the text, unless somebody else has changed what was seen: then it asks once more.
export async function save() {
  const { inline, rules } = now();
  if (inline.isSaving) {
    return;
  }
  const { id, member, text } = inline;
  const fault = faultOf(member, text, rules[member]);
  const value = valueOf(member, text);
  if (fault) {
    tell(inline, fault);
  } else if (value === inline.seen[member]) {
    leave();
  } else {
    set({ inline: { ...inline, isSaving: true } });
    await send(now().inline, { [member]: value }).catch((failure) => tell(inline, reason(failure)));
  }
}

async function send(inline, members) {
  const { id, member, seen } = inline;
  const { body, etag } = await api.get(id);
  const isDone = body[member] === members[member]; // by an attempt whose answer was lost
  if (!isDone && body[member] !== seen[member]) {
    update(states.written, id, body, etag);
    const theirs = textOf(member, body[member]);
    tell({ ...inline, seen: body }, `Somebody else has set ${theirs} meanwhile. Save again to set yours.`);
    return;
  }
  const answer = isDone ? { body, etag } : await changeSurely(body, members, etag);
  update(states.written, id, answer.body, answer.etag);
  update(states.say, `“${answer.body.name}” has been updated`, { kind: "success" });
  if (isStill(inline)) {
    leave();
  }
  loadFacets();
}

const isStill = ({ id, member }) => now().inline?.id === id && now().inline?.member === member;

const reason = (failure) =>
  ({ 404: "Somebody else has deleted it", 412: "Somebody else has changed it. Save again to set yours." })[
    failure.status
  ] ?? failure.message;

function tell(inline, fault) {
  if (isStill(inline)) {
    set({ inline: { ...inline, fault, isSaving: false } });
    focusInline(inline);
  } else {
    update(states.say, `“${inline.seen.name}” is not changed. ${fault}`, { kind: "error" });
  }
}
