// The list of what was deleted, and bringing it back.
import * as api from "./api.js";
import { absent } from "./changes.js";
import { refresh } from "./commands.js";
import { deleteNow } from "./deletion.js";
import { surely } from "./parallel.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";

const PAGE_SIZE = 50;
const BLANK = { state: "loading", rows: [], next: null, failure: null, note: "", busy: [] };

const isCurrent = (number) => now().deleted?.number === number;
const change = (changes) => set({ deleted: { ...now().deleted, ...changes } });

export const close = () => set({ deleted: null });

// Shows the list; what still waits to be deleted comes into it.
export async function open() {
  update(states.tick);
  set({ deleted: { ...BLANK, number: now().clock } });
  await deleteNow();
  await more();
}

// Asks for the newest deletions, or for those before the ones that are there.
export async function more() {
  if (!now().deleted) {
    return;
  }
  const { number, next: cursor, rows } = now().deleted;
  change({ state: "loading", failure: null });
  const page = { op: "delete", limit: PAGE_SIZE, ...(cursor && { cursor }) };
  const answer = await asked(rows, new URLSearchParams(page)).catch((failure) => ({
    state: "failed",
    failure,
  }));
  if (isCurrent(number)) {
    change(answer);
  }
}

// A deletion is listed only if its product is not there.
async function asked(rows, query) {
  const { body, next } = await api.history(query);
  const ids = [...new Set(body.map(({ id }) => id))];
  const there = ids.length ? await api.list(`id=${ids.join()}&limit=${PAGE_SIZE}`) : { body: [] };
  return { state: "ready", rows: absent([...rows, ...body], there.body), next };
}

export async function bringBack(id) {
  const { number, rows, busy } = now().deleted;
  if (busy.includes(id)) {
    return;
  }
  const { before } = rows.find((row) => row.id === id);
  change({ busy: [...busy, id], note: "" });
  const outcome = await put(before).catch((failure) => ({ note: failure.message, isLeft: true }));
  if (isCurrent(number)) {
    finish(id, outcome);
  } else {
    update(states.say, outcome.note, { kind: outcome.isLeft ? "error" : "success" });
  }
}

async function put(product) {
  const name = `“${product.name}”`;
  try {
    const { body, etag } = await surely(() => api.bringBack(product), product.id, product);
    update(states.written, body.id, body, etag);
    set({ fresh: [body.id, ...now().fresh] });
    refresh();
    return { note: `${name} has been brought back.` };
  } catch (failure) {
    if (failure.status !== 412) {
      throw failure;
    }
    refresh();
    return { note: `${name} is there already: somebody else has brought it back.` };
  }
}

function finish(id, { note, isLeft = false }) {
  const { rows, busy } = now().deleted;
  change({
    note,
    busy: busy.filter((each) => each !== id),
    rows: isLeft ? rows : rows.filter((row) => row.id !== id),
  });
}
