// What a person does about the list and the place: each answer belongs to what was asked for.
import * as api from "./api.js";
import { deleteNow } from "./deletion.js";
import { mayDiscard } from "./dialogs.js";
import { openSession } from "./editing.js";
import { count } from "./numbers.js";
import { DEFAULTS, addressOf, asked, changed, filtersOf, parse } from "./query.js";
import { readFilter } from "./reading.js";
import { isDirty } from "./session.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";

const COUNT_PAUSE_MS = 300;
const MOST_SELECTED = 10_000;
const PRODUCT_ID = /^\s*#?([1-9]\d{0,9})\s*$/;
let listing = new AbortController();
let counting = new AbortController();

// The place: what the address says

// Begins with what the address says.
export function start() {
  const { query, product } = parse(location.search);
  const { trail = [], index = 0 } = history.state ?? {};
  update(states.located, query, { trail, place: index });
  history.replaceState({ ...history.state, trail, index }, "");
  loadList();
  openSession(product);
}

// Goes to another query; a step of typing shares its entry of the history with the one before.
export function search(changes, { typing = false, trail = [] } = {}) {
  deleteNow();
  const query = changed(now().query, changes);
  if (addressOf(query) === addressOf(now().query)) {
    return;
  }
  put(query, placeOf(now().editor), { trail, typing, replace: typing && history.state?.typing });
  loadList();
}

// Shows a product, an empty editor ("new") or none in the address.
export function place(product, { replace = false, opened = false } = {}) {
  put(now().query, product, { trail: now().trail, replace, opened });
}

function put(query, product, { replace, ...state }) {
  const stays = replace || addressOf(query, product) === location.search;
  const index = now().place + (stays ? 0 : 1);
  const address = location.pathname + addressOf(query, product);
  const opened = stays && !state.opened ? history.state?.opened : state.opened;
  history[stays ? "replaceState" : "pushState"]({ ...state, opened, index }, "", address);
  update(states.located, query, { trail: state.trail, place: index });
}

export const placeOf = (session) =>
  session.id ? String(session.id) : session.isOpen ? "new" : "";

// Follows the browser's Back and Forward; back again if unsaved changes are to be kept.
export async function followHistory({ state }) {
  deleteNow();
  const { query, product } = parse(location.search);
  const { editor } = now();
  const isOther = product !== placeOf(editor);
  if (isOther && isDirty(editor) && !(await mayDiscard(editor.state === "saving"))) {
    history.go(now().place - (state?.index ?? 0));
    return;
  }
  const before = addressOf(now().query);
  update(states.located, query, { trail: state?.trail ?? [], place: state?.index ?? 0 });
  if (isOther) {
    openSession(product);
  }
  if (addressOf(query) !== before) {
    loadList();
  }
}

// The list

// Asks for the list; with `quiet` the one that is there stays in use until the answer comes.
export async function loadList({ quiet = false } = {}) {
  listing.abort();
  listing = new AbortController();
  const { signal } = listing;
  const { query } = now();
  update(states.asking, { quiet });
  const { ticket } = now().list;
  loadFacets();
  suggest(query.q);
  try {
    const answer = await api.list(`${asked(query)}&count=estimated`, signal);
    update(states.listed, ticket, answer);
  } catch (failure) {
    if (!signal.aborted) {
      update(states.listFailed, ticket, failure, filterFaults(failure));
    }
  }
}

const filterFaults = (failure) =>
  Object.fromEntries(
    (failure.errors ?? [])
      .filter(({ parameter }) => ["min_price", "max_price", "min_rating"].includes(parameter))
      .map(({ parameter, detail }) => [parameter, { text: now().query[parameter], fault: detail }]),
  );

// Counts, after a pause: it takes the database long, so not for every letter that is typed.
export async function loadFacets() {
  counting.abort();
  counting = new AbortController();
  const { signal } = counting;
  const key = filtersOf(now().query);
  if (key !== now().facets.key) {
    set({ facets: { ...now().facets, state: "loading" } });
  }
  try {
    await new Promise((resolve) => setTimeout(resolve, COUNT_PAUSE_MS));
    signal.throwIfAborted();
    const { body } = await api.facets(key, signal);
    set({ facets: { ...body, state: "ready", key } });
  } catch {
    if (!signal.aborted) {
      set({ facets: { ...now().facets, state: "failed", key: null } });
    }
  }
}

// A number that is searched for may be the id of a product.
async function suggest(q) {
  const id = q.match(PRODUCT_ID)?.[1];
  if (!id || Number(id) > 2 ** 31 - 1) {
    return;
  }
  const { body } = await api.list(`id=${id}&limit=1`).catch(() => ({ body: [] }));
  if (now().query.q === q) {
    set({ suggested: body[0] ?? null });
  }
}

export const refresh = () => loadList({ quiet: true });

export function turn(where) {
  const { query, trail, list } = now();
  if (list.state !== "ready") {
    return;
  }
  const page = Number(query.page);
  const steps = {
    first: () => search({ cursor: "", page: "1" }),
    prev: () =>
      search({ cursor: trail.at(-1), page: String(page - 1) }, { trail: trail.slice(0, -1) }),
    next: () =>
      search({ cursor: list.next, page: String(page + 1) }, { trail: [...trail, query.cursor] }),
  };
  steps[where]();
}

// A filter was typed or chosen: what cannot be read stays in its field, with its fault.
export function filter(name, text) {
  const { value, fault } = readFilter(name, text, now());
  if (fault) {
    update(states.filterTyped, name, text, fault);
  } else {
    update(states.filterRead, name);
    search({ [name]: value });
  }
}

export function resetAll() {
  set({ typed: {} });
  const { query } = now();
  const isSame = addressOf(query) === "";
  search(DEFAULTS);
  if (isSame) {
    loadList();
  }
}

// Selects every product that matches, page by page.
export async function selectMatching() {
  const key = filtersOf(now().query);
  const isStill = () => key === filtersOf(now().query) && now().gathering;
  set({ gathering: true });
  try {
    let cursor = "";
    do {
      const { body, next } = await api.list(`${key}&sort=${now().query.sort}&limit=1000${cursor}`);
      if (!isStill()) {
        return;
      }
      update(states.select, body, true);
      cursor = next && `&cursor=${next}`;
    } while (cursor && Object.keys(now().selected).length < MOST_SELECTED);
    if (cursor) {
      update(states.say, `Only the first ${count(MOST_SELECTED)} are selected: no more at once.`);
    }
  } catch (failure) {
    update(states.say, failure.message, { kind: "error", retry: selectMatching });
  } finally {
    set({ gathering: false });
  }
}

export function complain(failure, retry) {
  update(states.say, failure.message, {
    kind: "error",
    retry: failure.isTemporary ? retry : undefined,
  });
}
