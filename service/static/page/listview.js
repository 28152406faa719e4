// Draws the list: its rows, what it says instead of rows, its count and its pages.
import { byId, copyOf, part, setFault, setText, setValue, showPicture } from "./dom.js";
import { STATUS_NAMES } from "./members.js";
import { count, money } from "./numbers.js";
import { addressOf, isNarrowed } from "./query.js";
import { pages, total, visibleRows } from "./state.js";

const results = byId("search_results");

export const showList = part(
  ({ list, fresh, known, gone, pending, leaving, selected, inline, editor, query }) => [
    ...[list, fresh, known, gone, pending, leaving, selected, inline, editor.id, query],
  ],
  (state) => {
    const rows = visibleRows(state);
    if (state.list.state !== "loading" || state.list.rows.length) {
      drawRows(rows, state);
    }
    showState(state, rows);
  },
);

// Keeps the rows that are there, and with them the focus.
function drawRows(rows, state) {
  results.querySelectorAll(".skeleton").forEach((line) => line.remove());
  const there = new Map([...results.rows].map((line) => [line.dataset.id, line]));
  const focused = document.activeElement;
  let place = results.firstElementChild;
  for (const product of rows) {
    const line = there.get(String(product.id)) ?? newRow(product.id);
    there.delete(String(product.id));
    drawRow(line, product, state);
    if (line === place) {
      place = place.nextElementSibling;
    } else {
      results.insertBefore(line, place);
    }
  }
  there.forEach((line) => line.remove());
  if (focused?.isConnected && focused !== document.activeElement) {
    focused.focus();
  }
}

function newRow(id) {
  const line = copyOf("row_template");
  line.dataset.id = id;
  line.querySelector('[name="selected"]').value = id;
  setText(line.querySelector('[data-member="id"]'), id);
  return line;
}

function drawRow(line, product, { selected, inline, editor, fresh, gone, query }) {
  line.dataset.status = product.status;
  line.toggleAttribute("data-open", product.id === editor.id);
  line.querySelector(".fresh").hidden = !fresh.includes(product.id);
  const box = line.querySelector('[name="selected"]');
  box.checked = product.id in selected;
  box.setAttribute("aria-label", `Select ${product.name}`);
  drawName(line, product, query);
  drawPicture(line.querySelector(".picture"), product);
  const category = line.querySelector('[data-member="category"]');
  setText(category, product.category ?? "");
  category.title = product.category ?? "";
  setText(line.querySelector('[data-member="rating"]'), count(product.rating));
  drawInline(line, product, "price", money(product.price), inline);
  const isGone = product.id in gone;
  line.toggleAttribute("data-gone", isGone);
  drawInline(line, product, "status", isGone ? "Deleted" : STATUS_NAMES[product.status], inline);
  line.querySelector(".badge").dataset.status = isGone ? "disabled" : product.status;
}

function drawName(line, product, query) {
  const link = line.querySelector('[data-action="edit"]');
  setText(link, product.name);
  link.title = product.name;
  link.href = location.pathname + addressOf(query, String(product.id));
  setText(line.querySelector(".detail"), product.description ?? "");
}

function drawPicture(frame, { name, img_url: address }) {
  showPicture(frame, address);
  frame.setAttribute("aria-label", `Larger picture of ${name}`);
}

// The value in a button, or the field that changes it.
function drawInline(line, product, member, text, inline) {
  const cell = line.querySelector(`[data-member="${member}"]`);
  const button = cell.querySelector(".value");
  setText(button, text);
  button.setAttribute("aria-label", `${text}: change the ${member} of ${product.name}`);
  const isHere = inline?.id === product.id && inline.member === member;
  button.hidden = isHere;
  if (!isHere) {
    cell.querySelector("form")?.remove();
    return;
  }
  if (!cell.querySelector("form")) {
    cell.append(copyOf(`inline_${member}_template`));
  }
  const field = cell.querySelector("input, select");
  field.setAttribute("aria-label", `New ${member} of ${product.name}`);
  setValue(field, inline.text);
  setFault(field, cell.querySelector(".error"), inline.fault);
}

