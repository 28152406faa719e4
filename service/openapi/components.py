"""The components of the document: schemas with their examples, headers and the security scheme."""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from service.config import SERVICE_NAME
from service.http.json_body import JSON, PATCH_TYPES
from service.models import MAX_PRICE, MAX_RATING, PRICE_DECIMALS, Op
from service.schemas import DEFAULTS, VISIBLE_TEXT, product, product_body, product_patch

Schema = dict[str, Any]

HTML = "text/html"
REFERENCE = "#/components/schemas/"
ENTITY_TAG = '"01e4209f72ebfcb74125aa9ae3ed59ea"'
ADDRESS = "https://shop.example.com/products"

HEADERS: Schema = {
    "X-Request-ID": {
        "description": "id of the request, as in the log",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "example": "8f14e45fceea167a5a36dedd4bea2543",
    },
    "ETag": {
        "description": "strong entity tag of the product (RFC 9110)",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
        "example": ENTITY_TAG,
    },
    "Location": {
        "description": "absolute URI of the product",
        "schema": {"type": "string", "format": "uri"},
        "example": f"{ADDRESS}/1",
    },
    "Link": {
        "description": "the pages `next`, of lists also `first` and `prev` (RFC 8288)",
        "schema": {"type": "string"},
        "example": f'<{ADDRESS}?limit=10&cursor=3o7u6VsxMF0>; rel="next",'
        f' <{ADDRESS}?limit=10>; rel="first"',
    },
    "X-Total-Count": {
        "description": "number of matching products on all pages, if `count=true`",
        "schema": {"type": "integer", "minimum": 0},
        "example": 247,
    },
    "Retry-After": {
        "description": "seconds to wait before a retry",
        "schema": {"type": "integer", "minimum": 1},
        "example": 2,
    },
    "WWW-Authenticate": {
        "description": "the authentication scheme (RFC 6750)",
        "schema": {"type": "string"},
        "example": f'Bearer realm="{SERVICE_NAME} API"',
    },
    "Accept-Patch": {
        "description": "the types of a PATCH (RFC 5789)",
        "schema": {"type": "string"},
        "example": ", ".join(PATCH_TYPES),
    },
}

TOKEN: Schema = {
    "type": "http",
    "scheme": "bearer",
    "description": "required for writes if the service has tokens",
}

# What the schemas of a product do not say by themselves.
MEMBERS: dict[str, Schema] = {
    "id": {"description": "given by the service, and never used twice", "examples": [1]},
    "name": {"description": "has at least one visible character", "examples": ["Copper kettle"]},
    "img_url": {
        "description": "address of a picture; has at least one visible character",
        "examples": ["https://img.example.com/kettle.jpg"],
    },
    "description": {
        "description": "text for customers",
        "examples": ["Whistles when the water boils."],
    },
    "price": {
        "description": f"in dollars, from 0 to {MAX_PRICE:,}; at most {PRICE_DECIMALS} decimals",
        "examples": [49.95],
    },
    "rating": {"description": f"from 0 to {MAX_RATING:,}", "examples": [4]},
    "category": {"description": "any text; null means no category", "examples": ["Kitchen"]},
    "status": {
        "description": "requests may have it in any case; responses have it in lower case",
        "examples": ["active"],
    },
}
PATCH_EXAMPLE: Schema = {"price": 39.95, "rating": 5}

PROBLEM_SCHEMA: Schema = {
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"description": "the name of the status code", "type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"description": "what is wrong", "type": "string"},
        "errors": {
            "description": "all errors of the body or of the query string",
            "type": "array",
            "items": {"$ref": f"{REFERENCE}InputError"},
        },
        "request_id": {"description": "the header X-Request-ID", "type": "string"},
    },
}
INPUT_ERROR: Schema = {
    "description": "An error of a member of the body, or of a query parameter.",
    "type": "object",
    "required": ["detail"],
    "properties": {
        "pointer": {
            "description": "the member, as a JSON Pointer (RFC 6901)",
            "type": "string",
            "format": "json-pointer",
        },
        "parameter": {"description": "the name of the parameter", "type": "string"},
        "detail": {"description": "what is accepted", "type": "string"},
    },
}


