"""The page as a person uses it: by the names of what is on it, with the patience it takes."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import Select, WebDriverWait

PATIENCE_SECONDS = 20
POLL_SECONDS = 0.05
LAST_TYPEABLE = "\uffff"
MOST_TYPED = 100

SEEN = (
    "Array.from(document.querySelectorAll(arguments[0]))"
    ".filter(it => it.checkVisibility({ visibilityProperty: true }))"
)
AMOUNT = re.compile(r"(\d+) (letter|blank)s?")
CHARACTERS = {"letter": "x", "blank": " "}

FIELDS = {
    "Id": "#product_id",
    "Name": "#product_name",
    "Picture": "#product_img_url",
    "Description": "#product_description",
    "Price": "#product_price",
    "Rating": "#product_rating",
    "Category": "#product_category",
    "Status": "#product_status",
    "category filter": "#filter_category",
    "status filter": "#filter_status",
    "lowest price": "#filter_min_price",
    "highest price": "#filter_max_price",
    "page size": "#page_size",
    "order": "#sort_by",
    "lowest rating": "#filter_min_rating",
    "new status": "#bulk_status",
    "new category": "#bulk_category",
    "direction": "#bulk_direction",
    "by": "#bulk_by",
    "unit": "#bulk_unit",
    "ending": "#bulk_ending",
    "value in the row": "#search_results form :is(input, select)",
    "name of the view": "#view_name",
    "token": "#api_token",
    "cells": "#import_cells",
    "file origin": "#import_charset",
    "found by": "#import_match",
}
SEARCH = "#search_text"
# Where a name has several places, it is the one that can be seen.
BUTTONS = {
    "New": "#new-btn",
    "Save": "#save-btn",
    "Delete": "#delete-btn",
    "Clear": "#clear-btn",
    "Close": "#close-btn",
    "Bring back": "#restore-btn",
    "Search": "#search-btn",
    "Reset": "#reset-btn",
    "Show all": "#notice-reset-btn",
    "Filters": "#filters > summary",
    "First page": "#first-btn",
    "Previous page": "#prev-btn",
    "Next page": "#next-btn",
    "Yes": "#confirm-btn",
    "No": "#cancel-btn",
    "Undo": "#undo-btn, #bulk-undo-btn",
    "Delete now": "#delete-now-btn",
    "Try again": "#reload-btn, #list-retry-btn, #retry-btn",
    "Save and new": "#save-new-btn",
    "Duplicate": "#duplicate-btn",
    "Details": "#details-btn",
    "Token": "#token-change-btn",
    "Forget token": "#token-forget-btn",
    "Save my choice": "#conflict-save-btn",
    "Let it be": "#conflict-cancel-btn",
    "Use token": "#token-btn",
    "Select all": "#select_all",
    "Set status": "#bulk-status-btn",
    "Set category": "#bulk-category-btn",
    "Set price": "#bulk-price-btn",
    "Apply": "#bulk-apply-btn",
    "Select all that match": "#select-matching-btn",
    "Categories": "#category_menu > summary",
    "Saved views": "#views_menu > summary",
    "Save this view": "#save-view-btn",
    "Close picture": "#picture-close-btn",
    "Delete selected": "#bulk-delete-btn",
    "Close summary": "#summary-close-btn",
    "Export": "#export_menu > summary",
    "Import…": "#import-btn",
    "Use these cells": "#import-cells-btn",
    "Show what would change": "#import-plan-btn",
    "Carry out": "#import-apply-btn",
    "Columns…": "#import-columns-btn",
    "Another file…": "#import-back-btn",
    "Close import": "#import-close-btn",
    "Try the import again": "#import-retry-btn",
    "Change these products instead": "#import-match-btn",
    "Leave out": "#import_skip",
    "Download the faulty rows": "#import-download-btn",
    "Product tab": "#product-tab",
    "History": "#history-tab",
    "Show older changes": "#history-more-btn",
    "Try the history again": "#history-retry-btn",
    "Deleted…": "#deleted-btn",
    "Show older deletions": "#deleted-more-btn",
    "Try the deletions again": "#deleted-retry-btn",
    "Close deleted": "#deleted-close-btn",
    "Show new products": "#arrived-btn",
    "Undo this request": "#history_entries [data-action='undo']",
    "Undo this import…": "#import-undo-btn",
    "Set back": "#undo-apply-btn",
    "Cancel undoing": "#undo-close-btn",
    "Try undoing again": "#undo-retry-btn",
}

# Where no page was opened there is nothing to forget.
FORGET = "try { sessionStorage.clear(); localStorage.clear() } catch { }"

T = TypeVar("T")


def is_usable(element: WebElement) -> bool:
    """Say whether a button does something when it is pressed."""
    return element.is_enabled() and element.get_attribute("aria-disabled") != "true"


class Page:
    """One person's page; what is searched for has ``word`` in it, and so is of the scenario."""

    def __init__(self, driver: WebDriver, url: str, word: str) -> None:
        """Take the browser, the service and the word."""
        self.driver = driver
        self._url = url
        self.word = word

    def open(self, **view: str) -> None:
        """Open the catalogue."""
        oldest_first = {"sort": "id"}
        self.driver.get(f"{self._url}/?{urlencode({'q': self.word, **oldest_first, **view})}")

    def open_plain(self) -> None:
        """Open the catalogue as somebody does who has no address but its first one."""
        self.driver.get(f"{self._url}/?{urlencode({'q': self.word})}")

    def leave(self) -> None:
        """Leave the page, whatever it asks."""
        self._run("location.assign('about:blank')")
        with suppress(TimeoutException):
            WebDriverWait(self.driver, 1).until(expected_conditions.alert_is_present()).accept()

    def open_again(self) -> None:
        """Open what is in the address bar in a window of its own."""
        address = self.driver.current_url
        self.driver.switch_to.new_window("tab")
        self.driver.get(address)

    def hide(self) -> None:
        """Look at another tab: the page is hidden."""
        self._own = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")

    def show(self) -> None:
        """Close that tab: the page is visible again."""
        self.driver.close()
        self.driver.switch_to.window(self._own)

    def top_of(self, selector: str) -> float:
        """Return how far from the top of the window this is."""
        place = "return document.querySelector(arguments[0]).getBoundingClientRect().top"
        return float(self._run(place, selector))

    def close(self) -> None:
        """Leave the page and what it remembers; of its windows one stays."""
        first, *others = self.driver.window_handles
        for window in others:
            self.driver.switch_to.window(window)
            self.driver.close()
        self.driver.switch_to.window(first)
        self._run(FORGET)
        self.driver.get("about:blank")

    # Waiting

    def wait(self, condition: Callable[[], T | None], what: str) -> T:
        """Return what ``condition`` gives as soon as it is something."""
        patience = WebDriverWait(
            self.driver, PATIENCE_SECONDS, POLL_SECONDS, [StaleElementReferenceException]
        )
        return cast(T, patience.until(lambda _: condition(), what))

    def expect(self, actual: Callable[[], object], expected: object, what: str) -> None:
        """Wait until what is seen is what is expected; raise ``AssertionError`` if it never is."""
        seen: list[object] = [None]

        def as_expected() -> bool:
            seen[0] = actual()
            return seen[0] == expected

        try:
            self.wait(as_expected, what)
        except TimeoutException:
            raise AssertionError(f"{what}: expected {expected!r}, saw {seen[0]!r}") from None

    def expect_within(self, actual: Callable[[], str], words: str, what: str) -> None:
        """Wait until these words are in what is seen."""
        self.expect(lambda: words if words in actual() else actual(), words, what)

    # Seeing

    def all(self, selector: str) -> list[WebElement]:
        """Return every element of this selector that can be seen."""
        found: list[WebElement] = self._run(f"return {SEEN}", selector)
        return found

    def one(self, selector: str) -> WebElement:
        """Return the first element of this selector as soon as it can be seen."""
        return self.wait(lambda: next(iter(self.all(selector)), None), f"{selector} is seen")

    def text(self, selector: str) -> str:
        """Return the text that can be seen there now; nothing where there is no such place."""
        return str(self._run(f"return {SEEN}.map(it => it.innerText.trim()).join(' ')", selector))

    def value(self, field: str) -> str:
        """Return what is in a field: of a select, the words that are chosen."""
        element = self.one(FIELDS[field])
        if element.tag_name == "select":
            return Select(element).first_selected_option.text
        return str(element.get_property("value"))

    def values(self, fields: Iterable[str]) -> dict[str, str]:
        """Return what is in these fields."""
        return {field: self.value(field) for field in fields}

    def rows(self) -> list[dict[str, str]] | None:
        """Return the rows of the list, cell by cell; None while it is not all there."""
        rows: list[dict[str, str]] | None = self._run(
            """
            const list = document.getElementById("search_results");
            if (!["ready", "empty"].includes(list?.dataset.state)) return null;
            return Array.from(list.querySelectorAll("tr[data-id]"), row => Object.fromEntries(
              Array.from(row.querySelectorAll("[data-member]"), cell => [
                cell.dataset.member, (cell.querySelector("a, button") ?? cell).innerText.trim()])));
            """
        )
        return rows

    def state(self) -> str:
        """Return what the list is about: ready, empty, loading or failed."""
        return str(self._run("return document.getElementById('search_results').dataset.state"))

    def names(self) -> list[str] | None:
        """Return the names in the list, from top to bottom."""
        rows = self.rows()
        return None if rows is None else [row["name"] for row in rows]

    def focused(self, selector: str) -> bool:
        """Say whether the focus is there."""
        return bool(self._run("return document.activeElement.matches(arguments[0])", selector))

    def is_before_focus(self, selector: str) -> bool:
        """Say whether this comes before what has the focus."""
        return bool(
            self._run(
                """
                const place = document.querySelector(arguments[0]);
                const position = document.activeElement.compareDocumentPosition(place);
                return Boolean(position & Node.DOCUMENT_POSITION_PRECEDING);
                """,
                selector,
            )
        )

    def focus_is_seen(self) -> bool:
        """Say whether one can see where the focus is."""
        return bool(
            self._run(
                """
                const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
                return document.activeElement === document.body
                  || (outlineStyle !== "none" && parseFloat(outlineWidth) > 0);
                """
            )
        )

    def focus(self) -> str:
        """Return the tag that has the focus, for a message."""
        return str(self._run("return document.activeElement.cloneNode().outerHTML"))

    def warns_before_leaving(self) -> bool:
        """Say whether the browser would ask before it leaves the page."""
        event = "new Event('beforeunload', {cancelable: true})"
        return not self._run(f"return window.dispatchEvent({event})")

    # Doing

    def search_alone(self, text: str) -> None:
        """Type into the search box what finds products of all scenarios."""
        self._fill(SEARCH, text)

    def search(self, text: str) -> None:
        """Type into the search box."""
        self._fill(SEARCH, f"{text} {self.word}")

    def set(self, field: str, value: str) -> None:
        """Fill in a field, or choose in a select."""
        element = self.one(FIELDS[field])
        if element.tag_name == "select":
            Select(element).select_by_visible_text(value)
        else:
            self._fill(FIELDS[field], value)

    def typed(self, field: str, value: str) -> str:
        """Return what is typed where a scenario has ``value``, such as "3 blanks"."""
        amount = AMOUNT.fullmatch(value)
        text = int(amount[1]) * CHARACTERS[amount[2]] if amount else value
        return f"{text} {self.word}".strip() if field == "Description" else text

    def press(self, button: str) -> None:
        """Press a button as soon as it can be pressed."""
        self.click(BUTTONS[button])

    def click(self, selector: str) -> None:
        """Click the first element of this selector that can be seen and used."""

        def clicked() -> bool:
            usable = (element for element in self.all(selector) if is_usable(element))
            element = next(usable, None)
            if element:
                element.click()
            return element is not None

        self.wait(clicked, f"{selector} can be clicked")

    def row(self, name: str) -> str:
        """Return the selector of the row of the product of this name."""
        rows = self.wait(
            lambda: [row for row in self.rows() or [] if row["name"] == name], f"{name} is listed"
        )
        return f"#search_results tr[data-id='{rows[0]['id']}']"

    def settle_editor(self) -> None:
        """Wait until the editor takes what is typed."""
        self.one("#editor[data-state='ready']")

    def press_key(self, key: str) -> None:
        """Press a key of this name, wherever the focus is."""
        self._press(getattr(Keys, key.upper()))

    def step_focus(self, *, backwards: bool) -> None:
        """Press Tab, with Shift to go backwards."""
        keys = ActionChains(self.driver)
        if backwards:
            keys.key_down(Keys.SHIFT)
        keys.send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()

    def type_over(self, text: str) -> None:
        """Type in place of what is there, wherever the focus is."""
        self._run("document.activeElement.select()")
        self._press(text)

    def _fill(self, selector: str, text: str) -> None:
        """Type a text in place of another; what is long, or no key types, is pasted."""
        element = self.one(selector)
        self._run("arguments[0].focus(); arguments[0].select()", element)
        if len(text) > MOST_TYPED or max(text, default="") > LAST_TYPEABLE or "\t" in text:
            self._run("document.execCommand('insertText', false, arguments[0])", text)
        else:
            self._press(text or Keys.DELETE)

    def _press(self, keys: str) -> None:
        ActionChains(self.driver).send_keys(keys).perform()

    def _run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)
