// The editor: one product, from what is stored to what is saved.
import * as address from "./address.js";
import * as api from "./api.js";
import { differing, pick } from "./conflict.js";
import { withUndo } from "./deletion.js";
import { byId, confirmed } from "./dom.js";
import { MEMBERS, check, clearFaults, input, memberOf, showAll, textOf } from "./fields.js";
import * as list from "./list.js";
import { complain, say } from "./messages.js";
import { showPicture } from "./pictures.js";

const BLANK = { name: "", img_url: "", rating: 0, status: "active" };
const PREVIEW_MS = 300;

const editor = byId("editor");
const narrow = matchMedia("(width < 64rem)");

let current = ""; // as the address has it: an id, "new", or nothing
let stored = null; // {product, etag}; null for a product that is not stored yet
let shown = {}; // what was put into the fields
let loading = new AbortController();
let previewing = 0;

const values = () => Object.fromEntries(MEMBERS.map((member) => [member, input(member).value]));
export const isDirty = () => MEMBERS.some((member) => input(member).value !== shown[member]);

// Shows what the address asks for; unsaved changes stay, whatever it asks for.
export function show(wanted) {
  if (wanted === current) {
    return;
  }
  if (isDirty()) {
    address.go({ product: current }, { replace: true });
    say("There are unsaved changes: save or clear them first.");
    return;
  }
  current = wanted;
  loading.abort();
  if (Number(wanted)) {
    load(wanted);
  } else {
    fill(null);
  }
  place();
}

// Opens a product, an empty editor (`new`) or none; asks what is to become of unsaved changes.
export async function open(wanted) {
  if (wanted !== "new" && wanted === current) {
    focus();
  } else if (!isDirty() || (await mayDiscard())) {
    discard();
    say("");
    address.go({ product: wanted });
    focus();
  }
}

// Shows a product as it was changed elsewhere on the page, null if it was deleted; what is being
// edited stays, and finds out when it is saved.
export function follow(id, product, etag) {
  if (stored?.product.id === id && !isDirty()) {
    if (product) {
      fill({ product, etag });
    } else {
      address.go({ product: "" }, { replace: true });
    }
  }
}

export function close() {
  const from = current;
  return open("").then(() => list.focusOn(from));
}

function mayDiscard() {
  return confirmed({
    title: "Discard the unsaved changes?",
    text: "They are in the editor only.",
    yes: "Discard",
    no: "Keep editing",
    safe: false,
  });
}

function discard() {
  for (const member of MEMBERS) {
    input(member).value = shown[member];
  }
  clearFaults();
  describe();
}

// On a narrow screen the editor is shown instead of the list.
function place() {
  document.body.toggleAttribute("data-editing", current !== "");
  list.markOpen(current);
}

function focus() {
  if (!byId("editor_fields").disabled) {
    (narrow.matches && stored ? byId("close-btn") : input("name")).focus();
  }
}

async function load(id) {
  loading = new AbortController();
  const { signal } = loading;
  fill(null);
  setState("loading");
  try {
    const { body, etag } = await api.get(id, signal);
    fill({ product: body, etag });
    focus();
  } catch (failure) {
    if (signal.aborted) {
      return;
    }
    setState("failed");
    complain(failure, () => load(id));
    if (failure.status === 404) {
      address.go({ product: "" }, { replace: true });
    }
  }
}

function setState(state) {
  editor.dataset.state = state;
  byId("editor_fields").disabled = state === "loading" || state === "failed";
  byId("save-btn").disabled = byId("editor_fields").disabled;
}

// Fills the fields with a stored product, or with what a new one begins with.
function fill(found) {
  stored = found;
  const product = found?.product ?? BLANK;
  for (const member of MEMBERS) {
    put(member, product[member]);
  }
  shown = values();
  clearFaults();
  setState("ready");
  describe();
}

function put(member, value) {
  input(member).value = textOf(member, value);
}

// Says what the editor holds, and shows its picture.
function describe() {
  const id = stored?.product.id;
  byId("product_id").value = id ?? "";
  byId("editor_title").textContent = id ? "Edit product" : "New product";
  byId("delete-btn").disabled = !id;
  showPicture(byId("preview"), input("img_url").value);
  mark();
}

function mark() {
  editor.toggleAttribute("data-dirty", isDirty());
  byId("unsaved").hidden = !isDirty();
}

// Returns the product as the fields have it; what nobody has touched goes back as it came.
function edited() {
  const product = {};
  for (const member of MEMBERS) {
    const text = input(member).value;
    const untouched = stored && text === shown[member];
    product[member] = untouched ? stored.product[member] : memberOf(member, text);
  }
  return product;
}

// Saves the product, under the condition that nobody else has meanwhile.
export async function save() {
  if (editor.dataset.state !== "ready") {
    return;
  }
  const sent = values();
  const product = edited();
  setState("saving");
  say("Saving…");
  try {
    const answer = stored
      ? await api.replace(stored.product.id, product, stored.etag)
      : await api.create(product);
    accept(answer, sent);
  } catch (failure) {
    await recover(failure, product);
  } finally {
    setState("ready");
  }
}

