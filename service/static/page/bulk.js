// Several products at once: four at a time, each only if it is still what was seen.
import * as api from "./api.js";
import { withUndo } from "./deletion.js";
import { byId, choose, confirmed } from "./dom.js";
import * as editor from "./editor.js";
import * as list from "./list.js";
import { say } from "./messages.js";

const AT_ONCE = 4;
const REASONS = {
  404: "was deleted by somebody else meanwhile",
  412: "was changed by somebody else meanwhile",
};
let lastBox = null;

const boxes = () => list.rows().map((line) => line.querySelector('[name="selected"]'));
const selected = () =>
  boxes()
    .filter((box) => box.checked)
    .map((box) => list.shown().get(Number(box.value)));
const counted = (number) => `${number} product${number === 1 ? "" : "s"}`;

function showSelection() {
  const all = boxes();
  const chosen = selected().length;
  byId("selected_count").textContent = chosen;
  byId("bulk_bar").hidden = chosen === 0;
  byId("select_all").checked = chosen > 0 && chosen === all.length;
  byId("select_all").indeterminate = chosen > 0 && chosen < all.length;
}

function selectOnly(ids) {
  for (const box of boxes()) {
    box.checked = ids.includes(Number(box.value));
  }
  showSelection();
}

// Does `work` for each product; resolves with [{product, reason}] of those that failed.
async function forEach(products, work) {
  const queue = [...products];
  const failures = [];
  const worker = async () => {
    for (let product = queue.shift(); product; product = queue.shift()) {
      try {
        await work(product);
      } catch (failure) {
        failures.push({ product, reason: reasonOf(failure) });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return failures;
}

// Does the same, and shows how far it is.
async function withProgress(products, work) {
  const progress = byId("bulk_progress");
  progress.max = products.length;
  progress.value = 0;
  progress.hidden = false;
  const failures = await forEach(products, (product) =>
    work(product).finally(() => {
      progress.value += 1;
    }),
  );
  progress.hidden = true;
  return failures;
}

const reasonOf = (failure) => REASONS[failure.status] ?? failure.message;

async function setStatus(products, status) {
  say(`Setting the status of ${counted(products.length)}…`);
  const failures = await withProgress(products, async (product) => {
    const { body, etag } = await api.get(product.id);
    if (body.status !== product.status) {
      throw new api.Failure(REASONS[412], 412);
    }
    const answer = await api.change(product.id, { status }, etag);
    list.update(answer.body);
    editor.follow(product.id, answer.body, answer.etag);
  });
  await summarize(products, failures, "updated", (again) => setStatus(again, status));
}

async function remove(products) {
  const ids = products.map(({ id }) => id);
  const text = `${counted(ids.length)}: ${names(products)}`;
  if (!(await confirmed({ title: "Delete the selected products?", text, yes: "Delete" }))) {
    return;
  }
  list.hide(ids);
  const tags = new Map();
  const tagged = forEach(products, async (product) => {
    const { body, etag } = await api.get(product.id);
    if (JSON.stringify(body) !== JSON.stringify(product)) {
      throw new api.Failure(REASONS[412], 412);
    }
    tags.set(product.id, etag);
  });
  const perform = async (leaving) => {
    if (leaving) {
      tags.forEach((etag, id) => api.remove(id, etag, true));
      return;
    }
    const unseen = await tagged;
    say(`Deleting ${counted(ids.length)}…`);
    const failures = await withProgress(
      products.filter(({ id }) => tags.has(id)),
      async ({ id }) => {
        await api.remove(id, tags.get(id));
        editor.follow(id, null);
      },
    );
    list.unhide(ids);
    await summarize(products, [...unseen, ...failures], "deleted", remove);
  };
  const undone = () => {
    list.unhide(ids);
    say("Nothing was deleted");
  };
  withUndo(`Deleting ${counted(ids.length)}`, perform, undone);
  say(`${counted(ids.length)} will be deleted in ten seconds; Undo keeps them.`);
}

function names(products) {
  const first = products.slice(0, 3).map(({ name }) => `“${name}”`);
  const others = products.length - first.length;
  return first.join(", ") + (others ? ` and ${others} more` : "");
}

// Says what has been done; what failed stays selected, with its reason.
async function summarize(products, failures, done, again) {
  const succeeded = counted(products.length - failures.length);
  const have = products.length - failures.length === 1 ? "has" : "have";
  const text = `${succeeded} ${have} been ${done}`;
  if (failures.length === 0) {
    selectOnly([]);
    say(text, { kind: "success" });
    return;
  }
  say(`${text}, ${failures.length} not`, { kind: "error" });
  await list.refresh();
  selectOnly(failures.map(({ product }) => product.id));
  byId("summary_text").textContent = `${text}, ${failures.length} not`;
  byId("summary_failures").replaceChildren(
    ...failures.map(({ product, reason }) => {
      const item = document.createElement("li");
      const name = document.createElement("strong");
      name.textContent = product.name;
      item.append(name, ` ${reason}`);
      return item;
    }),
  );
  const left = selected();
  byId("summary-retry-btn").hidden = left.length === 0;
  const buttons = ["summary-retry-btn", "summary-close-btn"];
  const choice = await choose(byId("summary_dialog"), buttons, left.length ? buttons[0] : buttons[1]);
  if (choice === "summary-retry-btn") {
    await again(left);
  }
}

byId("search_results").addEventListener("click", (event) => {
  if (event.target.name !== "selected") {
    return;
  }
  if (event.shiftKey && lastBox?.isConnected) {
    const all = boxes();
    const [from, to] = [all.indexOf(lastBox), all.indexOf(event.target)].sort((a, b) => a - b);
    for (const box of all.slice(from, to + 1)) {
      box.checked = event.target.checked;
    }
  }
  lastBox = event.target;
  showSelection();
});
byId("select_all").addEventListener("click", ({ target }) => {
  selectOnly(target.checked ? [...list.shown().keys()] : []);
});
byId("bulk-status-btn").addEventListener("click", () =>
  setStatus(selected(), byId("bulk_status").value),
);
byId("bulk-delete-btn").addEventListener("click", () => remove(selected()));
byId("bulk-clear-btn").addEventListener("click", () => selectOnly([]));
list.whenShown(showSelection);
