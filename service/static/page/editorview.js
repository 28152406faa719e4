// Draws the editor.
import { lowestText, newsText } from "./changes.js";
import { byId, part, setFault, setText, setValue, showPicture } from "./dom.js";
import { LABELS, MEMBERS } from "./members.js";
import { isDirty, isSaved, textIn } from "./session.js";

export const field = (member) => byId(`product_${member}`);

export const showEditor = part(
  ({ editor }) => [editor],
  (state, editor) => {
    for (const member of MEMBERS) {
      setValue(field(member), textIn(editor, member));
      const fault = editor.faults[member];
      setFault(field(member), byId(`product_${member}_error`), fault ? `${LABELS[member]} ${fault}` : "");
    }
    byId("product_id").value = editor.id ?? "";
    setText(byId("editor_title"), titleOf(editor));
    byId("unsaved").hidden = !isDirty(editor);
    byId("editor").toggleAttribute("data-dirty", isDirty(editor));
    showPicture(byId("preview"), textIn(editor, "img_url"));
    document.body.toggleAttribute("data-editing", Boolean(isSaved(editor) || editor.isOpen));
    setText(byId("editor_news"), newsText(editor.news));
    showLowest(editor.lowest);
    showState(editor);
  },
);

function showLowest(lowest) {
  const isKnown = lowest?.to !== undefined;
  byId("lowest_price").hidden = !isKnown;
  setText(byId("lowest_price"), isKnown ? lowestText(lowest, navigator.languages) : "");
}

function titleOf({ id, state }) {
  if (id === null) {
    return "New product";
  }
  return { loading: `Loading product ${id}…`, failed: `Product ${id}` }[state] ?? "Edit product";
}

function showState({ state, id, failure }) {
  byId("editor").dataset.state = state;
  const isThere = state === "ready" || state === "saving";
  byId("editor_fields").disabled = !isThere;
  byId("editor_fields").hidden = state === "failed";
  byId("editor_notice").hidden = state !== "failed";
  setText(byId("editor_notice_text"), failure?.message ?? "");
  byId("reload-btn").hidden = !failure?.isTemporary;
  for (const button of ["save-btn", "save-new-btn"]) {
    byId(button).disabled = !isThere;
    byId(button).setAttribute("aria-disabled", String(state !== "ready"));
  }
  for (const button of ["delete-btn", "duplicate-btn"]) {
    byId(button).disabled = id === null || state !== "ready";
  }
}
