"""The blueprint of /: the back-office page as HTML, or a description of the service as JSON."""

import json
from pathlib import Path

from flask import Blueprint, Response, current_app, render_template, request

from service import models, schemas
from service.config import SERVICE_NAME
from service.files.importing import MAX_FILE_BYTES
from service.files.reading import MAX_ROWS
from service.http import security_headers
from service.http.json_body import JSON
from service.openapi.components import HTML, SERVICE
from service.openapi.decorator import operation
from service.openapi.document import path_templates

blueprint = Blueprint("page", __name__)

MODULES = sorted(path.name for path in Path(__file__).parent.glob("static/page/*.js"))
# In the order of the page: from on sale to withdrawn.
STATUSES = (models.Status.ACTIVE, models.Status.INACTIVE, models.Status.DISABLED)
FILES = {"MAX_FILE_BYTES": MAX_FILE_BYTES, "MAX_ROWS": MAX_ROWS}


@blueprint.get("/")
@operation({JSON: SERVICE, HTML: {"type": "string"}})
def get_service() -> Response:
    """Return the back-office page if the client prefers HTML, else a JSON description."""
    preferred = request.accept_mimetypes.best_match([JSON, HTML])
    response = _page() if preferred == HTML else _service()
    response.vary.add("Accept")
    return response


def _page() -> Response:
    page = render_template(
        "index.html",
        models=models,
        schemas=schemas,
        files=FILES,
        statuses=STATUSES,
        modules=MODULES,
    )
    return Response(
        page,
        content_type=f"{HTML}; charset=utf-8",
        headers={
            security_headers.POLICY: security_headers.PAGE,
            "Cache-Control": "no-cache",
        },
    )


def _service() -> Response:
    service = {
        "name": SERVICE_NAME,
        "version": current_app.config["VERSION"],
        "paths": path_templates(current_app.url_map),
    }
    return Response(json.dumps(service), content_type=JSON)
