"""Lists of products: a page with its Link header (RFC 8288), or a stream of the whole list."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate
from typing import Any

from service.database import execute
from service.listing import cursor, statements
from service.listing.cursor import Key, Position
from service.listing.statements import Filter

DECODER = json.JSONDecoder(parse_float=Decimal)
FIRST_BATCH = 100
MAX_BATCH = 1_000
# The size of a piece, which a stream holds in memory while its client does not read.
PIECE_BYTES = 256 * 1024
BY_ID: tuple[Key, ...] = (("id", False),)


@dataclass(frozen=True)
class Listing:
    """The result of a list query: its filter, sort order and page."""

    filter: Filter
    values: Mapping[str, Any]
    sort: tuple[Key, ...] = BY_ID
    after: Position | None = None
    limit: int | None = None
    offset: int | None = None
    is_counted: bool = False
    query: str = ""
    """The query string without ``offset`` and ``cursor``."""

    def count(self) -> int:
        """Return the number of products that match the filter, on all pages."""
        return int(execute(statements.count(self.filter), self.values)[0][0])

    def rows(self, limit: int, offset: int = 0) -> list[str]:
        """Return at most ``limit`` products after the position as JSON, skipping ``offset``."""
        nulls = tuple(value is None for value in self.after) if self.after else None
        position = {f"after_{i}": value for i, value in enumerate(self.after or ())}
        statement = statements.rows(self.filter, self.sort, nulls, bool(offset))
        values = {**self.values, **position, "limit": limit, "offset": offset}
        return [row[0] for row in execute(statement, values)]

    def stream(self) -> Iterator[bytes]:
        """Return the pieces of a JSON array of all products; the first piece is fetched before."""
        pieces = self._pieces()
        return _from(next(pieces), pieces)

    def _pieces(self) -> Iterator[bytes]:
        """Yield pieces of about ``PIECE_BYTES``; rows that exceed a piece are fetched again.

        Between two pieces, neither rows nor a connection are held.
        """
        listing, size, start = self, FIRST_BATCH, b"["
        while rows := listing.rows(size):
            batch = [row.encode() for row in rows]
            ends = list(accumulate(map(len, batch)))
            count = max(bisect_right(ends, PIECE_BYTES), 1)
            is_end = count == len(rows) < size
            listing = replace(self, after=_position(rows[count - 1], self.sort))
            size = min(max(count * PIECE_BYTES // ends[count - 1], 1), MAX_BATCH)
            batch[0] = start + batch[0]
            piece, start = b",".join(batch[:count]), b","
            del rows, batch
            yield piece
            if is_end:
                break
        yield b"]" if start == b"," else b"[]"

    def page(self, limit: int, address: str) -> tuple[str, str]:
        """Return a page as a JSON array, and its Link header; ``address`` is the list's URL."""
        rows = self.rows(limit + 1, self.offset or 0)
        has_more = len(rows) > limit
        if has_more:
            rows.pop()
        return "[" + ",".join(rows) + "]", self._links(
            limit, address, rows[-1] if has_more else None
        )

    def _links(self, limit: int, address: str, last: str | None) -> str:
        """Return the Link header; ``last`` is the last product, or None without a next page."""
        links = {}
        if last:
            links["next"] = f"&cursor={cursor.encode(_position(last, self.sort), self.sort)}"
        links["first"] = "" if self.offset is None else "&offset=0"
        if self.offset:
            links["prev"] = f"&offset={max(self.offset - limit, 0)}"
        return ", ".join(
            f'<{address}?{self.query}{place}>; rel="{rel}"' for rel, place in links.items()
        )


def _position(row: str, sort: tuple[Key, ...]) -> Position:
    product = DECODER.decode(row)
    return tuple(product[name] for name, _ in sort)


def _from(piece: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield ``piece``, then the others; hold no reference to one that was yielded."""
    yield piece
    for piece in pieces:  # noqa: PLR1704  # drops the reference to the first one
        yield piece
