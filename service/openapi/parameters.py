"""The parameters of operations: paths, queries and headers."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from service.files import export
from service.files.parameters import PARAMETERS
from service.models import MAX_ID
from service.openapi.components import Schema, members
from service.schemas import (
    NOT_FILTERS,
    changes_query,
    history_query,
    list_query,
    lowest_price_query,
)


def _query_parameters(query: TypeAdapter[Any]) -> Iterator[Schema]:
    """Yield a Parameter Object for each member of the schema of a query."""
    for name, schema in members(query).items():
        parameter = {"name": name, "in": "query", "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        yield parameter


LIST_PARAMETERS = tuple(_query_parameters(list_query))
FILTER_PARAMETERS = tuple(each for each in LIST_PARAMETERS if each["name"] not in NOT_FILTERS)
CHANGES_PARAMETERS = tuple(_query_parameters(changes_query))
HISTORY_PARAMETERS = tuple(_query_parameters(history_query))
LOWEST_PRICE_PARAMETERS = tuple(_query_parameters(lowest_price_query))

EXPORT_PARAMETERS = tuple(
    each for each in LIST_PARAMETERS if each["name"] not in export.NOT_OF_AN_EXPORT
)
IMPORT_PARAMETERS: tuple[Schema, ...] = tuple(
    {"name": name, "in": "query", "description": each.description, "schema": each.schema}
    for name, each in PARAMETERS.items()
)

DIALECT: Schema = {
    "name": "dialect",
    "in": "query",
    "description": "`excel` adds a byte order mark; `excel-eu` also separates by semicolon and"
    " writes decimal commas",
    "schema": {
        "type": "string",
        "enum": list(export.DIALECTS),
        "default": export.DEFAULT_DIALECT,
    },
}
PRODUCT_ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "id of the product",
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
IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a key of the client's choice, such as a UUID, in quotes or not: a repetition"
    " with the same key returns the first response, for 24 hours",
    "schema": {"type": "string", "pattern": '^("[!#-\\[\\]-~]{1,255}"|[!#-+\\--~]{1,255})$'},
}
IF_MATCH_PLAN: Schema = IF_MATCH | {
    "description": "ETag of the dry run, or `*` for any plan; required unless `dry_run=true`",
}
IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "known ETag of the product; 304 if it is the current one",
    "schema": {"type": "string"},
}
IF_NONE_MATCH_ANY: Schema = IF_NONE_MATCH | {
    "description": "`*` brings back a deleted product; 412 if it is there, 404 if it never was",
}
