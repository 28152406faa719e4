"""The contract, row by row, on both databases."""

import io
import json
import re
import socket
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert
from werkzeug.test import TestResponse

from service import create_app
from service.common.error_handlers import INCOMPLETE, UPGRADE_OR_LOOK
from service.database import db
from service.models import MAX_ID, Status, products
from tests.factories import product_body, product_row
from tests.helpers import app_with_tables, dispose, execute, logged, on_sqlite_only

MEMBERS = ["id", "name", "img_url", "description", "price", "rating", "category", "status"]
REQUIRED = {"name": "Kettle", "img_url": "https://img.example.com/1.jpg", "price": 9.99}
DEFAULTS = {"description": None, "rating": 0, "category": None, "status": "active"}
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MEBIBYTE = 1024 * 1024
WRITES = [("POST", "/products"), ("PUT", "/products/1"), ("PATCH", "/products/1")]

writes = pytest.mark.parametrize(("method", "path"), WRITES)


def create(client: FlaskClient, **members: Any) -> dict[str, Any]:
    """Create a product and return it as it is answered."""
    response = client.post("/products", json=product_body(**members))
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.get_json()
    return created


def everything(client: FlaskClient) -> bytes:
    response = client.get("/products")
    assert response.status_code == 200
    return response.get_data()


def body_with(**members: str) -> str:
    """Write a whole product in JSON; ``members`` are JSON texts."""
    texts = {name: json.dumps(value) for name, value in REQUIRED.items()} | members
    return "{" + ", ".join(f'"{name}": {value}' for name, value in texts.items()) + "}"


def assert_problem(response: TestResponse, code: int, detail: str | None = None) -> dict[str, Any]:
    assert response.status_code == code, response.text
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = json.loads(response.data)
    expected = {"type": "about:blank", "title": HTTPStatus(code).phrase, "status": code}
    assert expected.items() <= problem.items()
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert problem.keys() - {"errors"} == {*expected, "detail", "request_id"}
    assert problem["detail"] == (detail or problem["detail"]) != ""
    return problem


def assert_faults(response: TestResponse, *faults: tuple[str, str]) -> None:
    """Hold the faults of a body, each a pointer and a detail, against the answer."""
    problem = assert_problem(response, 400)
    assert [(fault["pointer"], fault["detail"]) for fault in problem["errors"]] == list(faults)
    for _, detail in faults:
        assert detail in problem["detail"]


def short(value: object) -> str:
    return ascii(value)[:30]


@pytest.mark.parametrize(
    ("member", "sent", "written"),
    [
        ("name", '"x"', '"x"'),
        ("name", json.dumps("é" * 255), json.dumps("é" * 255, ensure_ascii=False)),
        (
            "name",
            json.dumps("\U0001f3fa" * 255),
            json.dumps("\U0001f3fa" * 255, ensure_ascii=False),
        ),
        ("name", '" a "', '" a "'),
        ("name", r'"\ud83c\udffa"', '"\U0001f3fa"'),
        ("name", r'"A\u030a\ufeff\uffff"', '"A\u030a\ufeff\uffff"'),
        ("name", '"\'; DROP TABLE products; --"', '"\'; DROP TABLE products; --"'),
        ("img_url", json.dumps("x" * 2048), json.dumps("x" * 2048)),
        ("img_url", '"no url at all"', '"no url at all"'),
        ("description", "null", "null"),
        ("description", '""', '""'),
        ("description", '" "', '" "'),
        ("description", json.dumps("x" * 10_000), json.dumps("x" * 10_000)),
        ("price", "0", "0.00"),
        ("price", "-0", "0.00"),
        ("price", "-0.0", "0.00"),
        ("price", "10", "10.00"),
        ("price", "1e1", "10.00"),
        ("price", "0.1", "0.10"),
        ("price", "1E-2", "0.01"),
        ("price", "4.35", "4.35"),
        ("price", "9999999999.99", "9999999999.99"),
        ("rating", "0", "0"),
        ("rating", "-0", "0"),
        ("rating", "4.0", "4"),
        ("rating", "1e2", "100"),
        ("rating", "2147483647", "2147483647"),
        ("category", "null", "null"),
        ("category", '""', '""'),
        ("category", json.dumps("x" * 255), json.dumps("x" * 255)),
        ("status", '"inactive"', '"inactive"'),
        ("status", '"DISABLED"', '"disabled"'),
        ("status", '"Active"', '"active"'),
    ],
    ids=short,
)
@writes
def test_a_good_value_is_written_out_as_the_contract_says(
    client: FlaskClient, method: str, path: str, member: str, sent: str, written: str
) -> None:
    create(client)

    response = client.open(path, method=method, data=body_with(**{member: sent}), content_type=JSON)

    assert response.status_code in (200, 201), response.text
    assert json.loads(response.data)[member] == json.loads(written)
    read = client.get(f"/products/{response.get_json()['id']}")
    assert read.data == response.data
    if member == "price":
        assert re.findall(r'"price":([0-9.]+)', read.text) == [written]


