"""Idempotency-Key: of the POSTs with one key, one is carried out; the others get its answer."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import make_url, text
from werkzeug.test import TestResponse

from service import create_app
from service.database import transaction
from tests.factories import product_body
from tests.helpers import dispose, execute, running_post

KETTLE = product_body(name="Kettle")
OTHER_PLANS = ("hashjoin", "hashagg", "mergejoin", "sort", "material", "indexscan", "bitmapscan")
TOKENS = {"anna": "a" * 43, "shop": "b" * 43}


def post(client: FlaskClient, key: str, body: Any = KETTLE, **headers: str) -> TestResponse:
    return client.post("/products", json=body, headers={"Idempotency-Key": key, **headers})


def names(client: FlaskClient) -> list[str]:
    return [product["name"] for product in client.get("/products").get_json()]


def is_replayed(response: TestResponse) -> bool:
    return response.headers.get("Idempotent-Replayed") == "true"


def test_a_repetition_gets_the_first_answer_again(client: FlaskClient) -> None:
    first = post(client, "one")
    again = post(client, "one")

    assert (first.status_code, is_replayed(first)) == (201, False)
    assert (again.status_code, is_replayed(again)) == (201, True)
    assert again.data == first.data
    for name in ("ETag", "Location", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert names(client) == ["Kettle"]


def test_a_deleted_product_does_not_come_back_by_a_repetition(client: FlaskClient) -> None:
    first = post(client, "one")
    client.delete(first.headers["Location"])

    assert post(client, "one").data == first.data
    assert names(client) == []


def test_without_a_key_each_request_creates(client: FlaskClient) -> None:
    for _ in range(2):
        assert client.post("/products", json=KETTLE).status_code == 201

    assert names(client) == ["Kettle", "Kettle"]


def test_a_quoted_and_a_bare_key_are_one(client: FlaskClient) -> None:
    first = post(client, r'"a\\b"')

    assert post(client, "a\\b").data == first.data


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/products?", b'{"name": "Other", "img_url": "x", "price": 1}', None),
        ("/products", KETTLE, "application/json; charset=utf-8"),
        ("/products?x=1", KETTLE, None),
        ("/products", "not even JSON", None),
    ],
)
def test_another_request_with_the_same_key_is_422(
    client: FlaskClient, path: str, body: Any, content_type: str | None
) -> None:
    post(client, "one")
    sent: dict[str, Any] = {"json": body} if isinstance(body, dict) else {"data": body}

    response = client.post(
        path,
        headers={"Idempotency-Key": "one"},
        content_type=content_type or "application/json",
        **sent,
    )

    assert response.status_code == 422
    assert response.get_json()["detail"] == "This Idempotency-Key was used for another request"
    assert names(client) == ["Kettle"]


def test_a_failed_request_frees_its_key(client: FlaskClient) -> None:
    assert post(client, "one", {"name": "Kettle"}).status_code == 400

    response = post(client, "one")

    assert (response.status_code, is_replayed(response)) == (201, False)


@pytest.mark.parametrize(
    "key",
    [
        *("", '""', "a b", "a,b", 'a"b', '"a', 'a"', '"a b"', '"a\\b"', '"a";b=1', "\xe9"),
        *("x" * 256, f'"{"x" * 256}"'),
    ],
)
def test_a_malformed_key_is_400(sqlite_app: Flask, key: str) -> None:
    client = sqlite_app.test_client()

    response = post(client, key)

    assert response.status_code == 400
    assert response.get_json()["detail"].startswith("Idempotency-Key must be given once")
    assert names(client) == []


def test_two_keys_are_400(sqlite_app: Flask) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]

    response = sqlite_app.test_client().post("/products", json=KETTLE, headers=headers)

    assert response.status_code == 400


@pytest.mark.parametrize("key", ["x" * 255, f'"{"," * 255}"', "!#$%&'()*+-./:;<=>?@[]^_`{|}~"])
def test_any_other_key_is_taken(client: FlaskClient, key: str) -> None:
    assert post(client, key).status_code == 201
    assert is_replayed(post(client, key))


def test_a_key_belongs_to_its_writer(app: Flask) -> None:
    pairs = ",".join(f"{name}={token}" for name, token in TOKENS.items())
    tokens = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "API_TOKENS": pairs})
    client = tokens.test_client()
    bearers = [f"Bearer {token}" for token in TOKENS.values()]

    answers = [post(client, "one", Authorization=bearer) for bearer in [*bearers, *bearers]]
    dispose(tokens)

    assert [is_replayed(answer) for answer in answers] == [False, False, True, True]
    assert names(app.test_client()) == ["Kettle", "Kettle"]


def test_an_expired_key_is_a_new_one(app: Flask, client: FlaskClient) -> None:
    post(client, "one")
    execute(app, "UPDATE idempotency_keys SET expires_at = expires_at - 24 * 60 * 60")

    response = post(client, "one", {**KETTLE, "name": "Other"})

    assert (response.status_code, is_replayed(response)) == (201, False)
    assert post(client, "one", {**KETTLE, "name": "Other"}).data == response.data


def expired(count: int) -> str:
    """Return the statement that inserts expired keys."""
    values = ", ".join(f"('', 'old {i}', '', {i})" for i in range(count))
    return f"INSERT INTO idempotency_keys (writer, key, fingerprint, expires_at) VALUES {values}"


def test_a_request_with_a_key_deletes_a_hundred_expired_ones(
    app: Flask, client: FlaskClient
) -> None:
    execute(app, expired(150))

    post(client, "one")
    assert stored_keys(app) == 51
    post(client, "two")
    assert stored_keys(app) == 2


def test_it_deletes_no_more_by_the_plan_for_few_rows(postgresql_app: Flask) -> None:
    """For few rows PostgreSQL joins in nested loops, and would select for each row anew."""
    execute(postgresql_app, expired(150))
    off = " ".join(f"-c enable_{name}=off" for name in OTHER_PLANS)
    uri = make_url(postgresql_app.config["DATABASE_URI"]).update_query_dict({"options": off})
    app = create_app({"DATABASE_URI": uri.render_as_string(hide_password=False)})

    post(app.test_client(), "one")
    dispose(app)

    assert stored_keys(postgresql_app) == 51


def stored_keys(app: Flask) -> int:
    with app.app_context(), transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM idempotency_keys")).scalar_one())


def test_of_a_hundred_simultaneous_requests_one_creates(app: Flask) -> None:
    app_with_threads = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "WEB_THREADS": 10})
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: post(app_with_threads.test_client(), "one"), range(100)))
    dispose(app_with_threads)

    counts = Counter((answer.status_code, is_replayed(answer)) for answer in answers)
    assert counts[201, False] == 1
    assert set(counts) <= {(201, False), (201, True), (409, False)}
    assert len({answer.data for answer in answers if answer.status_code == 201}) == 1
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 409)
    assert names(app.test_client()) == ["Kettle"]


def test_the_answer_of_an_expired_key_is_not_given_while_the_key_is_used_again(
    postgresql_app: Flask,
) -> None:
    post(postgresql_app.test_client(), "one", KETTLE)
    execute(postgresql_app, "UPDATE idempotency_keys SET expires_at = 0")

    with running_post(postgresql_app, "one") as client:
        assert post(client, "one", KETTLE).status_code == 409


def test_a_repetition_does_not_wait_for_the_first_request(postgresql_app: Flask) -> None:
    with running_post(postgresql_app, "one") as client:
        repeated = post(client, "one", product_body())
        another = post(client, "one", KETTLE)

    assert (repeated.status_code, another.status_code) == (409, 409)
    assert repeated.headers["Retry-After"] == "1"
    assert len(names(postgresql_app.test_client())) == 1
