"""Imports over HTTP: the parameters, the plan of a dry run, and carrying it out."""

import io
import json
from collections.abc import Callable
from functools import wraps
from threading import BoundedSemaphore
from typing import Any

from flask import Flask, Request, Response, request
from sqlalchemy import Connection
from werkzeug.exceptions import (
    BadRequest,
    PreconditionFailed,
    PreconditionRequired,
    ServiceUnavailable,
    UnsupportedMediaType,
)

from service.common import status
from service.common.error_handlers import RETRY_AFTER_SECONDS
from service.database import in_transaction
from service.files import CSV, JSON_LINES
from service.files.encoding import is_known
from service.files.plan import Import, Plan
from service.files.reading import Options, read
from service.http.json_body import JSON, forget_body, read_body

PATH = "/products/import"
ENDPOINT = "files.import_products"
MAX_FILE_BYTES = 8 * 1024 * 1024
UNSUPPORTED = f"Content-Type must be {CSV} or {JSON_LINES}"
ANOTHER_PLAN = "The file would change something else by now: plan it again"
PLAN_REQUIRED = "If-Match is required: send the ETag of a dry run (dry_run=true), or * for any plan"
# The details of failures, where they differ from those of other requests.
DETAILS = {
    status.HTTP_412_PRECONDITION_FAILED: ANOTHER_PLAN,
    status.HTTP_413_CONTENT_TOO_LARGE: f"The body is larger than {MAX_FILE_BYTES} bytes",
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED,
    status.HTTP_428_PRECONDITION_REQUIRED: PLAN_REQUIRED,
}


class FaultyFile(BadRequest):
    """A file that is not imported because of its faults."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(faulty_message(plan.faulty))
        self.errors = [fault._asdict() for fault in plan.faults]


def faulty_message(rows: int) -> str:
    """Return why nothing was imported."""
    return f"Nothing was imported: faulty rows: {rows:,}"


def init_app(app: Flask) -> None:
    """Bound the size of a file, and the imports that run at once.

    They leave one thread to reads, and one to other writes.
    """
    app.config["BODY_LIMITS"] = {PATH: MAX_FILE_BYTES}
    slots = BoundedSemaphore(max(1, app.config["WEB_THREADS"] - 2))
    view = app.view_functions[ENDPOINT]
    app.view_functions[ENDPOINT] = _bounded(view, slots)


def _bounded(view: Callable[..., Any], slots: BoundedSemaphore) -> Callable[..., Any]:
    """Return the view, which raises ``ServiceUnavailable`` if too many requests are in it.

    It releases the memory of the file at its end.
    """

    @wraps(view)
    def bounded() -> Any:
        if not slots.acquire(blocking=False):
            detail = "Other imports are running; try again later"
            raise ServiceUnavailable(detail, retry_after=RETRY_AFTER_SECONDS)
        try:
            return view()
        finally:
            forget_body(request)
            slots.release()

    return bounded


def require_file(request: Request) -> str:
    """Return the charset of the body; raises ``UnsupportedMediaType`` if it is no such file."""
    request.max_content_length = MAX_FILE_BYTES
    charset = request.mimetype_params.get("charset", "")
    if request.mimetype not in {CSV, JSON_LINES}:
        raise UnsupportedMediaType(UNSUPPORTED)
    if charset and not is_known(charset):
        raise UnsupportedMediaType("The charset of Content-Type is not known")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding must be identity or missing")
    return charset


def dry_run(request: Request, options: Options) -> Response:
    """Return the plan of the file in the body, with its ETag."""

    def show(connection: Connection) -> Response:
        file_import = _loaded(connection, request, options)
        plan = file_import.plan(lock=False)
        response = _response(_document(plan, file_import.changes()))
        response.set_etag(file_import.tag(plan))
        _roll_back(connection)
        return response

    return in_transaction(show, writes=False)


def carry_out(connection: Connection, request: Request, options: Options) -> Response:
    """Import the file in the body; raises ``PreconditionFailed`` or ``FaultyFile``."""
    file_import = _loaded(connection, request, options)
    plan = file_import.plan(lock=True)
    if file_import.tag(plan) not in request.if_match:
        raise PreconditionFailed(ANOTHER_PLAN)
    if plan.faulty and not (options.skip_faulty and plan.may_skip_faulty):
        raise FaultyFile(plan)
    created = file_import.apply(list_ids=True)
    file_import.close()
    return _response({"created": created, "updated": plan.update, "unchanged": plan.unchanged})


def require_plan(request: Request) -> None:
    """Raise ``PreconditionRequired`` unless the request names the plan to carry out."""
    if "If-Match" not in request.headers:
        raise PreconditionRequired(PLAN_REQUIRED)


def _loaded(connection: Connection, request: Request, options: Options) -> Import:
    file_import = Import(connection, options)
    file_import.load(read(io.BytesIO(read_body(request)), request.mimetype, options))
    return file_import


def _roll_back(connection: Connection) -> None:
    transaction = connection.get_transaction()
    assert transaction is not None  # noqa: S101  # for mypy
    transaction.rollback()


def _document(plan: Plan, changes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "create": plan.create,
        "update": plan.update,
        "unchanged": plan.unchanged,
        "faulty": plan.faulty,
        "faults": [fault._asdict() for fault in plan.faults],
        "changes": changes,
    }


def _response(document: dict[str, Any]) -> Response:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), content_type=JSON)