def test_a_price_always_has_a_decimal_point(client: FlaskClient) -> None:
    create(client, price=10)

    assert b'"price":10.00,' in everything(client)


@writes
def test_the_answer_has_all_members_in_order(client: FlaskClient, method: str, path: str) -> None:
    create(client)

    response = client.open(path, method=method, json=REQUIRED)

    assert list(json.loads(response.data)) == MEMBERS
    assert response.content_type == "application/json"


def test_post_creates_what_location_names(client: FlaskClient) -> None:
    response = client.post("/products", json=REQUIRED)

    assert response.status_code == 201
    assert response.get_json() == {"id": 1, **REQUIRED, **DEFAULTS}
    assert response.headers["Location"] == "http://localhost/products/1"
    found = client.get(response.headers["Location"])
    assert found.data == response.data
    assert found.headers["ETag"] == response.headers["ETag"]


@pytest.mark.parametrize("given", ["7", "-1", '"x"', "null", "{}", "1e400"])
def test_post_ignores_an_id(client: FlaskClient, given: str) -> None:
    response = client.post("/products", data=body_with(id=given), content_type=JSON)

    assert response.status_code == 201
    assert response.get_json()["id"] == 1


def test_an_id_is_never_given_twice(client: FlaskClient) -> None:
    create(client)
    newest = create(client)
    client.delete(f"/products/{newest['id']}")

    assert create(client)["id"] > newest["id"]


def test_an_empty_list_is_an_empty_array(client: FlaskClient) -> None:
    response = client.get("/products")

    assert (response.status_code, response.get_json()) == (200, [])
    assert response.content_type == "application/json"


def test_the_list_is_everything_by_id_as_each_product_is(client: FlaskClient) -> None:
    created = [client.post("/products", json=product_body()).data for _ in range(3)]

    assert json.loads(everything(client)) == [json.loads(product) for product in created]
    for product in created:
        assert product.strip() in everything(client)


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_a_long_list_has_every_product_once(app: Flask, count: int) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(insert(products), [product_row() for _ in range(count)])

    listed = json.loads(everything(app.test_client()))

    assert [product["id"] for product in listed] == list(range(1, count + 1))


@pytest.mark.parametrize("last", [1, MAX_ID])
def test_ids_reach_from_first_to_last(app: Flask, last: int) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(insert(products), product_row() | {"id": last})

    response = app.test_client().get(f"/products/{last}")

    assert response.get_json()["id"] == last


def test_put_replaces_the_whole_product(client: FlaskClient) -> None:
    create(client, description="old", rating=5, category="old", status="disabled")

    response = client.put("/products/1", json=REQUIRED)

    assert response.status_code == 200
    assert response.get_json() == {"id": 1, **REQUIRED, **DEFAULTS}
    assert client.get("/products/1").data == response.data


def test_what_was_read_can_be_sent_back(client: FlaskClient) -> None:
    create(client)
    read = client.get("/products/1")

    for method in ("PUT", "PATCH"):
        sent = client.open("/products/1", method=method, data=read.data, content_type=JSON)
        assert sent.status_code == 200
        assert sent.data == read.data
        assert sent.headers["ETag"] == read.headers["ETag"]


@pytest.mark.parametrize("content_type", [JSON, MERGE_PATCH, f"{MERGE_PATCH}; charset=UTF-8"])
@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({}, {}),
        ({"id": 1}, {}),
        ({"name": "New"}, {"name": "New"}),
        ({"price": 0}, {"price": 0.0}),
        ({"description": None}, {"description": None}),
        ({"category": None, "rating": None}, {"category": None, "rating": 0}),
        ({"status": None}, {"status": "active"}),
        ({"status": "Inactive", "rating": 3.0}, {"status": "inactive", "rating": 3}),
    ],
    ids=short,
)
def test_patch_changes_only_what_it_names(
    client: FlaskClient, content_type: str, patch: dict[str, Any], changed: dict[str, Any]
) -> None:
    before = create(client, status="disabled", rating=5)

    response = client.patch("/products/1", data=json.dumps(patch), content_type=content_type)

    assert response.status_code == 200
    assert response.get_json() == before | changed
    assert client.get("/products/1").data == response.data


