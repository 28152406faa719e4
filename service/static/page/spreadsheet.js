// The text of a file or of pasted cells, and its rows, with the numbers that a spreadsheet gives
// them. The service reads the file itself: here it is read to name its columns and faulty rows.

const MARKS = { "utf-8": [0xef, 0xbb, 0xbf], "utf-16le": [0xff, 0xfe], "utf-16be": [0xfe, 0xff] };
const WORKBOOKS = [[0x50, 0x4b, 3, 4], [0xd0, 0xcf, 0x11, 0xe0]];
const WORKBOOK =
  "This is an Excel workbook. In Excel choose “Save as” and “CSV UTF-8”, and import that file.";
const NO_TEXT = "This file is no text: it may be a picture, a PDF or a workbook. Save it as CSV.";
const SEPARATORS = [",", ";", "\t"];
const COLUMNS = ["id", "name", "img_url", "description", "price", "rating", "category", "status", "etag"];
const MOST_UNCLOSED = 100;
const SAMPLES = 3;

// The heading of the column that is added to faulty rows; in a file it is ignored.
export const FAULT_HEADING = "What is wrong";
// What the columns of other shops are.
const USUAL = {
  title: "name",
  productname: "name",
  image: "img_url",
  images: "img_url",
  imagesrc: "img_url",
  imageurl: "img_url",
  "body(html)": "description",
  variantprice: "price",
  regularprice: "price",
  categories: "category",
  productcategory: "category",
};

const begins = (bytes, start) => start.every((byte, i) => bytes[i] === byte);

// Returns {text} of a file; {fault} if it is no text, and neither if its encoding is to be chosen.
export function readText(bytes, charset) {
  const mark = Object.keys(MARKS).find((name) => begins(bytes, MARKS[name]));
  if (WORKBOOKS.some((start) => begins(bytes, start))) {
    return { fault: WORKBOOK };
  }
  if (!mark && bytes.includes(0)) {
    return { fault: NO_TEXT };
  }
  return decoded(bytes, mark ?? (charset || "utf-8"));
}

function decoded(bytes, charset) {
  try {
    const text = new TextDecoder(charset, { fatal: true }).decode(bytes);
    return text.trim() ? { text } : { fault: "There is nothing in it" };
  } catch {
    return {};
  }
}

