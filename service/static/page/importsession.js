// An import, from the choice of a file to what it has done. Each step of it has a number; an answer
// belongs to the number that it was asked for.
import { onlyCreates } from "./importplan.js";
import { columnsOf, isJsonLines, normalized, readText } from "./spreadsheet.js";

// `step` is choose, columns, plan or done; `busy` says what an answer is awaited to.
export const blank = {
  number: 0,
  isShown: true,
  step: "choose",
  pasted: "",
  file: null, // {name, bytes}
  text: null,
  isLines: false, // whether it is JSON Lines
  charset: "",
  isEncodingAsked: false,
  columns: [],
  headingRow: 0,
  match: "id",
  busy: "",
  failure: null, // {text, retry}
  plan: null, // with its etag
  different: null, // from the plan of before
  there: null, // {count, names} of products that have the names of new ones
  isLeavingOut: false,
  key: null, // of the attempts to carry it out
  done: null, // what it has done
};

const begun = ({ number, pasted }) => ({ ...blank, number: number + 1, pasted });

// Another file is to be chosen; what was pasted stays until it is imported.
export const again = (session) =>
  begun({ ...session, pasted: session.step === "done" ? "" : session.pasted });

export const chosen = (session, file) => read({ ...begun(session), file });

// A file cannot be taken; cells that were pasted stay.
export const refused = (session, text) => ({ ...begun(session), failure: { text, retry: null } });

export const recoded = (session, charset) => read({ ...session, charset, number: session.number + 1 });

// Reads the file in its encoding; the step is "columns" if there is something to ask.
function read(session) {
  const { text, fault } = readText(session.file.bytes, session.charset);
  if (fault) {
    return refused(session, fault);
  }
  const isEncodingAsked = session.isEncodingAsked || text === undefined;
  const isLines = text !== undefined && isJsonLines(session.file.name, text);
  const { row, columns } = text === undefined || isLines ? { row: 0, columns: [] } : columnsOf(text);
  const read = { ...session, text: text ?? null, isLines, isEncodingAsked, headingRow: row, columns };
  return { ...read, step: hasQuestions(read) ? "columns" : "plan" };
}

const hasQuestions = ({ isEncodingAsked, columns }) =>
  isEncodingAsked || columns.some(({ known }) => known === undefined);

export const mapped = (session, place, member) => ({
  ...session,
  number: session.number + 1,
  columns: session.columns.map((column, i) => (i === place ? { ...column, member } : column)),
});

export const matched = (session, match) => ({ ...session, match, number: session.number + 1 });

// Returns what the service is asked for: columns that are read as their names say are not named.
export function queryOf({ columns, match, charset }) {
  const query = new URLSearchParams();
  const read = columns.map((column) => ({ ...column, member: readAs(column, match) }));
  for (const { heading, known, member } of read.filter(isOnce)) {
    if (member !== known || member === "") {
      query.append("column", `${heading}:${member}`);
    }
  }
  if (match !== "id") {
    query.append("match", match);
  }
  if (charset) {
    query.append("charset", charset);
  }
  return query.toString();
}

// A product is found by its name, or by its id.
export const readAs = ({ member }, match) => (member === "id" && match === "name" ? "" : member);

// A column of the same heading as one before is read as that one.
export const isOnce = ({ heading }, i, all) =>
  all.findIndex((other) => normalized(other.heading) === normalized(heading)) === i;

export const ignored = ({ columns, match }) =>
  columns.filter((column) => readAs(column, match) === "").map(({ heading }) => heading);

// The plan has come; what is different from the one of before is kept until the next.
export const planned = (session, plan, there, different = null) => ({
  ...session,
  ...{ step: "plan", busy: "", failure: null, plan, there, different, key: null },
  isLeavingOut: session.isLeavingOut && plan.faulty > 0,
});

// Whether to ask for products of the names of new ones.
export const needsNames = ({ match, isLines, columns }, plan) =>
  match === "id" && onlyCreates(plan) && (isLines || columns.some(({ member }) => member === "name"));

// Faults of the heading row cannot be left out.
export const isBlocked = ({ plan, headingRow }) =>
  plan.faults.some(({ row }) => row <= headingRow);

export const mayApply = (session) =>
  session.plan.create + session.plan.update > 0 &&
  !isBlocked(session) &&
  (session.plan.faulty === 0 || session.isLeavingOut);

// Whether a person has given something that leaving the page would lose.
export const isUnfinished = (session) =>
  Boolean(session?.isShown) && session.step !== "done" && Boolean(session.file || session.pasted);
