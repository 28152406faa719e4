"""JSON request bodies: strict parsing (RFC 8259) with exact numbers."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from service.common.error_handlers import InputError, InvalidRequest

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
PATCH_TYPES = (MERGE_PATCH, JSON)
# RFC 8259, section 8.1: a parser may ignore it.
BYTE_ORDER_MARK = "\ufeff"
# The key of the environ under which the body is kept.
BODY = "service.body"

Pairs = list[tuple[str, Any]]


def read_object(request: Request, *types: str) -> tuple[dict[str, Any], list[InputError]]:
    """Return the members of the JSON object in the body, and an error for each duplicate member.

    Numbers are ``Decimal``. Raises ``UnsupportedMediaType`` if Content-Type is not one of
    ``types``, ``RequestEntityTooLarge``, and ``InvalidRequest`` if the body is not a JSON object.
    """
    _check_type(request, types)
    return parse_object(read_body(request))


def parse_object(text: bytes) -> tuple[dict[str, Any], list[InputError]]:
    """Return the members of a JSON object in UTF-8, and an error for each duplicate member.

    Numbers are ``Decimal``. Raises ``InvalidRequest`` if it is not a JSON object.
    """
    errors: list[InputError] = []
    body = _parse(text, partial(_members, errors))
    if not isinstance(body, dict):
        raise _invalid("must be a JSON object")
    return body, errors


def read_body(request: Request) -> bytes:
    """Return the body, without the overhead of werkzeug's streams; it can be called again.

    Raises ``RequestEntityTooLarge``.
    """
    if BODY in request.environ:
        again: bytes = request.environ[BODY]
        return again
    limit, declared = request.max_content_length or 0, request.content_length or 0
    if declared > limit:
        raise RequestEntityTooLarge
    is_terminated = request.environ.get("wsgi.input_terminated")
    body: bytes = request.environ["wsgi.input"].read(limit + 1 if is_terminated else declared)
    if len(body) > limit:
        raise RequestEntityTooLarge
    request.environ[BODY] = body
    return body


def forget_body(request: Request) -> None:
    """Release the memory of the body: what refers to the request may be collected late."""
    request.environ.pop(BODY, None)


def _parse(body: bytes, object_pairs_hook: Callable[[Pairs], Any]) -> Any:
    try:
        return json.loads(
            body.decode().removeprefix(BYTE_ORDER_MARK),
            object_pairs_hook=object_pairs_hook,
            parse_int=parse_number,
            parse_float=parse_number,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise _invalid(f"is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _invalid("is nested too deeply") from None
    except ValueError as error:
        raise _invalid(f"is not JSON: {error}") from None


def _members(errors: list[InputError], pairs: Pairs) -> dict[str, Any]:
    """Return the pairs as a dictionary; set ``errors`` to an error for each duplicate name."""
    members = {_replace_surrogates(name): value for name, value in pairs}
    # The parser calls this for the outermost object last. Only its errors count: no member of a
    # body is an object, so the schema refuses a nested one.
    errors.clear()
    if len(members) < len(pairs):
        counts = Counter(_replace_surrogates(name) for name, _ in pairs)
        duplicates = [name for name in members if counts[name] > 1]
        errors.extend(member_error(name, "must be given only once") for name in duplicates)
    return members


def parse_number(digits: str) -> Decimal:
    """Return the exact value of a JSON number; infinity if its exponent exceeds ``Decimal``."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        return Decimal("Infinity")


def member_error(member: str, detail: str) -> InputError:
    """Return an error with the JSON Pointer (RFC 6901) of a member."""
    return {"pointer": f"/{member.replace('~', '~0').replace('/', '~1')}", "detail": detail}


def type_message(types: Iterable[str]) -> str:
    """Return the message of an unsupported Content-Type."""
    return f"Content-Type must be {' or '.join(types)}, in UTF-8"


def _check_type(request: Request, types: tuple[str, ...]) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in types or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(type_message(types))
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding must be identity or missing")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


def _replace_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest([{"pointer": "", "detail": detail}])
