// Finding: the search box and the filters, and the address that they make.
import { DEFAULTS, FILTERS, go, view } from "./address.js";
import { byId } from "./dom.js";
import { refresh } from "./list.js";

const TYPING_MS = 100;
const FIELDS = {
  q: byId("search_text"),
  category: byId("filter_category"),
  status: byId("filter_status"),
  min_price: byId("filter_min_price"),
  max_price: byId("filter_max_price"),
};
const wide = matchMedia("(width >= 45rem)");
let typing = 0;

const values = () =>
  Object.fromEntries(FILTERS.map((name) => [name, FIELDS[name].value.trim()]));

function apply(options) {
  clearTimeout(typing);
  go(values(), options);
}

// Returns whether there was something to apply.
function applyIfChanged() {
  const now = view();
  const changed = Object.entries(values()).some(([name, value]) => value !== now[name]);
  if (changed) {
    apply();
  }
  return changed;
}

// Shows in the fields what the address says, but for what is being typed.
export function showFilters(now) {
  for (const name of FILTERS) {
    if (FIELDS[name].value.trim() !== now[name]) {
      FIELDS[name].value = now[name];
    }
  }
  byId("page_size").value = now.limit;
  const set = FILTERS.filter((name) => name !== "q" && now[name]).length;
  byId("filters_set").textContent = set ? `(${set} set)` : "";
}

function reset() {
  for (const field of Object.values(FIELDS)) {
    field.value = "";
  }
  apply();
  FIELDS.q.focus();
}

// Whatever it is that cannot be shown, this can.
function resetAll() {
  go({ ...DEFAULTS, product: view().product });
  FIELDS.q.focus();
}

FIELDS.q.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => apply({ typing: true }), TYPING_MS);
});
for (const name of ["category", "status", "min_price", "max_price"]) {
  FIELDS[name].addEventListener("change", applyIfChanged);
}
byId("search_form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!applyIfChanged()) {
    refresh();
  }
});
byId("reset-btn").addEventListener("click", reset);
byId("notice-reset-btn").addEventListener("click", resetAll);

const unfold = () => {
  byId("filters").open = wide.matches;
};
wide.addEventListener("change", unfold);
unfold();