export const isJsonLines = (name, text) => /\.(jsonl|ndjson)$/i.test(name) || /^\s*\{/.test(text);

// Returns {head, separator, rows}: `head` is a "sep=" line, which is no row; `rows` is read as far
// as it is asked for, and each row is {number, cells, source}; cells are null if it is broken.
export function readTable(text) {
  const line = firstLine(text);
  const named = line.text.match(/^"?sep=([,;\t])"?$/i)?.[1];
  const separator = named ?? mostFrequent(line.text.replace(/"[^"]*"/g, ""));
  const head = named ? text.slice(0, line.end) : "";
  return { head, separator, rows: records(text.slice(head.length), separator) };
}

// Returns the first line that is not blank.
function firstLine(text) {
  const visible = Math.max(text.search(/\S/), 0);
  const start = visible - text.slice(0, visible).match(/[^\r\n]*$/)[0].length;
  const [line, content] = text.slice(start).match(/^([^\r\n]*)(?:\r\n|\r|\n|$)/);
  return { text: content, end: start + line.length };
}

const mostFrequent = (line) =>
  SEPARATORS.reduce((best, each) => (timesIn(line, each) > timesIn(line, best) ? each : best));
const timesIn = (line, separator) => line.split(separator).length;

function* records(text, separator) {
  const cell = new RegExp(
    `(?:"([^"]*(?:""[^"]*)*)"|([^"${separator}\r\n][^${separator}\r\n]*)?)(${separator}|\r\n|\r|\n|$)`,
    "y",
  );
  let unclosed = 0;
  for (let at = 0, number = 1; at < text.length; number += 1) {
    const whole = unclosed < MOST_UNCLOSED ? recordAt(text, at, cell, separator) : null;
    unclosed += whole ? 0 : 1;
    const { cells, end } = whole ?? { cells: null, end: lineEnd(text, at) };
    yield { number, cells, source: text.slice(at, end) };
    at = end;
  }
}

// Returns null where a quote is not closed, or has text after it.
function recordAt(text, start, cell, separator) {
  const cells = [];
  cell.lastIndex = start;
  for (;;) {
    const found = cell.exec(text);
    if (!found) {
      return null;
    }
    const [, quoted, plain = "", end] = found;
    cells.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end !== separator) {
      return { cells, end: cell.lastIndex };
    }
  }
}

function lineEnd(text, at) {
  const line = /[^\r\n]*(?:\r\n|\r|\n|$)/y;
  line.lastIndex = at;
  line.test(text);
  return line.lastIndex;
}

function* lines(text) {
  for (let at = 0, number = 1; at < text.length; number += 1) {
    const end = lineEnd(text, at);
    yield { number, cells: null, source: text.slice(at, end) };
    at = end;
  }
}

const isHeading = ({ cells }) => cells === null || cells.some((cell) => cell !== "");

// Returns the row of headings, and some rows below it.
function firstRows(rows) {
  const found = [];
  for (const row of rows) {
    if (found.length > 0 || isHeading(row)) {
      found.push(row);
    }
    if (found.length > SAMPLES) {
      break;
    }
  }
  return found;
}

// Returns the columns of a file, [{heading, samples, known, member}], and the heading's row.
// `member` is what a column is read as: that of its name, a usual one, or "" (ignored).
export function columnsOf(text) {
  const [heading, ...samples] = firstRows(readTable(text).rows);
  const headings = (heading?.cells ?? []).map((each) => each.trim());
  const columns = headings.map((each, i) => ({
    heading: each,
    samples: samples.map(({ cells }) => cells?.[i] ?? "").filter(Boolean),
    known: memberOf(each),
  }));
  const named = columns.filter(({ heading: each }) => each);
  return { row: heading?.number ?? 1, columns: suggested(named) };
}

export const normalized = (heading) => heading.replace(/[\s_]+/g, "").toLowerCase();

const isOfFaults = (heading) => normalized(heading) === normalized(FAULT_HEADING);

// Returns undefined where no member has this name.
const memberOf = (heading) =>
  isOfFaults(heading) ? "" : COLUMNS.find((each) => normalized(each) === normalized(heading));

// A member that a column has already is suggested for no other.
function suggested(columns) {
  const taken = new Set(columns.map(({ known }) => known));
  return columns.map((column) => {
    const usual = USUAL[normalized(column.heading)] ?? "";
    const isFree = usual && column.known === undefined && !taken.has(usual);
    taken.add(isFree ? usual : undefined);
    return { ...column, member: column.known ?? (isFree ? usual : "") };
  });
}

// Returns the faulty rows, [[number, fault]], as a file: CSV with what is wrong, or JSON Lines.
export function faultyFile(text, isLines, faulty) {
  const faults = new Map(faulty);
  if (isLines) {
    return [...lines(text)].filter(({ number }) => faults.has(number)).map(whole).join("");
  }
  const { head, separator, rows: read } = readTable(text);
  const rows = [...read];
  const heading = rows.find(isHeading);
  const told = (row, fault) => withFault(row, heading.cells, separator, fault);
  const chosen = rows.filter(({ number }) => faults.has(number));
  const kept = chosen.map((row) => told(row, faults.get(row.number)));
  return [head, told(heading, FAULT_HEADING), ...kept].join("");
}

const whole = ({ source }) => (/[\r\n]$/.test(source) ? source : `${source}\r\n`);

// A row that is broken, or longer than the heading, has no place for what is wrong with it.
function withFault(row, headings, separator, fault) {
  if (row.cells === null || row.cells.length > headings.length) {
    return whole(row);
  }
  const place = headings.findIndex(isOfFaults);
  const cells = headings.map((_, i) => row.cells[i] ?? "");
  cells[place < 0 ? headings.length : place] = fault;
  return `${cells.map((cell) => quoted(cell, separator)).join(separator)}\r\n`;
}

const quoted = (cell, separator) =>
  cell.includes(separator) || /["\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;

// Returns the text without these rows: others keep their numbers.
export function without(text, isLines, numbers) {
  const gone = new Set(numbers);
  const { head, rows } = isLines ? { head: "", rows: lines(text) } : readTable(text);
  const kept = [...rows].map(({ number, source }) => (gone.has(number) ? "\r\n" : source));
  return head + kept.join("");
}
