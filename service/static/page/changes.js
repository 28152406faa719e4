// What the record of changes says, in words: pure functions for the page to show it.
import { LABELS, differing } from "./members.js";
import { money } from "./numbers.js";

const EXCERPT = 160;
const LEAD = 40;
export const OP_NAMES = { create: "Created", update: "Changed", delete: "Deleted" };

// Returns changes of one product, the newest first, each with its cells: [{member, before, after}].
// What it became is what it was before the next one; `present` is what the newest one made of it.
export function versions(entries, present) {
  return entries.map((entry, i) => {
    const after = i === 0 ? present : entries[i - 1].before;
    return { ...entry, cells: entry.op === "update" ? cells(entry.before, after) : [] };
  });
}

// Returns the members that differ: [{member, before, after}].
export function cells(before, after) {
  return differing(before, after ?? before).map((member) => ({
    member,
    before: before[member],
    after: after[member],
  }));
}

// Returns who has made a change; what has no request was not made by this service.
export function writer({ by, request_id: request }) {
  return by ? `by ${by}` : request ? "by somebody unknown" : "directly in the database";
}

export const historyFault = (failure) =>
  failure.status === 401 ? "The history is shown to holders of a token." : failure.message;

// Returns the newest deletion of each product that is not `there`.
export function absent(deletions, there) {
  const seen = new Set(there.map(({ id }) => id));
  return deletions.filter(({ id }) => !seen.has(id) && seen.add(id));
}

// Returns a time in the reader's format and time zone.
export function moment(at, locales = globalThis.navigator?.languages, timeZone = undefined) {
  const format = { dateStyle: "medium", timeStyle: "short", timeZone };
  return new Intl.DateTimeFormat(locales, format).format(new Date(at));
}

// Returns the lowest price of 30 days in words: before the latest reduction or, without one, now.
export function lowestText({ price, to, complete }, locales, timeZone) {
  const day = new Intl.DateTimeFormat(locales, { dateStyle: "medium", timeZone }).format(new Date(to));
  const amount = price === null ? "not on sale" : money(price);
  const doubt = complete ? "" : " (as far as is on record)";
  return `Lowest price in the 30 days before ${day}: ${amount}${doubt}`;
}

// Returns what has happened to the product in the editor elsewhere.
export function newsText(news) {
  if (!news) {
    return "";
  }
  if (news.isDeleted) {
    return "This product has been deleted meanwhile. Save makes a new one of what is here.";
  }
  const fields = news.members.map((member) => LABELS[member].toLowerCase()).join(", ");
  const met = news.isMet ? " What you have typed stays: Save asks which to keep." : "";
  return `This product has been changed meanwhile: ${fields}.${met}`;
}

// Returns two texts, cut to where they differ if they are long.
export function excerpts(before, after) {
  const longest = Math.max(before.length, after.length);
  const from = longest > EXCERPT ? Math.max(firstDifference(before, after) - LEAD, 0) : 0;
  return [before, after].map((text) => excerpt(text, from));
}

function excerpt(text, from) {
  const cut = text.slice(from, from + EXCERPT);
  const isCut = from + EXCERPT < text.length;
  return `${from && cut ? "…" : ""}${cut}${isCut ? "…" : ""}`;
}

function firstDifference(one, other) {
  const shorter = Math.min(one.length, other.length);
  let place = 0;
  while (place < shorter && one[place] === other[place]) {
    place += 1;
  }
  return place;
}
