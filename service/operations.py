"""The blueprint of what operators watch."""

from flask import Blueprint, Response

from service.common.json_body import JSON

blueprint = Blueprint("operations", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Say that the process is up; the database is not asked."""
    return Response('{"status": "OK"}', content_type=JSON)