def test_one_product_is_written_and_no_other(client: FlaskClient) -> None:
    for _ in range(3):
        create(client)
    first, _, third = json.loads(everything(client))

    client.put("/products/2", json=REQUIRED)
    client.patch("/products/2", json={"rating": 9})
    second = {"id": 2, **REQUIRED, **DEFAULTS, "rating": 9}
    assert json.loads(everything(client)) == [first, second, third]

    assert client.delete("/products/2").status_code == 204
    assert json.loads(everything(client)) == [first, third]


def test_delete_leaves_nothing_however_often(client: FlaskClient) -> None:
    create(client)

    for _ in range(2):
        response = client.delete("/products/1")
        assert (response.status_code, response.data) == (204, b"")
    assert_problem(client.get("/products/1"), 404, "Product 1 was not found")


@pytest.mark.parametrize("path", ["/", "/health", "/openapi.json", "/products", "/products/1"])
def test_head_is_get_without_the_body(client: FlaskClient, path: str) -> None:
    create(client)
    get, head = client.get(path), client.head(path)

    assert head.status_code == get.status_code == 200
    assert head.data == b""
    unique = {"X-Request-ID"}
    assert {k: v for k, v in head.headers if k not in unique} == {
        k: v for k, v in get.headers if k not in unique
    }


def test_head_of_nothing_is_404(client: FlaskClient) -> None:
    response = client.head("/products/1")

    assert (response.status_code, response.data) == (404, b"")


READ_ONLY = "GET, HEAD, OPTIONS"
ALLOWED = [
    ("/", READ_ONLY),
    ("/health", READ_ONLY),
    ("/readyz", READ_ONLY),
    ("/metrics", READ_ONLY),
    ("/openapi.json", READ_ONLY),
    ("/apidocs", READ_ONLY),
    ("/apidocs/swagger-ui.css", READ_ONLY),
    ("/static/page/main.js", READ_ONLY),
    ("/products", "GET, HEAD, OPTIONS, POST"),
    ("/products/", "GET, HEAD, OPTIONS, POST"),
    ("/products/1", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
]
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"}


@on_sqlite_only
@pytest.mark.parametrize(("path", "allow"), ALLOWED)
def test_allow_lists_the_methods_in_order(client: FlaskClient, path: str, allow: str) -> None:
    options = client.options(path)
    assert options.status_code == 200
    assert options.headers["Allow"] == allow

    for method in METHODS - set(allow.split(", ")):
        refused = client.open(path, method=method)
        assert_problem(refused, 405, f"{method} is not allowed on {path}")
        assert refused.headers["Allow"] == allow


@pytest.mark.parametrize(
    ("method", "path", "code", "accepted"),
    [
        ("OPTIONS", "/products/1", 200, f"{MERGE_PATCH}, {JSON}"),
        ("PATCH", "/products/1", 415, f"{MERGE_PATCH}, {JSON}"),
        ("PUT", "/products/1", 415, None),
        ("GET", "/products/1", 404, None),
        ("OPTIONS", "/products", 200, None),
        ("POST", "/products", 415, None),
        ("PATCH", "/products", 405, None),
        ("OPTIONS", "/nowhere", 404, None),
    ],
)
def test_accept_patch_names_the_types_of_a_patch(
    client: FlaskClient, method: str, path: str, code: int, accepted: str | None
) -> None:
    response = client.open(path, method=method, data="name: Kettle")

    assert response.status_code == code
    assert response.headers.get("Accept-Patch") == accepted
    assert ("Allow" in response.headers) == (code == 405 or (method, code) == ("OPTIONS", 200))


def test_a_slash_at_the_end_makes_no_difference(client: FlaskClient) -> None:
    assert client.post("/products/", json=REQUIRED).status_code == 201

    assert client.get("/products/").data == everything(client)


@on_sqlite_only
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "product_id",
    ["0", "-1", "abc", str(2**31), str(2**63), "9" * 5000, "1.0", "01", "+1", "1e3", "%201", "1%00",
     "%EF%BC%91", "%D9%A1", "1_0", "null", "1;2", "%FF"],
    ids=short,
)  # fmt: skip
def test_what_can_be_no_id_is_not_found(client: FlaskClient, method: str, product_id: str) -> None:
    create(client)
    before = everything(client)

    response = client.open(f"/products/{product_id}", method=method, json=REQUIRED)

    assert response.status_code == 404
    if method != "HEAD":
        assert_problem(response, 404)
    assert everything(client) == before


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
@pytest.mark.parametrize("product_id", [2, MAX_ID])
def test_a_product_that_is_not_there_is_not_found(
    client: FlaskClient, method: str, product_id: int
) -> None:
    create(client)
    before = everything(client)

    response = client.open(f"/products/{product_id}", method=method, json=REQUIRED)

    problem = assert_problem(response, 404, f"Product {product_id} was not found")
    assert "errors" not in problem
    assert everything(client) == before


