"""Lists of products: a page with its Link header (RFC 8288), or a stream of the whole list."""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate
from typing import Any, NamedTuple

from service.common.error_handlers import InvalidRequest
from service.database import Recipe, execute
from service.listing import cursor, snapshots, statements
from service.listing.cursor import Key, Position
from service.listing.statements import Filter

DECODER = json.JSONDecoder(parse_float=Decimal)
FIRST_BATCH = 100
MAX_BATCH = 1_000
# The size of a piece, which a stream holds in memory while its client does not read.
PIECE_BYTES = 256 * 1024
# The products in order at which a search looks before it finds all matches: at 1,000,000 products,
# the first take 0.5 ms by id and 1 ms by name, the most 15 and 40. A batch of a stream, which is
# followed by others, looks at up to 100 for each row.
FIRST_NEAR = 1_000
MAX_NEAR = 30_000
NEAR_PER_ROW = 100
# An estimated count counts up to this number.
MAX_COUNTED = 1_000
# The sample of an estimate: runs of ids, which begin at multiples of the golden ratio. These are
# spread evenly, but share no period with the products, such as that of four colours. A run costs
# hardly more than its first id. Of one in a hundred products, the sample has about 20.
RUNS = 200
RUN_LENGTH = 10
GOLDEN_RATIO = (5**0.5 - 1) / 2
# With so many of the sample, and an estimate so far above ``MAX_COUNTED``, nothing is counted.
CERTAIN = 10
CERTAINLY_ABOVE = 5
ESTIMATED_DIGITS = 2
BY_ID: tuple[Key, ...] = (("id", False),)
# A proxy such as nginx takes 4 KiB for the whole head of a response.
MAX_LINK_BYTES = 3 * 1024
TOO_LONG = f"must be shorter: with limit, the links to other pages exceed {MAX_LINK_BYTES} bytes"


class Total(NamedTuple):
    """How many products match, on all pages."""

    number: int
    is_exact: bool = True


class Page(NamedTuple):
    """A page of a list."""

    body: str
    """A JSON array."""
    link: str
    """The header ``Link``."""
    total: Total | None
    """How many products match, if all are on the page."""


