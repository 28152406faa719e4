// Keeps what is shown up to date by the feed of changes, while the page can be seen. Nothing that a
// person points at moves, and nothing that was typed is lost.
import * as api from "./api.js";
import { loadFacets, refresh } from "./commands.js";
import { focusRow } from "./focus.js";
import { follow } from "./following.js";
import * as history from "./history.js";
import { isSame } from "./members.js";
import { filtersOf } from "./query.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";

const PAUSE_MS = 10_000;
const PAGE_SIZE = 1000;
const MOST_PAGES = 10;
const MOST_TOLD = 100;
let isReading = false;

export function start() {
  read();
  setInterval(read, PAUSE_MS);
  document.addEventListener("visibilitychange", read);
}

async function read() {
  if (isReading || document.visibilityState !== "visible") {
    return;
  }
  isReading = true;
  try {
    await (now().feed.since ? goOn() : begin());
  } catch (failure) {
    // What cannot be had now is asked for the next time.
    await (failure.status === 410 && begin().catch(() => {}));
  } finally {
    isReading = false;
  }
}

// Takes the present place, and the list after it: so no change is missed.
async function begin() {
  const { next: since } = await api.changes("");
  const { body } = await api.list("sort=-id&limit=1");
  set({ feed: { since, newest: body[0]?.id ?? 0 } });
  refresh();
}

async function goOn() {
  let isChanged = false;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    update(states.tick);
    const at = now().clock;
    const query = new URLSearchParams({ since: now().feed.since, limit: PAGE_SIZE });
    const { body, next } = await api.changes(query);
    await take(body, at);
    set({ feed: { ...now().feed, since: next } });
    if (body.length === 0) {
      break;
    }
    isChanged = true;
  }
  if (isChanged) {
    loadFacets();
  }
}

async function take(changes, at) {
  const ids = states.newcomers(now(), changes);
  update(states.fed, changes, at);
  await followEditor(changes);
  const newest = Math.max(now().feed.newest, ...changes.map(({ id }) => id));
  update(states.arriving, await matching(ids), newest, at);
}

// Returns those of the newest products that the list would have.
async function matching(ids) {
  const key = filtersOf(now().query);
  const some = [...ids].sort((one, other) => other - one).slice(0, MOST_TOLD);
  if (some.length === 0 || now().list.state === "faulty") {
    return [];
  }
  const { body } = await api.list(`${key}&id=${some.join()}&limit=${MOST_TOLD}`);
  return key === filtersOf(now().query) ? body : [];
}

async function followEditor(changes) {
  const { editor } = now();
  const change = changes.find(({ id }) => id === editor.id);
  if (change && editor.tab === "history") {
    await history.load();
  } else if (change?.product && !isSame(change.product, editor.base)) {
    await follow(editor);
  }
}

// Puts the new products above the list.
export function showArrived() {
  const [first] = now().arrived;
  update(states.arrivedShown);
  focusRow(first);
  refresh();
}
