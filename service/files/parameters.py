"""The query parameters of an import."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from service.common.error_handlers import InvalidRequest
from service.files import COLUMNS, ETAG
from service.files.encoding import is_known
from service.files.reading import Options, normalized
from service.http.json_body import parse_number
from service.schemas import JSON_NUMBER, unknown_errors

MAX_PARAMETERS = 1_000
MAX_PERCENT = 10_000
MATCHES = ("id", "name")
TARGETS = (*COLUMNS, ETAG)


def mapped_columns(texts: Iterable[str]) -> dict[str, str]:
    """Return the members of the headings, normalized, of ``HEADING:member``; raises ValueError."""
    members: dict[str, str] = {}
    for heading, member in map(_mapped_column, texts):
        if members.setdefault(heading, member) != member:
            raise ValueError("must not give two members to one heading")
    return members


def _mapped_column(text: str) -> tuple[str, str]:
    heading, colon, member = text.rpartition(":")
    if not colon or not normalized(heading) or (member and member not in TARGETS):
        raise ValueError(
            f"must be HEADING:member, or HEADING: to ignore a column; members are "
            f"{', '.join(TARGETS)}"
        )
    return normalized(heading), member


def percentage(text: str) -> Decimal:
    """Return a percentage; raises ``ValueError``."""
    percent = parse_number(text) if JSON_NUMBER.fullmatch(text) else None
    if percent is None or not 0 <= percent <= MAX_PERCENT:
        raise ValueError(f"must be a percentage from 0 to {MAX_PERCENT}, such as 50")
    return percent


def _match(text: str) -> str:
    if text not in MATCHES:
        raise ValueError("must be id or name")
    return text


def known_charset(text: str) -> str:
    """Return the name of a character set; raises ``ValueError`` if it is not known."""
    if not is_known(text):
        raise ValueError("is not a known character set, such as utf-8 or windows-1252")
    return text


def _boolean(text: str) -> bool:
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise ValueError("must be true or false")
    return values[text.lower()]


class Parameter(NamedTuple):
    """A parameter: how it is read, and how the OpenAPI document describes it."""

    value_of: Callable[[Any], Any]
    """Takes the text, or the texts of one that may be repeated; raises ``ValueError``."""
    description: str
    schema: dict[str, Any]


PARAMETERS = {
    "dry_run": Parameter(
        _boolean,
        "`true` returns what the file would change, and stores nothing",
        {"type": "boolean"},
    ),
    "match": Parameter(
        _match,
        "the member that finds the product of a row; without a product, the row creates one",
        {"type": "string", "enum": list(MATCHES), "default": "id"},
    ),
    "column": Parameter(
        mapped_columns,
        "`HEADING:member` reads a column of another name, `HEADING:` ignores it; may be repeated",
        {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": rf"^[\s\S]*[^\s_][\s\S]*:({'|'.join(TARGETS)})?$",
            },
        },
    ),
    "skip_faulty": Parameter(_boolean, "`true` leaves faulty rows out", {"type": "boolean"}),
    "max_price_change": Parameter(
        percentage,
        "a percentage, of which two decimals count: a row that changes a price by more is faulty",
        {"type": "number", "minimum": 0, "maximum": MAX_PERCENT},
    ),
    "charset": Parameter(
        known_charset,
        "the encoding of a file that is neither UTF-8 nor has a byte order mark, by a usual name, "
        "such as `windows-1252`",
        {"type": "string", "examples": ["utf-16le", "windows-1250", "iso-8859-15", "shift_jis"]},
    ),
}


def import_options(query_string: bytes, charset: str) -> tuple[Options, bool]:
    """Return the options of an import, and whether it is a dry run.

    ``charset`` is the one of Content-Type. Raises ``InvalidRequest`` with all errors.
    """
    pairs = _pairs(query_string)
    unknown = dict.fromkeys(name for name, _ in pairs if name not in PARAMETERS)
    errors = unknown_errors(unknown, PARAMETERS)
    values: dict[str, Any] = {"charset": charset}
    for name, parameter in PARAMETERS.items():
        texts = [text for given, text in pairs if given == name]
        try:
            if parameter.schema["type"] == "array":
                values[name] = parameter.value_of(texts)
            elif texts:
                values[name] = parameter.value_of(_single(texts))
        except ValueError as error:
            errors.append({"parameter": name, "detail": str(error)})
    if errors:
        raise InvalidRequest(errors)
    is_dry_run = values.pop("dry_run", False)
    return Options(members=values.pop("column"), **values), is_dry_run


def _single(texts: list[str]) -> str:
    if len(texts) > 1:
        raise ValueError("must be given only once")
    return texts[0]


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    text = query_string.decode(errors="replace")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        detail = f"must have at most {MAX_PARAMETERS} parameters"
        raise InvalidRequest([{"parameter": "query", "detail": detail}]) from None
