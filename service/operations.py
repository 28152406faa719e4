"""The blueprint of /health, /readyz and /metrics."""

from flask import Blueprint, Flask, Response, current_app, jsonify
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import ServiceUnavailable

from service.common.error_handlers import RETRY_AFTER_SECONDS, outage_message
from service.database import db, revisions, sqlite
from service.database.engine import PROBE, STANDBY_PROBE, probe
from service.http.auth import Tokens
from service.http.json_body import JSON
from service.metrics import Metrics
from service.openapi.components import HEALTH
from service.openapi.decorator import operation

NAME = "operations"
OK = '{"status": "OK"}'
NO_ANSWER = "The database does not answer"


def init_app(app: Flask, metrics: Metrics, tokens: Tokens) -> None:
    """Register /health, /readyz and /metrics."""
    blueprint = Blueprint(NAME, __name__)

    @blueprint.get("/health")
    @operation({JSON: HEALTH})
    def get_health() -> Response:
        """Return 200 while the process runs; does not use the database."""
        return Response(OK, content_type=JSON)

    @blueprint.get("/readyz")
    @operation({JSON: HEALTH}, failures=(503,), details={503: NO_ANSWER})
    def get_readiness() -> Response:
        """Return 200 if the database answers and has the required schema, else 503.

        While the tokens cannot be read, or only a standby answers, writes are 503. As reads
        continue, that is 200 with a `detail`.
        """
        fault = tokens.load().fault
        if error := _database_error(PROBE):
            if error != NO_ANSWER or not _is_read_by_standby():
                raise ServiceUnavailable(error, retry_after=RETRY_AFTER_SECONDS)
            fault = f"{error}; a standby answers reads"
        if fault:
            return jsonify(status="OK", detail=f"Writes are 503: {fault}")
        return Response(OK, content_type=JSON)

    @blueprint.get("/metrics")
    @operation({"text/plain": {"type": "string"}})
    def get_metrics() -> Response:
        """Return the metrics of all workers in the Prometheus text format."""
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(blueprint)


def _is_read_by_standby() -> bool:
    return STANDBY_PROBE in db.engines and _database_error(STANDBY_PROBE) is None


def _database_error(bind: str) -> str | None:
    file = sqlite.file_of(db.engine.url)
    if file and not file.exists():
        return revisions.NO_TABLES
    try:
        with probe(bind) as connection:
            return revisions.schema_error(connection, db.metadata)
    except DBAPIError as error:
        # Only the log has the cause, which may name the host and the role of the database.
        current_app.logger.warning(outage_message(error) or error.orig)
        return NO_ANSWER
