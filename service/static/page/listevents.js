// What a person does about the list: search, filter, sort, turn, select, open, change in a row.
import * as bulk from "./bulk.js";
import * as commands from "./commands.js";
import { byId, click, on } from "./dom.js";
import * as editing from "./editing.js";
import { focusOn } from "./focus.js";
import * as inline from "./inline.js";
import * as states from "./state.js";
import { now, set, update } from "./store.js";
import * as views from "./views.js";

const TYPING_MS = 100;
const wide = matchMedia("(width >= 45rem)");
let typing = 0;

const rowOf = (target) => Number(target.closest("tr[data-id]")?.dataset.id);
const isPlain = ({ button, ctrlKey, metaKey, shiftKey, altKey }) =>
  button === 0 && !ctrlKey && !metaKey && !shiftKey && !altKey;

// Finding

function listenToFilters() {
  on("search_text", "input", () => {
    clearTimeout(typing);
    typing = setTimeout(searchNow, TYPING_MS, { typing: true });
  });
  // What is clicked or changed comes after what was typed before.
  for (const type of ["click", "change"]) {
    document.addEventListener(type, () => typing && searchNow({ typing: true }), true);
  }
  for (const name of ["category", "status", "min_price", "max_price", "min_rating"]) {
    on(`filter_${name}`, "change", ({ target }) => commands.filter(name, target.value));
  }
  on("search_form", "submit", submit);
  click("reset-btn", () => resetTo("search_text"));
  click("notice-reset-btn", () => resetTo("search_text"));
  click("status_tabs", ({ target }) => {
    const tab = target.closest("[data-status]");
    if (tab) {
      commands.search({ status: tab.dataset.status });
    }
  });
  click("category_facets", ({ target }) => {
    const choice = target.closest("[data-choice]")?.dataset.choice;
    if (choice !== undefined) {
      commands.search({ category: JSON.parse(choice) });
      closeMenu("category_menu");
    }
  });
}

function searchNow(options) {
  clearTimeout(typing);
  typing = 0;
  commands.search({ q: byId("search_text").value.trim() }, options);
}

function submit(event) {
  event.preventDefault();
  const before = now().query;
  searchNow();
  if (event.submitter !== null && now().query === before) {
    commands.refresh();
  }
}

function resetTo(id) {
  commands.resetAll();
  focusOn(id);
}

function closeMenu(id) {
  byId(id).open = false;
  byId(id).querySelector("summary").focus();
}

function listenToMenus() {
  for (const id of ["category_menu", "export_menu", "views_menu"]) {
    on(id, "keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) {
        event.stopPropagation();
        closeMenu(id);
      }
    });
  }
  document.addEventListener("click", ({ target }) => {
    for (const menu of document.querySelectorAll(".menu[open]")) {
      menu.open = menu.contains(target) || !target.isConnected;
    }
  });
  click("export_menu", ({ target }) => target.matches("a") && closeMenu("export_menu"));
  click("save-view-btn", saveView);
  on("view_name", "keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      saveView();
    }
  });
  click("saved_views", ({ target }) => {
    if (target.dataset.forget) {
      views.forget(target.dataset.forget);
      focusOn("view_name");
    }
  });
}

function saveView() {
  const name = byId("view_name").value.trim();
  if (name) {
    views.keep(name);
    byId("view_name").value = "";
  }
  focusOn("view_name");
}

// Rows

function openRow(event) {
  const { target } = event;
  const id = rowOf(target);
  if (!id || target.closest(".check, form") || !isPlain(event)) {
    return;
  }
  const action = target.closest("[data-action]")?.dataset.action;
  if (action === "inline") {
    inline.begin(id, target.closest("[data-member]").dataset.member);
  } else if (action === "picture") {
    const { name, img_url: address } = states.visibleRows(now()).find((row) => row.id === id);
    set({ picture: { name, address } });
  } else {
    event.preventDefault();
    editing.open(String(id));
  }
}

function listenToRows() {
  click("search_results", openRow);
  click("search_results", ({ target, shiftKey }) => {
    if (target.name === "selected") {
      update(states.tickRow, Number(target.value), shiftKey);
    } else if (target.dataset.action === "leave") {
      inline.leave();
    }
  });
  for (const type of ["input", "change"]) {
    on("search_results", type, ({ target }) => target.closest("form") && inline.type(target.value));
  }
  on("search_results", "submit", (event) => {
    event.preventDefault();
    inline.save();
  });
  on("search_results", "keydown", (event) => {
    const isInline = event.target.closest("form");
    if (isInline && !event.isComposing) {
      keyInline(event);
    }
  });
  click("suggestion", (event) => {
    if (event.target.dataset.open && isPlain(event)) {
      event.preventDefault();
      editing.open(event.target.dataset.open);
    }
  });
}

function keyInline(event) {
  if (event.key === "Escape") {
    event.stopPropagation();
    inline.leave();
  } else if (event.key === "Enter" && event.target.tagName === "SELECT") {
    event.preventDefault();
    inline.save();
  }
}

// The arrows lead from the search box through the rows.
function step(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by || event.isComposing || event.target.closest("form.inline-form, .menu")) {
    return;
  }
  const names = [...byId("search_results").querySelectorAll('[data-action="edit"]')];
  const stops = [byId("search_text"), ...names];
  const row = event.target.closest("tr[data-id]");
  const here = stops.indexOf(row ? row.querySelector('[data-action="edit"]') : event.target);
  if (here >= 0 && stops[here + by]) {
    event.preventDefault();
    stops[here + by].focus();
  }
}

// Order, pages and selection

function listenToTable() {
  on("list", "keydown", step);
  click("skip-btn", () => focusOn("page_size"));
  document.querySelector("thead").addEventListener("click", ({ target }) => {
    const column = target.closest("th[data-sort]")?.dataset.sort;
    if (column) {
      commands.search({ sort: now().query.sort === column ? `-${column}` : column });
    }
  });
  on("sort_by", "change", ({ target }) => commands.search({ sort: target.value }));
  on("page_size", "change", ({ target }) => commands.search({ limit: target.value }));
  for (const where of ["first", "prev", "next"]) {
    click(`${where}-btn`, () => {
      commands.turn(where);
      byId("list_scroll").scrollTo({ top: 0 });
    });
  }
  click("list-retry-btn", () => commands.loadList());
  click("select_all", ({ target }) =>
    update(states.select, states.visibleRows(now()), target.checked),
  );
  click("select-matching-btn", commands.selectMatching);
  click("bulk-clear-btn", () => update(states.selectOnly, []));
  click("bulk-delete-btn", bulk.remove);
  for (const kind of ["status", "category", "price"]) {
    click(`bulk-${kind}-btn`, () => bulk.begin(kind));
  }
}

export function listenToList() {
  listenToFilters();
  listenToMenus();
  listenToRows();
  listenToTable();
  const unfold = () => {
    byId("filters").open = wide.matches || Object.keys(now().typed).length > 0;
  };
  wide.addEventListener("change", unfold);
  unfold();
}