@on_sqlite_only
@pytest.mark.parametrize("path", ["/nothing", "/products/1/reviews", "/product", "/static/x"])
def test_an_unknown_path_is_not_found(client: FlaskClient, path: str) -> None:
    assert_problem(client.get(path), 404, f"{path} was not found")


TEXTS = [
    ("1", "must be a string"),
    ("true", "must be a string"),
    ("[]", "must be a string"),
    ('{"a": 1}', "must be a string"),
    (r'"\u0000"', "must not contain U+0000"),
    (r'"a\u0000b"', "must not contain U+0000"),
    (r'"\ud800"', "must be Unicode, without unpaired surrogates"),
    (r'"\udc00\ud800"', "must be Unicode, without unpaired surrogates"),
]
NOT_BLANK = [
    ("null", "must be a string"),
    ('""', "must not be empty"),
    ('" "', "must have a visible character"),
    (r'"\t\n\u2003\u3000\u0085"', "must have a visible character"),
]
BAD_MEMBERS = [
    *[("name", *text) for text in TEXTS + NOT_BLANK],
    *[("img_url", *text) for text in TEXTS + NOT_BLANK],
    *[("description", *text) for text in TEXTS],
    *[("category", *text) for text in TEXTS],
    ("name", json.dumps("x" * 256), "must have at most 255 characters"),
    ("name", json.dumps("\U0001f3fa" * 256), "must have at most 255 characters"),
    ("img_url", json.dumps("x" * 2049), "must have at most 2048 characters"),
    ("description", json.dumps("x" * 10_001), "must have at most 10000 characters"),
    ("category", json.dumps("x" * 256), "must have at most 255 characters"),
    ("price", "null", "must be a number"),
    ("price", '"9.99"', "must be a number"),
    ("price", '""', "must be a number"),
    ("price", "true", "must be a number"),
    ("price", "false", "must be a number"),
    ("price", "[9.99]", "must be a number"),
    ("price", "9.999", "must have at most two decimals"),
    ("price", "0.001", "must have at most two decimals"),
    ("price", "1e-400", "must have at most two decimals"),
    ("price", "9999999999.989", "must have at most two decimals"),
    ("price", "-0.01", "must be at least 0"),
    ("price", "-1", "must be at least 0"),
    ("price", "10000000000", "must be at most 9999999999.99"),
    ("price", "1e400", "must be at most 9999999999.99"),
    ("price", "1e99999999999999999999", "must be at most 9999999999.99"),
    ("rating", '"4"', "must be an integer"),
    ("rating", "true", "must be an integer"),
    ("rating", "4.5", "must be an integer"),
    ("rating", "0.0000000000001", "must be an integer"),
    ("rating", "{}", "must be an integer"),
    ("rating", "-1", "must be at least 0"),
    ("rating", "2147483648", "must be at most 2147483647"),
    ("rating", "1e400", "must be at most 2147483647"),
    ("rating", "9" * 5000, "must be at most 2147483647"),
    ("status", '""', "must be 'active', 'disabled' or 'inactive'"),
    ("status", '"sold"', "must be 'active', 'disabled' or 'inactive'"),
    ("status", '" active"', "must be 'active', 'disabled' or 'inactive'"),
    ("status", '"\u0131nactive"', "must be 'active', 'disabled' or 'inactive'"),
    ("status", "1", "must be 'active', 'disabled' or 'inactive'"),
    ("status", "true", "must be 'active', 'disabled' or 'inactive'"),
    ("colour", '"red"', "is not a member of a product"),
    ("Name", '"Kettle"', "is not a member of a product"),
    ("", "null", "is not a member of a product"),
]


@on_sqlite_only
@writes
@pytest.mark.parametrize(("member", "text", "detail"), BAD_MEMBERS, ids=short)
def test_a_bad_member_is_refused_by_name(
    client: FlaskClient, method: str, path: str, member: str, text: str, detail: str
) -> None:
    create(client)
    before = everything(client)

    response = client.open(path, method=method, data=body_with(**{member: text}), content_type=JSON)

    assert_faults(response, (f"/{member}", detail))
    assert everything(client) == before


