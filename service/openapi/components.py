"""The components of the document: schemas with their examples, headers and the security scheme."""

import json
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from service.config import SERVICE_NAME
from service.files import CSV, JSON_LINES
from service.files.plan import MAX_LISTED
from service.http.json_body import JSON, PATCH_TYPES
from service.models import MAX_PRICE, MAX_RATING, PRICE_DECIMALS, Op, Status
from service.schemas import (
    DEFAULTS,
    MAX_CATEGORIES,
    VISIBLE_TEXT,
    product,
    product_body,
    product_patch,
)

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
        "description": "strong entity tag of the product, or of the plan of an import (RFC 9110)",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
        "example": ENTITY_TAG,
    },
    "Content-Disposition": {
        "description": "name of the file",
        "schema": {"type": "string"},
        "example": 'attachment; filename="products-2026-11-25.csv"',
    },
    "Idempotent-Replayed": {
        "description": "`true` if the response is the one that was kept for the Idempotency-Key",
        "schema": {"const": "true"},
        "example": "true",
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
        "description": "number of matching products on all pages, with `count`",
        "schema": {"type": "integer", "minimum": 0},
        "example": 247,
    },
    "X-Total-Count-Precision": {
        "description": "whether `X-Total-Count` is exact, if `count=estimated`",
        "schema": {"type": "string", "enum": ["exact", "estimated"]},
        "example": "exact",
    },
    "X-Data-Age": {
        "description": "only if the primary database cannot be reached, and the response comes from"
        " a standby: the seconds since the latest change that the standby has. Such a response has"
        " no ETag and `Cache-Control: no-store`",
        "schema": {"type": "integer", "minimum": 0},
        "example": 3,
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
EXAMPLE: Schema = {name: member["examples"][0] for name, member in MEMBERS.items()}
TAGGED_EXAMPLE: Schema = EXAMPLE | {"etag": ENTITY_TAG.strip('"')}
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
            "description": "all errors of the body, the query string or the file",
            "type": "array",
            "items": {"$ref": f"{REFERENCE}InputError"},
        },
        "request_id": {"description": "the header X-Request-ID", "type": "string"},
    },
}
FAULT: Schema = {
    "description": "What is wrong with a row of a file.",
    "type": "object",
    "required": ["row", "column", "value", "detail"],
    "properties": {
        "row": {"description": "the heading line of a CSV file is row 1", "type": "integer"},
        "column": {
            "description": "as in the file; null for the whole row",
            "type": ["string", "null"],
        },
        "value": {"description": "as in the file", "type": ["string", "null"]},
        "detail": {"description": "what is accepted", "type": "string"},
    },
    "examples": [
        {
            "row": 3,
            "column": "price",
            "value": "1,800",
            "detail": "may mean 1800 or 1.8: write 1800.00",
        }
    ],
}
PLANNED_CHANGE: Schema = {
    "description": "What an import changes: the members of a new product, or those that change.",
    "type": "object",
    "required": ["row", "id", "after"],
    "properties": {
        "row": {"type": "integer"},
        "id": {"description": "null for a new product", "type": ["integer", "null"]},
        "before": {"description": "the old values", "type": "object"},
        "after": {"description": "the new values", "type": "object"},
    },
    "examples": [{"row": 2, "id": 1, "before": {"price": 49.95}, "after": {"price": 24.95}}],
}
COUNT: Schema = {"type": "integer", "minimum": 0}
PLAN: Schema = {
    "description": "What an import would do: the response of `dry_run=true`.",
    "type": "object",
    "required": ["create", "update", "unchanged", "faulty", "faults", "changes"],
    "properties": {
        **dict.fromkeys(("create", "update", "unchanged", "faulty"), COUNT),
        "faults": {
            "description": "in the order of rows",
            "type": "array",
            "maxItems": MAX_LISTED,
            "items": {"$ref": f"{REFERENCE}Fault"},
        },
        "changes": {
            "description": "the largest relative changes of a price first, then by row",
            "type": "array",
            "maxItems": MAX_LISTED,
            "items": {"$ref": f"{REFERENCE}PlannedChange"},
        },
    },
    "examples": [
        {
            "create": 0,
            "update": 1,
            "unchanged": 0,
            "faulty": 1,
            "faults": FAULT["examples"],
            "changes": PLANNED_CHANGE["examples"],
        }
    ],
}
IMPORT: Schema = {
    "description": "What an import has done.",
    "type": "object",
    "required": ["created", "updated", "unchanged"],
    "properties": {
        "created": {
            "description": "the ids of new products, in the order of their rows",
            "type": "array",
            "items": {"type": "integer"},
        },
        "updated": COUNT,
        "unchanged": COUNT,
    },
    "examples": [{"created": [102], "updated": 12, "unchanged": 85}],
}
INPUT_ERROR: Schema = {
    "description": "An error of a member of the body, of a query parameter, or of a row of a file.",
    "type": "object",
    "required": ["detail"],
    "properties": {
        "pointer": {
            "description": "the member, as a JSON Pointer (RFC 6901)",
            "type": "string",
            "format": "json-pointer",
        },
        "parameter": {"description": "the name of the parameter", "type": "string"},
        **FAULT["properties"],
    },
}
HEALTH_SCHEMA: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"const": "OK"},
        "detail": {
            "description": "what does not work while the service is ready",
            "type": "string",
        },
    },
    "examples": [{"status": "OK"}],
}
PRICE: Schema = {"type": "number", "minimum": 0, "maximum": float(MAX_PRICE)}
FACETS_SCHEMA: Schema = {
    "description": "Counts of the products that a filter selects.",
    "type": "object",
    "required": ["total", "status", "category", "price"],
    "properties": {
        "total": COUNT | {"description": "number of products"},
        "status": {
            "description": "number of products by status, as if `status` were not given",
            "type": "object",
            "required": [*Status],
            "properties": dict.fromkeys(Status, COUNT),
        },
        "category": {
            "description": "number of products by category, as if `category` were not given; the "
            "most frequent first, null last among equal ones",
            "type": "array",
            "maxItems": MAX_CATEGORIES,
            "items": {
                "type": "object",
                "required": ["value", "count"],
                "properties": {"value": {"type": ["string", "null"]}, "count": COUNT},
            },
        },
        "price": {
            "description": "lowest and highest price, as if no price were given; null without "
            "products",
            "type": ["object", "null"],
            "required": ["min", "max"],
            "properties": {"min": PRICE, "max": PRICE},
        },
    },
    "examples": [
        {
            "total": 3,
            "status": {"active": 2, "inactive": 1, "disabled": 0},
            "category": [{"value": "Kitchen", "count": 2}, {"value": None, "count": 1}],
            "price": {"min": 9.99, "max": 49.95},
        }
    ],
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
            "anyOf": [PRICE, {"type": "null"}],
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
    "Fault": FAULT,
    "PlannedChange": PLANNED_CHANGE,
    "Plan": PLAN,
    "Import": IMPORT,
    "Health": HEALTH_SCHEMA,
    "Service": SERVICE_SCHEMA,
    "Facets": FACETS_SCHEMA,
}


