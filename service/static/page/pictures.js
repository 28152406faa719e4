// Pictures of products lie on other hosts: one that does not load leaves a quiet placeholder.

// Shows a picture in its frame, with the placeholder until it is there.
export function showPicture(frame, address) {
  const image = frame.querySelector("img");
  frame.dataset.state = address.trim() ? "loading" : "empty";
  image.hidden = !address.trim();
  if (address.trim()) {
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
      target.hidden = state === "missing";
    }
  };
}

// These events do not bubble, but they can be caught on their way down.
document.addEventListener("load", settle("ready"), true);
document.addEventListener("error", settle("missing"), true);
