// Reads what a person has put into a filter.
import { flat, numberFault } from "./members.js";
import { readInteger, readPrice } from "./numbers.js";

// Returns {value} as the service takes it, or {fault}.
export function readFilter(name, text, { facets, filterRules }) {
  if (name === "category") {
    return { value: exactCategory(text, facets.category ?? []) };
  }
  if (!(name in filterRules)) {
    return { value: name === "q" ? text.trim() : text };
  }
  if (text.trim() === "") {
    return { value: "" };
  }
  const digits = (name === "min_rating" ? readInteger : readPrice)(text);
  const fault = numberFault(digits, filterRules[name]);
  return fault ? { fault } : { value: digits };
}

// A field shows a category without its line breaks, and a list of choices may lose its blanks.
function exactCategory(text, categories) {
  const values = categories.map(({ value }) => value).filter(Boolean);
  const same = (normal) => values.find((value) => normal(value) === normal(text));
  const shown = (value) => flat("category", value);
  return same((value) => value) ?? same(shown) ?? same((value) => shown(value).trim()) ?? (text.trim() || null);
}
