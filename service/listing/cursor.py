"""Cursors: an opaque position in a sorted list, where the next page starts."""

from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.http import opaque
from service.http.json_body import parse_number
from service.schemas import Product

# A sort column, and whether its order is descending.
Key = tuple[str, bool]
# The values of the sort columns of the last product before the page.
Position = tuple[Any, ...]

TYPES = {
    name: TypeAdapter[Any](Product.__annotations__[name])
    for name in ("id", "name", "price", "rating", "category", "status")
}


def encode(position: Position, sort: tuple[Key, ...]) -> str:
    """Return the cursor of a position, with a CRC-32 of the position and its sort."""
    values = [str(value) if isinstance(value, Decimal) else value for value in position]
    return opaque.encode(values, sort)


def decode(cursor: str, sort: tuple[Key, ...]) -> Position | None:
    """Return the position of a cursor; None if it is invalid or was made for another sort."""
    try:
        return tuple(
            TYPES[name].validate_python(parse_number(value) if name == "price" else value)
            for (name, _), value in zip(sort, opaque.decode(cursor, sort), strict=True)
        )
    except (ValueError, TypeError, ValidationError):
        return None
