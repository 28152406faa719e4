// The whole state of the page as one object, and the pure functions that return the next one.
import { isUnfinished } from "./importsession.js";
import { textOf } from "./members.js";
import { DEFAULTS, filtersOf } from "./query.js";
import { blankSession, followed } from "./session.js";

export const initial = {
  clock: 0, // counts requests, answers and sessions, to tell which of two is newer
  query: DEFAULTS,
  trail: [], // the cursors of the pages before
  place: 0, // in the history of this tab
  typed: {}, // filters that are not in the query: {member: {text, fault}}
  list: { state: "loading", rows: [], next: null, at: 0, ticket: 0, failure: null },
  fresh: [], // ids of products that were created since the query changed
  known: {}, // by id: {product, etag, at}; product is null if it was deleted
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
export function listed(state, ticket, { body, next }) {
  if (!isAwaited(state, ticket)) {
    return state;
  }
  const list = { state: "ready", rows: body, next, at: ticket, ticket, failure: null };
  const seen = body.filter(({ id }) => id in state.selected);
  const newer = seen.map((row) => [row.id, newest(state.known, row, ticket).product ?? row]);
  return { ...state, list, selected: { ...state.selected, ...Object.fromEntries(newer) } };
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

// Returns the rows as they are to be shown: each product as it was last heard of.
export function visibleRows({ list, fresh, known, pending, leaving }) {
  const ids = new Set(list.rows.map(({ id }) => id));
  const added = fresh.filter((id) => !ids.has(id)).map((id) => known[id]?.product);
  const hidden = new Set([...leaving, ...(pending?.items ?? []).map(({ product }) => product.id)]);
  return [...added, ...list.rows.map((row) => newest(known, row, list.at).product)].filter(
    (product) => product && !hidden.has(product.id),
  );
}

// Returns the newer of a product in an answer that was asked for `at`, and what is known of it.
export function newest(known, product, at, etag = null) {
  const other = known[product.id];
  return other && other.at > at ? other : { product, etag, at };
}

// A product is heard of: `at` is when that was asked for or, of a write, when it was answered.
export function learned(state, id, product, etag, at) {
  const isOlder = state.known[id]?.at > at;
  return isOlder ? state : { ...state, known: { ...state.known, [id]: { product, etag, at } } };
}

// A product was read: the editor follows if that is news.
export function noticed(state, id, product, etag, at) {
  const next = learned(state, id, product, etag, at);
  const isNews = next !== state && product && state.editor.id === id;
  return isNews ? { ...next, editor: followed(state.editor, product, etag) } : next;
}

// A write was answered: nothing that was asked for before is newer.
export function written(state, id, product, etag) {
  const at = state.clock + 1;
  const { [id]: before, ...others } = state.selected;
  const selected = before && product ? { ...others, [id]: product } : others;
  const isOpen = state.editor.id === id && product;
  const editor = isOpen ? followed(state.editor, product, etag) : state.editor;
  return learned({ ...state, clock: at, selected, editor }, id, product, etag, at);
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

// Returns the number of pages, null while it is not known.
export function pages({ facets, query }) {
  const isKnown = facets.state === "ready" && facets.key === filtersOf(query);
  return isKnown ? Math.max(Math.ceil(facets.total / Number(query.limit)), 1) : null;
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
