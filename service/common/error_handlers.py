"""Every failure becomes a problem document here (RFC 9457)."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, request
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

RETRY_AFTER_SECONDS = 2
# Of PostgreSQL's error codes: no connection, no resources, shutting down, cancelled or timed
# out, read-only, idle for too long, locked, rolled back again and again, failing disks.
OUTAGES = ("08", "53", "57P0", "57014", "25006", "25P03", "25P04", "55P03", "40001", "40P01", "58")
PROBLEM = "application/problem+json"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MISSING_TABLE = "42P01"


class InvalidRequest(BadRequest):
    """A body or a query with faults, each a mapping with its place and its ``detail``."""

    def __init__(self, faults: list[dict[str, str]]) -> None:
        """Name every fault in one sentence, too."""
        super().__init__("; ".join(map(_sentence, faults)))
        self.faults = faults


def _sentence(fault: dict[str, str]) -> str:
    member = fault.get("pointer", "").removeprefix("/").replace("~1", "/").replace("~0", "~")
    return f"{member or fault.get('parameter', 'the body')} {fault['detail']}"


def problem(
    status: int, detail: str, request_id: str, errors: list[dict[str, str]] | None = None
) -> bytes:
    """Write a problem document; what is not Unicode in it becomes a question mark."""
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


def advice(error: SQLAlchemyError) -> str | None:
    """Say what to do about a database that cannot serve now; None where the fault is ours."""
    if isinstance(error, InvalidRequestError) and "This connection is closed" in str(error):
        return "The database has closed each connection at once: see its own log."
    if isinstance(error, PoolTimeoutError):
        return "All database connections are busy: raise WEB_THREADS or find the slow statements."
    if not isinstance(error, DBAPIError):
        return None
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    said = " ".join(str(error.orig).split())
    line = None
    if sqlstate == MISSING_TABLE or "no such table" in said:
        line = f"The database has no tables ({said}): run `flask db upgrade`."
    elif "unable to open database file" in said:
        line = f"There is no database at DATABASE_URI ({said}): run `flask db upgrade`."
    elif "database is locked" in said:
        line = f"The database is busy with another write ({said}): try again when it is done."
    elif error.connection_invalidated or (sqlstate or "").startswith(OUTAGES):
        line = f"The database cannot serve ({sqlstate}: {said}): see its own log."
    elif isinstance(error, OperationalError) and sqlstate is None:
        line = f"The database cannot be used ({said}): see that it runs and check DATABASE_URI."
    return line


def init_app(app: Flask) -> None:
    """Answer every failure of ``app`` with a problem document."""

    @app.errorhandler(HTTPException)
    def answer(error: HTTPException) -> Response:
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        return Response(
            problem(status, _detail(error), request_id(), getattr(error, "faults", None)),
            status,
            _headers(error.get_headers()),
            content_type=PROBLEM,
        )

    @app.after_request
    def describe(response: Response) -> Response:
        """Say what is wrong where nobody has raised it: a file's precondition has failed."""
        if response.status_code >= HTTPStatus.BAD_REQUEST and response.mimetype != PROBLEM:
            response.close()
            response.direct_passthrough = False
            error = default_exceptions[response.status_code]()
            response.set_data(problem(response.status_code, _detail(error), request_id()))
            response.content_type = PROBLEM
        return response

    @app.errorhandler(SQLAlchemyError)
    def answer_database(error: SQLAlchemyError) -> Response:
        line = advice(error)
        if line is None:
            raise error
        current_app.logger.error(line)
        return answer(ServiceUnavailable(_outcome(error), retry_after=RETRY_AFTER_SECONDS))


def _outcome(error: SQLAlchemyError) -> str:
    """Say what has become of the request."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost and request.method not in SAFE_METHODS:
        return "The database was lost meanwhile; see what it has before you try again"
    return "The database cannot serve now; please try again"


def _headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name != "Content-Type"]


def _detail(error: HTTPException) -> str:
    """Say what is wrong in the words of this service where werkzeug's are for a browser."""
    default = type(error).description
    if error.description is not None and error.description != default:
        return error.description
    match error:
        case NotFound():
            return f"There is nothing at {request.path}"
        case MethodNotAllowed():
            return f"{request.method} is not allowed on {request.path}"
        case RequestEntityTooLarge():
            limit = current_app.config["MAX_CONTENT_LENGTH"]
            return f"The body is larger than {limit} bytes"
        case InternalServerError():
            return "The service failed; the request_id finds the failure in its log"
    return error.description or HTTPStatus(error.code or 500).phrase
