"""Wire formats: the schemas of request bodies and query strings."""

import re
from collections.abc import Collection, Iterable, Set
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Literal, LiteralString, NotRequired
from urllib.parse import parse_qsl

from flask import Request
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticKnownError
from typing_extensions import TypedDict
from werkzeug.exceptions import RequestURITooLarge

from service.common.error_handlers import MAX_ERRORS, InputError, InvalidRequest
from service.database.text import INVISIBLE, is_visible
from service.http.json_body import JSON, PATCH_TYPES, member_error, parse_number, read_object
from service.models import (
    CATEGORY_LENGTH,
    DESCRIPTION_LENGTH,
    IMG_URL_LENGTH,
    MAX_ID,
    MAX_PRICE,
    MAX_RATING,
    NAME_LENGTH,
    PRICE_DECIMALS,
    Op,
    Status,
)

MAX_SEARCH_LENGTH = 255
MAX_LIMIT = 1_000
PAGE_SIZE = 100  # of changes, without limit
PRICE_DAYS = 30  # Directive 98/6/EC, article 6a
MAX_DAYS = 3_650
MAX_OFFSET = 2**31 - 1
MAX_QUERY_BYTES = 8 * 1024
MAX_VALUES = 100  # of one parameter
# Only the first few unknown parameters are compared with the known ones: that takes 0.1 ms each.
MAX_SUGGESTIONS = 5
MAX_SUGGESTED_LENGTH = 32
MAX_CATEGORIES = 100  # of the facets
ESTIMATED = "estimated"
COUNTS = {"true": True, "false": False, ESTIMATED: ESTIMATED}

# The rules for strings as regular expressions (ECMA-262), for the OpenAPI document.
STORABLE: dict[str, JsonValue] = {"pattern": r"^[^\u0000]*$"}
VISIBLE_TEXT: dict[str, JsonValue] = {
    "type": "string",
    "description": (
        "Text with a visible character: in Unicode 14, neither white space nor a control "
        "character (Cc), format character (Cf) or unassigned code point (Cn)."
    ),
    # A lookahead, because tools that make examples list the characters of a class one by one.
    "pattern": rf"^[^\u0000]*(?![{INVISIBLE}])[^\u0000]+$",
}
VISIBLE: dict[str, JsonValue] = {"allOf": [VISIBLE_TEXT]}

JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
AMOUNT = r"[0-9]{1,10}(\.[0-9]{1,2})?"
AMOUNTS = f"{AMOUNT}(-{AMOUNT})?"
INTEGER = r"[0-9]{1,10}(\.0+)?"
RATINGS = f"{INTEGER}(-{INTEGER})?"
SORT_KEY = "^-?(id|name|price|rating|category|status)$"

INVISIBLE_TEXT = "must have a visible character"
UNKNOWN = "is not a parameter"
MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a member of a product",
    "string_type": "must be a string",
    "string_unicode": "must be Unicode, without unpaired surrogates",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} values",
    "string_pattern_mismatch": (
        "must be id, name, price, rating, category or status, with a - prefix for descending order"
    ),
    "is_instance_of": "must be a number",
    "decimal_max_places": "must have at most two decimals",
    "finite_number": f"must be at most {MAX_PRICE}",
    "int_type": "must be an integer",
    "literal_error": "must be true, false or estimated",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
}