@on_sqlite_only
@pytest.mark.parametrize(("member", "text"), [("rating", "null"), ("status", "null")])
@pytest.mark.parametrize(("method", "path"), WRITES[:2])
def test_null_is_no_rating_and_no_status_of_a_whole_product(
    client: FlaskClient, method: str, path: str, member: str, text: str
) -> None:
    create(client)
    before = everything(client)

    response = client.open(path, method=method, data=body_with(**{member: text}), content_type=JSON)

    problem = assert_problem(response, 400)
    assert [fault["pointer"] for fault in problem["errors"]] == [f"/{member}"]
    assert everything(client) == before


@on_sqlite_only
@pytest.mark.parametrize("missing", REQUIRED)
@pytest.mark.parametrize(("method", "path"), WRITES[:2])
def test_a_whole_product_has_every_required_member(
    client: FlaskClient, method: str, path: str, missing: str
) -> None:
    create(client)
    before = everything(client)
    body = {name: value for name, value in REQUIRED.items() if name != missing}

    assert_faults(client.open(path, method=method, json=body), (f"/{missing}", "is required"))
    assert everything(client) == before


def test_a_column_of_a_later_version_is_not_shown(empty_database: str) -> None:
    with app_with_tables(empty_database) as app:
        client = app.test_client()
        create(client)
        tag = client.get("/products/1").headers["ETag"]
        execute(app, "ALTER TABLE products ADD COLUMN cost INTEGER")

        assert client.get("/products/1").headers["ETag"] == tag
        answers = [
            client.put("/products/1", json=product_body(), headers={"If-Match": tag}),
            client.patch("/products/1", json={"rating": 5}),
            client.post("/products", json=product_body()),
            *(client.get(f"/products{query}") for query in ("", "?limit=9", "?limit=9&offset=1")),
        ]

    shown = [answer.get_json() for answer in answers[:3]]
    shown += [product for answer in answers[3:] for product in json.loads(answer.data)]
    assert len(shown) == 3 + 2 + 2 + 1
    assert [list(product) for product in shown] == [MEMBERS] * len(shown)


@on_sqlite_only
def test_all_faults_are_named_at_once(client: FlaskClient) -> None:
    body = r"""{"id": 0, "name": " ", "price": "9", "price": 9.999, "rating": 4.5, "a/b~c": 1,
        "status": "sold", "description": "\u0000"}"""

    response = client.post("/products", data=body, content_type=JSON)

    problem = assert_problem(response, 400)
    assert {(fault["pointer"], fault["detail"]) for fault in problem["errors"]} == {
        ("/price", "must be given only once"),
        ("/name", "must have a visible character"),
        ("/img_url", "is required"),
        ("/description", "must not contain U+0000"),
        ("/price", "must have at most two decimals"),
        ("/rating", "must be an integer"),
        ("/status", "must be 'active', 'disabled' or 'inactive'"),
        ("/a~1b~0c", "is not a member of a product"),
    }
    assert everything(client).strip() == b"[]"


MANY = 1_000
FIRST = 100


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ([f'"m{number}": 1' for number in range(MANY)], "is not a member of a product"),
        ([f'"m{number // 2}": 1' for number in range(2 * MANY)], "must be given only once"),
    ],
    ids=["unknown", "twice"],
)
def test_the_first_hundred_of_many_faults_are_named(
    sqlite_app: Flask, members: list[str], detail: str
) -> None:
    body = f"{{{', '.join(members)}}}"

    response = sqlite_app.test_client().patch("/products/1", data=body, content_type=JSON)

    problem = assert_problem(response, 400)
    named = {fault["pointer"]: fault["detail"] for fault in problem["errors"]}
    assert named == {f"/m{number}": detail for number in range(FIRST)}
    unnamed = MANY - FIRST if len(members) == MANY else 2 * MANY - FIRST
    assert problem["detail"].endswith(f"m99 {detail}; and {unnamed} more errors")


LONG = "~/é" * 40


@pytest.mark.parametrize("is_given", [1, 2])
def test_a_long_name_is_shortened_where_it_is_repeated(sqlite_app: Flask, is_given: int) -> None:
    body = f"{{{', '.join([json.dumps(LONG) + ': 1'] * is_given)}}}"
    client = sqlite_app.test_client()

    problem = assert_problem(client.patch("/products/1", data=body, content_type=JSON), 400)

    pointers = {fault["pointer"] for fault in problem["errors"]}
    assert pointers == {("/" + "~0~1é" * 40)[:99] + "…"}
    assert problem["detail"].startswith("~/é~/é")
    for path in (f"/products/{LONG}", f"/{LONG}"):
        assert len(assert_problem(client.get(path), 404)["detail"]) < 130
    assert len(assert_problem(client.post(f"/apidocs/{LONG}"), 405)["detail"]) < 130


