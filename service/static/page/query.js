// What the page shows is in its address: to be bookmarked, shared and gone back to.

export const DEFAULTS = {
  q: "",
  category: null, // any; "" is the products without one
  status: "",
  min_price: "",
  max_price: "",
  min_rating: "",
  sort: "-id",
  limit: "25",
  cursor: "",
  page: "1",
};
export const FILTERS = ["q", "category", "status", "min_price", "max_price", "min_rating"];
export const EXPORTED = [...FILTERS, "sort"];
const ASKED = [...EXPORTED, "limit", "cursor"];

// Returns the query and the product of an address.
export function parse(search) {
  const given = new URLSearchParams(search);
  const query = Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]),
  );
  return { query, product: given.get("product") ?? "" };
}

// Returns the search part of the address of a query and a product.
export function addressOf(query, product = "") {
  const set = Object.entries(query).filter(([name, value]) => value !== DEFAULTS[name]);
  const text = new URLSearchParams(product ? [...set, ["product", product]] : set).toString();
  return text && `?${text}`;
}

const isGiven = (query, name) => (name === "category" ? query[name] !== null : query[name] !== "");

// Returns what the service is asked for.
export function asked(query, names = ASKED) {
  const given = names.filter((name) => isGiven(query, name));
  return new URLSearchParams(given.map((name) => [name, query[name]])).toString();
}

export const filtersOf = (query) => asked(query, FILTERS);
export const isNarrowed = (query) => FILTERS.some((name) => isGiven(query, name));
export const filtersSet = (query) =>
  FILTERS.filter((name) => name !== "q" && isGiven(query, name)).length;

// Returns the query with changes; a change of any but the page begins at the first page.
export function changed(query, changes) {
  const starts = Object.keys(changes).some((name) => !["cursor", "page"].includes(name));
  return { ...query, ...(starts && { cursor: "", page: "1" }), ...changes };
}
