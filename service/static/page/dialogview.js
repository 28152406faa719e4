// Draws the questions that wait for an answer.
import { byId, copyOf, part, setFault, setText } from "./dom.js";
import { LABELS } from "./members.js";

const DIALOGS = { confirm: "confirm_dialog", conflict: "conflict_dialog", token: "token_dialog" };
const DRAW = { confirm: drawConfirm, conflict: drawConflict, token: drawToken };

// Shows or closes a dialog; returns whether it has been opened.
export function toggle(id, isOpen) {
  const dialog = byId(id);
  if (isOpen === dialog.open) {
    return false;
  }
  if (isOpen) {
    dialog.showModal();
  } else {
    dialog.close();
  }
  return isOpen;
}

export const questionOf = (dialogs, kind) => dialogs.findLast((dialog) => dialog.kind === kind);

export const showDialogs = part(
  ({ dialogs }) => [dialogs],
  (state, dialogs) => {
    for (const [kind, id] of Object.entries(DIALOGS)) {
      const question = questionOf(dialogs, kind);
      const isOpened = toggle(id, Boolean(question));
      if (question) {
        DRAW[kind](question, isOpened, state);
      }
    }
  },
);

function drawConfirm({ title, text, yes, no, safe }, isOpened) {
  setText(byId("confirm_title"), title);
  setText(byId("confirm_text"), text);
  setText(byId("confirm-btn"), yes);
  setText(byId("cancel-btn"), no);
  if (isOpened) {
    byId(safe ? "confirm-btn" : "cancel-btn").focus();
  }
}

function drawToken({ fault }, isOpened, { hasToken }) {
  if (isOpened) {
    byId("api_token").value = "";
    byId("api_token").focus();
  }
  setText(byId("token_title"), hasToken && !fault ? "Change the token" : "Token required");
  byId("token-forget-btn").hidden = !hasToken;
  setFault(byId("api_token"), byId("token_error"), fault);
}

function drawConflict({ members }, isOpened) {
  if (isOpened) {
    byId("conflict_members").replaceChildren(...members.map(conflictRow));
  }
}

function conflictRow({ member, both, pick, ...texts }) {
  const line = copyOf("conflict_template");
  line.dataset.member = member;
  setText(line.querySelector("th span"), LABELS[member]);
  line.querySelector("th small").hidden = !both;
  for (const side of ["mine", "theirs"]) {
    const radio = line.querySelector(`input[value="${side}"]`);
    radio.name = `pick_${member}`;
    radio.checked = side === pick;
    radio.setAttribute("aria-label", `${LABELS[member]}: ${side}`);
    setText(radio.nextElementSibling, texts[side] || "nothing");
  }
  return line;
}
