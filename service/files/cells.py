"""Cells of a spreadsheet: from text to the values of a product's members."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from service.files import APOSTROPHE
from service.http.json_body import parse_number

REQUIRED = "is required"
NO_PRICE = "must be a price of at least 0 with at most two decimals, such as 1800.00"

INTEGER = re.compile(r"[0-9]{1,18}(\.0+)?")
# The number in it has at most two decimals; its groups of three digits have one separator.
PRICE = re.compile(
    r"(?P<whole>[0-9]*|[1-9][0-9]{0,2}(?:(?P<group>[.,' ])[0-9]{3})(?:(?P=group)[0-9]{3})*)"
    r"(?:(?!(?P=group))[.,](?P<cents>[0-9]{1,2}))?"
)
AMBIGUOUS_PRICE = re.compile(r"([1-9][0-9]{0,2})[.,]([0-9]{3})")
CURRENCY_CODE = re.compile(r"^[A-Za-z]{2,3}(?![A-Za-z])|(?<![A-Za-z])[A-Za-z]{2,3}$")
GROUP_SEPARATORS = str.maketrans(dict.fromkeys("\t\xa0\u2009\u202f", " ") | {"\u2019": "'"})


def price(cell: str) -> Decimal:
    """Return the price in a cell, which may have a currency sign and separators.

    Raises ``ValueError`` if the cell is empty or no price, or may mean two prices.
    """
    if not cell.strip():
        raise ValueError(REQUIRED)
    text = _without_currency(cell.translate(GROUP_SEPARATORS))
    if ambiguous := AMBIGUOUS_PRICE.fullmatch(text):
        whole, part = ambiguous.groups()
        fraction = Decimal(f"{whole}.{part}").normalize()
        raise ValueError(f"may mean {whole}{part} or {fraction:f}: write {whole}{part}.00")
    found = PRICE.fullmatch(text)
    if not found or not (found["whole"] or found["cents"]):
        raise ValueError(NO_PRICE)
    whole = re.sub("[^0-9]", "", found["whole"])
    return Decimal(f"{whole or 0}.{found['cents'] or 0}")


def _without_currency(text: str) -> str:
    signs = "".join(char for char in text if unicodedata.category(char) != "Sc")
    return CURRENCY_CODE.sub("", signs.strip()).strip()


def _integer(cell: str) -> Decimal | None:
    text = cell.strip()
    if text and not INTEGER.fullmatch(text):
        raise ValueError("must be an integer")
    return parse_number(text) if text else None


def _text(cell: str) -> str | None:
    return cell.removeprefix(APOSTROPHE) if cell else None


def _required_text(cell: str) -> str:
    if not cell:
        raise ValueError(REQUIRED)
    return cell.removeprefix(APOSTROPHE)


def etag(cell: str) -> str | None:
    """Return the entity tag without its quotes."""
    return cell.strip().strip('"') or None


VALUE_OF: dict[str, Callable[[str], Any]] = {
    "id": _integer,
    "name": _required_text,
    "img_url": _required_text,
    "description": _text,
    "price": price,
    "rating": _integer,
    "category": _text,
    "status": lambda cell: cell.strip() or None,
    "etag": etag,
}
