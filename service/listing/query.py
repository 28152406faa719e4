"""Parser of the query string of a list."""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from service.common.error_handlers import InputError, InvalidRequest
from service.database.text import search_key
from service.listing import Listing, cursor
from service.listing.cursor import Key, Position
from service.listing.statements import Filter
from service.schemas import REQUIRES_LIMIT, ListQuery, query_parameters

CENT = Decimal("0.01")
INVALID_CURSOR = "must be a cursor from the Link header of a list with the same sort"
LIKE_SPECIAL = re.compile(r"[%_\\]")


@lru_cache(maxsize=256)
def parse(query_string: bytes) -> Listing:
    """Return the listing of a query string; raises ``InvalidRequest`` with all errors."""
    query, errors = query_parameters(query_string)
    sort = sort_keys(query.get("sort", []))
    after = cursor.decode(query["cursor"], sort) if "cursor" in query else None
    if "cursor" in query and after is None and not _has_error(errors, "sort"):
        errors.append({"parameter": "cursor", "detail": INVALID_CURSOR})
    if errors:
        raise InvalidRequest(errors)
    return _listing(query, sort, after, _without_position(query_string))


def _listing(
    query: ListQuery, sort: tuple[Key, ...], after: Position | None, query_string: str
) -> Listing:
    conditions = _conditions(query)
    return Listing(
        Filter(tuple((name, len(values)) for name, values in conditions.items())),
        {f"{name}_{i}": v for name, values in conditions.items() for i, v in enumerate(values)},
        sort,
        after,
        query.get("limit"),
        query.get("offset"),
        query.get("count", False),
        query_string,
    )


def _has_error(errors: list[InputError], parameter: str) -> bool:
    return any(error["parameter"] == parameter for error in errors)


def _conditions(query: ListQuery) -> dict[str, list[Any]]:
    """Return the values of each condition in ``statements.CONDITIONS`` that the query has."""
    low, high = query.get("price", (None, None))
    lowest = [amount for amount in (low, query.get("min_price")) if amount is not None]
    highest = [amount for amount in (high, query.get("max_price")) if amount is not None]
    conditions: dict[str, list[Any]] = {
        "word": [_pattern(word) for word in dict.fromkeys(search_key(query.get("q", "")).split())],
        "name": [_pattern(search_key(query["name"]))] if "name" in query else [],
        "category": [search_key(category) for category in query.get("category", [])],
        "status": query.get("status", []),
        # Bounds are rounded to cents, so that both databases compare prices exactly.
        "lowest": [max(lowest).quantize(CENT, ROUND_CEILING)] if lowest else [],
        "highest": [min(highest).quantize(CENT, ROUND_FLOOR)] if highest else [],
        "rating": [query["rating"]] if "rating" in query else [],
        "min_rating": [query["min_rating"]] if "min_rating" in query else [],
        "id": query.get("id", []),
    }
    return {name: values for name, values in conditions.items() if values}


def _pattern(text: str) -> str:
    """Return the LIKE pattern that matches ``text`` as a substring."""
    return "%" + LIKE_SPECIAL.sub(r"\\\g<0>", text) + "%"


def sort_keys(keys: list[str]) -> tuple[Key, ...]:
    """Return the effective sort keys: the first one of each column, up to and including the id."""
    sort: dict[str, bool] = {}
    for key in [*keys, "id"]:
        if "id" not in sort:
            sort.setdefault(key.removeprefix("-"), key.startswith("-"))
    return tuple(sort.items())


def _without_position(query_string: bytes) -> str:
    """Return the query string without ``offset`` and ``cursor``."""
    parts = query_string.decode(errors="surrogateescape").split("&")
    kept = [part for part in parts if unquote(part.partition("=")[0]) not in REQUIRES_LIMIT]
    return quote("&".join(kept), safe="%&=+,", errors="surrogateescape")
