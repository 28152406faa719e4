"""`flask db-prune`: it removes old records, never the newest of a product, and blocks nobody."""

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from tests.factories import product_body
from tests.follower import CHANGES, following
from tests.helpers import engine_of, execute

OLD = "UPDATE product_changes SET at = '2020-01-01T00:00:00.000Z'"
UPDATE = "UPDATE products SET rating = rating + 1"


def prune(app: Flask, days: int = 30) -> str:
    result = app.test_cli_runner().invoke(args=["db-prune", "--days", str(days)])
    assert result.exit_code == 0, result.output
    return result.output


def recorded(app: Flask) -> list[tuple[str, int]]:
    statement = text("SELECT op, product_id FROM product_changes ORDER BY seq")
    with engine_of(app).connect() as connection:
        return [(row.op, row.product_id) for row in connection.execute(statement)]


def place(client: FlaskClient) -> str:
    return following(client.get(CHANGES).headers["Link"])


@pytest.fixture
def stocked(client: FlaskClient) -> FlaskClient:
    """Give a client that has created two products and changed the first one."""
    for _ in range(2):
        assert client.post("/products", json=product_body()).status_code == 201
    client.patch("/products/1", json={"rating": 77})
    return client


def test_old_records_are_removed_but_the_newest_of_each_product(stocked: FlaskClient) -> None:
    app = stocked.application
    stocked.delete("/products/2")
    execute(app, OLD)

    assert prune(app).startswith("Removed 2 records of changes before 20")

    assert recorded(app) == [("update", 1), ("delete", 2)]
    product = stocked.get("/products/1").get_json()
    brought_back = stocked.put(
        "/products/2", json=product | {"id": 2}, headers={"If-None-Match": "*"}
    )
    assert brought_back.status_code == 201


def test_records_of_the_days_are_kept(stocked: FlaskClient) -> None:
    app = stocked.application
    execute(app, f"{OLD} WHERE seq = (SELECT min(seq) FROM product_changes)")
    stocked.patch("/products/1", json={"rating": 78})

    prune(app)

    assert recorded(app) == [("create", 2), ("update", 1), ("update", 1)]


def test_a_pruned_place_is_gone(client: FlaskClient) -> None:
    app = client.application
    client.post("/products", json=product_body())
    before = place(client)
    client.patch("/products/1", json={"rating": 77})
    between = place(client)
    client.patch("/products/1", json={"rating": 78})
    execute(app, OLD)

    prune(app)

    assert client.get(before).status_code == 410
    response = client.get(between)
    assert [change["id"] for change in response.get_json()] == [1]
    assert client.get(following(response.headers["Link"])).get_json() == []


def test_pruning_says_how_far_the_record_reaches_back(stocked: FlaskClient) -> None:
    app = stocked.application
    execute(
        app,
        "UPDATE product_change_log SET complete_since = '2020-01-01T00:00:00.000Z'",
        "DELETE FROM product_changes",
    )
    path = "/products/1/lowest-price?days=20"
    assert stocked.get(path).get_json()["complete"] is True

    prune(app, days=21)
    assert stocked.get(path).get_json()["complete"] is True
    prune(app, days=19)
    assert stocked.get(path).get_json()["complete"] is False
    prune(app, days=300)
    assert stocked.get(path).get_json()["complete"] is False


def test_many_records_are_removed_while_others_write(app: Flask) -> None:
    client = app.test_client()
    app.test_cli_runner().invoke(args=["db-seed", "--count", "2000"])
    for _ in range(3):
        execute(app, UPDATE)
    execute(app, OLD)
    ended = Event()
    written: list[int] = []

    def write() -> None:
        while not ended.is_set():
            response = client.patch("/products/1", json={"rating": len(written)})
            assert response.status_code == 200, response.text
            written.append(response.status_code)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            # The newest record of product 1 is an old one until it is written again.
            assert re.match("Removed 600[01] records", prune(app))
        finally:
            ended.set()
        writer.result()

    assert len(written) > 3
    assert len([change for change in recorded(app) if change[1] != 1]) == 1999


@pytest.mark.parametrize("days", ["0", "-1", "x", "36501"])
def test_other_numbers_of_days_are_refused(sqlite_app: Flask, days: str) -> None:
    assert sqlite_app.test_cli_runner().invoke(args=["db-prune", "--days", days]).exit_code == 2
    assert sqlite_app.test_cli_runner().invoke(args=["db-prune"]).exit_code == 2
