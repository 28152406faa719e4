"""The wire: what a body and a query string must look like."""

import re
from collections.abc import Iterable
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, NotRequired
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
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from service.common.error_handlers import InvalidRequest
from service.common.json_body import JSON, MERGE_PATCH, Fault, fault, number, read_object
from service.models import (
    CATEGORY_LENGTH,
    DESCRIPTION_LENGTH,
    IMG_URL_LENGTH,
    MAX_ID,
    MAX_PRICE,
    MAX_RATING,
    NAME_LENGTH,
    PRICE_DECIMALS,
    WHITE_SPACE,
    Status,
)

MAX_SEARCH_LENGTH = 255
MAX_LIMIT = 1_000
MAX_OFFSET = 2**31 - 1

# The rules on text as regular expressions (ECMA-262), for the OpenAPI document.
_SPACES = "".join(f"\\u{ord(character):04x}" for character in WHITE_SPACE)
STORABLE: dict[str, JsonValue] = {"pattern": r"^[^\u0000]*$"}
NOT_BLANK: dict[str, JsonValue] = {"pattern": rf"^[^\u0000]*[^\u0000{_SPACES}][^\u0000]*$"}

JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
AMOUNT = r"[0-9]{1,10}(\.[0-9]{1,2})?"
AMOUNT_RANGE = re.compile(f"({AMOUNT})(?:-({AMOUNT}))?")
SORT_KEY = "^-?(id|name|price|rating|category|status)$"

ONLY_WHITE_SPACE = "must not be only white space"
MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a member of a product",
    "string_type": "must be a string",
    "string_unicode": "must be Unicode, without unpaired surrogates",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": (
        "must be id, name, price, rating, category or status, with - in front for descending"
    ),
    "is_instance_of": "must be a number",
    "decimal_max_places": "must have at most two decimals",
    "finite_number": f"must be at most {MAX_PRICE}",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
}


