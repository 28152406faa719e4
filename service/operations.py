"""The blueprint of what operators watch."""

from flask import Blueprint, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import ServiceUnavailable

from service.common.database import probe, sqlite_file
from service.common.error_handlers import RETRY_AFTER_SECONDS, advice
from service.common.json_body import JSON
from service.common.migrations import NO_TABLES, schema_fault
from service.models import db

OK = '{"status": "OK"}'

blueprint = Blueprint("operations", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Say that the process is up; the database is not asked."""
    return Response(OK, content_type=JSON)


@blueprint.get("/readyz")
def readyz() -> Response:
    """Say whether the database answers and its schema is the one that this version needs."""
    fault = _database_fault()
    if fault:
        raise ServiceUnavailable(fault, retry_after=RETRY_AFTER_SECONDS)
    return Response(OK, content_type=JSON)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Give the figures of all workers to Prometheus, in its text format."""
    figures = current_app.extensions["metrics"].exposition()
    return Response(figures, content_type=CONTENT_TYPE_LATEST)


def _database_fault() -> str | None:
    """Say what keeps the database from serving; None if nothing does."""
    file = sqlite_file(db.engine.url)
    if file and not file.exists():
        return NO_TABLES
    try:
        with probe() as connection:
            return schema_fault(connection, db.metadata)
    except DBAPIError as error:
        # Where the database is and as whom it is asked is for the log only.
        current_app.logger.warning(advice(error) or error.orig)
        return "The database does not answer"
