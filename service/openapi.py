"""The OpenAPI document, made from the routes and the schemas; and a page to read and try it."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from importlib.resources import files
from inspect import getdoc
from typing import Any, NamedTuple

from flask import Blueprint, Response, current_app, render_template, send_from_directory
from pydantic import TypeAdapter
from werkzeug.routing import Map, Rule

from service.common import security_headers, status
from service.common.auth import WRITES
from service.common.error_handlers import PROBLEM
from service.common.json_body import JSON, MERGE_PATCH
from service.models import MAX_ID
from service.schemas import list_query, product, product_body, product_patch

blueprint = Blueprint("openapi", __name__)

Schema = dict[str, Any]

SWAGGER_UI = str(files("flask_swagger_ui") / "dist")
HTML = "text/html"

HEADERS: Schema = {
    "X-Request-ID": {
        "description": "the id of the request, as the log has it",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "ETag": {
        "description": "the strong entity tag of the product (RFC 9110)",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    },
    "Location": {
        "description": "where the product is, as an absolute URI",
        "schema": {"type": "string", "format": "uri"},
    },
    "Link": {
        "description": "the pages `next` (while there is more), `first` and `prev` (RFC 8288)",
        "schema": {"type": "string"},
    },
    "X-Total-Count": {
        "description": "how many products match in all, if `count=true`",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Retry-After": {
        "description": "the seconds to wait before the next try",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "how to show who asks (RFC 6750)",
        "schema": {"type": "string"},
    },
}
FAILURE_HEADERS = {
    status.HTTP_401_UNAUTHORIZED: ("WWW-Authenticate",),
    status.HTTP_503_SERVICE_UNAVAILABLE: ("Retry-After",),
}

TOKEN: Schema = {
    "type": "http",
    "scheme": "bearer",
    "description": "asked for where the service is told who may write",
}

PROBLEM_SCHEMA: Schema = {
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "description": "every fault of the body or of the query",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "format": "json-pointer"},
                    "parameter": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _schema(adapter: TypeAdapter[Any]) -> Schema:
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
    return {name: value for name, value in schema.items() if name != "$defs"}


PRODUCT = _ref("Product")
PRODUCTS: Schema = {"type": "array", "items": PRODUCT}
HEALTH: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "OK"}},
}
SERVICE: Schema = {
    "type": "object",
    "required": ["name", "version", "paths"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "paths": {"type": "array", "items": {"type": "string"}},
    },
}


def _query_parameters() -> Iterator[Schema]:
    """Yield the parameters of a list as its schema has them."""
    for name, schema in _schema(list_query)["properties"].items():
        parameter = {"name": name, "in": "query", "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        if name == "sort":
            parameter |= {"style": "form", "explode": False}
        yield parameter


EXAMPLE: Schema = {
    "name": "Copper kettle",
    "img_url": "https://img.example.com/kettle.jpg",
    "description": "Whistles when the water boils.",
    "price": 49.95,
    "rating": 4,
    "category": "Kitchen",
    "status": "active",
}
BODY = {JSON: _ref("ProductBody")}
PATCH = {JSON: _ref("ProductPatch"), MERGE_PATCH: _ref("ProductPatch")}

PRODUCT_ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
}
REQUEST_ID: Schema = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "the id of the request; without a sound one, one is made",
    "schema": {"type": "string"},
}
IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "description": "the ETag of the product that is meant; if it has another by now: 412",
    "schema": {"type": "string"},
}
IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the ETag of a product that is known; if it still has it: 304",
    "schema": {"type": "string"},
}


class Operation(NamedTuple):
    """What an operation takes and answers, apart from its path."""

    content: dict[str, Schema]
    success: int = status.HTTP_200_OK
    headers: tuple[str, ...] = ()
    failures: tuple[int, ...] = ()
    body: dict[str, Schema] | None = None
    parameters: tuple[Schema, ...] = ()


CHANGE = Operation(
    {JSON: PRODUCT},
    headers=("ETag",),
    failures=(400, 401, 404, 412, 413, 415, 428, 503),
    body=BODY,
    parameters=(IF_MATCH,),
)
OPERATIONS = {
    "products.list_products": Operation(
        {JSON: PRODUCTS},
        headers=("Link", "X-Total-Count"),
        failures=(400, 503),
        parameters=tuple(_query_parameters()),
    ),
    "products.create_product": Operation(
        {JSON: PRODUCT},
        success=status.HTTP_201_CREATED,
        headers=("ETag", "Location"),
        failures=(400, 401, 413, 415, 503),
        body=BODY,
    ),
    "products.read_product": Operation(
        {JSON: PRODUCT},
        headers=("ETag",),
        failures=(304, 404, 412, 503),
        parameters=(IF_MATCH, IF_NONE_MATCH),
    ),
    "products.replace_product": CHANGE,
    "products.change_product": CHANGE._replace(body=PATCH),
    "products.delete_product": Operation(
        {},
        success=status.HTTP_204_NO_CONTENT,
        failures=(401, 404, 412, 428, 503),
        parameters=(IF_MATCH,),
    ),
    "operations.health": Operation({JSON: HEALTH}),
    "operations.readyz": Operation({JSON: HEALTH}, failures=(503,)),
    "operations.metrics": Operation({"text/plain": {"type": "string"}}),
    "openapi.document": Operation({JSON: {"type": "object"}}),
    "openapi.read_and_try": Operation({HTML: {"type": "string"}}),
    "page.index": Operation({JSON: SERVICE, HTML: {"type": "string"}}),
}


@blueprint.get("/openapi.json")
def document() -> Response:
    """Describe the service in OpenAPI 3.1."""
    return Response(json.dumps(describe(current_app.url_map)), content_type=JSON)


@blueprint.get("/apidocs")
def read_and_try() -> Response:
    """Show this description, to read and to try."""
    response = Response(render_template("apidocs.html"))
    response.headers[security_headers.POLICY] = security_headers.DOCUMENTATION
    return response


@blueprint.get("/apidocs/<path:filename>")
def swagger_ui(filename: str) -> Response:
    """Send a file of Swagger UI."""
    return send_from_directory(SWAGGER_UI, filename)


def path_templates(url_map: Map) -> list[str]:
    """Return the documented paths, such as ``/products/{id}``."""
    return sorted({_path(rule) for rule in _documented(url_map)})


def describe(url_map: Map) -> Schema:
    """Return the OpenAPI document of the routes in ``url_map``."""
    paths: Schema = {path: {} for path in path_templates(url_map)}
    for rule in _documented(url_map):
        own = [PRODUCT_ID] if rule.arguments else []
        paths[_path(rule)]["parameters"] = [*own, REQUEST_ID]
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            paths[_path(rule)].setdefault(method.lower(), _operation(rule, method))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "products",
            "version": current_app.config["VERSION"],
            "summary": "The catalogue of an online shop.",
            "description": "Every path answers OPTIONS with 200 and its methods in Allow.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {
                **_schemas(Product=product, ProductBody=product_body, ProductPatch=product_patch),
                "Problem": PROBLEM_SCHEMA,
            },
            "headers": HEADERS,
            "securitySchemes": {"token": TOKEN},
        },
    }


def _documented(url_map: Map) -> Iterator[Rule]:
    return (rule for rule in url_map.iter_rules() if rule.endpoint in OPERATIONS)


def _path(rule: Rule) -> str:
    return re.sub("<[^>]*>", "{id}", rule.rule)


def _schemas(**adapters: TypeAdapter[Any]) -> dict[str, Schema]:
    """Return the named schemas together with those that they refer to."""
    schemas: dict[str, Schema] = {}
    for name, adapter in adapters.items():
        schemas[name] = adapter.json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schemas[name].pop("$defs", {}))
    return schemas


def _operation(rule: Rule, method: str) -> Schema:
    operation = OPERATIONS[rule.endpoint]
    room, _, name = rule.endpoint.partition(".")
    sentences = getdoc(current_app.view_functions[rule.endpoint]) or ""
    summary, _, description = sentences.replace("\n\n", "\0").replace("\n", " ").partition("\0")
    described: Schema = {
        "operationId": name,
        "tags": [room],
        "summary": summary,
        "description": description,
        "parameters": list(operation.parameters),
        "responses": {
            str(operation.success): _response(
                operation.success, operation.content, operation.headers
            )
        }
        | {str(failure): _failure(failure) for failure in operation.failures},
    }
    if method in WRITES:
        anybody: list[Schema] = [] if current_app.extensions["tokens"] else [{}]
        described["security"] = [*anybody, {"token": []}]
    if operation.body:
        described["requestBody"] = _body(operation.body)
    if method == "HEAD":
        described["operationId"] += "_head"
        described["description"] = "As GET, without the body."
        for response in described["responses"].values():
            response.pop("content", None)
    return described


def _content(schemas: dict[str, Schema]) -> Schema:
    return {mimetype: {"schema": schema} for mimetype, schema in schemas.items()}


def _body(schemas: dict[str, Schema]) -> Schema:
    content = {name: media | {"example": EXAMPLE} for name, media in _content(schemas).items()}
    return {"required": True, "content": content}


def _response(code: int, content: dict[str, Schema], headers: tuple[str, ...]) -> Schema:
    response: Schema = {
        "description": HTTPStatus(code).phrase,
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)
        },
    }
    if content:
        response["content"] = _content(content)
    return response


def _failure(code: int) -> Schema:
    if code == status.HTTP_304_NOT_MODIFIED:
        return _response(code, {}, ("ETag",))
    return _response(code, {PROBLEM: _ref("Problem")}, FAILURE_HEADERS.get(code, ()))