def example(schema: Schema) -> Any:
    """Return the first example of a schema; None if it has none."""
    if "$ref" in schema:
        return example(SCHEMAS[schema["$ref"].removeprefix(REFERENCE)])
    if "oneOf" in schema:
        return example(schema["oneOf"][0])
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
FACETS = _reference("Facets")
SERVICE = _reference("Service")
BODY = {JSON: _reference("ProductBody")}
PATCH = {name: _reference("ProductPatch") for name in PATCH_TYPES}
CSV_FILE: Schema = {
    "type": "string",
    "examples": [
        ",".join(TAGGED_EXAMPLE) + "\r\n" + ",".join(map(str, TAGGED_EXAMPLE.values())) + "\r\n"
    ],
}
JSON_LINES_FILE: Schema = {
    "type": "string",
    "examples": [json.dumps(TAGGED_EXAMPLE, separators=(",", ":")) + "\n"],
}
BINARY: Schema = {"type": "string", "format": "binary"}
FILE = {
    CSV: BINARY | {"examples": ['id,price\r\n1,24.95\r\n2,"1,800"\r\n']},
    JSON_LINES: BINARY | {"examples": ['{"id":1,"price":24.95}\n']},
}
IMPORTED = {"oneOf": [_reference("Plan"), _reference("Import")]}
