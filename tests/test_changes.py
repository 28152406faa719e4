"""The record of changes: every change of a product is in it once, however it was made."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from service import create_app
from tests.factories import product_body
from tests.helpers import dispose, engine_of, execute

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
        ("PUT", product_body(price=0.1)),
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
    own = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "API_TOKENS": f"anna={TOKEN}"})
    client = own.test_client()
    headers = {"Authorization": f"Bearer {TOKEN}", "If-Match": "*"}
    for number, (method, path, body) in enumerate(
        [
            ("POST", "/products", product_body()),
            ("PUT", "/products/1", product_body()),
            ("DELETE", "/products/1", None),
        ]
    ):
        response = client.open(
            path, method=method, json=body, headers=headers | {"X-Request-ID": f"request.{number}"}
        )
        assert response.status_code < 300
    execute(own, "DELETE FROM products")
    dispose(own)

    assert [(row.writer, row.request_id) for row in rows(app)] == [
        ("anna", f"request.{number}") for number in range(3)
    ]


def test_a_change_by_sql_has_neither_writer_nor_request(client: FlaskClient) -> None:
    app = client.application
    for _ in range(app.config["WEB_THREADS"]):
        created(client)

    execute(app, "UPDATE products SET rating = 77")

    assert {(row.writer, row.request_id) for row in rows(app) if row.op == "update"} == {
        (None, None)
    }
