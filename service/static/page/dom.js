// Short ways to the elements of the page; what is already so is left alone.

export const byId = (id) => document.getElementById(id);

export const on = (id, type, act) => byId(id).addEventListener(type, act);

export const click = (id, act) => on(id, "click", act);

// A copy of what is in a <template>.
export const copyOf = (template) => byId(template).content.firstElementChild.cloneNode(true);

export function setText(element, text) {
  if (element.textContent !== String(text)) {
    element.textContent = text;
  }
}

export function setValue(field, text) {
  if (field.value !== text) {
    field.value = text;
  }
}

// Shows a fault beside a field, or nothing.
export function setFault(field, place, text) {
  setText(place, text);
  if (text) {
    field.setAttribute("aria-invalid", "true");
  } else {
    field.removeAttribute("aria-invalid");
  }
}

export function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  element.append(text);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  return element;
}

// Returns a function that draws only if what it draws from is not what it was.
export function part(select, draw) {
  let before = null;
  return (state) => {
    const seen = select(state);
    if (before === null || seen.some((value, i) => value !== before[i])) {
      before = seen;
      draw(state, ...seen);
    }
  };
}

// Shows a picture in its frame: of an address that is none, or does not load, a placeholder.
export function showPicture(frame, address) {
  const image = frame.querySelector("img");
  const source = address.trim();
  if (frame.dataset.source === source) {
    return;
  }
  frame.dataset.source = source;
  frame.dataset.state = source ? "loading" : "empty";
  image.hidden = !source;
  if (source) {
    image.src = address;
  } else {
    image.removeAttribute("src");
  }
}

function settle(state) {
  return ({ target }) => {
    const frame = target.closest?.(".picture");
    if (frame) {
      frame.dataset.state = state;
      frame.title = state === "missing" ? "The picture cannot be loaded" : "";
      target.hidden = state === "missing";
    }
  };
}

// These events do not bubble, but they can be caught on their way down.
document.addEventListener("load", settle("ready"), true);
document.addEventListener("error", settle("missing"), true);
