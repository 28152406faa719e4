// Shows the state: each part of the page draws what it is about, when that has changed.
import { showBulkDialog, showPictureDialog, showResult } from "./bulkview.js";
import { showDeleted } from "./deletedview.js";
import { showDialogs } from "./dialogview.js";
import { byId, part, setText } from "./dom.js";
import { showEditor } from "./editorview.js";
import { showExport, showFacets, showFilters, showViews } from "./finderview.js";
import { showHistory } from "./historyview.js";
import { showImport } from "./importview.js";
import { showArrived, showCount, showList, showPager, showSelection } from "./listview.js";
import { counted } from "./numbers.js";
import { isSaved } from "./session.js";
import { showUndo } from "./undoview.js";

const OFFERS = {
  retry: "retry-btn",
  restore: "restore-btn",
  undo: "bulk-undo-btn",
  details: "details-btn",
};

const showMessage = part(
  ({ message, run }) => [message, run],
  (state, { text, kind, offers }, run) => {
    const isFocused = byId("flash").contains(document.activeElement);
    setText(byId("flash_message"), text);
    byId("flash").dataset.kind = byId("flash_message").dataset.kind = kind;
    byId("flash-close-btn").hidden = !text;
    for (const [name, id] of Object.entries(OFFERS)) {
      byId(id).hidden = !offers[name] || run !== null;
    }
    byId("stop-btn").hidden = byId("bulk_progress").hidden = !run;
    byId("bulk_progress").max = run?.total || 1;
    byId("bulk_progress").value = run?.done ?? 0;
    if (isFocused && document.activeElement.hidden !== false) {
      byId(text ? "flash-close-btn" : "new-btn").focus();
    }
  },
);

const showPending = part(
  ({ pending }) => [pending],
  (state, pending) => {
    const hadFocus = byId("pending_deletes").contains(document.activeElement);
    byId("pending_deletes").hidden = !pending;
    const items = pending?.items ?? [];
    const what = items.length === 1 ? `“${items[0].product.name}”` : counted(items.length);
    setText(
      byId("pending_text"),
      pending ? `${what} will be deleted with your next step.` : "",
    );
    if (hadFocus && !pending) {
      byId("new-btn").focus();
    }
  },
);

const showTop = part(
  ({ editor, query, hasToken }) => [editor.base, editor.id, editor.isOpen, query.q, hasToken],
  ({ editor, query, hasToken }) => {
    const product = isSaved(editor) ? editor.base.name : editor.isOpen ? "New product" : "";
    const subject = product || (query.q && `“${query.q}”`);
    document.title = subject ? `${subject} – Products` : "Products";
    byId("token-change-btn").hidden = !hasToken;
  },
);

const PARTS = [
  ...[showTop, showMessage, showPending, showFilters, showFacets, showViews, showCount, showArrived],
  ...[showList, showPager, showSelection, showEditor, showHistory, showBulkDialog],
  ...[showResult, showDeleted, showUndo, showPictureDialog, showExport, showImport, showDialogs],
];

export function show(state) {
  for (const draw of PARTS) {
    draw(state);
  }
}
