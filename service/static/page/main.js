// The back-office page: what the address says is what it shows.
import { onChange, view } from "./address.js";
import "./bulk.js";
import { byId } from "./dom.js";
import * as editor from "./editor.js";
import * as list from "./list.js";
import { showFilters } from "./search.js";

let listed = "";

function show(now) {
  const { product, ...listing } = now;
  showFilters(now);
  editor.show(product);
  if (JSON.stringify(listing) !== listed) {
    listed = JSON.stringify(listing);
    list.refresh();
  }
}

byId("search_results").addEventListener("click", ({ target }) => {
  const line = target.closest("tr[data-id]");
  if (line && !target.closest(".check")) {
    editor.open(line.dataset.id);
  }
});

onChange(show);
show(view());
