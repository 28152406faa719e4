// The back-office page: what a person does is a command, and what the state says is shown.
import * as bulk from "./bulk.js";
import * as commands from "./commands.js";
import * as deletion from "./deletion.js";
import { byId, click } from "./dom.js";
import * as editing from "./editing.js";
import * as feed from "./feed.js";
import { listenToDialogs } from "./dialogevents.js";
import { listenToHistory } from "./historyevents.js";
import { listenToImport } from "./importevents.js";
import { listenToList } from "./listevents.js";
import { isNarrow } from "./focus.js";
import { MEMBERS } from "./members.js";
import { isDirty } from "./session.js";
import { isBusy, say } from "./state.js";
import { now, onUpdate, set, update } from "./store.js";
import { changeToken, token } from "./token.js";
import { show } from "./view.js";
import * as views from "./views.js";

// The limits are those of the service, which the page has in the fields.
function rules() {
  const all = Object.fromEntries(
    MEMBERS.map((member) => [member, { ...byId(`product_${member}`).dataset }]),
  );
  const { price, rating } = all;
  return { rules: all, filterRules: { min_price: price, max_price: price, min_rating: rating } };
}

function fileLimits() {
  const { maxBytes, maxRows } = byId("import_file").dataset;
  return { bytes: Number(maxBytes), rows: Number(maxRows) };
}

// The message and what it offers
for (const [id, name] of Object.entries({
  "retry-btn": "retry",
  "restore-btn": "restore",
  "bulk-undo-btn": "undo",
  "details-btn": "details",
})) {
  click(id, () => {
    const act = now().message.offers[name];
    update(say, "");
    act?.();
  });
}
click("arrived-btn", feed.showArrived);
click("flash-close-btn", () => update(say, ""));
click("stop-btn", bulk.stop);
click("token-change-btn", () => changeToken());

// The editor
// An <input> tells of each key; a <select> is heard when it has changed, whatever chose in it.
for (const type of ["input", "change"]) {
  byId("editor_form").addEventListener(type, ({ target }) => {
    if (MEMBERS.includes(target.name)) {
      editing.type(target.name, target.value);
    }
  });
}
byId("editor_form").addEventListener("submit", (event) => {
  event.preventDefault();
  editing.save();
});
click("new-btn", () => editing.open("new"));
click("save-new-btn", () => editing.save({ andNew: true }));
click("duplicate-btn", editing.duplicate);
click("clear-btn", editing.clear);
click("close-btn", editing.close);
click("reload-btn", editing.reload);
click("delete-btn", deletion.remove);
click("undo-btn", deletion.undo);
click("delete-now-btn", () => deletion.deleteNow());
click("preview", () => {
  const { editor } = now();
  const address = editor.typed.img_url ?? editor.base.img_url;
  set({ picture: address.trim() && { name: editor.base.name || "New product", address } });
});

const isEditorOpen = ({ editor }) => commands.placeOf(editor) !== "" || isDirty(editor);

// By the key's place, where the layout is not Latin; by its letter, where it is.
const isS = ({ key, code }) =>
  key.toLowerCase() === "s" || (code === "KeyS" && !/^[a-z]$/i.test(key));

document.addEventListener("keydown", (event) => {
  if (event.isComposing || document.querySelector("dialog[open]")) {
    return;
  }
  const isCommand = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
  if (isCommand && isS(event) && isEditorOpen(now())) {
    event.preventDefault();
    editing.save();
  } else if (event.key === "Escape" && isNarrow() && commands.placeOf(now().editor)) {
    editing.close();
  }
});

// Leaving
window.addEventListener("beforeunload", (event) => {
  if (isDirty(now().editor) || isBusy(now())) {
    event.preventDefault();
  }
});
window.addEventListener("pagehide", () => deletion.deleteNow({ leaving: true }));
window.addEventListener("popstate", commands.followHistory);

listenToList();
listenToDialogs();
listenToImport();
listenToHistory();
onUpdate(show);
set({ ...rules(), fileLimits: fileLimits(), hasToken: token() !== null });
views.load();
commands.start();
feed.start();
