// The whole state of the page as one object, and the pure functions that return the next one.
import { isUnfinished } from "./importsession.js";
import { isSame, textOf } from "./members.js";
import { DEFAULTS, filtersOf } from "./query.js";
import { blankSession, followed, informed } from "./session.js";

export const initial = {
  clock: 0, // counts requests, answers and sessions, to tell which of two is newer
  query: DEFAULTS,
  trail: [], // the cursors of the pages before
  place: 0, // in the history of this tab
  typed: {}, // filters that are not in the query: {member: {text, fault}}
  list: { state: "loading", rows: [], next: null, total: null, at: 0, ticket: 0, failure: null },
  fresh: [], // ids of products that were created since the query changed
  known: {}, // by id: {product, etag, at}; product is null if it was deleted
  gone: {}, // products by id, as they were: the feed says that they are deleted
  arrived: [], // ids of products that are new and match, but are not in the list
  feed: { since: null, newest: 0 }, // the place in the feed, and the highest id of before
  facets: { state: "loading", key: null },
  suggested: null, // the product whose id is searched for
  selected: {}, // products by id, as they were when they were selected
  lastTicked: null,
  gathering: false, // whether all that match are being selected
  editor: blankSession(1),
  inline: null, // {id, member, text, seen, fault, isSaving}
  pending: null, // a delete that waits for the next action: {items: [{product, etag}], session}
  leaving: [], // ids of products that are being deleted
  bulk: null, // {kind, form}: the change that is being chosen
  picture: null, // {src, name}: the one that is shown large
  run: null, // {title, done, total, isStopped}
  result: null, // {title, rows: [{product, text, reason}]}
  deleted: null, // what was deleted: {number, state, rows, next, failure, note, busy}
  importing: null, // see importsession.js
  productNames: {}, // by id, of those that an import would change
  fileLimits: {}, // {bytes, rows} of a file
  requestSizes: {}, // by request id: {changes, isMore}
  undoing: null, // the request that is to be undone: {request, state, done, total, plan, failure}
  message: { text: "", kind: "info", offers: {} },
  dialogs: [], // questions that wait for an answer, the last one on top
  hasToken: false,
  views: [], // [{name, search}]
  rules: {}, // the limits of the members, as the service has them
  filterRules: {},
};

// The list

// The list is asked for; with `quiet` its rows stay usable until the answer is there.
export function asking(state, { quiet = false } = {}) {
  const ticket = state.clock + 1;
  const list = { ...state.list, ticket, state: quiet ? state.list.state : "loading" };
  return { ...state, clock: ticket, list };
}

export const isAwaited = (state, ticket) => state.list.ticket === ticket;

// The list has come; an answer to an earlier question is dropped.
export function listed(state, ticket, { body, next, total }) {
  if (!isAwaited(state, ticket)) {
    return state;
  }
  const list = { state: "ready", rows: body, next, total, at: ticket, ticket, failure: null };
  const seen = body.filter(({ id }) => id in state.selected);
  const newer = seen.map((row) => [row.id, newest(state.known, row, ticket).product ?? row]);
  const selected = { ...state.selected, ...Object.fromEntries(newer) };
  return { ...state, list, selected, gone: {}, arrived: [] };
}

// The list cannot be had: the rows of before stay if it is a filter that is at fault.
export function listFailed(state, ticket, failure, faults) {
  if (!isAwaited(state, ticket)) {
    return state;
  }
  const isFilter = Object.keys(faults).length > 0;
  const list = isFilter
    ? { ...state.list, state: "faulty", next: null, failure }
    : { ...state.list, state: "failed", rows: [], next: null, failure };
  return { ...state, list, typed: { ...state.typed, ...faults } };
}

// Returns the rows as they are to be shown: each product as it was last heard of. What others have
// deleted keeps its place.
export function visibleRows({ list, fresh, known, pending, leaving, gone = {} }) {
  const ids = new Set(list.rows.map(({ id }) => id));
  const added = fresh.filter((id) => !ids.has(id)).map((id) => known[id]?.product ?? gone[id]);
  const hidden = new Set([...leaving, ...(pending?.items ?? []).map(({ product }) => product.id)]);
  return [...added, ...list.rows.map((row) => newest(known, row, list.at).product ?? gone[row.id])].filter(
    (product) => product && !hidden.has(product.id),
  );
}

// Returns the newer of a product in an answer that was asked for `at`, and what is known of it.
export function newest(known, product, at, etag = null) {
  const other = known[product.id];
  return other && other.at > at ? other : { product, etag, at };
}

// A product is heard of, perhaps without its tag: `at` is when that was asked for or, of a write,
// when it was answered.
export function learned(state, id, product, etag, at) {
  const before = state.known[id];
  if (before?.at > at) {
    return state;
  }
  const isKnown = before && isSame(before.product, product);
  const tag = etag ?? (isKnown ? before.etag : null);
  return { ...state, known: { ...state.known, [id]: { product, etag: tag, at } } };
}

// A product was read, perhaps without its tag: nothing moves. A row of a deleted one stays, marked;
// the editor is told, and follows if the tag is known.
export function noticed(state, id, product, etag, at) {
  const row = visibleRows(state).find((each) => each.id === id);
  const next = learned(state, id, product, etag, at);
  if (next === state) {
    return state;
  }
  const { [id]: before, ...gone } = state.gone;
  const { [id]: chosen, ...others } = state.selected;
  const isOpen = state.editor.id === id && (etag || !product);
  return {
    ...next,
    gone: product || !row ? gone : { ...gone, [id]: row },
    arrived: product ? state.arrived : state.arrived.filter((each) => each !== id),
    selected: chosen ? { ...others, [id]: product ?? chosen } : state.selected,
    editor: isOpen ? informed(state.editor, product, etag) : state.editor,
  };
}

