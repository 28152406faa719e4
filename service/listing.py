"""A list query becomes SQL, a page with its Link header, or a stream."""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from itertools import accumulate
from typing import Any
from urllib.parse import quote, unquote
from zlib import crc32

from flask import Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    func,
    select,
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from service.common.database import read
from service.common.error_handlers import InvalidRequest
from service.common.json_body import number
from service.models import SEARCHED, ProductJSON, catalogue, like, product_json
from service.schemas import NEEDS_LIMIT, ListQuery, Product, query_parameters

CENT = Decimal("0.01")
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
DECODER = json.JSONDecoder(parse_float=Decimal)
LIKE_SPECIAL = re.compile(r"[%_\\]")
FIRST_BATCH = 100
MAX_BATCH = 1_000
# A stream holds this much of its list while its client does not read.
BATCH_BYTES = 256 * 1024

# A column to sort by, and whether it descends.
Key = tuple[str, bool]
# What the last product so far has in the columns to sort by.
Place = tuple[Any, ...]

BY_ID: tuple[Key, ...] = (("id", False),)
PLACE_TYPES = {
    name: TypeAdapter[Any](Product.__annotations__[name])
    for name in ("id", "name", "price", "rating", "category", "status")
}
Parameters = list[BindParameter[Any]]
CONDITIONS: dict[str, Callable[[Parameters], ColumnElement[bool]]] = {
    "word": lambda words: and_(*(like(SEARCHED, word) for word in words)),
    # A part of the name is a part of what is searched, too, which has the index.
    "name": lambda parts: like(SEARCHED, parts[0]) & like(func.fold(catalogue.c.name), parts[0]),
    "category": lambda categories: func.fold(catalogue.c.category).in_(
        [func.fold(category) for category in categories]
    ),
    "status": catalogue.c.status.in_,
    "lowest": lambda prices: catalogue.c.price >= prices[0],
    "highest": lambda prices: catalogue.c.price <= prices[0],
    "rating": lambda ratings: catalogue.c.rating == ratings[0],
    "min_rating": lambda ratings: catalogue.c.rating >= ratings[0],
    "id": catalogue.c.id.in_,
}


