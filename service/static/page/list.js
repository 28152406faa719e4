// The list of products: rows at once, then how many there are in all.
import { FILTERS, go, trail, view } from "./address.js";
import * as api from "./api.js";
import { byId, copyOf } from "./dom.js";
import { textOf } from "./fields.js";
import { showPicture } from "./pictures.js";

const COUNT_PAUSE_MS = 300;
const results = byId("search_results");
const hidden = new Set(); // what is about to be deleted
const products = new Map(); // what is shown, by id
const count = new Intl.NumberFormat("en");
const money = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

let fetching = new AbortController();
let next = null;
let opened = "";
let onRows = () => {};

export const shown = () => products;
export const rows = () => [...results.querySelectorAll("tr[data-id]")];
export const whenShown = (listener) => {
  onRows = listener;
};
const rowOf = (id) => results.querySelector(`tr[data-id="${CSS.escape(id)}"]`);

// Shows the products that the address asks for; an answer that came too late is dropped.
export async function refresh() {
  fetching.abort();
  fetching = new AbortController();
  const { signal } = fetching;
  const asked = view();
  setState("loading");
  showSort(asked.sort);
  try {
    const answer = await api.list(query(asked), signal);
    next = answer.next;
    render(answer.body);
    await showCount(asked, answer.body.length, signal);
  } catch (failure) {
    if (!signal.aborted) {
      fail(failure);
    }
  }
}

function query(asked) {
  const names = [...FILTERS, "sort", "limit", "cursor"].filter((name) => asked[name]);
  return new URLSearchParams(names.map((name) => [name, asked[name]]));
}

// A first page that is not full has counted itself.
async function showCount(asked, length, signal) {
  const whole = !next && !asked.cursor;
  tellCount(whole ? length : null);
  if (whole) {
    return;
  }
  const parameters = query({ ...asked, limit: "1", cursor: "", sort: "" });
  parameters.set("count", "true");
  try {
    // To count a million takes the database long: not for every letter that is typed.
    await new Promise((resolve) => setTimeout(resolve, COUNT_PAUSE_MS));
    signal.throwIfAborted();
    tellCount((await api.list(parameters, signal)).total);
  } catch {
    if (!signal.aborted) {
      byId("result_label").textContent = "could not be counted";
    }
  }
}

function tellCount(total) {
  byId("result_count").textContent = total === null ? "" : count.format(total);
  byId("result_label").textContent =
    total === null ? "Counting…" : total === 1 ? "product" : "products";
}

function render(found) {
  products.clear();
  const visible = found.filter(({ id }) => !hidden.has(id));
  for (const product of visible) {
    products.set(product.id, product);
    rememberCategory(product.category);
  }
  results.replaceChildren(...visible.map(row));
  setState(visible.length ? "ready" : "empty");
  showPager();
  markOpen(opened);
  onRows();
}

function row(product) {
  const line = copyOf("row_template");
  const cell = (member) => line.querySelector(`[data-member="${member}"]`);
  line.dataset.id = product.id;
  line.dataset.status = product.status;
  const box = line.querySelector('[name="selected"]');
  box.value = product.id;
  box.setAttribute("aria-label", `Select ${product.name}`);
  showPicture(line.querySelector(".picture"), product.img_url);
  cell("name").querySelector("button").textContent = product.name;
  cell("name").querySelector(".detail").textContent = product.description ?? "";
  cell("category").textContent = product.category ?? "";
  cell("price").textContent = money.format(product.price);
  cell("rating").textContent = count.format(product.rating);
  cell("id").textContent = product.id;
  const badge = cell("status").querySelector(".badge");
  badge.textContent = textOf("status", product.status);
  badge.dataset.status = product.status;
  return line;
}

// What has been seen is what one can choose from.
function rememberCategory(category) {
  const known = [...byId("categories").options].some((option) => option.value === category);
  if (category && !known) {
    const option = document.createElement("option");
    option.value = category;
    byId("categories").append(option);
  }
}

function setState(state) {
  results.dataset.state = state;
  results.setAttribute("aria-busy", String(state === "loading"));
  if (state !== "loading") {
    byId("list_notice").hidden = state === "ready";
    byId("list-retry-btn").hidden = state !== "failed";
    clearParameterFaults();
  }
  if (state === "empty") {
    showEmpty();
  }
}

function showEmpty() {
  const narrowed = FILTERS.some((name) => view()[name]);
  notice(
    narrowed ? "No product matches" : "There are no products yet",
    narrowed ? "Try fewer words, or another filter." : "New product makes the first one.",
    narrowed,
  );
}

