"""The OpenAPI document of the views that have the decorator ``operation``."""

import re
from collections.abc import Callable, Iterator
from inspect import getdoc, unwrap
from typing import Any

from flask import current_app
from werkzeug.routing import Map, Rule

from service.config import SERVICE_NAME
from service.http import auth
from service.openapi.components import HEADERS, SCHEMAS, TOKEN, Schema
from service.openapi.decorator import operations
from service.openapi.introduction import INTRODUCTION, TAGS
from service.openapi.parameters import PRODUCT_ID, REQUEST_ID
from service.openapi.responses import content, responses

# The introduction describes these for all paths at once.
UNLISTED_METHODS = {"HEAD", "OPTIONS"}


def path_templates(url_map: Map) -> list[str]:
    """Return the documented path templates, such as ``/products/{id}``, sorted."""
    return sorted({_path(rule) for rule in _documented(url_map)})


def describe(url_map: Map) -> Schema:
    """Return the OpenAPI document of the routes in ``url_map``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": SERVICE_NAME,
            "version": current_app.config["VERSION"],
            "summary": "The catalogue of an online shop.",
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": _paths(url_map),
        "components": {
            "schemas": SCHEMAS,
            "headers": HEADERS,
            "securitySchemes": {"token": TOKEN},
        },
    }


def _paths(url_map: Map) -> Schema:
    """Return the Paths Object, in the order of the routes."""
    paths: Schema = {}
    for rule in _documented(url_map):
        parameters = [PRODUCT_ID, REQUEST_ID] if rule.arguments else [REQUEST_ID]
        path = paths.setdefault(_path(rule), {"parameters": parameters})
        for method in (rule.methods or set()) - UNLISTED_METHODS:
            path[method.lower()] = _operation(rule, method)
    return paths


def _documented(url_map: Map) -> Iterator[Rule]:
    return (rule for rule in url_map.iter_rules() if _view(rule) in operations)


def _view(rule: Rule) -> Callable[..., Any]:
    view: Callable[..., Any] = unwrap(current_app.view_functions[rule.endpoint])
    return view


def _path(rule: Rule) -> str:
    return re.sub("<[^>]*>", "{id}", rule.rule)


def _operation(rule: Rule, method: str) -> Schema:
    view = _view(rule)
    operation = operations[view]
    members: Schema = {
        "operationId": _camel_case(view.__name__),
        "tags": [rule.endpoint.partition(".")[0]],
        **_docstring(view),
        "parameters": list(operation.parameters),
        "responses": responses(operation),
    }
    if auth.needs_token(method, view):
        members["security"] = _security()
    if operation.body:
        members["requestBody"] = {"required": True, "content": content(operation.body)}
    return members


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _security() -> list[Schema]:
    token: Schema = {"token": []}
    return [token] if auth.is_required(current_app) else [{}, token]


def _docstring(view: Callable[..., Any]) -> Schema:
    paragraphs = (getdoc(view) or "").replace("\n\n", "\0").replace("\n", " ")
    summary, _, description = paragraphs.partition("\0")
    return {"summary": summary} | ({"description": description} if description else {})
