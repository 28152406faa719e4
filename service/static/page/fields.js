// The fields of the editor: what they show of a product, and what they say is wrong.
import { byId } from "./dom.js";

export const MEMBERS = ["name", "img_url", "description", "price", "rating", "category", "status"];
const NULLABLE = ["description", "category"];
const NUMBERS = ["price", "rating"];
const NUMBER = /^-?\d+(\.\d*)?$/;

export const input = (member) => byId(`product_${member}`);

// The name of a member, as its label has it.
export function labelOf(member) {
  return document.querySelector(`label[for="product_${member}"]`).firstChild.textContent.trim();
}

// Returns a member as text for a field or a table.
export function textOf(member, value) {
  if (member === "price" && typeof value === "number") {
    return value.toFixed(2);
  }
  return String(value ?? "");
}

// Returns a field's text as a member; what is no number is left for the service to refuse.
export function memberOf(member, text) {
  if (NUMBERS.includes(member)) {
    const digits = text.trim();
    if (digits === "") {
      return undefined;
    }
    return NUMBER.test(digits) ? Number(digits) : text;
  }
  return NULLABLE.includes(member) && text === "" ? null : text;
}

// Returns what the service would say of this text, "" if nothing; the limits are in the page.
function fault(field) {
  const { value, dataset: rule } = field;
  if (value.trim() === "" && NUMBERS.includes(field.name)) {
    return "";
  }
  if (value === "") {
    return rule.required ?? "";
  }
  if (rule.blank && /^[\s\p{Cc}\p{Cf}\p{Cn}]+$/u.test(value)) {
    return rule.blank;
  }
  if (rule.maxLength && [...value].length > Number(rule.maxLength)) {
    return rule.tooLong;
  }
  return rule.patternTold ? numberFault(value.trim(), rule) : "";
}

function numberFault(digits, rule) {
  if (!NUMBER.test(digits)) {
    return rule.patternTold;
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

// Shows beside a field what is wrong with it, or nothing.
export function show(member, detail) {
  const field = input(member);
  byId(`product_${member}_error`).textContent = detail && `${labelOf(member)} ${detail}`;
  if (detail) {
    field.setAttribute("aria-invalid", "true");
  } else {
    field.removeAttribute("aria-invalid");
  }
}

export const check = (member) => show(member, fault(input(member)));
export const clearFaults = () => MEMBERS.forEach((member) => show(member, ""));

// Shows each fault beside its field, and goes to the first; returns those that have no field.
export function showAll(errors) {
  clearFaults();
  const faults = errors.map(({ pointer, detail }) => ({ member: pointer?.slice(1), detail }));
  const placed = faults.filter(({ member }) => MEMBERS.includes(member));
  for (const { member, detail } of placed) {
    show(member, detail);
  }
  document.querySelector('#editor_fields [aria-invalid="true"]')?.focus();
  return faults.filter((each) => !placed.includes(each));
}