@on_sqlite_only
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_wrong_id_is_named_beside_other_faults(client: FlaskClient, method: str) -> None:
    create(client)

    response = client.open("/products/1", method=method, json=product_body(id=2, rating="x"))

    assert_faults(response, ("/id", "must be 1, as in the path"), ("/rating", "must be an integer"))


@on_sqlite_only
@writes
@pytest.mark.parametrize("value", ["9.99", "1"])
def test_the_same_member_twice_is_refused(
    client: FlaskClient, method: str, path: str, value: str
) -> None:
    create(client)
    before = everything(client)
    body = body_with()[:-1] + f', "pr\\u0069ce": {value}}}'

    response = client.open(path, method=method, data=body, content_type=JSON)

    assert_faults(response, ("/price", "must be given only once"))
    assert everything(client) == before


@on_sqlite_only
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("given", [2, 0, -1, "1", None, True, 1.5, MAX_ID + 1])
def test_an_id_that_is_not_the_paths_is_refused(
    client: FlaskClient, method: str, given: object
) -> None:
    create(client)
    before = everything(client)

    response = client.open("/products/1", method=method, json=REQUIRED | {"id": given})

    problem = assert_problem(response, 400)
    assert [fault["pointer"] for fault in problem["errors"]] == ["/id"]
    assert everything(client) == before


BAD_BODIES: list[tuple[bytes, str]] = [
    (b"", "is not JSON"),
    (b" ", "is not JSON"),
    (b"kettle", "is not JSON"),
    (b"{", "is not JSON"),
    (b'{"name": }', "is not JSON"),
    (b"{'name': 'x'}", "is not JSON"),
    (b'{"name": "x",}', "is not JSON"),
    (b'{"name": "a\nb"}', "is not JSON"),
    (b'{"price": 01}', "is not JSON"),
    (b'{"price": +1}', "is not JSON"),
    (b'{"price": .5}', "is not JSON"),
    (b'{"price": NaN}', "is not JSON"),
    (b'{"price": Infinity}', "is not JSON"),
    (b'{"price": -Infinity}', "is not JSON"),
    (b"{} {}", "is not JSON"),
    (b"\xef\xbb\xbf", "is not JSON"),
    (b"\xef\xbb\xbf\xef\xbb\xbf{}", "is not JSON"),
    (b" \xef\xbb\xbf{}", "is not JSON"),
    (b"name=Kettle&price=9.99", "is not JSON"),
    (b'{"name": "\xff"}', "is not UTF-8 at byte 10"),
    (b'{"name": "\xed\xa0\x80"}', "is not UTF-8 at byte 10"),
    (b'\xef\xbb\xbf{"name": "\xff"}', "is not UTF-8 at byte 13"),
    ('{"name": "x"}'.encode("utf-16"), "is not UTF-8 at byte 0"),
    (b"[" * 100_000, "is nested too deeply"),
    (b'{"name":' * 100_000, "is nested too deeply"),
    (b"null", "must be a JSON object"),
    (b"true", "must be a JSON object"),
    (b"9.99", "must be a JSON object"),
    (b'"kettle"', "must be a JSON object"),
    (b"[]", "must be a JSON object"),
    (b'[{"name": "x"}]', "must be a JSON object"),
]


@on_sqlite_only
@writes
@pytest.mark.parametrize(("body", "detail"), BAD_BODIES, ids=short)
def test_a_body_that_is_no_json_object_is_refused(
    client: FlaskClient, method: str, path: str, body: bytes, detail: str
) -> None:
    create(client)
    before = everything(client)

    response = client.open(path, method=method, data=body, content_type=JSON)

    problem = assert_problem(response, 400)
    ((pointer, found),) = [(fault["pointer"], fault["detail"]) for fault in problem["errors"]]
    assert pointer == ""
    assert found.startswith(detail)
    assert everything(client) == before


@on_sqlite_only
@writes
@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "text/json", "application/xml", "application/x-www-form-urlencoded",
     "multipart/form-data; boundary=x", "application/json; charset=latin-1", "json"],
)  # fmt: skip
def test_another_content_type_is_refused(
    client: FlaskClient, method: str, path: str, content_type: str | None
) -> None:
    create(client)
    before = everything(client)

    response = client.open(path, method=method, data=body_with(), content_type=content_type)

    assert_problem(response, 415)
    assert everything(client) == before


@on_sqlite_only
@pytest.mark.parametrize(("method", "path"), WRITES[:2])
def test_a_merge_patch_is_no_whole_product(client: FlaskClient, method: str, path: str) -> None:
    create(client)

    response = client.open(path, method=method, data=body_with(), content_type=MERGE_PATCH)

    assert_problem(response, 415)


