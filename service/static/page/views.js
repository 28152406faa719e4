// Saved views: named addresses of the list, kept in this browser.
import { addressOf } from "./query.js";
import { now, set } from "./store.js";

const KEY = "products-views";

export function load() {
  set({ views: stored() });
}

function stored() {
  try {
    const views = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return views.filter(({ name, search }) => name && typeof search === "string");
  } catch {
    return [];
  }
}

// Keeps the present query under a name, in place of another one of that name.
export function keep(name) {
  const { query } = now();
  const search = addressOf({ ...query, cursor: "", page: "1" });
  store([...stored().filter((view) => view.name !== name), { name, search }]);
}

export const forget = (name) => store(stored().filter((view) => view.name !== name));

function store(views) {
  localStorage.setItem(KEY, JSON.stringify(views));
  load();
}

window.addEventListener("storage", ({ key }) => key === KEY && load());
