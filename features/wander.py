"""Somebody who works at random on a slow network, and what she may rely on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from selenium.webdriver.remote.webelement import WebElement

from features.catalogue import Colleague
from features.network import Network
from features.page import BUTTONS, Page

Values = dict[str, str]
Seen = dict[str, Any]

MEMBERS = {"Price": "price", "Rating": "rating"}
MOST_DELETED = 3
LIKELY = 0.6
# What a person sees, after the page has had time to show it, and all that was told since the last
# time, also what was told for a moment only.
SEE = """
    const done = arguments[0];
    const message = document.getElementById("flash_message");
    if (!window.told) {
      window.told = [message.textContent];
      new MutationObserver(() => window.told.push(message.textContent))
        .observe(message, { childList: true });
    }
    const seen = (id) => document.getElementById(id).checkVisibility();
    const value = (id) => document.getElementById(id).value;
    setTimeout(() => done({
      id: value("product_id"),
      state: document.getElementById("editor").dataset.state,
      Price: value("product_price"),
      Rating: value("product_rating"),
      Name: value("product_name"),
      question: seen("confirm_dialog") ? document.getElementById("confirm_title").textContent : "",
      conflict: seen("conflict_dialog"),
      waits: seen("pending_deletes"),
      message: message.textContent,
      told: window.told.splice(0),
    }), 20);
