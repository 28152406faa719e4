// The one place that holds the state.
import { initial } from "./state.js";

let state = initial;
let show = () => {};
let isShowing = false;

export const now = () => state;

// Replaces the state by what a pure function of state.js makes of it, and shows it.
export function update(next, ...rest) {
  state = next(state, ...rest);
  showAll();
}

// What is shown may lead to another change, such as by a focus that moves: that is shown after it.
function showAll() {
  if (isShowing) {
    return;
  }
  isShowing = true;
  let shown;
  try {
    do {
      shown = state;
      show(shown);
    } while (shown !== state);
  } finally {
    isShowing = false;
  }
}

export const set = (changes) => update((before) => ({ ...before, ...changes }));
export const edit = (next, ...rest) => set({ editor: next(state.editor, ...rest) });

// Changes the editing session of this number, if it is still there.
export function editSession(number, next, ...rest) {
  if (state.editor.number === number) {
    edit(next, ...rest);
  }
}

export function onUpdate(listener) {
  show = listener;
}