function showState({ list, query }, rows) {
  const isLoading = list.state === "loading";
  const shown = list.state === "failed" ? "failed" : rows.length ? "ready" : "empty";
  results.dataset.state = isLoading ? "loading" : shown;
  results.setAttribute("aria-busy", String(isLoading));
  if (isLoading) {
    return;
  }
  byId("list_notice").hidden = shown === "ready";
  byId("list-retry-btn").hidden = !list.failure?.isTemporary;
  if (shown === "failed") {
    notice("The products cannot be shown", list.failure.message, !list.failure.isTemporary);
  } else if (isNarrowed(query)) {
    notice("No product matches", "Try fewer words, or another filter.", true);
  } else {
    notice("There are no products yet", "New product makes the first one.", false);
  }
}

function notice(title, text, isResettable) {
  setText(byId("notice_title"), title);
  setText(byId("notice_text"), text);
  byId("notice-reset-btn").hidden = !isResettable;
}

export const showCount = part(
  ({ facets, query, list }) => [facets, query, list],
  (state, facets, query, list) => {
    const all = total(state);
    const words = { failed: "Could not be counted", loading: "Counting…" };
    const label = all?.number === 1 ? "product" : "products";
    setText(byId("result_count"), all ? `${all.isExact ? "" : "about "}${count(all.number)}` : "");
    setText(byId("result_label"), all ? label : list.state === "failed" ? "" : words[facets.state] ?? words.loading);
  },
);

export const showArrived = part(
  ({ arrived }) => [arrived],
  (state, { length }) => {
    byId("arrived-btn").hidden = length === 0;
    const products = length === 1 ? "product" : "products";
    setText(byId("arrived-btn"), length ? `${count(length)} new ${products}: show` : "");
  },
);

export const showPager = part(
  ({ list, query, trail, facets }) => [list, query, trail, facets],
  (state, list, query, trail) => {
    const all = pages(state);
    setText(byId("page_number"), query.page);
    setText(byId("page_count"), all ? `of ${count(all)}` : "");
    const isOff = list.state !== "ready";
    disable("first-btn", query.page === "1", isOff);
    disable("prev-btn", trail.length === 0, isOff);
    disable("next-btn", !list.next && !isOff, isOff);
  },
);

// While a list is awaited, a button keeps the focus and does nothing.
function disable(id, isDisabled, isOff) {
  const button = byId(id);
  const hadFocus = button === document.activeElement;
  button.disabled = isDisabled && !isOff;
  button.setAttribute("aria-disabled", String(isOff || isDisabled));
  if (hadFocus && button.disabled) {
    [...document.querySelectorAll("#pager button:enabled")].at(-1)?.focus();
  }
}

export const showSelection = part(
  ({ selected, list, fresh, known, gone, pending, leaving, facets, run, gathering }) => [
    ...[selected, list, fresh, known, gone, pending, leaving, facets, run, gathering],
  ],
  (state, selected) => {
    const rows = visibleRows(state);
    const ticked = rows.filter(({ id }) => id in selected).length;
    const chosen = Object.keys(selected).length;
    byId("bulk_bar").hidden = chosen === 0;
    setText(byId("selected_count"), count(chosen));
    byId("select_all").checked = ticked > 0 && ticked === rows.length;
    byId("select_all").indeterminate = ticked > 0 && ticked < rows.length;
    offerAll(state, chosen, ticked === rows.length);
    for (const button of byId("bulk_bar").querySelectorAll("button")) {
      button.disabled = Boolean(state.run);
    }
  },
);

function offerAll({ facets, gathering }, chosen, isWholePage) {
  const button = byId("select-matching-btn");
  const isMore = facets.state === "ready" && facets.total > chosen;
  button.hidden = !gathering && !(isWholePage && isMore);
  setText(button, gathering ? "Selecting…" : `Select all ${count(facets.total ?? 0)} that match`);
}