// Takes what the service has stored; what was typed since stays.
function accept({ body, etag }, sent) {
  const isNew = !stored;
  stored = { product: body, etag };
  for (const member of MEMBERS) {
    const text = textOf(member, body[member]);
    if (input(member).value === sent[member]) {
      input(member).value = text;
    }
  }
  shown = Object.fromEntries(MEMBERS.map((member) => [member, textOf(member, body[member])]));
  clearFaults();
  describe();
  current = String(body.id);
  address.go({ product: current }, { replace: true });
  place();
  if (isNew) {
    list.refresh();
  } else {
    list.update(body);
  }
  say(`Product has been ${isNew ? "created" : "updated"}`, { kind: "success" });
}

async function recover(failure, product) {
  if (stored && [404, 412].includes(failure.status)) {
    await reconcile(product);
  } else if (failure.status === 400) {
    const others = showAll(failure.errors ?? []);
    const told = others.map(({ member, detail }) => `${member || "The product"} ${detail}`);
    say(told.join("; ") || "The product is not saved: see beside the fields.", { kind: "error" });
  } else {
    complain(failure, save);
  }
}

// Somebody else has written: nothing of theirs is overwritten, nothing of mine is lost.
async function reconcile(mine) {
  let theirs;
  try {
    theirs = await api.get(stored.product.id);
  } catch (failure) {
    if (failure.status === 404) {
      becomeNew();
    } else {
      complain(failure, save);
    }
    return;
  }
  if (differing(mine, theirs.body).length === 0) {
    accept({ body: theirs.body, etag: theirs.etag }, values());
    return;
  }
  say("");
  setState("ready");
  const product = await pick(stored.product, mine, theirs.body);
  if (product) {
    stored = { product: theirs.body, etag: theirs.etag };
    shown = Object.fromEntries(MEMBERS.map((name) => [name, textOf(name, theirs.body[name])]));
    MEMBERS.forEach((member) => put(member, product[member]));
    mark();
    await save();
  } else {
    say("The product is not saved.", { kind: "error" });
  }
}

function becomeNew() {
  const kept = values();
  list.refresh();
  fill(null);
  MEMBERS.forEach((member) => put(member, kept[member]));
  describe();
  current = "new";
  address.go({ product: current }, { replace: true });
  say("Somebody else has deleted this product. Save makes a new one of what is here.", {
    kind: "error",
  });
}

// What the editor holds, to be brought back.
function snapshot() {
  const kept = { current, stored, shown, values: values() };
  return () => {
    discard();
    address.go({ product: kept.current }, { replace: true });
    loading.abort();
    ({ current, stored, shown } = kept);
    MEMBERS.forEach((member) => {
      input(member).value = kept.values[member];
    });
    setState("ready");
    describe();
    place();
    focus();
  };
}

// Empties the editor.
export function clear() {
  const restore = isDirty() && snapshot();
  discard();
  current = narrow.matches ? "new" : "";
  address.go({ product: current });
  loading.abort();
  fill(null);
  place();
  if (restore) {
    say("The editor is empty.", { restore });
  }
  focus();
}

// Deletes the product, after a question and ten seconds for second thoughts.
export async function remove() {
  const { product, etag } = stored;
  const name = `“${product.name}”`;
  if (!(await confirmed({ title: "Delete this product?", text: name, yes: "Delete" }))) {
    return;
  }
  const restore = snapshot();
  discard();
  list.hide([product.id]);
  address.go({ product: "" });
  const undone = () => {
    list.unhide([product.id]);
    say("Nothing was deleted");
    if (!isDirty()) {
      restore();
    }
  };
  withUndo(`Deleting ${name}`, (leaving) => sendDelete(product, etag, leaving), undone);
  say(`${name} will be deleted in ten seconds; Undo keeps it.`);
}

async function sendDelete(product, etag, leaving = false) {
  try {
    await api.remove(product.id, etag, leaving);
    say("Product has been deleted", { kind: "success" });
    list.refresh();
  } catch (failure) {
    list.unhide([product.id]);
    if (failure.status === 412) {
      await explainRefusal(product);
    } else {
      complain(failure, () => {
        list.hide([product.id]);
        sendDelete(product, etag);
      });
    }
  }
}

async function explainRefusal(product) {
  try {
    await api.get(product.id);
    say(`“${product.name}” is not deleted: somebody else has changed it meanwhile. Look at it again.`, {
      kind: "error",
    });
  } catch (failure) {
    say(failure.status === 404 ? "Product has been deleted" : failure.message, {
      kind: failure.status === 404 ? "success" : "error",
    });
  }
}

// Tells what the fields say while one types.
function typed({ target }) {
  if (MEMBERS.includes(target.name)) {
    check(target.name);
    mark();
  }
  if (target.name === "img_url") {
    clearTimeout(previewing);
    previewing = setTimeout(() => showPicture(byId("preview"), target.value), PREVIEW_MS);
  }
}

byId("editor_form").addEventListener("input", typed);
byId("editor_form").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
byId("new-btn").addEventListener("click", () => open("new"));
byId("clear-btn").addEventListener("click", clear);
byId("delete-btn").addEventListener("click", remove);
byId("close-btn").addEventListener("click", close);
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) {
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key === "s") {
    event.preventDefault();
    save();
  } else if (event.key === "Escape" && narrow.matches && current) {
    close();
  }
});
window.addEventListener("beforeunload", (event) => {
  if (isDirty()) {
    event.preventDefault();
  }
});
fill(null);
