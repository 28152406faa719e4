"""A reader that keeps a copy of the catalogue by the feed of changes."""

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

CHANGES = "/products/changes"
# Asks for a path; returns the JSON of the answer and the header Link, or raises an exception.
Ask = Callable[[str], tuple[Any, str]]


def following(link: str) -> str:
    """Return the path and the query of the next page."""
    found = re.search(r'<https?://[^/]+(/[^>]*)>; rel="next"', link)
    assert found, link
    return found[1]


class Follower:
    """A copy of the catalogue, and the place up to which it is true."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        _, link = ask(CHANGES)
        self.place = following(link)
        products, _ = ask("/products")
        self.copy: dict[int, Any] = {product["id"]: product for product in products}
        self.save()

    def save(self) -> None:
        """Keep the copy and the place, for when it is killed."""
        self._saved = (self.place, deepcopy(self.copy))

    def kill(self) -> None:
        """Go on with what was saved."""
        self.place, self.copy = self._saved[0], deepcopy(self._saved[1])

    def read(self, limit: int = 100) -> int:
        """Read a page; return how many products it had."""
        place = re.sub("&limit=[0-9]+", "", self.place)
        changes, link = self._ask(f"{place}&limit={limit}")
        for change in changes:
            if change["product"] is None:
                self.copy.pop(change["id"], None)
            else:
                self.copy[change["id"]] = change["product"]
        self.place = following(link)
        return len(changes)

    def catch_up(self, limit: int = 100) -> None:
        """Read all that there is now."""
        while self.read(limit):
            pass
