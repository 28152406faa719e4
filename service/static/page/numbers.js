// Numbers: read as people write them, shown in the reader's format. Neither changes what is stored.

const AROUND = /^[\s\p{Sc}\p{Cf}]*(?:[A-Za-z]{3}(?=[\s\d.,-]))?[\s\p{Sc}]*|[\s\p{Sc}\p{Cf}]*(?:[A-Za-z]{3})?\s*$/gu;
const GROUPING_BLANK = /(?<=\d)[\s'’](?=\d{3}(?!\d))/gu;
const GROUPED = /^\d{1,3}([.,])\d{3}(?:\1\d{3})*$/;

// Returns formatters in the reader's language.
export function formats(locales) {
  const price = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  const money = new Intl.NumberFormat(locales, { ...price, style: "currency", currency: "USD" });
  const plain = new Intl.NumberFormat(locales, { ...price, useGrouping: false });
  const count = new Intl.NumberFormat(locales);
  const share = { style: "percent", signDisplay: "exceptZero", maximumFractionDigits: 1 };
  const percent = new Intl.NumberFormat(locales, share);
  return {
    money: (value) => money.format(value),
    price: (value) => plain.format(value),
    count: (value) => count.format(value),
    percent: (value) => percent.format(value),
  };
}

export const { money, price, count, percent } = formats(globalThis.navigator?.languages);

// Returns such as "1 product" and "10,000 products".
export const counted = (number) => `${count(number)} product${number === 1 ? "" : "s"}`;

// Returns the digits of a number with a point, such as "1234.56"; null if it is none, and
// {doubt: [one, other]} if it may mean two numbers.
export function readPrice(text) {
  const written = text.replace(AROUND, "").replace(GROUPING_BLANK, "");
  const sign = written.startsWith("-") ? "-" : "";
  const digits = sign ? written.slice(1) : written;
  if (!/^[\d.,]*\d[\d.,]*$/.test(digits)) {
    return null;
  }
  const read = withPoint(digits);
  return typeof read === "string" ? sign + read : read;
}

function withPoint(digits) {
  const marks = digits.match(/[.,]/g) ?? [];
  if (marks.length > 1) {
    return withSeveralMarks(digits, marks);
  }
  const [whole, decimals = ""] = digits.split(/[.,]/);
  const value = `${whole || "0"}${decimals && `.${decimals}`}`;
  const grouped = GROUPED.test(digits) && !digits.startsWith("0");
  if (grouped && (marks[0] === "," || decimals.endsWith("0"))) {
    return { doubt: [whole + decimals, String(Number(value))] };
  }
  return value;
}

// With two kinds of marks, the last one is before the decimals; with one kind, all are groups.
function withSeveralMarks(digits, marks) {
  const last = marks.at(-1);
  if (marks.every((mark) => mark === last)) {
    return GROUPED.test(digits) ? digits.replaceAll(last, "") : null;
  }
  const at = digits.lastIndexOf(last);
  const whole = digits.slice(0, at);
  const decimals = digits.slice(at + 1);
  return GROUPED.test(whole) && !whole.includes(last)
    ? `${whole.replace(/[.,]/g, "")}${decimals && `.${decimals}`}`
    : null;
}

// Returns the digits of an integer; null if it is none.
export function readInteger(text) {
  const digits = text.trim().replace(GROUPING_BLANK, "");
  return /^-?\d+(\.0*)?$/.test(digits) ? digits.replace(/\..*/, "") : null;
}
