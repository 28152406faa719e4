"""Cursors of the feed: how far a client has read the changes of one database."""

import re
from itertools import accumulate, pairwise
from typing import NamedTuple

from service.http import opaque

CONTEXT = "changes"
MAX_NUMBER = 2**63 - 1
NUMBER = re.compile("[0-9]+")


class Mark(NamedTuple):
    """A moment of the database."""

    snapshot: str
    """The transactions that had been committed, as PostgreSQL writes them: xmin:xmax:xip,xip."""
    seq: int
    """The greatest number of a change that they made."""

    def numbers(self) -> list[int]:
        """Return the numbers of the mark; those of the snapshot as their differences."""
        first, last, *running = map(int, NUMBER.findall(self.snapshot))
        steps = (b - a for a, b in pairwise([first, *running]))
        return [self.seq, first, last - first, *steps]


class Cursor(NamedTuple):
    """How far a client has read what was committed between two marks, in one or more pages."""

    identity: str
    """The record of changes that the other members are about."""
    floor: int
    """The last change that came with a restored backup: its transaction is another server's."""
    since: Mark
    until: Mark | None = None
    """None if it is to be the moment of the next page."""
    after: int | None = None
    """The last change that was read of those between the marks."""

    def encode(self) -> str:
        """Return the opaque text."""
        until = self.until and self.until.numbers()
        values = [self.identity, self.floor, self.since.numbers(), until, self.after]
        return opaque.encode(values, CONTEXT)


def decode(text: str) -> Cursor:
    """Return the cursor of an opaque text; raises ``ValueError`` if it is damaged."""
    try:
        identity, floor, since, until, after = opaque.decode(text, CONTEXT)
        until_mark = None if until is None else _mark(until)
        last = None if after is None else checked_number(after)
        return Cursor(str(identity), checked_number(floor), _mark(since), until_mark, last)
    except TypeError:
        raise ValueError("damaged") from None


def _mark(numbers: list[int]) -> Mark:
    seq, first, length, *steps = map(checked_number, numbers)
    running = list(accumulate(steps, initial=first))[1:]
    last = checked_number(first + length)
    if first == 0 or any(transaction >= last for transaction in running):
        raise ValueError("damaged")
    return Mark(f"{first}:{last}:{','.join(map(str, running))}", seq)


def checked_number(value: int) -> int:
    """Return the number if it may be that of a change; raises ``ValueError`` or ``TypeError``."""
    if not 0 <= value <= MAX_NUMBER:
        raise ValueError("damaged")
    return int(value)
