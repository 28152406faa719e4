// Theirs beside mine, member by member, when somebody else has saved meanwhile.
import { answered, byId, copyOf } from "./dom.js";
import { MEMBERS, labelOf, textOf } from "./fields.js";

// The members in which two products differ.
export function differing(one, other) {
  return MEMBERS.filter((member) => textOf(member, one[member]) !== textOf(member, other[member]));
}

// Resolves with the product as it was picked, null if it is not to be saved. Of what only one of
// us has changed since `base`, the change is picked to begin with.
export function pick(base, mine, theirs) {
  const members = differing(mine, theirs);
  byId("conflict_members").replaceChildren(
    ...members.map((member) => row(member, base, mine, theirs)),
  );
  return answered(byId("conflict_dialog"), [
    ["conflict_form", "submit", () => picked(members, mine, theirs)],
    ["conflict-cancel-btn", "click", () => null],
    ["conflict_dialog", "cancel", () => null],
  ]);
}

function row(member, base, mine, theirs) {
  const line = copyOf("conflict_template");
  line.dataset.member = member;
  line.querySelector("th span").textContent = labelOf(member);
  const unchanged = textOf(member, base[member]) === textOf(member, mine[member]);
  const both = !unchanged && textOf(member, base[member]) !== textOf(member, theirs[member]);
  line.querySelector("th small").hidden = !both;
  for (const [side, product] of Object.entries({ mine, theirs })) {
    const radio = line.querySelector(`input[value="${side}"]`);
    radio.name = `pick_${member}`;
    radio.checked = (side === "theirs") === unchanged;
    radio.setAttribute("aria-label", `${labelOf(member)}: ${side}`);
    radio.nextElementSibling.textContent = textOf(member, product[member]) || "nothing";
  }
  return line;
}

function picked(members, mine, theirs) {
  const chosen = new FormData(byId("conflict_form"));
  const product = { ...mine };
  for (const member of members) {
    product[member] = { mine, theirs }[chosen.get(`pick_${member}`)][member];
  }
  return product;
}