@on_sqlite_only
@writes
def test_a_compressed_body_is_refused(client: FlaskClient, method: str, path: str) -> None:
    create(client)

    response = client.open(path, method=method, json=REQUIRED, headers={"Content-Encoding": "gzip"})

    assert_problem(response, 415)


@on_sqlite_only
@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;a=b"]
)
def test_json_by_another_spelling_is_accepted(client: FlaskClient, content_type: str) -> None:
    response = client.post("/products", data=body_with(), content_type=content_type)

    assert response.status_code == 201


@writes
def test_a_byte_order_mark_before_the_json_is_skipped(
    client: FlaskClient, method: str, path: str
) -> None:
    create(client)
    body = body_with(name='"\ufeffKettle"').encode("utf-8-sig")

    response = client.open(path, method=method, data=body, content_type=JSON)

    assert response.status_code in {200, 201}, response.text
    assert response.get_json()["name"] == "\ufeffKettle"


def padded(size: int) -> bytes:
    """Return a product in JSON with as much white space as makes it ``size`` bytes."""
    return body_with().encode().rjust(size)


@on_sqlite_only
@writes
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("size", [MEBIBYTE + 1, 2 * MEBIBYTE])
def test_more_than_a_mebibyte_is_refused(
    client: FlaskClient, method: str, path: str, size: int, *, chunked: bool
) -> None:
    create(client)
    before = everything(client)

    response = send(client, method, path, padded(size), chunked=chunked)

    assert_problem(response, 413, f"The body is larger than {MEBIBYTE} bytes")
    assert everything(client) == before


@writes
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_a_mebibyte_is_accepted(
    client: FlaskClient, method: str, path: str, *, chunked: bool
) -> None:
    create(client)

    response = send(client, method, path, padded(MEBIBYTE), chunked=chunked)

    assert response.status_code in (200, 201)


def send(
    client: FlaskClient, method: str, path: str, body: bytes, *, chunked: bool
) -> TestResponse:
    if not chunked:
        return client.open(path, method=method, data=body, content_type=JSON)
    return client.open(
        path,
        method=method,
        input_stream=io.BytesIO(body),
        content_type=JSON,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )


def test_a_tag_is_strong_and_changes_with_the_product(client: FlaskClient) -> None:
    first = client.post("/products", json=REQUIRED).headers["ETag"]
    other = client.post("/products", json=REQUIRED).headers["ETag"]
    changed = client.patch("/products/1", json={"rating": 5}).headers["ETag"]
    back = client.put("/products/1", json=REQUIRED).headers["ETag"]

    assert re.fullmatch(r'"[!#-~]+"', first)
    assert len({first, other, changed}) == 3
    assert back == first == client.get("/products/1").headers["ETag"]


@on_sqlite_only
@pytest.mark.parametrize("path", ["/health", "/products/1", "/nothing"])
@pytest.mark.parametrize(
    "given", ["a", "Az0.9_-" * 18 + "ab", "550e8400-e29b-41d4-a716-446655440000"]
)
def test_a_sound_request_id_is_taken_over(client: FlaskClient, path: str, given: str) -> None:
    response = client.get(path, headers={"X-Request-ID": given})

    assert response.headers["X-Request-ID"] == given
    if response.status_code == 404:
        assert response.get_json()["request_id"] == given