"""
STEPS = {
    "open": 10,
    "type": 14,
    "save": 12,
    "new": 2,
    "clear": 2,
    "bring back": 2,
    "try again": 3,
    "delete": 2,
    "undo": 3,
    "back": 4,
    "forward": 3,
    "reload": 1,
    "hold": 4,
    "lose": 3,
    "mend": 5,
}


@dataclass
class Save:
    """What had been typed when Save was pressed; ``product`` is an id, or the name of a new one."""

    product: str
    name: str
    values: Values
    is_told: bool = False


@dataclass
class Wanderer:
    """Works at random, and remembers what she meant and what she was told."""

    page: Page
    network: Network
    colleague: Colleague
    random: Random
    typed: Values = field(default_factory=dict)
    """What is in the editor and was not told to be saved."""
    cleared: Values = field(default_factory=dict)
    saves: list[Save] = field(default_factory=list)
    condemned: list[str] = field(default_factory=list)
    """The products whose deletion was confirmed, and not undone."""
    told_deleted: int = 0
    count: int = 0
    log: list[str] = field(default_factory=list)

    def work(self, steps: int) -> None:
        """Do so many steps; after each, what was typed is still there."""
        self._began = {str(each["id"]): each for each in self.colleague.products()}
        for _ in range(steps):
            self._settle()
            (step,) = self.random.choices(list(STEPS), list(STEPS.values()))
            self.log.append(step)
            getattr(self, f"_{step.replace(' ', '_')}")()
            self._settle()

    def finish(self) -> None:
        """Mend the network and wait for all answers."""
        self.network.mend()
        self._press("Undo")
        self.page.wait(lambda: self._settle()["state"] in {"ready", "failed"}, "all is answered")
        self._settle()

    # What she does

    def _open(self) -> None:
        links = self.page.all("#search_results [data-action='edit']")
        if links and not self._see()["question"]:
            self._click(self.random.choice(links))

    def _type(self) -> None:
        if self._see()["state"] not in {"ready", "saving"}:
            return
        label = self.random.choice(list(MEMBERS))
        self.count += 1
        text = f"{self.count}.25" if label == "Price" else str(self.count)
        self.page.set(label, text)
        seen = self._see()
        if seen[label] == text or not (seen["conflict"] or seen["question"]):
            self.typed[label] = text  # else a question came before it

    def _save(self) -> None:
        self._press_save("Save")

    def _try_again(self) -> None:
        if "cannot be reached" in self._see()["message"]:
            self._press_save("Try again")

    def _press_save(self, button: str) -> None:
        seen = self._see()
        if seen["state"] == "ready" and self.typed and seen["Name"]:
            self.saves.append(Save(seen["id"] or seen["Name"], seen["Name"], dict(self.typed)))
            self._press(button)

    def _new(self) -> None:
        self._press("New")
        seen = self._settle()
        if seen["id"] == "" and not self.typed and seen["state"] == "ready" and not seen["Name"]:
            self.count += 1
            self.typed = {"Name": f"New {self.count}", "Price": f"{self.count}.75"}
            others = {"Picture": "/new.svg", "Description": ""}
            for name, value in (self.typed | others).items():
                self.page.set(name, self.page.typed(name, value))

    def _clear(self) -> None:
        self._press("Clear")
        self.cleared, self.typed = self.typed, {}

    def _bring_back(self) -> None:
        if not self.page.all(BUTTONS["Bring back"]) or not self.cleared:
            return
        self._press("Bring back")
        if self._answer(self._see()) is not False:
            self.typed = self.cleared

    def _delete(self) -> None:
        seen = self._see()
        if len(self.condemned) < MOST_DELETED and seen["id"] and seen["state"] == "ready":
            self._press("Delete")

    def _undo(self) -> None:
        if self._see()["waits"]:
            self._press("Undo")
            self.condemned.pop()

    def _back(self) -> None:
        self._run("if (history.state?.index > 0) history.back()")

    def _forward(self) -> None:
        self._run("history.forward()")

    def _reload(self) -> None:
        self.page.driver.refresh()
        self.typed = {}

    def _hold(self) -> None:
        self.network.hold(
            self.random.choice(("saves", "lists", "products", "deletes")), is_once=True
        )

    def _lose(self) -> None:
        self.network.lose(self.random.choice(("updates", "updates", "products")))

    def _mend(self) -> None:
        self.network.mend()

    # What she sees

    def _settle(self) -> Seen:
        """Answer what is asked, hear what is told, and look whether what was typed is there."""
        seen = self._see()
        while seen["question"] or seen["conflict"]:
            self._answer(seen)
            seen = self._see()
        self._listen(seen)
        for label, text in self.typed.items():
            assert seen[label] == text, f"{label} is {seen[label]}, not {text}: {self.log[-20:]}"
        return seen

    def _answer(self, seen: Seen) -> bool | None:
        """Answer a question, if there is one; return whether with yes."""
        if seen["conflict"]:
            self._press("Save my choice")
            return None
        if not seen["question"]:
            return None
        says_yes = self.random.random() < LIKELY
        if says_yes and "Delete" in seen["question"]:
            self.condemned.append(seen["id"])
        self._press("Yes" if says_yes else "No")
        if says_yes:
            self.typed = {}
        return says_yes

    def _listen(self, seen: Seen) -> None:
        self.log += [f"told {text}" for text in seen["told"]]
        for text in seen["told"]:
            if text.endswith(("has been updated", "has been created")):
                self._hear_saved(text)
            elif text == "Product has been deleted":
                self.told_deleted += 1

    def _hear_saved(self, text: str) -> None:
        untold = [save for save in self.saves if not save.is_told]
        named = [save for save in untold if f"“{save.name}”" in text]
        told = named or untold
        if told:
            told[-1].is_told = True
            values = told[-1].values
            self.typed = {name: it for name, it in self.typed.items() if values.get(name) != it}

    def _see(self) -> Seen:
        seen: Seen = self.page.driver.execute_async_script(SEE)
        return seen

    def _press(self, button: str) -> None:
        for element in self.page.all(BUTTONS[button])[:1]:
            self._click(element)

    def _click(self, element: WebElement) -> None:
        self._run("arguments[0].click()", element)

    def _run(self, script: str, *arguments: object) -> None:
        self.page.driver.execute_script(script, *arguments)

    # What must be so in the end

    def faults(self) -> list[str]:
        """Return where the catalogue is not what she meant and was told."""
        stored = self.colleague.products()
        return [
            *(fault for product in stored for fault in self._faults_of(product)),
            *self._faults_of_deletion({str(product["id"]) for product in stored}),
            *self._faults_of_creation([str(product["name"]) for product in stored]),
        ]

    def _faults_of(self, product: dict[str, Any]) -> Iterator[str]:
        key = str(product["id"])
        before = self._began.get(key)
        saves = [it for it in self.saves if it.product in {key, product["name"]}]
        for label, member in MEMBERS.items():
            with_it = [save for save in saves if label in save.values]
            told = [i for i, save in enumerate(with_it) if save.is_told]
            allowed = {float(save.values[label]) for save in with_it[told[-1] if told else 0 :]}
            if not told:
                allowed.add(float(before[member]) if before else 0.0)
            if float(product[member]) not in allowed:
                yield f"{product['name']} has the {member} {product[member]}, not one of {allowed}"

    def _faults_of_deletion(self, stored: set[str]) -> Iterator[str]:
        gone = self._began.keys() - stored
        if gone - set(self.condemned):
            yield f"{gone} were deleted, {self.condemned} was meant"
        if self.told_deleted > len(gone) + len(self.saves):
            yield f"{self.told_deleted} were told to be deleted, {gone} are"

    def _faults_of_creation(self, stored: list[str]) -> Iterator[str]:
        known = {str(product["name"]) for product in self._began.values()}
        created = {save.product for save in self.saves if not save.product.isdigit()}
        for name in created - known:
            times = stored.count(name)
            is_told = any(save.is_told for save in self.saves if save.product == name)
            if times > 1 or (is_told and times == 0):
                yield f"{name} is there {times} times"
