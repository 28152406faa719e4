"""The document and the service say the same."""

import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events

from service.changes import history
from service.http import opaque
from service.listing import cursor
from service.listing.query import sort_keys
from service.models import MAX_RATING
from tests.helpers import backend, operations

PLACE = {
    "id": 1,
    "name": "Kettle",
    "price": Decimal("9.99"),
    "rating": 1,
    "category": None,
    "status": "active",
}
SHORT = 1_000
WORDS = 10
LISTS = {"/products", "/products/facets", "/products.csv", "/products.jsonl"}
PHASES = {"examples", "coverage", "fuzzing", "stateful"}
EXAMPLES = {"sqlite": 30, "postgresql": 5}
GENERATION = {"deterministic": True, "database": "none"}
BOUNDED = {
    "seed": 1,
    # That a product has not the tag which a valid If-Match names is no fault of the request, nor
    # that a key was used before; only an import without a dry run needs If-Match.
    "checks": {
        # A query string of more than 100 values can be longer than 8 KiB.
        "negative_data_rejection": {
            "expected-statuses": [
                "400",
                "401",
                "404",
                "409",
                "412",
                "414",
                "415",
                "422",
                "428",
                "5xx",
            ]
        },
        "positive_data_acceptance": {
            "expected-statuses": [
                "2xx",
                "3xx",
                "401",
                "403",
                "404",
                "409",
                "412",
                "422",
                "428",
                "5xx",
            ]
        },
    },
}


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_the_documented_operations_are_the_routes(
    sqlite_app: Flask, document: dict[str, Any]
) -> None:
    files = {"static", "openapi.get_swagger_ui_file"}
    routes = {
        (re.sub("<[^>]*>", "{id}", rule.rule), method)
        for rule in sqlite_app.url_map.iter_rules()
        if rule.endpoint not in files
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}  # every path answers them alike
    }

    documented = {
        (path, method.upper())
        for path, members in document["paths"].items()
        for method in members
        if method != "parameters"
    }

    assert documented == routes


def test_each_operation_has_a_tag_and_each_tag_a_description(document: dict[str, Any]) -> None:
    tags = [tag["name"] for tag in document["tags"]]
    used = [tag for operation in operations(document).values() for tag in operation["tags"]]

    assert list(dict.fromkeys(used)) == tags
    assert tags[0] == "products"
    assert all(tag["description"] for tag in document["tags"])


def test_the_address_of_the_service_is_relative(document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "/"}]


def test_a_member_that_is_missing_has_its_documented_default(
    sqlite_app: Flask, document: dict[str, Any]
) -> None:
    schema = document["components"]["schemas"]["ProductBody"]
    members = schema["properties"]
    required = {name: members[name]["examples"][0] for name in schema["required"]}

    product = sqlite_app.test_client().post("/products", json=required).get_json()

    optional = set(members) - set(required) - {"id"}
    assert {name: members[name]["default"] for name in optional} == {
        name: product[name] for name in optional
    }


def test_a_status_is_an_enum_in_bodies_and_in_the_filter(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    reference = {"$ref": "#/components/schemas/Status"}
    filters = operations(document)["listProducts"]["parameters"]

    assert set(schemas["Status"]["enum"]) == {"active", "inactive", "disabled"}
    assert schemas["Product"]["properties"]["status"].items() >= reference.items()
    assert schemas["ProductBody"]["properties"]["status"].items() >= reference.items()
    assert reference in schemas["ProductPatch"]["properties"]["status"]["anyOf"]
    assert [each["schema"]["items"] for each in filters if each["name"] == "status"] == [reference]


schemathesis.serializer.alias(["application/jsonl", "text/csv"], "text/plain")


def keep_to_places(query: dict[str, Any]) -> None:
    """Leave out places in the changes; replace those in the history or a list."""
    query.pop("since", None)
    if "cursor" in query:
        query["cursor"] = opaque.encode([9], history.CONTEXT)


@pytest.mark.parametrize("column", ["Preis:price", "PRICE:price", "价格:price", "a:b:", "ё\n:etag"])
def test_the_document_accepts_the_mapping_of_any_heading(
    document: dict[str, Any], sqlite_app: Flask, column: str
) -> None:
    parameters = document["paths"]["/products/import"]["post"]["parameters"]
    schema = next(each["schema"] for each in parameters if each.get("name") == "column")
    query = {"dry_run": "true", "column": column}
    response = sqlite_app.test_client().post(
        "/products/import", query_string=query, data="name", content_type="text/csv"
    )

    assert Draft202012Validator(schema).is_valid([column])
    assert response.status_code == 200


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,  # as schemathesis calls it
    case: schemathesis.Case[Any],
    kwargs: dict[str, Any],
) -> None:
    """Keep to what OpenAPI cannot say of valid requests, as their descriptions do.

    A price has two decimals. A list is sorted by a column once. A range has its lower end first,
    and no rating is too high. A search has ten words, and a query with a page has short links. A
    cursor is of its sort and goes without offset; both need limit. A file has known columns,
    and is in UTF-8. A cursor of the changes is one of this database.
    """
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict) and isinstance(price := case.body.get("price"), float):
        case.body["price"] = round(price, 2)
    keep_to_places(case.query or {})
    if case.operation.path == "/products/import":
        case.body = "name,img_url\n" if case.media_type == "text/csv" else "\n"
        case.query.pop("charset", None)
    if case.operation.path in LISTS and case.query:
        correct(case.query)


def correct(query: dict[str, Any]) -> None:
    """Make the query of a list valid."""
    if "sort" in query:
        query["sort"] = list({key.removeprefix("-"): key for key in query["sort"]}.values())
    for name in {"price", "rating"} & query.keys():
        ends = sorted(map(Decimal, str(query[name]).split("-")))
        query[name] = "-".join(f"{min(end, MAX_RATING):f}" for end in ends)
    if len(urlencode(query, doseq=True)) > SHORT or len(str(query.get("q")).split()) > WORDS:
        query["q"] = query["name"] = "kettle"
        for name in {"category", "id", "status"} & query.keys():
            query[name] = query[name][:WORDS]
    if "cursor" in query:
        query.pop("offset", None)
        sort = sort_keys(query.get("sort", []))
        query["cursor"] = cursor.encode(tuple(PLACE[name] for name, _ in sort), sort)
    if "cursor" in query or "offset" in query:
        query.setdefault("limit", 10)


@pytest.mark.no_cover  # measuring takes as long as testing, and finds nothing that others do not
def test_no_phase_of_schemathesis_finds_a_disagreement(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", value=False)
    generation = {**GENERATION, "max-examples": EXAMPLES[backend(app)]}
    config = SchemathesisConfig.from_dict({**BOUNDED, "generation": generation})
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=config)

    phases, complaints = {}, []
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.PhaseFinished):
            phases[event.phase.name.value] = event.status
        elif isinstance(event, events.ScenarioFinished):
            complaints += [
                f"{event.label}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                for checks in event.recorder.checks.values()
                for check in checks
                if check.failure_info
            ]
        elif isinstance(event, events.SchemaAnalysisWarnings):
            complaints += [str(warning) for warning in event.warnings]
        elif isinstance(event, events.NonFatalError | events.FatalError):
            complaints.append(str(event))

    assert complaints == [], "\n\n".join(complaints)
    assert {phases[phase] for phase in PHASES} == {Status.SUCCESS}
