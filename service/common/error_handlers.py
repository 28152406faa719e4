"""Error handlers: each error response is a problem document (RFC 9457)."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, has_request_context, request
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    ServiceUnavailable,
    default_exceptions,
)

from service.common.log_handlers import request_id
from service.database import db, revisions, sqlite, sqlite_file
from service.database.pgbouncer import is_unsent
from service.database.postgresql import ReplicationError

RETRY_AFTER_SECONDS = 2
# Prefixes of SQLSTATE: connection exception, insufficient resources, shutdown, query canceled,
# read-only transaction, idle timeouts, lock not available, serialization failure, deadlock,
# system error, standby.
OUTAGES = (
    *("08", "53", "57P0", "57014", "25006", "25P03", "25P04", "55P03", "40001", "40P01", "58"),
    "55000",
)
UNDEFINED_TABLE = "42P01"
# A column or a function that does not exist: SQLSTATE, and the messages of SQLite.
UNDEFINED = ("42703", "42883")
UNDEFINED_MESSAGE = re.compile("no such (column|function)|has no column named")
INSUFFICIENT_PRIVILEGE = "42501"
NO_TABLES = "The database has no tables"
INCOMPLETE = "The database lacks a column or a function of this version"
NO_PRIVILEGE = "The role of the service lacks a privilege"
LOOK = "`/readyz` says which one to grant"
UPGRADE = "run `flask db upgrade`"
UPGRADE_OR_LOOK = f"{UPGRADE}; if that changes nothing, `/readyz` says what to do"
PROBLEM = "application/problem+json"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

# The maximum number of errors in a response; it says how many more there are.
MAX_ERRORS = 100
# The maximum number of characters of a request that a response repeats.
MAX_ECHO = 100

# A member of "errors": "pointer" or "parameter", and "detail".
InputError = dict[str, str]


class InvalidRequest(BadRequest):
    """A body or a query string with at least one error.

    ``errors`` has the first ``MAX_ERRORS``; ``more`` is the number of further errors.
    """

    def __init__(self, errors: list[InputError], more: int = 0) -> None:
        self.errors = [
            {key: text if key == "detail" else shortened(text) for key, text in error.items()}
            for error in errors[:MAX_ERRORS]
        ]
        sentences = [_sentence(error) for error in self.errors]
        self.more = more + len(errors) - len(self.errors)
        if self.more:
            sentences.append(f"and {self.more} more errors")
        super().__init__("; ".join(sentences))


def shortened(text: str) -> str:
    """Return a text as an answer repeats it: at most ``MAX_ECHO`` characters."""
    return text if len(text) <= MAX_ECHO else text[: MAX_ECHO - 1] + "…"


def _sentence(error: InputError) -> str:
    member = error.get("pointer", "").removeprefix("/").replace("~1", "/").replace("~0", "~")
    return f"{member or error.get('parameter', 'the body')} {error['detail']}"


def problem(
    status: int,
    detail: str,
    request_id: str,
    errors: Sequence[Mapping[str, Any]] | None = None,
) -> bytes:
    """Return a problem document in UTF-8; unpaired surrogates become question marks."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        document["errors"] = errors
    document["request_id"] = request_id
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def outage_message(error: SQLAlchemyError) -> str | None:
    """Return the cause and the remedy of a database outage, for the log.

    Returns None if the error is a defect of the service.
    """
    if isinstance(error, InvalidRequestError) and "This connection is closed" in str(error):
        return "The database closes each new connection: see the database log."
    if isinstance(error, PoolTimeoutError):
        return "All database connections are in use: increase WEB_THREADS or find slow statements."
    return _driver_outage_message(error) if isinstance(error, DBAPIError) else None


def _driver_outage_message(error: DBAPIError) -> str | None:
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    cause = " ".join(str(error.orig).split())
    if fault := _schema_fault(error):
        return f"{fault[0]} ({cause}): {fault[1]}."
    file = sqlite.file_of(db.engine.url)
    if file and (message := sqlite_file.outage_message(file, cause)):
        return message
    if error.connection_invalidated or (sqlstate or "").startswith(OUTAGES):
        return f"The database is unavailable ({sqlstate}: {cause}): see the database log."
    if isinstance(error, OperationalError) and sqlstate is None:
        is_replication = isinstance(error.orig, ReplicationError)
        remedy = (
            "check its standbys" if is_replication else "check that it runs, and check DATABASE_URI"
        )
        return f"The database is unavailable ({cause}): {remedy}."
    return None


def _schema_fault(error: DBAPIError) -> tuple[str, str] | None:
    """Return what the schema or the role lacks and what corrects it; None if it lacks nothing."""
    sqlstate, cause = getattr(error.orig, "sqlstate", None), str(error.orig)
    if sqlstate == INSUFFICIENT_PRIVILEGE and has_request_context():  # commands have other roles
        return NO_PRIVILEGE, LOOK
    if sqlstate == UNDEFINED_TABLE or "no such table" in cause:
        return NO_TABLES, UPGRADE
    if sqlstate in UNDEFINED or (sqlstate is None and UNDEFINED_MESSAGE.search(cause)):
        return INCOMPLETE, UPGRADE_OR_LOOK
    return None


def init_app(app: Flask) -> None:
    """Register the error handlers of ``app``."""
    app.register_error_handler(HTTPException, _answer)
    app.register_error_handler(SQLAlchemyError, _answer_database_error)
    app.after_request(_replace_plain_error)


def _answer(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    return Response(
        problem(status, _detail(error), request_id(), getattr(error, "errors", None)),
        status,
        _headers(error.get_headers()),
        content_type=PROBLEM,
    )


def _answer_database_error(error: SQLAlchemyError) -> Response:
    message = outage_message(error)
    if message is None:
        raise error
    current_app.logger.error(message)
    return _answer(ServiceUnavailable(_outage_detail(error), retry_after=RETRY_AFTER_SECONDS))


def _replace_plain_error(response: Response) -> Response:
    """Replace the body of an error that was not raised, such as a 412 of ``send_file``."""
    if response.status_code >= HTTPStatus.BAD_REQUEST and response.mimetype != PROBLEM:
        response.close()
        response.direct_passthrough = False
        error = default_exceptions[response.status_code]()
        response.set_data(problem(response.status_code, _detail(error), request_id()))
        response.content_type = PROBLEM
    return response


def _outage_detail(error: SQLAlchemyError) -> str:
    file = sqlite.file_of(db.engine.url)
    if file and not file.exists():
        return revisions.NO_TABLES
    if isinstance(error, DBAPIError):
        if fault := _schema_fault(error):
            return ": ".join(fault)
        if isinstance(error.orig, ReplicationError):
            return error.orig.detail
        may_be_saved = error.connection_invalidated and not is_unsent(error.orig)
        if may_be_saved and request.method not in SAFE_METHODS:
            return (
                "The database connection was lost; check whether the change was saved,"
                " then try again"
            )
    return "The database is unavailable; try again later"


def _headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name != "Content-Type"]


def _detail(error: HTTPException) -> str:
    """Return the description of the error, without the default texts of werkzeug."""
    default = type(error).description
    if error.description is not None and error.description != default:
        return error.description
    match error:
        case NotFound():
            return f"{shortened(request.path)} was not found"
        case MethodNotAllowed():
            return f"{request.method} is not allowed on {shortened(request.path)}"
        case RequestEntityTooLarge():
            return f"The body is larger than {request.max_content_length} bytes"
        case InternalServerError():
            return "The service failed; its log has the details under this request_id"
    return error.description or HTTPStatus(error.code or 500).phrase
