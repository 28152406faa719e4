// What a bulk change would do: the old and the new value of each product.
import { faultOf, valueOf } from "./members.js";
import { readPrice } from "./numbers.js";
import { changedPrice } from "./prices.js";

export const FORMS = {
  status: { status: "inactive" },
  category: { category: "" },
  price: { direction: "up", by: "", unit: "percent", ending: "0.01" },
};

// Returns {rows: [{product, member, before, after, fault}], fault}: `fault` is of the form.
export function plan({ bulk, selected, rules }) {
  const { kind: member, form } = bulk;
  const fault = formFault(bulk, rules);
  if (fault) {
    return { rows: [], fault };
  }
  const rows = Object.values(selected).map((product) => {
    const after = changed(product, member, form);
    return { product, member, before: product[member], after, fault: valueFault(member, after, rules) };
  });
  return { rows, fault: "" };
}

export const isChange = ({ before, after, fault }) => !fault && before !== after;

function formFault({ kind, form }, rules) {
  if (kind === "category") {
    return faultOf("category", form.category, rules.category);
  }
  if (kind === "status") {
    return "";
  }
  const by = readPrice(form.by);
  if (form.by.trim() === "") {
    return "Enter by how much";
  }
  return typeof by === "string" && !by.startsWith("-") && !/\.\d\d\d/.test(by)
    ? ""
    : "Enter a number with at most two decimals";
}

function changed(product, member, form) {
  if (member === "price") {
    return changedPrice(product.price, { ...form, by: readPrice(form.by) });
  }
  return valueOf(member, form[member]);
}

function valueFault(member, value, rules) {
  if (member !== "price") {
    return "";
  }
  if (value < 0) {
    return rules.price.tooSmall;
  }
  return value > Number(rules.price.max) ? rules.price.tooLarge : "";
}
