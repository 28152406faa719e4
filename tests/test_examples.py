"""The examples in the OpenAPI document: they are valid, and as the service answers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from service import create_app
from service.changes.cursor import Cursor, Mark
from tests.factories import product_body
from tests.follower import following
from tests.helpers import dispose, execute, operations, running_post

JSON = "application/json"
PROBLEM = "application/problem+json"
KETTLE = product_body(name="Kettle")
FILE = {
    "method": "POST",
    "path": "/products/import",
    "data": 'id,price\n1,24.95\n2,"1,800"\n',
    "content_type": "text/csv",
}
ANY_PLAN = {"If-Match": "*"}
KEY = {"Idempotency-Key": "one"}
USED = {"Idempotency-Key": "used"}
REQUESTS: dict[str, dict[str, Any]] = {
    "listProducts": {"path": "/products", "query_string": "limit=1&count=estimated"},
    "getFacets": {"path": "/products/facets"},
    "createProduct": {"method": "POST", "path": "/products", "json": KETTLE, "headers": KEY},
    "getProduct": {"path": "/products/1"},
    "replaceProduct": {"method": "PUT", "path": "/products/1", "json": product_body()},
    "updateProduct": {"method": "PATCH", "path": "/products/1", "json": {"rating": 5}},
    "deleteProduct": {"method": "DELETE", "path": "/products/1"},
    "exportProductsAsCsv": {"path": "/products.csv"},
    "exportProductsAsJsonLines": {"path": "/products.jsonl"},
    "importProducts": FILE | {"query_string": "dry_run=true"},
    "listChanges": {"path": "/products/changes", "query_string": "limit=1"},
    "listHistory": {"path": "/products/history", "query_string": "limit=1&op=update"},
    "getLowestPrice": {"path": "/products/1/lowest-price"},
    "getHealth": {"path": "/health"},
    "getReadiness": {"path": "/readyz"},
    "getMetrics": {"path": "/metrics"},
    "getOpenApi": {"path": "/openapi.json"},
    "getApiDocs": {"path": "/apidocs"},
    "getService": {"path": "/", "headers": {"Accept": JSON}},
}
# The request whose answer has the headers that others of the operation do not have.
OTHER_REQUESTS: dict[str, dict[str, Any]] = {
    "importProducts": FILE | {"query_string": "skip_faulty=true", "headers": KEY | ANY_PLAN}
}
# Where an operation fails in another way than others.
OWN_FAULTS: dict[tuple[str, int], dict[str, Any]] = {
    ("importProducts", 400): {"query_string": "", "headers": ANY_PLAN},
    ("importProducts", 409): {"query_string": "", "headers": USED | ANY_PLAN},
    ("importProducts", 412): {"query_string": "", "headers": {"If-Match": '"another"'}},
    ("importProducts", 413): {"data": "x" * 2**23 + "x"},
    ("importProducts", 422): {"query_string": "", "headers": USED | ANY_PLAN},
    ("importProducts", 428): {"query_string": ""},
    ("deleteProduct", 404): {"path": "/products/0"},  # 204 for each possible id
}
# Of another database.
OTHER_CURSOR = Cursor("", 0, Mark("1:1:", 0)).encode()
INVALID = product_body(price="9.99", colour="red")
# What is different in a request that fails, and in the settings of the service that answers it.
FAULTS: dict[int, tuple[dict[str, Any], dict[str, str]]] = {
    304: ({"headers": {"If-None-Match": "*"}}, {}),
    400: ({"json": INVALID}, {}),
    401: ({}, {"API_TOKENS": f"shop={'a' * 43}"}),
    403: ({"headers": {"Host": "shop.example.com"}}, {}),
    404: ({}, {}),
    410: ({"query_string": {"since": OTHER_CURSOR}}, {}),
    412: ({"headers": {"If-Match": '"another"'}}, {}),
    413: ({"json": {"name": "x" * 2**20}}, {}),
    414: ({"query_string": "q=" + "x" * 2**13}, {}),
    415: ({"content_type": "text/plain"}, {}),
    422: ({"headers": USED}, {}),
    428: ({}, {"REQUIRE_IF_MATCH": "true"}),
    503: ({}, {"DATABASE_URI": "postgresql+psycopg://nobody@127.0.0.1:{port}/none"}),
}


def examples(part: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield each schema in a part of the document with each of its examples and its default."""
    if isinstance(part, dict):
        if "schema" in part and "example" in part:
            yield part["schema"], part["example"]
        for example in part["examples"] if isinstance(part.get("examples"), list) else []:
            yield part, example
        if "default" in part and not isinstance(part["default"], dict):
            yield part, part["default"]
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from examples(each)


