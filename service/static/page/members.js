// The members of a product: as text in a field, as a value, and what is wrong with a text.
import { price, readInteger, readPrice } from "./numbers.js";

export const MEMBERS = ["name", "img_url", "description", "price", "rating", "category", "status"];
export const LABELS = {
  name: "Name",
  img_url: "Picture address",
  description: "Description",
  price: "Price",
  rating: "Rating",
  category: "Category",
  status: "Status",
};
const NULLABLE = ["description", "category"];
const READ = { price: readPrice, rating: readInteger };
export const STATUS_NAMES = { active: "Active", inactive: "Inactive", disabled: "Disabled" };

// Returns a text as a field shows it: an <input> drops line breaks, a <textarea> makes them "\n".
export function flat(member, text) {
  return member === "description" ? text.replace(/\r\n?/g, "\n") : text.replace(/[\r\n]/g, "");
}

// Returns a member as text for a field.
export function textOf(member, value) {
  if (member === "price" && typeof value === "number") {
    return price(value);
  }
  return flat(member, String(value ?? ""));
}

// Returns a field's text as a member; undefined where there is none; a number that cannot be
// read stays as text, which the service refuses.
export function valueOf(member, text) {
  if (!(member in READ)) {
    return NULLABLE.includes(member) && text === "" ? null : text;
  }
  if (text.trim() === "") {
    return undefined;
  }
  const digits = READ[member](text);
  return typeof digits === "string" ? Number(digits) : text;
}

// Returns what the service would say of this text, "" if nothing. `rule` has its limits.
export function faultOf(member, text, rule) {
  if (member in READ) {
    return text.trim() === "" ? (rule.required ?? "") : numberFault(READ[member](text), rule);
  }
  if (text === "") {
    return rule.required ?? "";
  }
  if (rule.blank && /^[\s\p{Cc}\p{Cf}\p{Cn}]+$/u.test(text)) {
    return rule.blank;
  }
  const isTooLong = rule.maxLength && [...text].length > Number(rule.maxLength);
  return isTooLong ? rule.tooLong : "";
}

export function numberFault(digits, rule) {
  if (digits === null) {
    return rule.patternTold;
  }
  if (digits.doubt) {
    return doubtOf(digits.doubt);
  }
  const decimals = digits.split(".")[1]?.replace(/0+$/, "").length ?? 0;
  if (decimals > Number(rule.decimals)) {
    return rule.tooFine;
  }
  if (Number(digits) < 0) {
    return rule.tooSmall;
  }
  return Number(digits) > Number(rule.max) ? rule.tooLarge : "";
}

const doubtOf = ([one, other]) => `may mean ${one} or ${other}: write ${one}.00`;

// Returns the members in which two products differ.
export function differing(one, other) {
  return MEMBERS.filter((member) => (one[member] ?? null) !== (other[member] ?? null));
}

export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);
