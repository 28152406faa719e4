"""The responses of operations, with examples."""

import json
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from service.common import status
from service.common.error_handlers import PROBLEM as PROBLEM_TYPE
from service.common.error_handlers import InputError, InvalidRequest, problem
from service.files import CSV, importing
from service.http.idempotency import IN_PROGRESS, KEY_IN_USE
from service.http.json_body import MERGE_PATCH, member_error, type_message
from service.openapi.components import FAULT, HEADERS, PROBLEM, Schema, example
from service.openapi.decorator import Operation


class Failure(NamedTuple):
    """A status code other than that of success: what it means, and an example of its problem."""

    meaning: str
    detail: str = ""
    errors: Sequence[Mapping[str, Any]] | None = None
    headers: tuple[str, ...] = ()
    """Keys of ``HEADERS``."""


def _invalid(errors: list[InputError]) -> Failure:
    meaning = "The request is invalid; `errors` lists all errors."
    return Failure(meaning, str(InvalidRequest(errors).description), errors)


def _unsupported(types: Collection[str]) -> Failure:
    meaning = "Content-Type, its charset or Content-Encoding is wrong."
    headers = ("Accept-Patch",) if MERGE_PATCH in types else ()
    return Failure(meaning, type_message(types), headers=headers)


def _invalid_query(parameters: Collection[Schema]) -> Failure:
    """Return the failure of a query whose first parameter that must be an integer is none."""
    name = next(
        parameter["name"]
        for parameter in parameters
        if parameter["in"] == "query" and parameter["schema"]["type"] == "integer"
    )
    return _invalid([{"parameter": name, "detail": "must be an integer"}])


INVALID_BODY = _invalid(
    [
        member_error("price", "must be a number"),
        member_error("colour", "is not a member of a product"),
    ]
)
INVALID_FILE = Failure(
    "The file or a parameter is invalid; `errors` lists up to 200 faults.",
    importing.faulty_message(1),
    FAULT["examples"],
)
FAILURES = {
    status.HTTP_304_NOT_MODIFIED: Failure(
        "The product still has the ETag in If-None-Match.", headers=("ETag",)
    ),
    status.HTTP_401_UNAUTHORIZED: Failure(
        "There is no valid token.",
        "A valid token is required: Authorization: Bearer <token>",
        headers=("WWW-Authenticate",),
    ),
    status.HTTP_403_FORBIDDEN: Failure(
        "The service has neither tokens nor TRUSTED_HOSTS, and Host is a public name.",
        "Without API_TOKENS, a write needs a Host that is an IP address, localhost or a"
        " name without a dot: set API_TOKENS, or add the host to TRUSTED_HOSTS",
    ),
    status.HTTP_404_NOT_FOUND: Failure("There is no such product.", "Product 7 was not found"),
    status.HTTP_409_CONFLICT: Failure(
        "A request with the same Idempotency-Key is still running.",
        IN_PROGRESS,
        headers=("Retry-After",),
    ),
    status.HTTP_410_GONE: Failure("The cursor is no longer valid: begin again."),
    status.HTTP_412_PRECONDITION_FAILED: Failure(
        "A precondition is false: read again, and decide again.",
        "If-Match does not match the current representation",
    ),
    status.HTTP_413_CONTENT_TOO_LARGE: Failure(
        "The body is too large.", "The body is larger than 1048576 bytes"
    ),
    status.HTTP_414_URI_TOO_LONG: Failure(
        "The query string is too long.", "The query string is longer than 8192 bytes"
    ),
    status.HTTP_422_UNPROCESSABLE_CONTENT: Failure(
        "The Idempotency-Key was used for another request.", KEY_IN_USE
    ),
    status.HTTP_428_PRECONDITION_REQUIRED: Failure(
        "The service requires If-Match.",
        "If-Match is required: send the ETag of the representation to change",
    ),
    status.HTTP_503_SERVICE_UNAVAILABLE: Failure(
        "The service is unavailable or overloaded: try again later.",
        "The database is unavailable; try again later",
        headers=("Retry-After",),
    ),
}
EXAMPLE_REQUEST_ID = HEADERS["X-Request-ID"]["example"]


def responses(operation: Operation) -> Schema:
    """Return the Responses Object of an operation."""
    successes = {
        str(code): _response(HTTPStatus(code).phrase, operation.content, operation.headers)
        for code in (operation.success, *operation.also)
    }
    return successes | {
        str(code): _response_of(code, _failure(code, operation)) for code in operation.failures
    }


def content(schemas: dict[str, Schema]) -> Schema:
    """Return a Media Type Object with an example, if its schema has one, for each media type."""
    return {mimetype: {"schema": schema} | _example(schema) for mimetype, schema in schemas.items()}


def _example(schema: Schema) -> Schema:
    found = example(schema)
    return {} if found is None else {"example": found}


def _response(description: str, schemas: dict[str, Schema], headers: tuple[str, ...]) -> Schema:
    response: Schema = {
        "description": description,
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)
        },
    }
    return response | ({"content": content(schemas)} if schemas else {})


def _response_of(code: int, failure: Failure) -> Schema:
    if code < status.HTTP_400_BAD_REQUEST:
        return _response(failure.meaning, {}, failure.headers)
    response = _response(failure.meaning, {PROBLEM_TYPE: PROBLEM}, failure.headers)
    body = problem(code, failure.detail, EXAMPLE_REQUEST_ID, failure.errors)
    response["content"][PROBLEM_TYPE]["example"] = json.loads(body)
    return response


def _failure(code: int, operation: Operation) -> Failure:
    """Return what the status code means for an operation."""
    match code:
        case status.HTTP_400_BAD_REQUEST:
            failure = _invalid_request(operation)
        case status.HTTP_415_UNSUPPORTED_MEDIA_TYPE:
            failure = _unsupported(operation.body or ())
        case _:
            failure = FAILURES[code]
    return failure._replace(detail=operation.details.get(code, failure.detail))


def _invalid_request(operation: Operation) -> Failure:
    if operation.body is None:
        return _invalid_query(operation.parameters)
    return INVALID_FILE if CSV in operation.body else INVALID_BODY
