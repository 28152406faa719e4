"""Cursors: an opaque position in a sorted list, where the next page starts."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from decimal import Decimal
from typing import Any
from zlib import crc32

from pydantic import TypeAdapter, ValidationError

from service.http.json_body import parse_number
from service.schemas import Product

# A sort column, and whether its order is descending.
Key = tuple[str, bool]
# The values of the sort columns of the last product before the page.
Position = tuple[Any, ...]

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
TYPES = {
    name: TypeAdapter[Any](Product.__annotations__[name])
    for name in ("id", "name", "price", "rating", "category", "status")
}


def encode(position: Position, sort: tuple[Key, ...]) -> str:
    """Return the cursor of a position, with a CRC-32 of the position and its sort."""
    values = [str(value) if isinstance(value, Decimal) else value for value in position]
    text = ENCODER.encode(values).encode()
    checksum = crc32(repr(sort).encode() + text).to_bytes(4)
    return urlsafe_b64encode(checksum + text).rstrip(b"=").decode()


def decode(cursor: str, sort: tuple[Key, ...]) -> Position | None:
    """Return the position of a cursor; None if it is invalid or was made for another sort."""
    try:
        values = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[4:])
        position = tuple(
            TYPES[name].validate_python(parse_number(value) if name == "price" else value)
            for (name, _), value in zip(sort, values, strict=True)
        )
        return position if encode(position, sort) == cursor else None
    except (ValueError, TypeError, ValidationError, RecursionError):
        return None
