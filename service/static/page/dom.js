// Short ways to the elements of the page.

export const byId = (id) => document.getElementById(id);

// A copy of what is in a <template>.
export const copyOf = (template) => byId(template).content.firstElementChild.cloneNode(true);

// Shows the dialog; resolves with the first answer. Each way to one is the id of an element, an
// event and a function: if that returns undefined, the dialog stays.
export function answered(dialog, ways) {
  return new Promise((resolve) => {
    const done = new AbortController();
    for (const [id, type, answer] of ways) {
      const take = (event) => {
        event.preventDefault();
        const given = answer();
        if (given !== undefined) {
          done.abort();
          dialog.close();
          resolve(given);
        }
      };
      byId(id).addEventListener(type, take, { signal: done.signal });
    }
    dialog.showModal();
  });
}

// Resolves with the id of the button that closes the dialog; Escape is the last of them.
// `preferred` is the one that Enter presses.
export function choose(dialog, buttons, preferred = buttons[0]) {
  const answer = answered(dialog, [
    ...buttons.map((id) => [id, "click", () => id]),
    [dialog.id, "cancel", () => buttons.at(-1)],
  ]);
  byId(preferred).focus();
  return answer;
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
