// What undoing a request would do, from the record of changes: pure functions for the page.
import { cells } from "./changes.js";
import { isSame } from "./members.js";

// Returns what a request did, from its changes, the newest first: [{id, last, before}]. `last` is its
// last change of the product; `before` is what that was before the request, null if it made it.
export function touched(changes) {
  const found = new Map();
  for (const { id, change, before } of changes) {
    found.set(id, { id, last: found.get(id)?.last ?? change, before });
  }
  return [...found.values()];
}

// Returns {rows: [{id, product, before, after}], others: [{id, name}]}: `before` is the product as it
// is now, and `after` as it will be; null is none. What has been changed since is left alone.
// `present` has the products by id, `newest` the newest change of each.
export function undoPlan(products, present, newest) {
  const now = ({ id }) => present[id] ?? null;
  const isOurs = ({ id, last }) => newest[id] === last;
  const rows = products
    .filter((each) => isOurs(each) && !isSame(now(each), each.before))
    .map((each) => ({ id: each.id, product: now(each) ?? each.before, before: now(each), after: each.before }));
  const others = products
    .filter((each) => !isOurs(each))
    .map((each) => ({ id: each.id, name: (now(each) ?? each.before)?.name ?? `Product ${each.id}` }));
  return { rows, others };
}

export const changed = ({ before, after }) => (before && after ? cells(before, after) : []);

// Returns what becomes of a product that is not changed, but deleted or brought back.
export function fate({ before, after }) {
  return after === null ? "deleted" : before === null ? "brought back" : "";
}