@on_sqlite_only
@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a/b", "é", "a,b", "\t"])
def test_another_request_id_is_made_anew(client: FlaskClient, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    responses = [client.get("/products/1", headers=headers) for _ in range(2)]

    first, second = [assert_problem(response, 404)["request_id"] for response in responses]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", first)
    assert given != first != second


@on_sqlite_only
def test_health_says_that_the_process_is_up(client: FlaskClient) -> None:
    response = client.get("/health")

    assert response.status_code == 200
    assert response.get_json() == {"status": "OK"}


@on_sqlite_only
def test_the_start_says_what_this_is(app: Flask) -> None:
    response = app.test_client().get("/", headers={"Accept": "application/json"})

    assert response.status_code == 200
    found = response.get_json()
    assert found["name"] == "products"
    assert found["version"] == app.config["VERSION"]
    assert {"/", "/health", "/products", "/products/{id}"} <= set(found["paths"])


@on_sqlite_only
def test_apidocs_needs_no_other_host(client: FlaskClient) -> None:
    page = client.get("/apidocs")

    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert links
    for link in links:
        assert link.startswith("/")
        file = client.get(link)
        assert file.status_code == 200
        file.close()


DATABASE_REQUESTS = [
    ("GET", "/products", None),
    ("POST", "/products", REQUIRED),
    ("GET", "/products/1", None),
    ("PUT", "/products/1", REQUIRED),
    ("PATCH", "/products/1", {"rating": 1}),
    ("PATCH", "/products/1", {}),
    ("DELETE", "/products/1", None),
]


def assert_unavailable(
    app: Flask, advice: str, detail: str = "The database is unavailable; try again later"
) -> None:
    """Hold that every operation answers 503 with the detail, and logs what to do."""
    for method, path, body in DATABASE_REQUESTS:
        with logged(app) as log:
            response = app.test_client().open(
                path, method=method, json=body, headers={"X-Request-ID": "outage-1"}
            )

            assert_problem(response, 503, detail)
            assert int(response.headers["Retry-After"]) > 0
            line, request = map(json.loads, log.getvalue().splitlines())
            assert (request["level"], request["status"]) == ("WARNING", 503)
            assert advice in line["message"]
            assert (line["level"], line["request_id"]) == ("ERROR", "outage-1")
    assert app.test_client().get("/health").status_code == 200


@pytest.mark.parametrize(
    ("renamed", "fault", "remedy"),
    [
        ("TO elsewhere", "The database has no tables", "run `flask db upgrade`"),
        ("COLUMN id TO number", INCOMPLETE, UPGRADE_OR_LOOK),
    ],
    ids=["table", "column"],
)
def test_missing_tables_are_503_and_clients_and_the_log_are_told_what_to_do(
    empty_database: str, renamed: str, fault: str, remedy: str
) -> None:
    with app_with_tables(empty_database) as app:
        execute(app, f"ALTER TABLE products RENAME {renamed}")

        assert_unavailable(app, "run `flask db upgrade`", f"{fault}: {remedy}")


def test_a_missing_column_is_503_for_a_write_that_sets_it(empty_database: str) -> None:
    with app_with_tables(empty_database) as app:
        execute(app, "ALTER TABLE products RENAME COLUMN rating TO stars")

        response = app.test_client().post("/products", json=REQUIRED)

    assert_problem(response, 503, f"{INCOMPLETE}: {UPGRADE_OR_LOOK}")


def test_a_missing_function_is_503(empty_postgresql: str) -> None:
    with app_with_tables(empty_postgresql, "db", "upgrade", "0001") as app:
        response = app.test_client().get("/products?q=kettle")

    assert_problem(response, 503, f"{INCOMPLETE}: {UPGRADE_OR_LOOK}")


def test_a_missing_sqlite_file_is_503_and_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none.db"

    assert_unavailable(
        create_app({"DATABASE_URI": f"sqlite:///{file}"}),
        "run `flask db upgrade`",
        "The database has no tables: run `flask db upgrade`",
    )


def test_an_unreachable_postgresql_is_503() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens: every connection is refused
        port = taken.getsockname()[1]
        app = create_app({"DATABASE_URI": f"postgresql+psycopg://nobody@127.0.0.1:{port}/none"})

        assert_unavailable(app, "check DATABASE_URI")
        dispose(app)


@pytest.fixture
def broken_app(tmp_path: Path) -> Flask:
    """Make an app with a path that fails by a fault of its own."""
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'none.db'}"})

    @app.get("/broken")
    def broken() -> str:
        raise LookupError("a secret of the inside")

    return app


def test_500_says_nothing_about_the_inside(broken_app: Flask) -> None:
    with logged(broken_app) as log:
        response = broken_app.test_client().get("/broken", headers={"X-Request-ID": "fault-1"})
        (line,) = map(json.loads, log.getvalue().splitlines())

    problem = assert_problem(response, 500)
    assert problem["request_id"] == "fault-1"
    assert "secret" not in response.text
    assert "LookupError" not in response.text
    assert (line["level"], line["request_id"]) == ("ERROR", "fault-1")
    assert "a secret of the inside" in line["traceback"]


def test_a_fault_in_our_own_sql_is_no_outage(postgresql_app: Flask) -> None:
    execute(postgresql_app, "ALTER TABLE products ADD COLUMN kind text NOT NULL")
    postgresql_app.config["PROPAGATE_EXCEPTIONS"] = False
    try:
        with logged(postgresql_app):
            response = postgresql_app.test_client().post("/products", json=REQUIRED)
        assert_problem(response, 500)
        assert "kind" not in response.text
    finally:
        postgresql_app.config["PROPAGATE_EXCEPTIONS"] = None
        execute(postgresql_app, "ALTER TABLE products DROP COLUMN kind")


def test_a_status_is_one_of_three() -> None:
    assert {status.value for status in Status} == {"active", "inactive", "disabled"}
