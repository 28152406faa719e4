"""Opaque texts: values that a client sends back as they are, with a checksum."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from zlib import crc32

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(values: list[Any], context: object) -> str:
    """Return the text of JSON values; it has a CRC-32 of them and of the context."""
    text = ENCODER.encode(values).encode()
    checksum = crc32(repr(context).encode() + text).to_bytes(4)
    return urlsafe_b64encode(checksum + text).rstrip(b"=").decode()


def decode(text: str, context: object) -> list[Any]:
    """Return the values of a text; raises ``ValueError`` if it is damaged or of another context."""
    try:
        values: list[Any] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4))[4:])
        is_whole = encode(values, context) == text
    except (TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise ValueError("damaged")
    return values
