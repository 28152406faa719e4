"""The blueprint of /: what this service is and where its paths are."""

import json

from flask import Blueprint, Response, current_app

from service.common.json_body import JSON
from service.openapi import path_templates

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> Response:
    """Say what this service is."""
    return Response(
        json.dumps(
            {
                "name": "products",
                "version": current_app.config["VERSION"],
                "paths": path_templates(current_app.url_map),
            }
        ),
        content_type=JSON,
    )