def _storable(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain U+0000")
    return text


def _not_blank(text: str) -> str:
    if text.isspace():
        raise PydanticCustomError("blank", ONLY_WHITE_SPACE)
    return _storable(text)


def _integral(value: object) -> object:
    """Take 4.0 for the integer 4, and what is far out of range for just out of range."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(min(max(value, Decimal(-1)), Decimal(2**31)))
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _in_path(product_id: int, info: ValidationInfo) -> int:
    if info.context not in (None, product_id):
        raise PydanticCustomError("id", "must be {id}, as in the path", {"id": info.context})
    return product_id


def _from_text(text: str) -> Decimal | str:
    return number(text) if JSON_NUMBER.fullmatch(text) else text


def _amount_range(text: str) -> tuple[Decimal, Decimal]:
    amounts = AMOUNT_RANGE.fullmatch(text)
    if amounts is None:
        raise PydanticCustomError("range", "must be a price such as 9.99, or a range such as 5-10")
    return Decimal(amounts[1]), Decimal(amounts[3] or amounts[1])


def _any_case(words: Iterable[str]) -> str:
    """Return the regular expression of these words in upper, lower and mixed case."""
    return "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in words)


Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID), BeforeValidator(_integral)]
OwnId = Annotated[Id, Field(json_schema_extra={"readOnly": True}), AfterValidator(_in_path)]
Name = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=NAME_LENGTH, json_schema_extra=NOT_BLANK),
    AfterValidator(_not_blank),
]
ImgUrl = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=IMG_URL_LENGTH, json_schema_extra=NOT_BLANK),
    AfterValidator(_not_blank),
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
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0,
            "maximum": float(MAX_PRICE),
            "multipleOf": 10**-PRICE_DECIMALS,
        }
    ),
]
Rating = Annotated[int, Field(strict=True, ge=0, le=MAX_RATING), BeforeValidator(_integral)]
Category = Annotated[
    str,
    Field(strict=True, max_length=CATEGORY_LENGTH, json_schema_extra=STORABLE),
    AfterValidator(_storable),
]
AnyCaseStatus = Annotated[
    Status,
    BeforeValidator(_lower),
    WithJsonSchema({"type": "string", "pattern": f"^({_any_case(Status)})$"}),
]


class Product(TypedDict):
    """A product as the service gives it: always all members, in this order."""

    id: OwnId
    name: Name
    img_url: ImgUrl
    description: Description | None
    price: Price
    rating: Rating
    category: Category | None
    status: Status


class ProductBody(TypedDict):
    """A whole product, as POST and PUT take it; what is left out has its default."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # as pydantic says

    id: NotRequired[OwnId]
    name: Name
    img_url: ImgUrl
    description: NotRequired[Description | None]
    price: Price
    rating: NotRequired[Rating]
    category: NotRequired[Category | None]
    status: NotRequired[AnyCaseStatus]


class ProductPatch(TypedDict, total=False):
    """A JSON Merge Patch (RFC 7396); null takes a member away, so that it has its default."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # as pydantic says

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
    BeforeValidator(_amount_range),
    WithJsonSchema({"type": "string", "pattern": f"^{AMOUNT}(-{AMOUNT})?$"}),
]


class ListQuery(TypedDict, total=False):
    """Which products to list, in which order, and how many of them."""

    q: Annotated[
        SearchText,
        Field(description="words; each occurs in the name, the description or the category"),
    ]
    name: Annotated[SearchText, Field(description="a part of the name")]
    category: Annotated[list[SearchText], Field(description="the whole category; any of them")]
    status: Annotated[list[AnyCaseStatus], Field(description="any of them")]
    price: Annotated[AmountRange, Field(description="`9.99`, or `5-10` with both ends included")]
    min_price: Annotated[Amount, Field(description="the lowest price, included")]
    max_price: Annotated[Amount, Field(description="the highest price, included")]
    rating: Annotated[Rating, FromText, Field(description="exactly this rating")]
    min_rating: Annotated[Rating, FromText, Field(description="the lowest rating, included")]
    id: Annotated[list[Annotated[Id, FromText]], Field(description="any of them")]
    sort: Annotated[
        list[Annotated[str, Field(pattern=SORT_KEY)]],
        Field(min_length=1, description="`-` in front for descending; ties are broken by `id`"),
        BeforeValidator(lambda text: text.split(",")),
    ]
    limit: Annotated[
        int,
        Field(strict=True, ge=1, le=MAX_LIMIT, description="at most so many products"),
        BeforeValidator(_integral),
        FromText,
    ]
    offset: Annotated[
        int,
        Field(strict=True, ge=0, le=MAX_OFFSET, description="skips so many; needs `limit`"),
        BeforeValidator(_integral),
        FromText,
    ]
    cursor: Annotated[
        str, Field(description="where to go on in this `sort`, as `Link` gave it; needs `limit`")
    ]
    count: Annotated[
        bool,
        Field(strict=True, description="whether to give `X-Total-Count`"),
        BeforeValidator(lambda text: {"true": True, "false": False}.get(text, text)),
    ]


REPEATABLE = {"category", "status", "id"}
NEEDS_LIMIT = ("offset", "cursor")

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


def new_product(request: Request) -> dict[str, Any]:
    """Return the columns of the product to create; an ``id`` in the body is ignored.

    Raises ``UnsupportedMediaType``, ``RequestEntityTooLarge`` or ``InvalidRequest``, as do
    its siblings below.
    """
    members, faults = read_object(request, JSON)
    members.pop("id", None)
    return DEFAULTS | _valid(product_body, members, faults)


def whole_product(request: Request, product_id: int) -> dict[str, Any]:
    """Return every column of the product that is to take the place of ``product_id``."""
    members, faults = read_object(request, JSON)
    return DEFAULTS | _valid(product_body, members, faults, product_id)


def changed_members(request: Request, product_id: int) -> dict[str, Any]:
    """Return the columns that a merge patch changes; it may be none."""
    members, faults = read_object(request, JSON, MERGE_PATCH)
    changes = _valid(product_patch, members, faults, product_id)
    return {name: DEFAULTS[name] if value is None else value for name, value in changes.items()}


def query_parameters(query_string: bytes) -> tuple[ListQuery, list[Fault]]:
    """Return the sound parameters of a list, and the faults of the others."""
    # What is not UTF-8 becomes a surrogate, and is refused as such.
    text = query_string.decode(errors="surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, value in pairs:
        if name in REPEATABLE:
            values.setdefault(name, []).append(value)
        elif name not in ListQuery.__annotations__:
            faults.append({"parameter": name, "detail": _unknown(name)})
        elif name in values:
            faults.append({"parameter": name, "detail": "is there twice"})
        else:
            values[name] = value
    faults += [
        {"parameter": name, "detail": "needs limit"}
        for name in NEEDS_LIMIT
        if name in values and "limit" not in values
    ]
    if "cursor" in values and "offset" in values:
        faults.append({"parameter": "cursor", "detail": "does not go with offset"})
    query: ListQuery
    try:
        query = list_query.validate_python(values)
    except ValidationError as error:
        for each in error.errors():
            name = str(each["loc"][0])
            faults.append({"parameter": name, "detail": _message(each)})
            values.pop(name, None)
        query = list_query.validate_python(values)
    return query, faults


def _unknown(name: str) -> str:
    near = get_close_matches(name.lower(), ListQuery.__annotations__, n=1)
    return "is not a parameter" + (f"; did you mean {near[0]}?" if near else "")


def _valid(
    schema: TypeAdapter[Any],
    members: dict[str, Any],
    faults: list[Fault],
    product_id: int | None = None,
) -> dict[str, Any]:
    """Return the members as column values, without the id, or raise with all faults."""
    columns: dict[str, Any] = {}
    try:
        columns = schema.validate_python(members, context=product_id)
    except ValidationError as error:
        faults = faults + [fault(str(e["loc"][0]), _message(e)) for e in error.errors()]
    if faults:
        raise InvalidRequest(faults)
    columns.pop("id", None)
    return columns


def _message(error: ErrorDetails) -> str:
    message = MESSAGES.get(error["type"])
    return message.format(**error.get("ctx", {})) if message else error["msg"]
