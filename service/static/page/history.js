// The history of the product in the editor. An answer belongs to the session that asked for it.
import * as api from "./api.js";
import { focusOn } from "./focus.js";
import { follow } from "./following.js";
import { inParallel } from "./parallel.js";
import * as sessions from "./session.js";
import { edit, editSession, now, set } from "./store.js";

const PAGE_SIZE = 20;
const MOST_COUNTED = 100;
const TABS = ["product", "history"];

export function showTab(tab) {
  edit(sessions.tabbed, tab);
  if (tab === "history") {
    load();
  }
}

// The arrows lead from tab to tab.
export function stepTab({ key }) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (by) {
    const tab = TABS[(TABS.indexOf(now().editor.tab) + by + TABS.length) % TABS.length];
    showTab(tab);
    focusOn(`${tab}-tab`);
  }
}

// Asks for the newest changes, and then for the product as it is now.
export async function load() {
  const session = now().editor;
  edit(sessions.historyAsked);
  await asked(session, async () => {
    const { body, next } = await api.history(`id=${session.id}&limit=${PAGE_SIZE}`);
    return [body, next, await follow(session)];
  });
}

// Asks for the changes before those that are there.
export async function more() {
  const session = now().editor;
  const { entries, next: cursor, present } = session.history;
  edit(sessions.historyAsked);
  await asked(session, async () => {
    const query = new URLSearchParams({ id: session.id, limit: PAGE_SIZE, cursor });
    const { body, next } = await api.history(query);
    return [[...entries, ...body], next, present];
  });
}

async function asked({ number }, ask) {
  try {
    const answer = await ask();
    editSession(number, sessions.historyCame, ...answer);
    countChanges(answer[0]);
  } catch (failure) {
    editSession(number, sessions.historyFailed, failure);
  }
}

// Counts what else the same requests have changed.
async function countChanges(entries) {
  const requests = new Set(entries.map(({ request_id: request }) => request));
  const isNew = (request) => request !== null && !(request in now().requestSizes);
  await inParallel([...requests].filter(isNew), async (request) => {
    const query = new URLSearchParams({ request, limit: MOST_COUNTED });
    const { body, next } = await api.history(query);
    const size = { changes: body.length, isMore: next !== null };
    set({ requestSizes: { ...now().requestSizes, [request]: size } });
  });
}