@dataclass(frozen=True)
class Filter:
    """The conditions of a list, each with the number of its values.

    The values are elsewhere: all lists of one filter share a statement.
    """

    counts: tuple[tuple[str, int], ...]

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of every condition."""
        return [
            CONDITIONS[name]([bindparam(f"{name}_{i}") for i in range(count)])
            for name, count in self.counts
        ]


@dataclass(frozen=True)
class Listing:
    """The products that a query asks for, in their order."""

    filter: Filter
    values: Mapping[str, Any]
    sort: tuple[Key, ...] = BY_ID
    after: Place | None = None
    limit: int | None = None
    offset: int | None = None
    is_counted: bool = False
    query: str = ""
    """The query string without what says where in the list to go on."""

    def count(self) -> int:
        """Return how many products match, wherever the page begins."""
        return int(read(_count(self.filter), self.values)[0][0])

    def rows(self, limit: int, offset: int = 0) -> list[str]:
        """Return at most ``limit`` products as JSON, from the place on."""
        nulls = tuple(value is None for value in self.after) if self.after else None
        place = {f"after_{i}": value for i, value in enumerate(self.after or ())}
        statement = _rows(self.filter, self.sort, nulls, bool(offset))
        values = {**self.values, **place, "limit": limit, "offset": offset}
        return [row[0] for row in read(statement, values)]

    def stream(self) -> Iterator[bytes]:
        """Return the JSON array of all products, piece by piece; the first is fetched now."""
        pieces = self._pieces()
        return _from(next(pieces), pieces)

    def _pieces(self) -> Iterator[bytes]:
        """Yield the array in pieces of about ``BATCH_BYTES``; nothing else is kept in between.

        No connection is held either. What a piece has no room for is fetched again.
        """
        listing, size, start = self, FIRST_BATCH, b"["
        while rows := listing.rows(size):
            batch = [row.encode() for row in rows]
            ends = list(accumulate(map(len, batch)))
            count = max(bisect_right(ends, BATCH_BYTES), 1)
            is_end = count == len(rows) < size
            listing = replace(self, after=_place(rows[count - 1], self.sort))
            size = min(max(count * BATCH_BYTES // ends[count - 1], 1), MAX_BATCH)
            batch[0] = start + batch[0]
            piece, start = b",".join(batch[:count]), b","
            del rows, batch
            yield piece
            if is_end:
                break
        yield b"]" if start == b"," else b"[]"

    def page(self, limit: int, address: str) -> tuple[str, str]:
        """Return a page as a JSON array, and its ``Link`` header (RFC 8288) to ``address``."""
        offset = self.offset
        rows = self.rows(limit + 1, offset or 0)
        links = {}
        if len(rows) > limit:
            rows.pop()
            place = _place(rows[-1], self.sort)
            links["next"] = f"&cursor={encode_cursor(place, self.sort)}"
        links["first"] = "" if offset is None else "&offset=0"
        if offset:
            links["prev"] = f"&offset={max(offset - limit, 0)}"
        header = ", ".join(
            f'<{address}?{self.query}{to}>; rel="{rel}"' for rel, to in links.items()
        )
        return "[" + ",".join(rows) + "]", header


@lru_cache(maxsize=256)
def requested(query_string: bytes) -> Listing:
    """Return the listing that a query string asks for; raises ``InvalidRequest``."""
    query, faults = query_parameters(query_string)
    sort = sort_keys(query.get("sort", []))
    after = None
    if "cursor" in query and not any(fault["parameter"] == "sort" for fault in faults):
        after = decode_cursor(query["cursor"], sort)
        if after is None:
            detail = "is damaged, or was made for another sort"
            faults.append({"parameter": "cursor", "detail": detail})
    if faults:
        raise InvalidRequest(faults)
    conditions = _conditions(query)
    return Listing(
        Filter(tuple((name, len(values)) for name, values in conditions.items())),
        {f"{name}_{i}": v for name, values in conditions.items() for i, v in enumerate(values)},
        sort,
        after,
        query.get("limit"),
        query.get("offset"),
        query.get("count", False),
        _without_place(query_string),
    )


def address(request: Request) -> str:
    """Return the absolute address of all products, as this client sees it."""
    path = quote(request.root_path + request.path.rstrip("/"))
    return f"{request.scheme}://{request.host}{path}"


def encode_cursor(place: Place, sort: tuple[Key, ...]) -> str:
    """Write a place so that it is seen when it is damaged or used with another sort."""
    values = [str(value) if isinstance(value, Decimal) else value for value in place]
    text = ENCODER.encode(values).encode()
    checksum = crc32(repr(sort).encode() + text).to_bytes(4)
    return urlsafe_b64encode(checksum + text).rstrip(b"=").decode()


def decode_cursor(cursor: str, sort: tuple[Key, ...]) -> Place | None:
    """Read the place that was encoded; None if it is damaged or none of this sort."""
    try:
        values = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[4:])
        place = tuple(
            PLACE_TYPES[name].validate_python(number(value) if name == "price" else value)
            for (name, _), value in zip(sort, values, strict=True)
        )
        return place if encode_cursor(place, sort) == cursor else None
    except (ValueError, TypeError, ValidationError, RecursionError):
        return None


def _conditions(query: ListQuery) -> dict[str, list[Any]]:
    """Return the values for each of ``CONDITIONS`` that the query asks for."""
    low, high = query.get("price", (None, None))
    lowest = [amount for amount in (low, query.get("min_price")) if amount is not None]
    highest = [amount for amount in (high, query.get("max_price")) if amount is not None]
    conditions: dict[str, list[Any]] = {
        "word": [_part(word) for word in dict.fromkeys(query.get("q", "").split())],
        "name": [_part(query["name"])] if "name" in query else [],
        "category": query.get("category", []),
        "status": query.get("status", []),
        # Prices are whole cents, so are their bounds: then both databases compare them exactly.
        "lowest": [max(lowest).quantize(CENT, ROUND_CEILING)] if lowest else [],
        "highest": [min(highest).quantize(CENT, ROUND_FLOOR)] if highest else [],
        "rating": [query["rating"]] if "rating" in query else [],
        "min_rating": [query["min_rating"]] if "min_rating" in query else [],
        "id": query.get("id", []),
    }
    return {name: values for name, values in conditions.items() if values}


def _part(text: str) -> str:
    """Return the LIKE pattern of a text that has ``text`` somewhere in it."""
    return "%" + LIKE_SPECIAL.sub(r"\\\g<0>", text) + "%"


def sort_keys(keys: list[str]) -> tuple[Key, ...]:
    """Return the keys that matter: the first of each column, up to and with the id."""
    sort: dict[str, bool] = {}
    for key in [*keys, "id"]:
        if "id" not in sort:
            sort.setdefault(key.removeprefix("-"), key.startswith("-"))
    return tuple(sort.items())


def _place(row: str, sort: tuple[Key, ...]) -> Place:
    product = DECODER.decode(row)
    return tuple(product[name] for name, _ in sort)


def _from(piece: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield ``piece`` and the others; none is kept when it has been taken."""
    yield piece
    for piece in pieces:  # noqa: PLR1704  # lets the first one go
        yield piece


