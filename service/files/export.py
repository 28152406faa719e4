"""Exports: a list as CSV (RFC 4180) or as JSON Lines, in pieces."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from service.common.error_handlers import InputError, InvalidRequest
from service.files import APOSTROPHE, COLUMNS, CSV, ETAG, JSON_LINES, NEEDS_APOSTROPHE, TEXTS
from service.http.preconditions import entity_tag
from service.listing import DECODER, Listing, fetched
from service.listing.query import parse
from service.schemas import require_short_query

# The parameters of a list that cut it.
NOT_OF_AN_EXPORT = {"limit", "offset", "cursor", "count"}


class Dialect(NamedTuple):
    """How a CSV file is written."""

    byte_order_mark: str = ""
    separator: str = ","
    decimal_point: str = "."


DIALECTS = {
    "rfc4180": Dialect(),
    "excel": Dialect("\ufeff"),
    "excel-eu": Dialect("\ufeff", ";", ","),
}
DEFAULT_DIALECT = "rfc4180"
UNKNOWN_DIALECT = f"must be {', '.join(list(DIALECTS)[:-1])} or {list(DIALECTS)[-1]}"


def csv_pieces(query_string: bytes) -> Iterator[bytes]:
    """Return the pieces of a CSV file; the first one is fetched before.

    Raises ``InvalidRequest`` with all errors of the query string, and ``RequestURITooLarge``.
    """
    names = dict(parse_qsl(query_string.decode(errors="surrogateescape"), keep_blank_values=True))
    name = names.get("dialect", DEFAULT_DIALECT)
    errors: list[InputError] = []
    if name not in DIALECTS:
        errors.append({"parameter": "dialect", "detail": UNKNOWN_DIALECT})
    listing = _listing(query_string, errors, {"dialect"})
    return fetched(csv_file(listing, DIALECTS[name]))


def json_lines_pieces(query_string: bytes) -> Iterator[bytes]:
    """Return the pieces of a JSON Lines file; raises as ``csv_pieces``."""
    return fetched(json_lines_file(_listing(query_string, [], set())))


def csv_file(listing: Listing, dialect: Dialect) -> Iterator[bytes]:
    """Yield the pieces of a CSV file: a heading line, then a line for each product."""
    head = dialect.byte_order_mark.encode() + _lines([[*COLUMNS, ETAG]], dialect)

    def render(rows: list[bytes]) -> bytes:
        nonlocal head
        piece = head + _lines((_cells(row.decode(), dialect) for row in rows), dialect)
        head = b""
        return piece

    yield from listing.pieces(render)
    if head:
        yield head


def json_lines_file(listing: Listing) -> Iterator[bytes]:
    """Yield the pieces of a JSON Lines file: each product as GET returns it, with its ETag."""
    return listing.pieces(lambda rows: b"".join(map(_line, rows)))


def headers(mimetype: str) -> dict[str, str]:
    """Return the headers of a download."""
    ending, parameters = {
        CSV: ("csv", "; charset=utf-8; header=present"),
        JSON_LINES: ("jsonl", ""),
    }[mimetype]
    name = f"products-{datetime.now(UTC):%Y-%m-%d}.{ending}"
    return {
        "Content-Type": mimetype + parameters,
        "Content-Disposition": f'attachment; filename="{name}"',
    }


def _listing(query_string: bytes, errors: list[InputError], others: set[str]) -> Listing:
    """Return the listing without the parameters ``others``; raises with all errors."""
    require_short_query(query_string)
    parts = query_string.split(b"&") if query_string else []
    names = [unquote_plus(part.partition(b"=")[0].decode(errors="replace")) for part in parts]
    errors += [
        {"parameter": name, "detail": "must be given only once"}
        for name in others
        if names.count(name) > 1
    ]
    errors += [
        {"parameter": name, "detail": "is not a parameter of an export"}
        for name in dict.fromkeys(names)
        if name in NOT_OF_AN_EXPORT
    ]
    kept = [
        part
        for part, name in zip(parts, names, strict=True)
        if name not in NOT_OF_AN_EXPORT | others
    ]
    try:
        listing = parse(b"&".join(kept))
    except InvalidRequest as error:
        raise InvalidRequest(errors + error.errors, error.more) from None
    if errors:
        raise InvalidRequest(errors)
    return listing


def _lines(rows: Iterable[list[str]], dialect: Dialect) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=dialect.separator, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cells(row: str, dialect: Dialect) -> list[str]:
    product = DECODER.decode(row)
    for name in TEXTS:
        product[name] = escaped(product[name])
    product["price"] = str(product["price"]).replace(".", dialect.decimal_point)
    return [*product.values(), entity_tag(row)]


def escaped(text: str | None) -> str:
    """Return the cell of a text: null is empty, and some texts get an apostrophe in front."""
    if text is None:
        return ""
    return APOSTROPHE + text if not text or text.startswith(NEEDS_APOSTROPHE) else text


def _line(row: bytes) -> bytes:
    return b'%b,"etag":"%b"}\n' % (row[:-1], entity_tag(row.decode()).encode())
