"""Parser of the query string of a list."""

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from service.common.error_handlers import InputError, InvalidRequest
from service.database.text import search_key
from service.listing import Listing, cursor
from service.listing.cursor import Key
from service.schemas import ESTIMATED, NOT_FILTERS, REQUIRES_LIMIT, query_parameters

CENT = Decimal("0.01")
MAX_WORDS = 10
TOO_MANY_WORDS = f"must have at most {MAX_WORDS} different words"
INVALID_CURSOR = "must be a cursor from the Link header of a list with the same sort"
LIKE_SPECIAL = re.compile(r"[%_\\]")
# Longer query strings are not cached, so that the cache takes at most two megabytes.
MAX_CACHED_BYTES = 512


def parse(query_string: bytes) -> Listing:
    """Return the listing of a query string.

    Raises ``InvalidRequest`` with all errors, and ``RequestURITooLarge``.
    """
    return (_parse if len(query_string) > MAX_CACHED_BYTES else _cached)(query_string)


def _parse(query_string: bytes) -> Listing:
    query, errors = query_parameters(query_string)
    sort = sort_keys(query.get("sort", []))
    after = cursor.decode(query["cursor"], sort) if "cursor" in query else None
    if "cursor" in query and after is None and not _has_error(errors, "sort"):
        errors.append({"parameter": "cursor", "detail": INVALID_CURSOR})
    # Variants of a word are one word, and one condition.
    words = list(dict.fromkeys(search_key(query.get("q", "")).split()))
    if len(words) > MAX_WORDS:
        errors.append({"parameter": "q", "detail": TOO_MANY_WORDS})
    if errors:
        raise InvalidRequest(errors)
    values = _values(query, words)
    return Listing(
        tuple(values),
        values,
        sort,
        after,
        limit=query.get("limit"),
        offset=query.get("offset"),
        is_counted=bool(query.get("count")),
        is_estimated=query.get("count") == ESTIMATED,
        query=_without_position(query_string),
    )


_cached = lru_cache(maxsize=256)(_parse)


def parse_filter(query_string: bytes) -> Listing:
    """Return the listing of a query string that only filters; raises as ``parse``."""
    text = query_string.decode(errors="surrogateescape")
    names = dict.fromkeys(name for name, _ in parse_qsl(text, keep_blank_values=True))
    if others := [name for name in names if name in NOT_FILTERS]:
        raise InvalidRequest([{"parameter": name, "detail": "is not a filter"} for name in others])
    return parse(query_string)


def _has_error(errors: list[InputError], parameter: str) -> bool:
    return any(error["parameter"] == parameter for error in errors)


def _values(query: Mapping[str, Any], words: list[str]) -> dict[str, Any]:
    """Return the conditions of ``statements.CONDITIONS`` that the query has, with their values."""
    lowest, highest = _bounds(query, "price")
    return {
        **{f"word{i}": _pattern(word) for i, word in enumerate(words)},
        **({"name": _pattern(search_key(query["name"]))} if "name" in query else {}),
        **_category(query.get("category", [])),
        **_one_or_many("status", "statuses", query.get("status", [])),
        # Rounded to cents, so that both databases compare prices exactly.
        **_between("price", _cents(lowest, ROUND_CEILING), _cents(highest, ROUND_FLOOR)),
        **_between("rating", *_bounds(query, "rating")),
        **_one_or_many("id", "ids", query.get("id", [])),
    }


def _category(names: list[str]) -> dict[str, Any]:
    """Return the condition on the category; an empty name means null."""
    folded = [search_key(name) for name in names if name]
    if "" not in names:
        return _one_or_many("category", "categories", folded)
    return {"categories_or_none": folded} if folded else {"no_category": None}


def _one_or_many(one: str, many: str, values: list[Any]) -> dict[str, Any]:
    distinct = list(dict.fromkeys(values))
    if not distinct:
        return {}
    return {many: distinct} if distinct[1:] else {one: distinct[0]}


def _bounds(query: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """Return the lowest and the highest value of a range and of its ``min_`` and ``max_``."""
    low, high = query.get(name, (None, None))
    lows = [value for value in (low, query.get(f"min_{name}")) if value is not None]
    highs = [value for value in (high, query.get(f"max_{name}")) if value is not None]
    return max(lows, default=None), min(highs, default=None)


def _cents(amount: Decimal | None, rounding: str) -> Decimal | None:
    return None if amount is None else amount.quantize(CENT, rounding)


def _between(name: str, lowest: Any, highest: Any) -> dict[str, Any]:
    if lowest is not None and lowest == highest:
        return {name: lowest}
    ends = {f"min_{name}": lowest, f"max_{name}": highest}
    return {end: value for end, value in ends.items() if value is not None}


def _pattern(text: str) -> str:
    """Return the LIKE pattern that matches ``text`` as a substring."""
    return "%" + LIKE_SPECIAL.sub(r"\\\g<0>", text) + "%"


def sort_keys(keys: list[str]) -> tuple[Key, ...]:
    """Return the effective sort keys: those up to the id, which is added if it is missing."""
    sort = [(key.removeprefix("-"), key.startswith("-")) for key in keys]
    columns = [name for name, _ in sort]
    return tuple(sort[: columns.index("id") + 1]) if "id" in columns else (*sort, ("id", False))


def _without_position(query_string: bytes) -> str:
    """Return the query string without ``offset`` and ``cursor``."""
    parts = query_string.decode(errors="surrogateescape").split("&")
    kept = [part for part in parts if unquote(part.partition("=")[0]) not in REQUIRES_LIMIT]
    return quote("&".join(kept), safe="%&=+,", errors="surrogateescape")
