"""The parameters of operations: paths, queries and headers."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from service.models import MAX_ID
from service.openapi.components import Schema, members
from service.schemas import changes_query, history_query, list_query, lowest_price_query


def _query_parameters(query: TypeAdapter[Any]) -> Iterator[Schema]:
    """Yield a Parameter Object for each member of the schema of a query."""
    for name, schema in members(query).items():
        parameter = {"name": name, "in": "query", "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        yield parameter


LIST_PARAMETERS = tuple(_query_parameters(list_query))
CHANGES_PARAMETERS = tuple(_query_parameters(changes_query))
HISTORY_PARAMETERS = tuple(_query_parameters(history_query))
LOWEST_PRICE_PARAMETERS = tuple(_query_parameters(lowest_price_query))

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
IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "known ETag of the product; 304 if it is the current one",
    "schema": {"type": "string"},
}
IF_NONE_MATCH_ANY: Schema = IF_NONE_MATCH | {
    "description": "`*` brings back a deleted product; 412 if it is there, 404 if it never was",
}
