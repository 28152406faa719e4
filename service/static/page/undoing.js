// Undoes a request, such as an import or a bulk change: what has been changed since is left alone.
import * as api from "./api.js";
import { fetched, report, running, undone } from "./bulk.js";
import { deleteNow, leaveDeleted } from "./deletion.js";
import { counted } from "./numbers.js";
import { inParallel, surely } from "./parallel.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";
import { touched, undoPlan } from "./undoplan.js";

const PAGE_SIZE = 1000;
const AT_ONCE = 100;
let asking = new AbortController();

const change = (changes) => set({ undoing: { ...now().undoing, ...changes } });

// Shows what undoing a request would do.
export async function open(request) {
  set({ undoing: { request, state: "loading", done: 0, total: 0, plan: null, failure: null } });
  await deleteNow();
  await look();
}

export function close() {
  asking.abort();
  set({ undoing: null });
}

export async function look() {
  asking.abort();
  if (!now().undoing) {
    return;
  }
  asking = new AbortController();
  const { signal } = asking;
  change({ state: "loading", failure: null });
  const answer = await planned(now().undoing.request, signal).then(
    (plan) => ({ state: "ready", plan }),
    (failure) => ({ state: "failed", failure }),
  );
  if (!signal.aborted && now().undoing) {
    change(answer);
  }
}

// The products are read before their newest changes: so none is taken for one that is unchanged.
async function planned(request, signal) {
  const products = touched(await changesOf(request, signal));
  const ids = products.map(({ id }) => id);
  const present = await presentOf(ids, signal);
  return undoPlan(products, present, await newestOf(ids, signal));
}

async function changesOf(request, signal) {
  const found = [];
  let cursor = null;
  do {
    const query = { request, limit: PAGE_SIZE, ...(cursor && { cursor }) };
    const { body, next } = await api.history(new URLSearchParams(query), signal);
    found.push(...body);
    cursor = next;
  } while (cursor);
  return found;
}

async function presentOf(ids, signal) {
  const found = {};
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const some = ids.slice(at, at + AT_ONCE).join();
    const { body } = await api.list(`id=${some}&limit=${AT_ONCE}`, signal);
    body.forEach((product) => {
      found[product.id] = product;
    });
  }
  return found;
}

async function newestOf(ids, signal) {
  const newest = {};
  signal.throwIfAborted();
  change({ done: 0, total: ids.length });
  const ask = async (id) => {
    const { body } = await api.history(`id=${id}&limit=1`, signal);
    newest[id] = body[0]?.change;
    signal.throwIfAborted();
    change({ done: now().undoing.done + 1 });
  };
  const [failed] = await inParallel(ids, ask, () => signal.aborted);
  if (failed) {
    throw failed.failure;
  }
  return newest;
}

// Carries out what the preview shows.
export async function apply() {
  const { undoing, run } = now();
  if (run || !undoing?.plan?.rows.length) {
    return;
  }
  const { rows } = undoing.plan;
  close();
  const request = api.newKey();
  const done = [];
  const failures = await running(`Undoing ${counted(rows.length)}…`, rows, async (row) => {
    await setBack(row, request);
    done.push(row);
  });
  report(done, undone(rows, done, failures), "set back");
}

async function setBack({ id, product, before, after }, request) {
  const etag = before && (await fetched(before)).etag;
  const answer = await surely(() => send(id, before, after, etag, request), id, after);
  update(states.written, id, after && answer.body, after && answer.etag);
  if (after === null) {
    leaveDeleted(product);
  }
}

function send(id, before, after, etag, request) {
  if (before === null) {
    return api.bringBack(after, request);
  }
  return after === null ? api.remove(id, etag, { request }) : api.replace(after, etag, request);
}