def _without_place(query_string: bytes) -> str:
    """Return a query string without what says where in the list to go on."""
    parts = query_string.decode(errors="surrogateescape").split("&")
    kept = [part for part in parts if unquote(part.partition("=")[0]) not in NEEDS_LIMIT]
    return quote("&".join(kept), safe="%&=+,", errors="surrogateescape")


@lru_cache(maxsize=256)
def _count(narrowed: Filter) -> Select[Any]:
    return (
        select(func.count())
        .select_from(catalogue)
        .where(*narrowed.conditions())
        .execution_options(prepare=not narrowed.counts)
    )


@lru_cache(maxsize=256)
def _rows(
    narrowed: Filter, sort: tuple[Key, ...], nulls: tuple[bool, ...] | None, skip: bool
) -> Select[Any]:
    """Return the statement of a page; with ``nulls``, of what comes after a place.

    What comes after is a union of ranges, the nearest first, each of which an index can
    give from its first row on: the products that share all values of the place but the
    last and are beyond it there, those that share all but the last two, and so on.
    """
    # No index has the order of several columns and the id: they are sorted, and only what is in
    # the page is rendered, not what was sorted or skipped.
    is_rendered_last = skip or bool(sort[1:-1])
    columns = [product_json.label("product"), *(catalogue.c[name] for name, _ in sort)]
    branches = [
        select(*(catalogue.c if is_rendered_last else columns))
        .where(*narrowed.conditions(), *beyond)
        .order_by(*_order(catalogue.c, sort))
        .limit(bindparam("limit"))
        for beyond in (_ranges(sort, nulls) if nulls else [[]])
    ]
    rows = branches[0].offset(bindparam("offset")) if skip else branches[0]
    if len(branches) > 1:
        ranges = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
        rows = select(ranges).order_by(*_order(ranges.c, sort)).limit(bindparam("limit"))
    if is_rendered_last:
        page = rows.subquery(catalogue.name)
        statement = select(ProductJSON(*page.c)).order_by(*_order(page.c, sort))
    else:
        statement = rows.with_only_columns(rows.selected_columns.product)
    return statement.execution_options(prepare=not narrowed.counts)


def _ranges(sort: tuple[Key, ...], nulls: tuple[bool, ...]) -> Iterator[list[ColumnElement[bool]]]:
    """Yield the ranges beyond a place; null is beyond every value."""
    columns = [catalogue.c[name] for name, _ in sort]
    for last in reversed(range(len(sort))):
        same = [
            column.is_(None) if nulls[i] else column == bindparam(f"after_{i}")
            for i, column in enumerate(columns[:last])
        ]
        column, (_, descends) = columns[last], sort[last]
        value: BindParameter[Any] = bindparam(f"after_{last}")
        if descends:
            yield [*same, column.is_not(None) if nulls[last] else column < value]
        elif not nulls[last]:
            yield [*same, column > value]
            if column.nullable:
                yield [*same, column.is_(None)]


def _order(
    columns: ReadOnlyColumnCollection[str, Any], sort: tuple[Key, ...]
) -> Iterator[ColumnElement[Any]]:
    for name, descends in sort:
        column, nullable = columns[name], catalogue.c[name].nullable
        if descends:
            yield column.desc().nulls_first() if nullable else column.desc()
        else:
            yield column.asc().nulls_last() if nullable else column.asc()