// A write was answered: nothing that was asked for before is newer.
export function written(state, id, product, etag) {
  const at = state.clock + 1;
  const { [id]: before, ...others } = state.selected;
  const selected = before && product ? { ...others, [id]: product } : others;
  const isOpen = state.editor.id === id && product;
  const editor = isOpen ? followed(state.editor, product, etag) : state.editor;
  const { [id]: _, ...gone } = state.gone;
  return learned({ ...state, clock: at, selected, editor, gone }, id, product, etag, at);
}

// What the feed said, asked for `at`: [{id, product}]; product is null if it was deleted. Only what
// is shown or selected is kept.
export function fed(state, changes, at) {
  const { list, fresh, arrived, selected, editor } = state;
  const ids = new Set([...list.rows.map(({ id }) => id), ...fresh, ...arrived, editor.id]);
  return changes
    .filter(({ id }) => ids.has(id) || id in selected)
    .reduce((next, { id, product }) => noticed(next, id, product, null, at), state);
}

// New products have come that match; `newest` is the highest id by now.
export function arriving(state, products, newest, at) {
  const ids = new Set([...products.map(({ id }) => id), ...state.arrived]);
  const arrived = [...ids].sort((one, other) => other - one);
  const next = { ...state, arrived, feed: { ...state.feed, newest } };
  return products.reduce((all, product) => learned(all, product.id, product, null, at), next);
}

// The new products are put above the list.
export const arrivedShown = (state) => ({
  ...state,
  fresh: [...state.arrived, ...state.fresh],
  arrived: [],
});

// Returns the ids of products that were created since, and that the list has not.
export function newcomers(state, changes) {
  const there = new Set([...state.fresh, ...state.list.rows.map(({ id }) => id)]);
  return changes
    .filter(({ id, product }) => product && id > state.feed.newest && !there.has(id))
    .map(({ id }) => id);
}

export const tick = (state) => ({ ...state, clock: state.clock + 1 });

// The place in the address. Other filters are another list: what was selected, or is new, goes.
export function located(state, query, { trail = [], place = state.place } = {}) {
  const isOther = filtersOf(query) !== filtersOf(state.query);
  const isResorted = isOther || query.sort !== state.query.sort;
  return {
    ...state,
    query,
    trail,
    place,
    typed: isOther ? {} : state.typed,
    selected: isOther ? {} : state.selected,
    fresh: isResorted || query.page !== state.query.page ? [] : state.fresh,
    suggested: query.q === state.query.q ? state.suggested : null,
  };
}

export function filterTyped(state, name, text, fault = "") {
  return { ...state, typed: { ...state.typed, [name]: { text, fault } } };
}

export function filterRead(state, name) {
  const { [name]: _, ...typed } = state.typed;
  return { ...state, typed };
}

// Returns how many products match, {number, isExact}: until the facets are there, what the list
// says; null while neither is known.
export function total({ facets, list, query }) {
  const isKnown = facets.state === "ready" && facets.key === filtersOf(query);
  return isKnown ? { number: facets.total, isExact: true } : list.state === "ready" ? list.total : null;
}

// Returns the number of pages, null while it is not known.
export function pages(state) {
  const all = total(state);
  return all?.isExact ? Math.max(Math.ceil(all.number / Number(state.query.limit)), 1) : null;
}

// Selection

export function select(state, products, isSelected) {
  const selected = { ...state.selected };
  for (const product of products) {
    delete selected[product.id];
    if (isSelected) {
      selected[product.id] = product;
    }
  }
  return { ...state, selected };
}

export const selectOnly = (state, products) => select({ ...state, selected: {} }, products, true);

// Ticks or unticks a row; with `isRange` all rows since the one before.
export function tickRow(state, id, isRange) {
  const rows = visibleRows(state);
  const to = rows.findIndex((row) => row.id === id);
  const last = rows.findIndex((row) => row.id === state.lastTicked);
  const from = isRange && last >= 0 ? last : to;
  const range = rows.slice(Math.min(from, to), Math.max(from, to) + 1);
  return { ...select(state, range, !(id in state.selected)), lastTicked: id };
}

// Messages and questions

export function say(state, text, { kind = "info", ...offers } = {}) {
  return { ...state, message: { text, kind, offers } };
}

// What was said of a success is no longer so.
export function unsay(state) {
  return state.message.kind === "success" ? say(state, "") : state;
}

export const asks = (state, dialog) => ({ ...state, dialogs: [...state.dialogs, dialog] });

export function answeredDialog(state, dialog) {
  return { ...state, dialogs: state.dialogs.filter((each) => each !== dialog) };
}

// Whether something is lost if the page is left now.
export const isBusy = (state) =>
  Boolean(
    state.pending ||
      state.run ||
      state.leaving.length ||
      isInlineDirty(state) ||
      isUnfinished(state.importing),
  );

export const isInlineDirty = ({ inline }) =>
  inline !== null && inline.text !== textOf(inline.member, inline.seen[inline.member]);
