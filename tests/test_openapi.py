"""The document and the service say the same."""

import re
from decimal import Decimal
from typing import Any

import pytest
import schemathesis
from flask import Flask
from openapi_spec_validator import validate
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events

from service.listing import cursor
from service.listing.query import sort_keys

PLACE = {
    "id": 1,
    "name": "Kettle",
    "price": Decimal("9.99"),
    "rating": 1,
    "category": None,
    "status": "active",
}
PHASES = {"examples", "coverage", "fuzzing", "stateful"}
BOUNDED = {
    "seed": 1,
    # That a product has not the tag which a valid If-Match names is no fault of the request.
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "412", "5xx"]
        }
    },
    "generation": {"deterministic": True, "max-examples": 30, "database": "none"},
}


def test_the_document_is_valid(app: Flask) -> None:
    validate(app.test_client().get("/openapi.json").get_json())


def test_the_documented_operations_are_the_routes(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    files = {"static", "openapi.get_swagger_ui_file"}
    routes = {
        (re.sub("<[^>]*>", "{id}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in files
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}  # every path answers them alike
    }

    documented = {
        (path, method.upper())
        for path, operations in document["paths"].items()
        for method in operations
        if method != "parameters"
    }

    assert documented == routes


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,  # as schemathesis calls it
    case: schemathesis.Case[Any],
    kwargs: dict[str, Any],
) -> None:
    """Keep to what OpenAPI cannot say of valid requests, as their descriptions do.

    A cursor is of its sort and goes without offset; both need limit. A price has two decimals.
    """
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict) and isinstance(price := case.body.get("price"), float):
        case.body["price"] = round(price, 2)
    query = case.query
    if case.operation.path != "/products" or not query:
        return
    if "cursor" in query:
        query.pop("offset", None)
        sort = sort_keys(query.get("sort", []))
        query["cursor"] = cursor.encode(tuple(PLACE[name] for name, _ in sort), sort)
    if "cursor" in query or "offset" in query:
        query.setdefault("limit", 10)


def test_no_phase_of_schemathesis_finds_a_disagreement(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", value=False)
    config = SchemathesisConfig.from_dict(BOUNDED)
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
