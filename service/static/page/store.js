// The one place that holds the state.
import { initial } from "./state.js";

let state = initial;
let show = () => {};

export const now = () => state;

// Replaces the state by what a pure function of state.js makes of it, and shows it.
export function update(next, ...rest) {
  state = next(state, ...rest);
  show(state);
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
