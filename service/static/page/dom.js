// Short ways to the elements of the page.

export const byId = (id) => document.getElementById(id);

// A copy of what is in a <template>.
export const copyOf = (template) => byId(template).content.firstElementChild.cloneNode(true);

// Resolves with the id of the button that closes the dialog; Escape is the last of them.
// `preferred` is the one that Enter presses.
export function choose(dialog, buttons, preferred = buttons[0]) {
  return new Promise((resolve) => {
    const done = new AbortController();
    const close = (id) => {
      done.abort();
      dialog.close();
      resolve(id);
    };
    for (const id of buttons) {
      byId(id).addEventListener("click", () => close(id), { signal: done.signal });
    }
    dialog.addEventListener(
      "cancel",
      (event) => {
        event.preventDefault();
        close(buttons.at(-1));
      },
      { signal: done.signal },
    );
    dialog.showModal();
    byId(preferred).focus();
  });
}

// Asks a question; resolves with whether the answer is yes. Enter says yes only if `safe`.
export async function confirmed({ title, text, yes, no = "Cancel", safe = true }) {
  byId("confirm_title").textContent = title;
  byId("confirm_text").textContent = text;
  byId("confirm-btn").textContent = yes;
  byId("cancel-btn").textContent = no;
  const buttons = ["confirm-btn", "cancel-btn"];
  const preferred = safe ? "confirm-btn" : "cancel-btn";
  return (await choose(byId("confirm_dialog"), buttons, preferred)) === "confirm-btn";
}