def _storable(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain U+0000")
    return text


def _visible(text: str) -> str:
    if not is_visible(_storable(text)):
        raise PydanticCustomError("invisible", INVISIBLE_TEXT)
    return text


def _integral(value: object) -> object:
    """Convert 4.0 to the integer 4; clamp huge values, which stay out of every range."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(min(max(value, Decimal(-1)), Decimal(2**31)))
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _check_path_id(product_id: int, info: ValidationInfo) -> int:
    if info.context not in (None, product_id):
        raise PydanticCustomError("id", "must be {id}, as in the path", {"id": info.context})
    return product_id


def _from_text(text: str) -> Decimal | str:
    return parse_number(text) if JSON_NUMBER.fullmatch(text) else text


def _distinct_columns(keys: list[str]) -> list[str]:
    if len({key.removeprefix("-") for key in keys}) < len(keys):
        raise PydanticCustomError("twice", "must have each column only once")
    return keys


def _ends(pattern: str, maximum: Decimal | int, expected: LiteralString) -> BeforeValidator:
    """Return the validator that parses a number, or a range of two, as a tuple of both ends."""

    def parse(text: str) -> tuple[Decimal, Decimal]:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError("range", expected)
        first, _, last = text.partition("-")
        low, high = Decimal(first), Decimal(last or first)
        if low > high:
            raise PydanticCustomError("reversed", "must have the lower end of the range first")
        if high > maximum:
            raise PydanticKnownError("less_than_equal", {"le": maximum})
        return low, high

    return BeforeValidator(parse)


Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID), BeforeValidator(_integral)]
OwnId = Annotated[Id, Field(json_schema_extra={"readOnly": True}), AfterValidator(_check_path_id)]
Name = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=NAME_LENGTH, json_schema_extra=VISIBLE),
    AfterValidator(_visible),
]
ImgUrl = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=IMG_URL_LENGTH, json_schema_extra=VISIBLE),
    AfterValidator(_visible),
]
Description = Annotated[
    str,
    Field(strict=True, max_length=DESCRIPTION_LENGTH, json_schema_extra=STORABLE),
    AfterValidator(_storable),
]
Price = Annotated[
    Decimal,
    Field(strict=True, ge=0, le=MAX_PRICE, decimal_places=PRICE_DECIMALS),
    AfterValidator(abs),  # -0 is 0
    # Without multipleOf: 0.01 is no binary fraction, so that validators would refuse many prices.
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": float(MAX_PRICE)}),
]
Rating = Annotated[int, Field(strict=True, ge=0, le=MAX_RATING), BeforeValidator(_integral)]
Category = Annotated[
    str,
    Field(strict=True, max_length=CATEGORY_LENGTH, json_schema_extra=STORABLE),
    AfterValidator(_storable),
]
AnyCaseStatus = Annotated[Status, BeforeValidator(_lower)]


class Product(TypedDict):
    """A product in a response: all members, in this order."""

    id: OwnId
    name: Name
    img_url: ImgUrl
    description: Description | None
    price: Price
    rating: Rating
    category: Category | None
    status: Status


class ProductBody(TypedDict):
    """A whole product in POST and PUT; a missing optional member has its default."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # as pydantic documents

    id: NotRequired[OwnId]
    name: Name
    img_url: ImgUrl
    description: NotRequired[Description | None]
    price: Price
    rating: NotRequired[Rating]
    category: NotRequired[Category | None]
    status: NotRequired[AnyCaseStatus]


class ProductPatch(TypedDict, total=False):
    """A JSON Merge Patch (RFC 7396) of a product; null sets a member to its default."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # as pydantic documents

    id: OwnId
    name: Name
    img_url: ImgUrl
    description: Description | None
    price: Price
    rating: Rating | None
    category: Category | None
    status: AnyCaseStatus | None


FromText = BeforeValidator(_from_text)
SearchText = Annotated[
    str, Field(max_length=MAX_SEARCH_LENGTH, json_schema_extra=STORABLE), AfterValidator(_storable)
]
Amount = Annotated[
    Decimal,
    Field(strict=True, ge=0, le=MAX_PRICE),
    FromText,
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": float(MAX_PRICE)}),
]
AmountRange = Annotated[
    tuple[Decimal, Decimal],
    _ends(AMOUNTS, MAX_PRICE, "must be a price such as 9.99, or a range such as 5-10"),
    WithJsonSchema({"type": "string", "pattern": f"^{AMOUNTS}$"}),
]
RatingRange = Annotated[
    tuple[Rating, Rating],
    _ends(RATINGS, MAX_RATING, "must be a rating such as 4, or a range such as 2-4"),
    WithJsonSchema({"type": "string", "pattern": f"^{RATINGS}$"}),
]


Limit = Annotated[int, Field(strict=True, ge=1, le=MAX_LIMIT), BeforeValidator(_integral), FromText]


class ListQuery(TypedDict, total=False):
    """The query parameters of a list: filters, sort order and page."""

    q: Annotated[
        SearchText,
        Field(description="words; each must occur in the name, the description or the category"),
    ]
    name: Annotated[SearchText, Field(description="part of the name")]
    category: Annotated[
        list[SearchText],
        Field(
            max_length=MAX_VALUES,
            description="whole category, or empty for products without one; "
            "repeat it to match any of several",
        ),
    ]
    status: Annotated[
        list[AnyCaseStatus],
        Field(max_length=MAX_VALUES, description="status; repeat it to match any of several"),
    ]
    price: Annotated[AmountRange, Field(description="`9.99`, or the inclusive range `5-10`")]
    min_price: Annotated[Amount, Field(description="minimum price, inclusive")]
    max_price: Annotated[Amount, Field(description="maximum price, inclusive")]
    rating: Annotated[RatingRange, Field(description="`4`, or the inclusive range `2-4`")]
    min_rating: Annotated[Rating, FromText, Field(description="minimum rating, inclusive")]
    max_rating: Annotated[Rating, FromText, Field(description="maximum rating, inclusive")]
    id: Annotated[
        list[Annotated[Id, FromText]],
        Field(
            max_length=MAX_VALUES,
            description="id; repeat it, or separate several by commas, to match any of them",
        ),
    ]
    sort: Annotated[
        list[Annotated[str, Field(pattern=SORT_KEY)]],
        Field(
            min_length=1,
            max_length=MAX_VALUES,
            description="sort keys, separated by commas or repeated; a `-` prefix means "
            "descending; `id` breaks ties",
        ),
        AfterValidator(_distinct_columns),
    ]
    limit: Annotated[Limit, Field(description="maximum number of products")]
    offset: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=MAX_OFFSET,
            description="number of products to skip; requires `limit`",
        ),
        BeforeValidator(_integral),
        FromText,
    ]
    cursor: Annotated[
        str, Field(description="position from a `Link` header of the same `sort`; requires `limit`")
    ]
    count: Annotated[
        Literal[True, False, "estimated"],
        Field(
            description="`true` adds the header `X-Total-Count`; `estimated` makes a large count"
            " an estimate, and adds `X-Total-Count-Precision`",
        ),
        BeforeValidator(lambda text: COUNTS.get(text.lower(), text)),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": [ESTIMATED]}]}),
    ]


class ChangesQuery(TypedDict, total=False):
    """The query parameters of the feed of changes."""

    since: Annotated[
        str, Field(description="cursor from the `Link` header; missing: none, to get a new cursor")
    ]
    limit: Annotated[
        Limit,
        Field(description="maximum number of changes", json_schema_extra={"default": PAGE_SIZE}),
    ]


class HistoryQuery(TypedDict, total=False):
    """The query parameters of the history."""

    id: Annotated[Id, FromText, Field(description="id of the product")]
    request: Annotated[
        SearchText, Field(description="`X-Request-ID` of the request that made the change")
    ]
    op: Annotated[Op, Field(description="what the change did")]
    limit: Annotated[
        Limit,
        Field(description="maximum number of changes", json_schema_extra={"default": PAGE_SIZE}),
    ]
    cursor: Annotated[str, Field(description="cursor from the `Link` header")]


class LowestPriceQuery(TypedDict, total=False):
    """The query parameters of the lowest price."""

    days: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            le=MAX_DAYS,
            description="length of the period",
            json_schema_extra={"default": PRICE_DAYS},
        ),
        BeforeValidator(_integral),
        FromText,
    ]


REPEATABLE = {"category", "status", "id", "sort"}
COMMA_SEPARATED = {"id", "sort"}
REQUIRES_LIMIT = ("offset", "cursor")
NOT_FILTERS = ("sort", "limit", "offset", "cursor", "count")

DEFAULTS: dict[str, Any] = {
    "description": None,
    "rating": 0,
    "category": None,
    "status": Status.ACTIVE,
}
product = TypeAdapter(Product)
product_body = TypeAdapter(ProductBody)
product_patch = TypeAdapter(ProductPatch)
list_query = TypeAdapter(ListQuery)
changes_query = TypeAdapter(ChangesQuery)
history_query = TypeAdapter(HistoryQuery)
lowest_price_query = TypeAdapter(LowestPriceQuery)


def new_product(request: Request) -> dict[str, Any]:
    """Return the columns of the product to create; an ``id`` in the body is ignored.

    Raises ``UnsupportedMediaType``, ``RequestEntityTooLarge`` or ``InvalidRequest``.
    """
    members, errors = read_object(request, JSON)
    members.pop("id", None)
    return DEFAULTS | _validated(product_body, members, errors)


def whole_product(request: Request, product_id: int) -> dict[str, Any]:
    """Return all columns of the product that replaces ``product_id``; raises as ``new_product``."""
    members, errors = read_object(request, JSON)
    return DEFAULTS | _validated(product_body, members, errors, product_id)


def changed_members(request: Request, product_id: int) -> dict[str, Any]:
    """Return the columns that a merge patch sets, possibly none; raises as ``new_product``."""
    members, errors = read_object(request, *PATCH_TYPES)
    changes = _validated(product_patch, members, errors, product_id)
    return {name: DEFAULTS[name] if value is None else value for name, value in changes.items()}


def checked_patch(members: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the columns that a merge patch sets, and what is wrong with each other member.

    Of the unknown members only the first ``MAX_ERRORS`` have an error.
    """
    _drop_unknown(members)
    errors: dict[str, str] = {}
    try:
        changes = product_patch.validate_python(members)
    except ValidationError as error:
        errors = {str(each["loc"][0]): _message(each) for each in error.errors()}
        valid = {name: value for name, value in members.items() if name not in errors}
        changes = product_patch.validate_python(valid)
    return {n: DEFAULTS[n] if value is None else value for n, value in changes.items()}, errors


def query_parameters(query_string: bytes) -> tuple[ListQuery, list[InputError]]:
    """Return the valid parameters of a list, and the errors of the others.

    Raises ``RequestURITooLarge``.
    """
    require_short_query(query_string)
    values, errors = _parse_query(query_string, ListQuery.__annotations__, REPEATABLE)
    errors += _combination_errors(values)
    query: ListQuery = _valid(list_query, values, errors)
    return query, errors


def changes_parameters(query_string: bytes) -> ChangesQuery:
    """Return the parameters of the feed; raises ``InvalidRequest``, ``RequestURITooLarge``."""
    query: ChangesQuery = _parameters(query_string, changes_query, ChangesQuery.__annotations__)
    return query


def history_parameters(query_string: bytes) -> HistoryQuery:
    """Return the parameters of the history; raises as ``changes_parameters``."""
    query: HistoryQuery = _parameters(query_string, history_query, HistoryQuery.__annotations__)
    return query


def lowest_price_parameters(query_string: bytes) -> LowestPriceQuery:
    """Return the parameters of the lowest price; raises as ``changes_parameters``."""
    query: LowestPriceQuery = _parameters(
        query_string, lowest_price_query, LowestPriceQuery.__annotations__
    )
    return query


def _parameters(query_string: bytes, schema: TypeAdapter[Any], names: Collection[str]) -> Any:
    require_short_query(query_string)
    values, errors = _parse_query(query_string, names)
    query = _valid(schema, values, errors)
    if errors:
        raise InvalidRequest(errors)
    return query


def _valid(schema: TypeAdapter[Any], values: dict[str, Any], errors: list[InputError]) -> Any:
    """Return the valid values; add the errors of the others to ``errors``."""
    try:
        return schema.validate_python(values)
    except ValidationError as error:
        for each in error.errors():
            name = str(each["loc"][0])
            errors.append({"parameter": name, "detail": _message(each)})
            values.pop(name, None)
        return schema.validate_python(values)


def require_short_query(query_string: bytes) -> None:
    """Raise ``RequestURITooLarge`` if a query string is longer than ``MAX_QUERY_BYTES``."""
    if len(query_string) > MAX_QUERY_BYTES:
        raise RequestURITooLarge(f"The query string is longer than {MAX_QUERY_BYTES} bytes")


def _parse_query(
    query_string: bytes, names: Collection[str], repeatable: Set[str] = frozenset()
) -> tuple[dict[str, Any], list[InputError]]:
    # Invalid UTF-8 becomes unpaired surrogates, which the schema refuses.
    text = query_string.decode(errors="surrogateescape")
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        given.setdefault(name, []).append(value)
    values: dict[str, Any] = {}
    unknown: list[str] = []
    errors: list[InputError] = []
    for name, texts in given.items():
        if name not in names:
            unknown.append(name)
        elif name in repeatable & COMMA_SEPARATED:
            values[name] = ",".join(texts).split(",")
        elif name in repeatable:
            values[name] = texts
        else:
            values[name] = texts[0]
            if texts[1:]:
                errors.append({"parameter": name, "detail": "must be given only once"})
    return values, unknown_errors(unknown, names) + errors


def _combination_errors(values: dict[str, Any]) -> list[InputError]:
    errors = [
        {"parameter": name, "detail": "requires limit"}
        for name in REQUIRES_LIMIT
        if name in values and "limit" not in values
    ]
    if "cursor" in values and "offset" in values:
        errors.append({"parameter": "cursor", "detail": "must not be combined with offset"})
    return errors


def unknown_errors(unknown: Iterable[str], names: Collection[str]) -> list[InputError]:
    """Return the errors of parameters that are none of ``names``."""
    return [
        {
            "parameter": name,
            "detail": _unknown_message(name, names) if i < MAX_SUGGESTIONS else UNKNOWN,
        }
        for i, name in enumerate(unknown)
    ]


def _unknown_message(name: str, names: Collection[str]) -> str:
    similar: list[str] = []
    if len(name) <= MAX_SUGGESTED_LENGTH:
        similar = get_close_matches(name.lower(), names, n=1)
    return UNKNOWN + (f"; did you mean {similar[0]}?" if similar else "")


def _validated(
    schema: TypeAdapter[Any],
    members: dict[str, Any],
    errors: list[InputError],
    product_id: int | None = None,
) -> dict[str, Any]:
    """Return the members as column values, without the id; raises with all errors."""
    columns: dict[str, Any] = {}
    dropped = _drop_unknown(members)
    try:
        columns = schema.validate_python(members, context=product_id)
    except ValidationError as error:
        errors = errors + [member_error(str(e["loc"][0]), _message(e)) for e in error.errors()]
    if errors:
        raise InvalidRequest(errors, more=dropped)
    columns.pop("id", None)
    return columns


def _drop_unknown(members: dict[str, Any]) -> int:
    """Keep the first ``MAX_ERRORS`` unknown members; return the number of the others.

    The errors of all of them would take hundreds of megabytes.
    """
    unknown = [name for name in members if name not in Product.__annotations__]
    for name in unknown[MAX_ERRORS:]:
        del members[name]
    return len(unknown[MAX_ERRORS:])


def _message(error: ErrorDetails) -> str:
    message = MESSAGES.get(error["type"])
    return message.format(**error.get("ctx", {})) if message else error["msg"]
