// An editing session: one product in the editor, from what is stored to what is saved.
// A session has a number; an answer belongs to the session that asked for it.
import { MEMBERS, differing, faultOf, textOf, valueOf } from "./members.js";

const BLANK = { name: "", img_url: "", description: null, rating: 0, category: null, status: "active" };

// `base` is the product that the fields begin with; `typed` has the texts of the members that a
// person has touched, and no other.
export function blankSession(number, base = BLANK, isCopy = false) {
  return {
    number,
    id: null,
    state: "ready",
    base,
    etag: null,
    typed: {},
    faults: {},
    failure: null,
    isCopy, // of another product: it is unsaved before anything is typed
    isOpen: false, // whether it was asked for: a blank editor is there anyway on a wide screen
    key: null, // of the attempts to create it
    earlier: null, // the state of before that it was filled with
    news: null, // {members, isMet, isDeleted}: what has happened to the product elsewhere
    tab: "product", // or "history"
    lowest: null, // {at, price, to, complete}: the lowest price of 30 days, asked for `at`
    history: null, // {state, entries, present, next, failure}, the newest change first
  };
}

export const loadingSession = (number, id) => ({ ...blankSession(number), id, state: "loading" });

export const isDirty = (session) => session.isCopy || Object.keys(session.typed).length > 0;
export const isSaved = (session) => session.id !== null;
export const textIn = (session, member) =>
  session.typed[member] ?? textOf(member, session.base[member]);

// Returns the product as the fields have it; what nobody has touched is as it was stored.
export function edited(session) {
  const typed = Object.entries(session.typed).map(([member, text]) => [
    member,
    valueIn(session, member, text),
  ]);
  return { ...session.base, ...Object.fromEntries(typed) };
}

// A text that came from an earlier state, and nobody has touched, is the value that it was then.
function valueIn({ earlier }, member, text) {
  const isEarlier = earlier && text === textOf(member, earlier[member]);
  return isEarlier ? earlier[member] : valueOf(member, text);
}

// Fills the fields with an earlier state of the product; it is unsaved.
export function filledWith(session, earlier) {
  const texts = differing(session.base, earlier).map((member) => [member, textOf(member, earlier[member])]);
  return { ...session, typed: Object.fromEntries(texts), faults: {}, earlier, tab: "product" };
}

// Returns what is to be sent: of a stored product the touched members alone.
export function members(session) {
  const product = edited(session);
  const names = isSaved(session) ? Object.keys(session.typed) : MEMBERS;
  return Object.fromEntries(names.map((name) => [name, product[name] ?? null]).filter(isSent(session)));
}

// A new product does not send what it has not; a stored one says that it has it no longer.
const isSent = (session) => ([, value]) => isSaved(session) || value !== null;

// Returns the faults of the members that are to be sent.
export function faultsOf(session, rules) {
  const names = isSaved(session) ? Object.keys(session.typed) : MEMBERS;
  const found = names.map((name) => [name, faultOf(name, textIn(session, name), rules[name] ?? {})]);
  return Object.fromEntries(found.filter(([, fault]) => fault));
}

// A person has typed; the text of before is as good as untouched.
export function typedInto(session, member, text, rules) {
  const { [member]: _, ...others } = session.typed;
  const isUntouched = text === textOf(member, session.base[member]);
  const fault = isUntouched && isSaved(session) ? "" : faultOf(member, text, rules[member] ?? {});
  return {
    ...session,
    typed: isUntouched ? others : { ...others, [member]: text },
    faults: { ...session.faults, [member]: fault },
    key: null,
  };
}

// The product has come, or was changed elsewhere: what was typed stays.
export function loaded(session, product, etag) {
  return { ...session, id: product.id, state: "ready", base: product, etag, failure: null };
}

export const failedToLoad = (session, failure) => ({ ...session, state: "failed", failure });
export const saving = (session) => ({ ...session, state: "saving", faults: {}, tab: "product" });
export const refused = (session, faults = {}) => ({
  ...session,
  state: "ready",
  faults,
  tab: "product",
});

// The product is stored; what was typed since `sent` stays.
export function saved(session, product, etag, sent) {
  const kept = Object.entries(session.typed).filter(([member, text]) => text !== sent[member]);
  return {
    ...loaded(session, product, etag),
    typed: Object.fromEntries(kept),
    faults: {},
    isCopy: false,
    key: null,
    news: null,
  };
}

// It was deleted by somebody else: Save makes a new one of what is here.
export const orphaned = (session) => ({
  ...session,
  id: null,
  etag: null,
  state: "ready",
  isCopy: true,
  news: null,
});

// Somebody else has saved `theirs`: of the members that differ, `picks` says whose is kept. What
// was typed since stays.
export function merged(session, theirs, etag, picks) {
  const kept = Object.entries(session.typed).filter(
    ([member, text]) => picks[member] !== "theirs" && valueOf(member, text) !== theirs[member],
  );
  const mine = Object.entries(picks).filter(
    ([member, whose]) => whose === "mine" && !(member in session.typed),
  );
  const typed = [...kept, ...mine.map(([member]) => [member, textOf(member, session.base[member])])];
  return { ...loaded(session, theirs, etag), typed: Object.fromEntries(typed), faults: {}, news: null };
}

// Returns the members to choose between: [{member, both, mine, theirs, pick}].
export function conflict(session, theirs) {
  const mine = edited(session);
  return differing(mine, theirs).map((member) => {
    const isTouched = member in session.typed;
    const isTheirs = textOf(member, session.base[member]) !== textOf(member, theirs[member]);
    return {
      member,
      both: isTouched && isTheirs,
      mine: textOf(member, mine[member]),
      theirs: textOf(member, theirs[member]),
      pick: isTouched ? "mine" : "theirs",
    };
  });
}

// Another copy of the product is known: it is taken if it meets nothing that was typed.
export function followed(session, product, etag) {
  const isMet = differing(session.base, product).some((member) => member in session.typed);
  return session.state !== "ready" || isMet ? session : loaded(session, product, etag);
}

// Somebody else has changed the product, or deleted it (null): it is told, and what was typed stays.
export function informed(session, product, etag) {
  const changed = product ? differing(session.base, product) : [];
  if (session.state !== "ready" || (product && changed.length === 0)) {
    return session;
  }
  const next = product ? followed(session, product, etag) : session;
  const members = [...new Set([...(session.news?.members ?? []), ...changed])];
  const isMet = product !== null && next === session;
  return { ...next, news: { members, isMet, isDeleted: product === null } };
}

// The lowest price has come, or cannot be had (null); an answer to an earlier question is dropped.
export function priced(session, at, lowest) {
  return session.lowest?.at > at ? session : { ...session, lowest: { at, ...lowest } };
}

// The history

export const tabbed = (session, tab) => ({ ...session, tab });

export const historyAsked = (session) => ({
  ...session,
  history: { entries: [], next: null, present: null, ...session.history, state: "loading" },
});

// The newest changes have come, and after them the product as it is now; or older changes.
export const historyCame = (session, entries, next, present) => ({
  ...session,
  history: { state: "ready", entries, next, present, failure: null },
});

export const historyFailed = (session, failure) => ({
  ...session,
  history: { ...session.history, state: "failed", failure },
});
