"""The OpenAPI document, generated from the views and the schemas, and Swagger UI for it."""

import json
from importlib.resources import files

from flask import Blueprint, Response, current_app, render_template, send_from_directory

from service.http import security_headers
from service.http.json_body import JSON
from service.openapi.components import HTML
from service.openapi.decorator import operation
from service.openapi.document import describe

blueprint = Blueprint("openapi", __name__)

SWAGGER_UI = str(files("flask_swagger_ui") / "dist")


@blueprint.get("/openapi.json")
@operation({JSON: {"type": "object"}})
def get_open_api() -> Response:
    """Return this OpenAPI 3.1 document."""
    return Response(json.dumps(describe(current_app.url_map)), content_type=JSON)


@blueprint.get("/apidocs")
@operation({HTML: {"type": "string"}})
def get_api_docs() -> Response:
    """Return a page to read this document and to try the operations."""
    response = Response(render_template("apidocs.html"))
    response.headers[security_headers.POLICY] = security_headers.DOCUMENTATION
    return response


@blueprint.get("/apidocs/<path:filename>")
def get_swagger_ui_file(filename: str) -> Response:
    """Return a file of Swagger UI."""
    return send_from_directory(SWAGGER_UI, filename)
