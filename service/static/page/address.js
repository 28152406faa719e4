// What the page shows is in its address: to be bookmarked, shared and gone back to.

export const DEFAULTS = {
  q: "",
  category: "",
  status: "",
  min_price: "",
  max_price: "",
  sort: "id",
  limit: "25",
  cursor: "",
  page: "1",
  product: "",
};
export const FILTERS = ["q", "category", "status", "min_price", "max_price"];
// A change of any of these begins at the first page again.
const LISTING = [...FILTERS, "sort", "limit"];

let follow = () => {};

// Returns what the address says.
export function view() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]),
  );
}

// The cursors of the pages before this one.
export const trail = () => history.state?.trail ?? [];

// Changes the address and shows what it says then. While one types, one entry of the history is
// enough; `replace` makes none.
export function go(changes, { typing = false, replace = false, before = trail() } = {}) {
  const next = { ...view(), ...changes };
  let cursors = before;
  if (LISTING.some((name) => name in changes)) {
    Object.assign(next, { cursor: "", page: "1" });
    cursors = [];
  }
  const address = addressOf(next);
  const stays = replace || address === addressOf(view()) || (typing && history.state?.typing);
  history[stays ? "replaceState" : "pushState"]({ trail: cursors, typing }, "", address);
  follow(next);
}

// Calls `listener` with the view whenever the address changes.
export function onChange(listener) {
  follow = listener;
  window.addEventListener("popstate", () => listener(view()));
}

function addressOf(wanted) {
  const set = Object.entries(wanted).filter(([name, value]) => value !== DEFAULTS[name]);
  const query = new URLSearchParams(set).toString();
  return location.pathname + (query && `?${query}`);
}