function notice(title, text, resettable) {
  byId("notice_title").textContent = title;
  byId("notice_text").textContent = text;
  byId("notice-reset-btn").hidden = !resettable;
}

function fail(failure) {
  products.clear();
  results.replaceChildren();
  next = null;
  setState("failed");
  byId("list-retry-btn").hidden = !failure.isTemporary;
  byId("result_count").textContent = "";
  byId("result_label").textContent = "";
  const faults = failure.errors ?? [];
  const placed = faults.filter(({ parameter, detail }) => showParameterFault(parameter, detail));
  notice(
    "The products cannot be shown",
    faults.length && faults.length === placed.length ? "See beside the filters." : failure.message,
    !failure.isTemporary,
  );
  showPager();
  onRows();
}

// Shows a fault beside its filter; returns whether there is one.
function showParameterFault(parameter, detail) {
  const place = byId(`filter_${parameter}_error`);
  if (place) {
    place.textContent = `${parameter === "min_price" ? "Lowest" : "Highest"} price ${detail}`;
    byId(`filter_${parameter}`).setAttribute("aria-invalid", "true");
  }
  return Boolean(place);
}

function clearParameterFaults() {
  for (const parameter of ["min_price", "max_price"]) {
    byId(`filter_${parameter}_error`).textContent = "";
    byId(`filter_${parameter}`).removeAttribute("aria-invalid");
  }
}

function showSort(sort) {
  byId("sort_by").value = sort;
  for (const header of document.querySelectorAll("th[data-sort]")) {
    header.removeAttribute("aria-sort");
    if (sort.replace("-", "") === header.dataset.sort) {
      header.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
    }
  }
}

function showPager() {
  const { page } = view();
  const focused = document.activeElement;
  byId("page_number").textContent = page;
  byId("first-btn").disabled = page === "1";
  byId("prev-btn").disabled = trail().length === 0;
  byId("next-btn").disabled = !next;
  if (focused?.disabled) {
    [...document.querySelectorAll("#pager button:enabled")].at(-1)?.focus();
  }
}

// Shows a product as it is now, where it is.
export function update(product) {
  const old = rowOf(product.id);
  if (old) {
    const line = row(product);
    line.querySelector('[name="selected"]').checked = old.querySelector(":checked") !== null;
    products.set(product.id, product);
    rememberCategory(product.category);
    old.replaceWith(line);
    markOpen(opened);
    onRows();
  }
}

export function hide(ids) {
  for (const id of ids) {
    hidden.add(id);
    products.delete(id);
    rowOf(id)?.remove();
  }
  if (products.size === 0) {
    setState("empty");
  }
  onRows();
}

export function unhide(ids) {
  ids.forEach((id) => hidden.delete(id));
  refresh();
}

export function markOpen(id) {
  opened = id;
  for (const line of rows()) {
    line.toggleAttribute("data-open", line.dataset.id === id);
  }
}

export function focusOn(id) {
  rowOf(id)?.querySelector("button").focus();
}

function sortBy(column) {
  go({ sort: view().sort === column ? `-${column}` : column });
}

function turn(cursor, page, before) {
  go({ cursor, page: String(page) }, { before });
  byId("list").scrollTo({ top: 0 });
}

// The arrows lead from the search box through the rows.
function step(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const names = [...results.querySelectorAll('[data-action="edit"]')];
  const stops = [byId("search_text"), ...names];
  const row = event.target.closest?.("tr[data-id]");
  const here = stops.indexOf(row ? row.querySelector('[data-action="edit"]') : event.target);
  if (by && here >= 0 && stops[here + by]) {
    event.preventDefault();
    stops[here + by].focus();
  }
}

byId("list").addEventListener("keydown", step);
byId("skip-btn").addEventListener("click", () => byId("page_size").focus());
document.querySelector("thead").addEventListener("click", ({ target }) => {
  const header = target.closest("th[data-sort]");
  if (header) {
    sortBy(header.dataset.sort);
  }
});
byId("sort_by").addEventListener("change", ({ target }) => go({ sort: target.value }));
byId("page_size").addEventListener("change", ({ target }) => go({ limit: target.value }));
byId("first-btn").addEventListener("click", () => turn("", 1, []));
byId("prev-btn").addEventListener("click", () =>
  turn(trail().at(-1), Number(view().page) - 1, trail().slice(0, -1)),
);
byId("next-btn").addEventListener("click", () =>
  turn(next, Number(view().page) + 1, [...trail(), view().cursor]),
);
byId("list-retry-btn").addEventListener("click", refresh);
