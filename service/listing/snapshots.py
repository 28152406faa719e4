"""Snapshots, in memory: the ids of a whole list, in an order that no index has.

Without one, each batch of a stream would sort the whole list again.
"""

import re
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from werkzeug.exceptions import ServiceUnavailable

from service.common.error_handlers import RETRY_AFTER_SECONDS

# The maximum size of all snapshots of a process: each is four bytes per product, until it is read.
MAX_BYTES = 16 * 1024 * 1024
TOO_MANY = "Too many lists that are sorted by several columns are being read; try again later"
ID = re.compile("[0-9]+")

# Appending and removing are atomic.
_sizes: list[int] = []


@contextmanager
def taken(read: Callable[[], str]) -> Iterator[memoryview]:
    """Take a snapshot of the ids that ``read`` returns as text, and hold it.

    Raises ``ServiceUnavailable`` if those that are held have ``MAX_BYTES`` or more.
    """
    if sum(_sizes) >= MAX_BYTES:
        raise ServiceUnavailable(TOO_MANY, retry_after=RETRY_AFTER_SECONDS)
    ids = memoryview(array("i", (int(match[0]) for match in ID.finditer(read()))))
    _sizes.append(ids.nbytes)
    try:
        yield ids
    finally:
        _sizes.remove(ids.nbytes)
