"""The blueprint of /: the back-office page in a browser; to programs, what this service is."""

import json
from pathlib import Path

from flask import Blueprint, Response, current_app, render_template, request

from service import models, schemas
from service.common import security_headers
from service.common.json_body import JSON
from service.openapi import path_templates

blueprint = Blueprint("page", __name__)

HTML = "text/html"
MODULES = sorted(path.name for path in Path(__file__).parent.glob("static/page/*.js"))
# As staff think of them: from what is on sale to what is gone for good.
STATUSES = (models.Status.ACTIVE, models.Status.INACTIVE, models.Status.DISABLED)


@blueprint.get("/")
def index() -> Response:
    """Show the back-office page to a client that prefers HTML; tell others what this service is."""
    preferred = request.accept_mimetypes.best_match([JSON, HTML])
    response = _page() if preferred == HTML else _service()
    response.vary.add("Accept")
    return response


def _page() -> Response:
    page = render_template(
        "index.html", models=models, schemas=schemas, statuses=STATUSES, modules=MODULES
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
        "name": "products",
        "version": current_app.config["VERSION"],
        "paths": path_templates(current_app.url_map),
    }
    return Response(json.dumps(service), content_type=JSON)
