"""Cursors of the feed: an opaque place in the changes of one database."""

import re
from itertools import accumulate, pairwise
from typing import NamedTuple

from service.http import opaque

CONTEXT = "changes"
MAX_NUMBER = 2**63 - 1
# The text of a pg_snapshot: xmin:xmax:xip,xip
NUMBER = re.compile("[0-9]+")


class Cursor(NamedTuple):
    """A place in the feed.

    A mark is a moment of the database, as the text of a ``pg_snapshot``. The feed reads what was
    committed between two marks, in as many pages as it takes.
    """

    identity: str
    """The record of changes that the other members are about."""
    floor: int
    """The last change that came with a restored backup: its transaction is another server's."""
    since: str
    """The mark before the changes to read."""
    until: str | None = None
    """The mark after them; None if it is to be the present one."""
    after: int | None = None
    """The last change that was read of those between the marks."""

    def encode(self) -> str:
        """Return the opaque text."""
        until = self.until and _numbers(self.until)
        values = [self.identity, self.floor, _numbers(self.since), until, self.after]
        return opaque.encode(values, CONTEXT)


def decode(text: str) -> Cursor:
    """Return the cursor of an opaque text; raises ``ValueError`` if it is damaged."""
    try:
        identity, floor, since, until, after = opaque.decode(text, CONTEXT)
        until_mark = None if until is None else _mark(until)
        cursor = Cursor(str(identity), int(floor), _mark(since), until_mark, after and int(after))
    except TypeError:
        raise ValueError("damaged") from None
    if not all(0 <= number <= MAX_NUMBER for number in (cursor.floor, cursor.after or 0)):
        raise ValueError("damaged")
    return cursor


def _numbers(mark: str) -> list[int]:
    """Return the numbers of a mark as their differences, which are short."""
    first, last, *running = map(int, NUMBER.findall(mark))
    return [first, last - first, *(b - a for a, b in pairwise([first, *running]))]


def _mark(numbers: list[int]) -> str:
    first, length, *steps = map(int, numbers)
    last = first + length
    running = list(accumulate(steps, initial=first))[1:]
    is_valid = 0 < first <= last <= MAX_NUMBER and all(step >= 0 for step in steps)
    if not is_valid or any(number >= last for number in running):
        raise ValueError("damaged")
    return f"{first}:{last}:{','.join(map(str, running))}"