def test_each_example_and_default_validates_against_its_schema(document: dict[str, Any]) -> None:
    components = {"components": document["components"]}
    pairs = list(examples(document))

    assert len(pairs) > 80
    for schema, example in pairs:
        checker = Draft202012Validator.FORMAT_CHECKER
        Draft202012Validator(schema | components, format_checker=checker).validate(example)


def test_each_member_of_a_product_has_a_description_and_an_example(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]

    for name in ("Product", "ProductBody", "ProductPatch"):
        for member in schemas[name]["properties"].values():
            assert member["description"]
            assert member["examples"]


def test_each_body_for_programs_has_an_example(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            for mimetype, media in body.get("content", {}).items():
                assert ("example" in media) == (
                    mimetype not in {"text/html", "text/plain"}
                    and operation["operationId"] != "getOpenApi"
                )


def test_each_operation_and_status_code_is_asked_for(document: dict[str, Any]) -> None:
    found = operations(document)

    assert set(found) == set(REQUESTS)
    codes = {code for operation in found.values() for code in operation["responses"]}
    assert codes == {"200", "201", "204", "409"} | {str(code) for code in FAULTS}


# test_failover.py has answers of a standby.
ONLY_OF_A_STANDBY = {"X-Data-Age"}


def shape(value: Any) -> Any:
    """Return a JSON value with its scalars replaced by their types."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_example_of_a_success_looks_like_the_answer(
    sqlite_app: Flask, document: dict[str, Any], name: str
) -> None:
    client = sqlite_app.test_client()
    place = following(client.get("/products/changes").headers["Link"])
    for _ in range(2):  # so that the list has a next page
        client.post("/products", json=product_body(status="active"))
        client.patch("/products/1", json={"price": client.get("/products").get_json()[-1]["id"]})
    execute(sqlite_app, "UPDATE product_changes SET writer = 'anna'")
    code, documented = next(iter(operations(document)[name]["responses"].items()))

    requests = [REQUESTS[name], REQUESTS[name], *[OTHER_REQUESTS.get(name, REQUESTS[name])] * 2]
    if name == "listChanges":
        requests = [{"path": place}]
    answers = [client.open(**request, buffered=True) for request in requests]
    response = answers[0]

    assert {answer.status_code for answer in answers} == {int(code)}
    found = {name for each in answers for name, _ in each.headers}
    assert set(documented["headers"]) - ONLY_OF_A_STANDBY <= found
    assert [response.mimetype or ""] == list(documented.get("content", [""]))[:1]
    media = documented.get("content", {}).get(JSON, {})
    if "example" in media:
        assert shape(response.get_json()) == shape(media["example"])


@contextmanager
def service_with(database: str, settings: dict[str, str]) -> Iterator[FlaskClient]:
    """Give a client of a service with settings; ``{port}`` is where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        own = {name: value.format(port=port) for name, value in settings.items()}
        app = create_app({"DATABASE_URI": database, **own})
        yield app.test_client()
        dispose(app)


def own_fault(name: str, documented: dict[str, Any]) -> dict[str, Any]:
    """Return what is different in the failing request of one operation, by its example."""
    if not (media := documented.get("content")):
        return {}
    example = media[PROBLEM]["example"]
    if example["status"] == 404:
        return {"path": REQUESTS[name]["path"].replace("1", "7")}
    named = [error["parameter"] for error in example.get("errors", []) if "parameter" in error]
    return {"query_string": f"{named[0]}=ten"} if named else {}


@pytest.mark.parametrize("code", FAULTS)
def test_the_example_of_a_failure_is_the_answer(
    sqlite_app: Flask, document: dict[str, Any], code: int
) -> None:
    for headers in (USED, {}):
        sqlite_app.test_client().post("/products", json=product_body(), headers=headers)
    fault, settings = FAULTS[code]
    with service_with(sqlite_app.config["DATABASE_URI"], settings) as client:
        each_answer_is_its_example(document, client, code, fault)


def test_the_example_of_a_request_that_is_running_is_the_answer(
    postgresql_app: Flask, document: dict[str, Any]
) -> None:
    with running_post(postgresql_app, USED["Idempotency-Key"]) as client:
        each_answer_is_its_example(document, client, 409, {"headers": USED})


def each_answer_is_its_example(
    document: dict[str, Any], client: FlaskClient, code: int, fault: dict[str, Any]
) -> None:
    """Compare the failures of all operations that document this status code."""
    for name, operation in operations(document).items():
        if documented := operation["responses"].get(str(code)):
            own = OWN_FAULTS.get((name, code)) or fault | own_fault(name, documented)
            response = client.open(**REQUESTS[name] | own)

            assert response.status_code == code, name
            assert set(documented["headers"]) <= set(response.headers.keys()), name
            if code >= 400:
                example = documented["content"][PROBLEM]["example"]
                same = {"request_id": example["request_id"]}
                assert response.get_json() | same == example, name
