// Draws the search box, the filters, the facets, the exports and the saved views.
import { exportPath } from "./api.js";
import { byId, make, part, setFault, setText, setValue } from "./dom.js";
import { STATUS_NAMES, flat } from "./members.js";
import { count, money, price } from "./numbers.js";
import { EXPORTED, FILTERS, addressOf, asked, filtersOf, filtersSet, isNarrowed } from "./query.js";

const MARKED = ["min_price", "max_price", "min_rating"];
const PAGE_SIZES = ["25", "50", "100"];

export const showFilters = part(
  ({ query, typed }) => [query, typed],
  (state, query, typed) => {
    for (const name of FILTERS) {
      showFilter(name, typed[name]?.text ?? shown(name, query[name]));
    }
    for (const name of MARKED) {
      const fault = typed[name]?.fault;
      const label = byId(`filter_${name}`).labels[0].firstChild.textContent.trim();
      const subject = label === "to" ? "Price to" : label;
      setFault(byId(`filter_${name}`), byId(`filter_${name}_error`), fault ? `${subject} ${fault}` : "");
    }
    if (MARKED.some((name) => typed[name]?.fault)) {
      byId("filters").open = true;
    }
    const set = filtersSet(query);
    setText(byId("filters_set"), set ? `(${set} set)` : "");
    setValue(byId("sort_by"), query.sort);
    showPageSize(query.limit);
    showSort(query.sort);
    showTabs(query.status);
  },
);

function shown(name, value) {
  if (name.endsWith("_price") && value !== "" && Number.isFinite(Number(value))) {
    return value.includes(".") ? price(Number(value)) : value;
  }
  return flat("category", value ?? "");
}

function showFilter(name, text) {
  const field = byId(name === "q" ? "search_text" : `filter_${name}`);
  const isBeingTyped = name === "q" && field.value.trim() === text;
  if (!isBeingTyped) {
    setValue(field, text);
  }
}

function showPageSize(limit) {
  const sizes = PAGE_SIZES.includes(limit) ? PAGE_SIZES : [limit, ...PAGE_SIZES];
  const select = byId("page_size");
  if ([...select.options].map(({ value }) => value).join() !== sizes.join()) {
    select.replaceChildren(...sizes.map((size) => make("option", size, { value: size })));
  }
  setValue(select, limit);
}

function showSort(sort) {
  for (const header of document.querySelectorAll("th[data-sort]")) {
    header.removeAttribute("aria-sort");
    if (sort.replace("-", "") === header.dataset.sort) {
      header.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
    }
  }
}

function showTabs(status) {
  for (const tab of byId("status_tabs").children) {
    tab.setAttribute("aria-pressed", String(tab.dataset.status === status));
  }
}

export const showFacets = part(
  ({ facets, query, suggested }) => [facets, query.category, suggested],
  (state, facets, category, suggested) => {
    const statuses = facets.status ?? {};
    const isKnown = facets.state === "ready";
    const all = Object.values(statuses).reduce((sum, number) => sum + number, 0);
    for (const tab of byId("status_tabs").children) {
      const number = tab.dataset.status ? statuses[tab.dataset.status] : all;
      setText(tab.querySelector("span"), isKnown ? count(number) : "");
    }
    showCategories(facets.category ?? [], category);
    showSuggestion(suggested);
  },
);

function showCategories(categories, chosen) {
  const named = categories.filter(({ value }) => value);
  byId("categories").replaceChildren(
    ...named.map(({ value }) => make("option", "", { value })),
  );
  byId("category_facets").replaceChildren(
    ...[{ value: null }, ...joined(categories)].map((facet) => categoryItem(facet, chosen)),
  );
}

// No category and an empty one are one choice.
function joined(categories) {
  const none = categories.filter(({ value }) => !value);
  const number = none.reduce((sum, facet) => sum + facet.count, 0);
  return [
    ...categories.filter(({ value }) => value),
    ...(none.length ? [{ value: "", count: number }] : []),
  ];
}

function categoryItem({ value, count: number }, chosen) {
  const label = value === null ? "All categories" : value || "No category";
  const button = make("button", make("span", label, { dir: "auto" }), {
    type: "button",
    "aria-pressed": String(value === chosen),
  });
  button.title = label;
  button.dataset.choice = JSON.stringify(value);
  if (number !== undefined) {
    button.append(" ", make("small", count(number)));
  }
  return make("li", button);
}

function showSuggestion(product) {
  const place = byId("suggestion");
  place.replaceChildren();
  if (product) {
    const address = addressOf({}, String(product.id));
    const link = make("a", product.name, { href: `${location.pathname}${address}`, dir: "auto" });
    link.dataset.open = product.id;
    const details = ` ${money(product.price)}, ${STATUS_NAMES[product.status]}`;
    place.append(`Product ${product.id}: `, link, details);
  }
}

function exportedText(total, isNarrowed) {
  const products = total === 1 ? "product" : "products";
  const number = total === null ? "" : `${count(total)} `;
  const matching = total === 1 ? " that matches" : " that match";
  return isNarrowed ? `The ${number}${products}${matching}` : `All ${number}${products}`;
}

export const showExport = part(
  ({ query, facets }) => [query, facets],
  (state, query, facets) => {
    const isKnown = facets.state === "ready" && facets.key === filtersOf(query);
    setText(byId("export_count"), exportedText(isKnown ? facets.total : null, isNarrowed(query)));
    for (const link of byId("export_menu").querySelectorAll("a")) {
      const { dialect, ending } = link.dataset;
      const parts = [asked(query, EXPORTED), dialect && `dialect=${dialect}`];
      link.href = exportPath(ending, parts.filter(Boolean).join("&"));
    }
  },
);

export const showViews = part(
  ({ views }) => [views],
  (state, views) => {
    const items = views.map(({ name, search }) => {
      const link = make("a", name, { href: `${location.pathname}${search}` });
      const button = make("button", "×", { type: "button", class: "icon", "aria-label": `Remove ${name}` });
      button.dataset.forget = name;
      const item = make("li", link);
      item.append(button);
      return item;
    });
    byId("saved_views").replaceChildren(...items);
  },
);