@dataclass(frozen=True)
class Listing:
    """A parsed list query, which can be executed: its filter, sort order and page."""

    filter: Filter
    values: Mapping[str, Any]
    sort: tuple[Key, ...] = BY_ID
    after: Position | None = None
    ids: Sequence[int] | None = None
    """The ids of the products that remain, if a snapshot has been taken."""
    limit: int | None = None
    offset: int | None = None
    is_counted: bool = False
    is_estimated: bool = False
    """Whether the count of more than ``MAX_COUNTED`` products is an estimate."""
    query: str = ""
    """The query string without ``offset`` and ``cursor``."""

    def count(self) -> int:
        """Return the number of products that match the filter, on all pages."""
        return int(execute(Recipe(statements.count, (self.filter,)), self.values)[0][0])

    def counted(self) -> Total:
        """Return the number of matching products, or an estimate if that is wanted."""
        return self._estimate() if self.is_estimated else Total(self.count())

    def _estimate(self) -> Total:
        """Count up to ``MAX_COUNTED`` products, and estimate the number of more."""
        estimate, is_certain = self._sampled()
        if not is_certain:
            statement = Recipe(statements.count_up_to, (self.filter,))
            counted = execute(statement, {**self.values, "most": MAX_COUNTED + 1})[0][0]
            if counted <= MAX_COUNTED:
                return Total(counted)
            estimate = max(estimate, counted)
        return Total(estimate, is_exact=False)

    def _sampled(self) -> tuple[int, bool]:
        """Return about how many products match, and whether they certainly need no count."""
        highest = execute(Recipe(statements.highest_id, ()))[0][0] or 0
        starts = [int(number * GOLDEN_RATIO % 1 * highest) + 1 for number in range(RUNS)]
        ids = {min(start + i, highest) for start in starts for i in range(RUN_LENGTH)}
        sample = Recipe(statements.count_among, (self.filter,))
        found = execute(sample, {**self.values, statements.LISTED: [*ids]})[0][0]
        estimate = int(float(f"{found * highest / len(ids):.{ESTIMATED_DIGITS}g}"))
        return estimate, found >= CERTAIN and estimate >= CERTAINLY_ABOVE * MAX_COUNTED

    def rows(self, limit: int, offset: int = 0) -> list[str]:
        """Return at most ``limit`` products after the position as JSON, skipping ``offset``."""
        nulls = tuple(value is None for value in self.after) if self.after else None
        position = {f"after_{i}": value for i, value in enumerate(self.after or ())}
        values = {**self.values, **position, "limit": limit, "offset": offset}
        if statements.is_searched(self.filter) and statements.is_indexed(self.sort) and not offset:
            return self._search(nulls, values, limit)
        statement = Recipe(statements.rows, (self.filter, self.sort, nulls, bool(offset)))
        return [row[0] for row in execute(statement, values)]

    def _search(
        self, nulls: tuple[bool, ...] | None, values: dict[str, Any], limit: int
    ) -> list[str]:
        """Return the rows of a search: among the next products in order, or among all matches.

        The former takes long if there are few matches, and the latter if there are many. How many
        of the next products match says how far to look for the others.
        """
        place = (self.filter, self.sort, nulls)
        near, most = FIRST_NEAR, max(MAX_NEAR, NEAR_PER_ROW * limit)
        while near <= most:
            rows = execute(Recipe(statements.rows_among_next, place), values | {"near": near})
            if len(rows) >= limit:
                break
            near = near * limit // len(rows) * 2 if rows else most + 1
        else:
            rows = execute(Recipe(statements.rows_among_matches, place), values)
        return [row[0] for row in rows]

    def stream(self) -> Iterator[bytes]:
        """Return the pieces of a JSON array of all products; see ``fetched``."""
        return fetched(self._array())

    def _array(self) -> Iterator[bytes]:
        start = b"["

        def render(rows: list[bytes]) -> bytes:
            nonlocal start
            rows[0] = start + rows[0]
            start = b","
            return b",".join(rows)

        yield from self.pieces(render)
        yield b"]" if start == b"," else b"[]"

    def pieces(self, render: Callable[[list[bytes]], bytes]) -> Iterator[bytes]:
        """Yield what ``render`` returns for all products, in pieces of about ``PIECE_BYTES``.

        Rows that exceed a piece are fetched again. Between two pieces, neither rows nor a
        connection are held, but a snapshot is, if no index has the order.
        """
        if statements.is_indexed(self.sort):
            yield from _pieces(self, render)
            return
        statement = Recipe(statements.sorted_ids, (self.filter, self.sort))
        with snapshots.taken(lambda: execute(statement, self.values)[0][0] or "") as ids:
            yield from _pieces(replace(self, ids=ids), render)

    def batch(self, size: int) -> list[str]:
        """Return the next rows; in a snapshot, "" stands for a product that no longer matches."""
        if self.ids is None:
            return self.rows(size)
        wanted = list(self.ids[:size])
        values = {**self.values, statements.LISTED: wanted}
        rows = execute(Recipe(statements.listed, (self.filter,)), values)
        found: dict[int, str] = {row[0]: row[1] for row in rows}
        return [found.get(product_id, "") for product_id in wanted]

    def rest(self, rows: list[str]) -> "Listing":
        """Return the listing of what comes after these rows."""
        if self.ids is None:
            return replace(self, after=_position(rows[-1], self.sort))
        return replace(self, ids=self.ids[len(rows) :])

    def page(self, limit: int, address: str) -> Page:
        """Return a page; ``address`` is the list's URL."""
        rows = self.rows(limit + 1, self.offset or 0)
        has_more = len(rows) > limit
        if has_more:
            rows.pop()
        is_whole = not (has_more or self.after or self.offset)
        return Page(
            "[" + ",".join(rows) + "]",
            self._links(limit, address, rows[-1] if has_more else None),
            Total(len(rows)) if is_whole else None,
        )

    def _links(self, limit: int, address: str, last: str | None) -> str:
        """Return the Link header; ``last`` is the last product, or None without a next page.

        Raises ``InvalidRequest`` if it would exceed ``MAX_LINK_BYTES``.
        """
        links = {}
        if last:
            links["next"] = f"&cursor={cursor.encode(_position(last, self.sort), self.sort)}"
        links["first"] = "" if self.offset is None else "&offset=0"
        if self.offset:
            links["prev"] = f"&offset={max(self.offset - limit, 0)}"
        link = ", ".join(
            f'<{address}?{self.query}{place}>; rel="{rel}"' for rel, place in links.items()
        )
        if len(link) > MAX_LINK_BYTES:
            raise InvalidRequest([{"parameter": "query", "detail": TOO_LONG}])
        return link


def _pieces(listing: Listing, render: Callable[[list[bytes]], bytes]) -> Iterator[bytes]:
    size = FIRST_BATCH
    while rows := listing.batch(size):
        batch = [row.encode() for row in rows]
        ends = list(accumulate(map(len, batch)))
        count = max(bisect_right(ends, PIECE_BYTES), 1)
        is_end = count == len(rows) < size
        listing = listing.rest(rows[:count])
        size = min(max(count * PIECE_BYTES // max(ends[count - 1], 1), 1), MAX_BATCH)
        found = [row for row in batch[:count] if row]
        piece = render(found) if found else b""
        del rows, batch, found
        yield piece
        if is_end:
            break


def _position(row: str, sort: tuple[Key, ...]) -> Position:
    product = DECODER.decode(row)
    return tuple(product[name] for name, _ in sort)


def fetched(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Return the same pieces; fetch the first one now, so that its error can still be answered."""
    return _from(next(pieces, b""), pieces)


def _from(piece: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield ``piece``, then the others; hold no reference to one that was yielded."""
    yield piece
    for piece in pieces:  # noqa: PLR1704  # drops the reference to the first one
        yield piece
