// Where the focus goes: after the state is shown.

const narrow = matchMedia("(width < 64rem)");
export const isNarrow = () => narrow.matches;
const byId = (id) => document.getElementById(id);

export function focusEditor(member) {
  const isNew = byId("product_id").value === "";
  const field = isNarrow() && !isNew && !member ? "close-btn" : `product_${member ?? "name"}`;
  byId(field)?.focus();
}

export function focusRow(id) {
  document.querySelector(`tr[data-id="${id}"] [data-action="edit"]`)?.focus();
}

export const focusOn = (id) => byId(id)?.focus();

// Goes to the field in the row, or to the button that opens it.
export function focusInline({ id, member }, { select = false } = {}) {
  const cell = document.querySelector(`tr[data-id="${id}"] [data-member="${member}"]`);
  const field = cell?.querySelector("form :is(input, select)") ?? cell?.querySelector("button");
  field?.focus();
  if (select) {
    field?.select?.();
  }
}

// Whether the person is still where a product is opened, and has not gone on to something else.
export function isWaiting() {
  const focused = document.activeElement;
  return focused === document.body || focused.closest("#search_results, #editor, #new-btn") !== null;
}