class _Untitled(GenerateJsonSchema):
    """Generates schemas whose members have no titles: these would only repeat the names."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def members(adapter: TypeAdapter[Any]) -> Schema:
    """Return the schemas of the members of a typed dictionary."""
    properties: Schema = _generated(adapter)["properties"]
    return properties


def _generated(adapter: TypeAdapter[Any]) -> Schema:
    return adapter.json_schema(ref_template=f"{REFERENCE}{{model}}", schema_generator=_Untitled)


def _reference(name: str) -> Schema:
    return {"$ref": f"{REFERENCE}{name}"}


TIME: Schema = {"type": "string", "format": "date-time"}
EXAMPLE_TIME = "2026-11-25T09:30:00.123Z"
EXAMPLE: Schema = {name: member["examples"][0] for name, member in MEMBERS.items()}
CHANGE_SCHEMA: Schema = {
    "description": "A product that has changed.",
    "type": "object",
    "required": ["id", "product"],
    "properties": {
        "id": {"description": "id of the product", "type": "integer"},
        "product": {
            "description": "the product as it is now; null if it was deleted",
            "anyOf": [_reference("Product"), {"type": "null"}],
        },
    },
    "examples": [{"id": 1, "product": EXAMPLE}],
}
PAST_CHANGE_SCHEMA: Schema = {
    "description": "A change of a product.",
    "type": "object",
    "required": ["change", "op", "id", "at", "by", "request_id", "before"],
    "properties": {
        "change": {"description": "number of the change", "type": "integer"},
        "op": _reference("Op"),
        "id": {"description": "id of the product", "type": "integer"},
        "at": TIME | {"description": "when it was made"},
        "by": {
            "description": "name of the token; null for a change without one",
            "type": ["string", "null"],
        },
        "request_id": {
            "description": "`X-Request-ID` of the request; null for a change by SQL",
            "type": ["string", "null"],
        },
        "before": {
            "description": "the product before the change; null for a creation",
            "anyOf": [_reference("Product"), {"type": "null"}],
        },
    },
    "examples": [
        {
            "change": 812,
            "op": "update",
            "id": 1,
            "at": EXAMPLE_TIME,
            "by": "anna",
            "request_id": "8f14e45fceea167a5a36dedd4bea2543",
            "before": EXAMPLE,
        }
    ],
}
LOWEST_PRICE_SCHEMA: Schema = {
    "description": "The lowest price of a product in a period.",
    "type": "object",
    "required": ["price", "from", "to", "complete"],
    "properties": {
        "price": {
            "description": "the lowest price; null if the product was never active in the period",
            "anyOf": [members(product)["price"], {"type": "null"}],
        },
        "from": TIME | {"description": "begin of the period"},
        "to": TIME | {"description": "end of the period: the latest reduction, or now"},
        "complete": {
            "description": "whether the record of changes has the whole period",
            "type": "boolean",
        },
    },
    "examples": [
        {
            "price": 49.95,
            "from": "2026-10-26T09:30:00.123Z",
            "to": EXAMPLE_TIME,
            "complete": True,
        }
    ],
}
HEALTH_SCHEMA: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "OK"}},
    "examples": [{"status": "OK"}],
}
SERVICE_SCHEMA: Schema = {
    "type": "object",
    "required": ["name", "version", "paths"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "paths": {"type": "array", "items": {"type": "string"}},
    },
    "examples": [
        {"name": SERVICE_NAME, "version": "1.0.0", "paths": ["/products", "/products/{id}"]}
    ],
}


def _product_schemas() -> Schema:
    """Return the schemas of a product and of what they refer to, with examples and defaults."""
    body_example = {name: value for name, value in EXAMPLE.items() if name != "id"}
    return {
        **_generated(product)["$defs"],
        "Product": _documented(product) | {"examples": [EXAMPLE]},
        "ProductBody": _documented(product_body, DEFAULTS) | {"examples": [body_example]},
        "ProductPatch": _documented(product_patch) | {"examples": [PATCH_EXAMPLE]},
    }


def _documented(adapter: TypeAdapter[Any], defaults: Schema | None = None) -> Schema:
    schema = {name: value for name, value in _generated(adapter).items() if name != "$defs"}
    for name, member in schema["properties"].items():
        member.update(MEMBERS[name])
        if member.get("allOf") == [VISIBLE_TEXT]:
            member["allOf"] = [_reference("VisibleText")]
    for name, value in (defaults or {}).items():
        schema["properties"][name]["default"] = value
    return schema


SCHEMAS: dict[str, Schema] = {
    **_product_schemas(),
    "VisibleText": VISIBLE_TEXT,
    "Op": {"type": "string", "enum": [*Op], "description": "What a change did to its product."},
    "Change": CHANGE_SCHEMA,
    "PastChange": PAST_CHANGE_SCHEMA,
    "LowestPrice": LOWEST_PRICE_SCHEMA,
    "Problem": PROBLEM_SCHEMA,
    "InputError": INPUT_ERROR,
    "Health": HEALTH_SCHEMA,
    "Service": SERVICE_SCHEMA,
}


def example(schema: Schema) -> Any:
    """Return the first example of a schema; None if it has none."""
    if "$ref" in schema:
        return example(SCHEMAS[schema["$ref"].removeprefix(REFERENCE)])
    if "items" in schema:
        return [example(schema["items"])]
    return next(iter(schema.get("examples", [])), None)


PRODUCT = _reference("Product")
PRODUCTS: Schema = {"type": "array", "items": PRODUCT}
CHANGES: Schema = {"type": "array", "items": _reference("Change")}
HISTORY: Schema = {"type": "array", "items": _reference("PastChange")}
LOWEST_PRICE = _reference("LowestPrice")
PROBLEM = _reference("Problem")
HEALTH = _reference("Health")
SERVICE = _reference("Service")
BODY = {JSON: _reference("ProductBody")}
PATCH = {name: _reference("ProductPatch") for name in PATCH_TYPES}
