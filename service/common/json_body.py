"""Bodies: a JSON object read strictly (RFC 8259), with every number exact."""

import json
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from service.common.error_handlers import InvalidRequest

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

Fault = dict[str, str]


def read_object(request: Request, *types: str) -> tuple[dict[str, Any], list[Fault]]:
    """Return the members of the JSON object in the body, and the faults of those there twice.

    Numbers come as ``Decimal``. Raises ``UnsupportedMediaType`` if the body is not of one of
    ``types``, ``RequestEntityTooLarge``, and ``InvalidRequest`` if it is no JSON object.
    """
    _check_type(request, types)
    faults: list[Fault] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        named = {_unicode(name): value for name, value in pairs}
        # The outermost object comes last; one inside it is refused by its member anyway.
        faults.clear()
        if len(named) < len(pairs):
            counts = Counter(_unicode(name) for name, _ in pairs)
            faults.extend(fault(name, "is there twice") for name in named if counts[name] > 1)
        return named

    try:
        body = json.loads(
            _whole_body(request).decode(),
            object_pairs_hook=members,
            parse_int=number,
            parse_float=number,
            parse_constant=_refuse,
        )
    except UnicodeDecodeError as error:
        raise _invalid(f"is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _invalid("is nested too deeply") from None
    except ValueError as error:
        raise _invalid(f"is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise _invalid("must be a JSON object")
    return body, faults


def _whole_body(request: Request) -> bytes:
    """Return the body, read past werkzeug's streams; raises ``RequestEntityTooLarge``."""
    limit, declared = request.max_content_length or 0, request.content_length or 0
    if declared > limit:
        raise RequestEntityTooLarge
    ends_by_itself = request.environ.get("wsgi.input_terminated")
    body: bytes = request.environ["wsgi.input"].read(limit + 1 if ends_by_itself else declared)
    if len(body) > limit:
        raise RequestEntityTooLarge
    return body


def number(digits: str) -> Decimal:
    """Keep a number exact; one that no Decimal can hold is beyond every range."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        return Decimal("Infinity")


def fault(member: str, detail: str) -> Fault:
    """Name a member by its JSON Pointer (RFC 6901)."""
    return {"pointer": f"/{member.replace('~', '~0').replace('/', '~1')}", "detail": detail}


def _check_type(request: Request, types: tuple[str, ...]) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in types or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"The Content-Type must be {' or '.join(types)}, in UTF-8")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must come without a Content-Encoding")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _unicode(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest([{"pointer": "", "detail": detail}])
