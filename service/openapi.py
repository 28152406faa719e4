"""The OpenAPI document, generated from the views and the schemas, and Swagger UI for it."""

import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from importlib.resources import files
from inspect import getdoc
from typing import Any, NamedTuple, TypeVar

from flask import Blueprint, Response, current_app, render_template, send_from_directory
from pydantic import TypeAdapter
from werkzeug.routing import Map, Rule

from service.common import status
from service.common.error_handlers import PROBLEM
from service.http import auth, security_headers
from service.http.json_body import JSON, MERGE_PATCH
from service.models import MAX_ID
from service.schemas import list_query, product, product_body, product_patch

blueprint = Blueprint("openapi", __name__)

Schema = dict[str, Any]

SWAGGER_UI = str(files("flask_swagger_ui") / "dist")
HTML = "text/html"

HEADERS: Schema = {
    "X-Request-ID": {
        "description": "id of the request, as in the log",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "ETag": {
        "description": "strong entity tag of the product (RFC 9110)",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    },
    "Location": {
        "description": "absolute URI of the product",
        "schema": {"type": "string", "format": "uri"},
    },
    "Link": {
        "description": "the pages `next` (except on the last page), `first` and `prev` (RFC 8288)",
        "schema": {"type": "string"},
    },
    "X-Total-Count": {
        "description": "number of matching products on all pages, if `count=true`",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Retry-After": {
        "description": "seconds to wait before a retry",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "the authentication scheme (RFC 6750)",
        "schema": {"type": "string"},
    },
}
ERROR_HEADERS = {
    status.HTTP_401_UNAUTHORIZED: ("WWW-Authenticate",),
    status.HTTP_503_SERVICE_UNAVAILABLE: ("Retry-After",),
}

TOKEN: Schema = {
    "type": "http",
    "scheme": "bearer",
    "description": "required for writes if the service has tokens",
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
            "description": "all errors of the body or of the query string",
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
    """Yield a Parameter Object for each member of the schema of a list query."""
    for name, schema in _schema(list_query)["properties"].items():
        parameter = {"name": name, "in": "query", "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        if name == "sort":
            parameter |= {"style": "form", "explode": False}
        yield parameter


LIST_PARAMETERS = tuple(_query_parameters())

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
    "description": "id of the request; if it is missing or invalid, the service generates one",
    "schema": {"type": "string"},
}
IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "description": "expected ETag of the product; 412 if the current one is different",
    "schema": {"type": "string"},
}
IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "known ETag of the product; 304 if it is the current one",
    "schema": {"type": "string"},
}


class Operation(NamedTuple):
    """The request and the responses of a view."""

    content: dict[str, Schema]
    """The schemas of the body of a successful response, by media type."""
    success: int = status.HTTP_200_OK
    headers: tuple[str, ...] = ()
    """The headers of a successful response; keys of ``HEADERS``."""
    failures: tuple[int, ...] = ()
    body: dict[str, Schema] | None = None
    """The schemas of the request body, by media type."""
    parameters: tuple[Schema, ...] = ()


_operations: dict[Callable[..., Any], Operation] = {}

View = TypeVar("View", bound=Callable[..., Response])


def operation(content: dict[str, Schema], **members: Any) -> Callable[[View], View]:
    """Return a decorator that documents a view; ``members`` are those of ``Operation``.

    The first line of the view's docstring is the summary, the rest is the description.
    """

    def document_view(view: View) -> View:
        _operations[view] = Operation(content, **members)
        return view

    return document_view


@blueprint.get("/openapi.json")
@operation({JSON: {"type": "object"}})
def document() -> Response:
    """Return this OpenAPI 3.1 document."""
    return Response(json.dumps(describe(current_app.url_map)), content_type=JSON)


@blueprint.get("/apidocs")
@operation({HTML: {"type": "string"}})
def apidocs() -> Response:
    """Return a page to read this document and to try the operations."""
    response = Response(render_template("apidocs.html"))
    response.headers[security_headers.POLICY] = security_headers.DOCUMENTATION
    return response


@blueprint.get("/apidocs/<path:filename>")
def swagger_ui(filename: str) -> Response:
    """Return a file of Swagger UI."""
    return send_from_directory(SWAGGER_UI, filename)


def path_templates(url_map: Map) -> list[str]:
    """Return the documented path templates, such as ``/products/{id}``, sorted."""
    return sorted({_path(rule) for rule in _documented(url_map)})


def describe(url_map: Map) -> Schema:
    """Return the OpenAPI document of the routes in ``url_map``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "products",
            "version": current_app.config["VERSION"],
            "summary": "The catalogue of an online shop.",
            "description": "Every path also accepts OPTIONS; the response has the header Allow.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(url_map),
        "components": {
            "schemas": {
                **_schemas(Product=product, ProductBody=product_body, ProductPatch=product_patch),
                "Problem": PROBLEM_SCHEMA,
            },
            "headers": HEADERS,
            "securitySchemes": {"token": TOKEN},
        },
    }


def _paths(url_map: Map) -> Schema:
    paths: Schema = {path: {} for path in path_templates(url_map)}
    for rule in _documented(url_map):
        path = paths[_path(rule)]
        path["parameters"] = [PRODUCT_ID, REQUEST_ID] if rule.arguments else [REQUEST_ID]
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            path.setdefault(method.lower(), _operation(rule, method))
    return paths


def _documented(url_map: Map) -> Iterator[Rule]:
    return (
        rule
        for rule in url_map.iter_rules()
        if current_app.view_functions[rule.endpoint] in _operations
    )


def _path(rule: Rule) -> str:
    return re.sub("<[^>]*>", "{id}", rule.rule)


def _schemas(**adapters: TypeAdapter[Any]) -> dict[str, Schema]:
    """Return the schemas of the adapters and those that they refer to."""
    schemas: dict[str, Schema] = {}
    for name, adapter in adapters.items():
        schemas[name] = adapter.json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schemas[name].pop("$defs", {}))
    return schemas


def _operation(rule: Rule, method: str) -> Schema:
    view = current_app.view_functions[rule.endpoint]
    operation = _operations[view]
    tag, _, name = rule.endpoint.partition(".")
    members: Schema = {
        "operationId": name,
        "tags": [tag],
        **_docstring(view),
        "parameters": list(operation.parameters),
        "responses": _responses(operation),
    }
    if method in auth.WRITE_METHODS:
        members["security"] = _security()
    if operation.body:
        members["requestBody"] = _body(operation.body)
    return _head(members) if method == "HEAD" else members


def _security() -> list[Schema]:
    token: Schema = {"token": []}
    return [token] if auth.is_required(current_app) else [{}, token]


def _docstring(view: Callable[..., Any]) -> Schema:
    paragraphs = (getdoc(view) or "").replace("\n\n", "\0").replace("\n", " ")
    summary, _, description = paragraphs.partition("\0")
    return {"summary": summary, "description": description}


def _head(get: Schema) -> Schema:
    """Return the HEAD operation of a GET operation."""
    responses = {
        code: {name: value for name, value in response.items() if name != "content"}
        for code, response in get["responses"].items()
    }
    return get | {
        "operationId": f"{get['operationId']}_head",
        "description": "The response of GET without the body.",
        "responses": responses,
    }


def _responses(operation: Operation) -> Schema:
    success = _response(operation.success, operation.content, operation.headers)
    return {str(operation.success): success} | {
        str(code): _failure(code) for code in operation.failures
    }


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
    return _response(code, {PROBLEM: _ref("Problem")}, ERROR_HEADERS.get(code, ()))
