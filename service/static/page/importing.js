// Imports: a file or pasted cells are read, planned and, if a person agrees, carried out.
import * as api from "./api.js";
import { refresh } from "./commands.js";
import { deleteNow } from "./deletion.js";
import { follow } from "./following.js";
import { differences, faultsByRow, namesThere } from "./importplan.js";
import * as sessions from "./importsession.js";
import { isUnknown, wordsOf } from "./importwords.js";
import { count } from "./numbers.js";
import { faultyFile, readTable, without } from "./spreadsheet.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";

const NAMED_AT_ONCE = 100;
let asking = new AbortController();

const change = (changes) => set({ importing: { ...now().importing, ...changes } });
const isCurrent = ({ number }) => now().importing?.number === number;
const fail = (text, retry = null) => change({ busy: "", failure: { text, retry } });
const words = (failure, isApplying) => wordsOf(failure, now().fileLimits, count, isApplying);
const asFile = ({ file, isLines }) => ({
  type: isLines ? "application/jsonl" : "text/csv",
  body: file.bytes,
});

// Shows the import where it was left.
export function open() {
  deleteNow();
  change({ ...(now().importing ?? sessions.blank), isShown: true });
  const { step, plan: there, failure, busy } = now().importing;
  if (step === "plan" && !there && !failure && !busy) {
    plan();
  }
}

// What was chosen is there again when the import is opened again; what is done is not.
export function close() {
  const { importing } = now();
  if (importing.busy !== "applying") {
    asking.abort();
    set({ importing: importing.step === "done" ? null : { ...importing, isShown: false, busy: "" } });
  }
}

export const typeCells = (pasted) => change({ pasted });

// Takes a file that was chosen or dropped.
export async function take(file) {
  change({ ...(now().importing ?? sessions.blank), isShown: true });
  if (now().importing.busy === "applying") {
    return;
  }
  if (file.size > now().fileLimits.bytes) {
    refuse(words({ status: 413 }));
    return;
  }
  const bytes = await file.arrayBuffer().catch(() => null);
  if (bytes) {
    choose({ name: file.name, bytes: new Uint8Array(bytes) });
  } else {
    refuse("The file cannot be read. Is it still there? Choose it again.");
  }
}

function refuse(text) {
  asking.abort();
  set({ importing: sessions.refused(now().importing, text) });
}

export function takeCells() {
  const { pasted } = now().importing;
  choose({ name: "Pasted cells", bytes: new TextEncoder().encode(pasted) });
}

function choose(file) {
  asking.abort();
  set({ importing: sessions.chosen(now().importing, file) });
  if (now().importing.step === "plan") {
    plan();
  }
}

// How the file is read

export const setCharset = (charset) => set({ importing: sessions.recoded(now().importing, charset) });
export const mapColumn = (place, member) =>
  set({ importing: sessions.mapped(now().importing, place, member) });
export const setMatch = (match) => set({ importing: sessions.matched(now().importing, match) });

export function toColumns() {
  asking.abort();
  change({ step: "columns", busy: "", failure: null });
}

export function toChoice() {
  asking.abort();
  set({ importing: sessions.again(now().importing) });
}

export function matchByName() {
  setMatch("name");
  plan();
}

// The plan

// Asks what the file would change; `before` is the plan that is no longer so.
export async function plan(before = null) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  change({ step: "plan", busy: "planning", failure: null, plan: null, different: null });
  const session = now().importing;
  const answer = await asked(session, signal).catch((failure) => ({ failure }));
  if (signal.aborted || !isCurrent(session)) {
    return;
  }
  if (answer.failure) {
    fail(words(answer.failure), () => plan(before));
    return;
  }
  const different = before && differences(before, answer.plan);
  set({ importing: sessions.planned(now().importing, answer.plan, answer.there, different) });
  learnNames(answer.plan);
}

async function asked(session, signal) {
  const { body, etag } = await api.plan(sessions.queryOf(session), asFile(session), signal);
  return { plan: { ...body, etag }, there: await productsThere(session, body, signal) };
}

// Where a file only creates, its plan by name tells which of these names there are already.
async function productsThere(session, body, signal) {
  if (!sessions.needsNames(session, body)) {
    return null;
  }
  const query = sessions.queryOf(sessions.matched(session, "name"));
  try {
    return namesThere(body, (await api.plan(query, asFile(session), signal)).body);
  } catch (failure) {
    signal.throwIfAborted();
    return { failure };
  }
}

// A plan has the ids of products: their names are for people.
async function learnNames({ changes }) {
  const ids = changes.map(({ id }) => id).filter(Boolean);
  for (let at = 0; at < ids.length; at += NAMED_AT_ONCE) {
    const some = ids.slice(at, at + NAMED_AT_ONCE);
    const { body } = await api
      .list(`id=${some.join()}&limit=${NAMED_AT_ONCE}`)
      .catch(() => ({ body: [] }));
    const names = Object.fromEntries(body.map(({ id, name }) => [id, name]));
    set({ productNames: { ...now().productNames, ...names } });
  }
}

export const leaveOut = (isLeavingOut) => change({ isLeavingOut, key: null });

// Carrying it out

export async function apply() {
  const session = now().importing;
  if (session.busy || !sessions.mayApply(session)) {
    return;
  }
  const key = session.key ?? api.newKey();
  change({ busy: "applying", failure: null, key });
  const leaving = session.isLeavingOut ? "skip_faulty=true" : "";
  const query = [sessions.queryOf(session), leaving].filter(Boolean).join("&");
  const answer = await api
    .carryOut(query, asFile(session), session.plan.etag, key)
    .catch((failure) => ({ failure }));
  if (answer.failure) {
    explain(session, answer.failure);
  } else {
    finish(answer.body);
  }
}

// After an answer that was lost, the same key asks for it again.
function explain({ plan: before }, failure) {
  if (failure.status === 412) {
    plan(before);
    return;
  }
  change({ key: isUnknown(failure) ? now().importing.key : null });
  fail(words(failure, true), apply);
}

function finish(done) {
  change({ step: "done", busy: "", failure: null, done });
  const text = `${count(done.created.length)} created, ${count(done.updated)} changed`;
  update(states.say, text, { kind: "success" });
  const newest = Math.max(now().feed.newest, ...done.created);
  update(states.arriving, [], newest);
  refresh();
  follow(now().editor).catch(() => {});
}

// The faulty rows

// Gives the faulty rows as a file. The service lists 200 faults at once: those it has listed are
// taken out, until it lists no more.
export async function downloadFaulty() {
  const session = now().importing;
  change({ busy: "collecting", failure: null });
  try {
    const faults = await allFaults(session);
    save(faultyName(session), faultyFile(session.text, session.isLines, faults));
    whileCurrent(session, () => change({ busy: "" }));
  } catch (failure) {
    whileCurrent(session, () => fail(words(failure), downloadFaulty));
  }
}

const whileCurrent = (session, act) => isCurrent(session) && act();

async function allFaults(session) {
  const found = faultsByRow(session.plan.faults);
  let isMore = true;
  while (found.size < session.plan.faulty && isMore) {
    const text = without(session.text, session.isLines, found.keys());
    const { body } = await api.plan(
      sessions.queryOf({ ...session, charset: "" }),
      asFile({ ...session, file: { bytes: text } }),
    );
    const before = found.size;
    faultsByRow(body.faults).forEach((told, row) => found.set(row, told));
    isMore = found.size > before;
  }
  return found;
}

function faultyName({ file, text, isLines }) {
  const ending = isLines ? "jsonl" : readTable(text).separator === "\t" ? "txt" : "csv";
  return `${file.name.replace(/\.\w+$/, "")} - faulty rows.${ending}`;
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text]));
  link.download = name;
  link.click();
  setTimeout(URL.revokeObjectURL, 60_000, link.href);
}
