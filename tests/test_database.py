"""The way to the database: lost connections, long statements, and what a poor role is refused."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Select, create_engine, func, literal, make_url, select, text

from service import create_app, database
from service.database import sqlite
from tests.factories import product_body
from tests.helpers import app_with_tables, dispose, execute, logged, postgresql_database
from tests.relay import Relay, relayed

END_ALL_OTHERS = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def cut_app(postgresql_app: Flask) -> Iterator[tuple[Flask, Relay]]:
    """Give an app whose connections lead through a relay."""
    with relayed(postgresql_app.config["DATABASE_URI"]) as (uri, relay):
        app = create_app({"DATABASE_URI": uri, "TESTING": True})
        yield app, relay
        dispose(app)


def end_connections(app: Flask) -> None:
    """End every connection of the app from the server's side, and wait until they are gone."""
    engine = create_engine(app.config["DATABASE_URI"])
    with engine.connect() as connection:
        ended = connection.scalars(text(END_ALL_OTHERS)).all()
    assert ended
    assert all(ended)
    engine.dispose()


READS = ["/products/1", "/products", "/products?limit=1&count=true", "/products?q=kettle"]


@pytest.mark.parametrize("path", READS)
def test_a_read_on_a_connection_that_is_lost_is_executed_again(
    cut_app: tuple[Flask, Relay], path: str
) -> None:
    app, relay = cut_app
    client = app.test_client()
    assert client.post("/products", json=product_body()).status_code == 201
    relay.cut_off()

    assert client.get(path).status_code == 200


def test_a_write_on_a_connection_that_is_lost_is_not_executed_again(
    cut_app: tuple[Flask, Relay],
) -> None:
    app, relay = cut_app
    client = app.test_client()
    assert client.post("/products", json=product_body()).status_code == 201
    relay.cut_off()

    with logged(app) as lines:
        response = client.post("/products", json=product_body())
        written = [json.loads(line) for line in lines.getvalue().splitlines()]

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    assert [line["level"] for line in written if "message" in line] == ["ERROR"]
    assert len(client.get("/products").get_json()) == 1


@pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}])
def test_a_write_is_never_sent_on_a_connection_that_is_known_to_be_dead(
    postgresql_app: Flask, stocked_client: FlaskClient, headers: dict[str, str]
) -> None:
    end_connections(postgresql_app)

    response = stocked_client.patch("/products/1", json={"rating": 5}, headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize("made", [("db-create",), ("db", "upgrade")])
def test_searches_work_where_the_role_may_not_create_the_extension(
    postgresql_server: str, caplog: pytest.LogCaptureFixture, made: tuple[str, ...]
) -> None:
    log = logging.getLogger("service.database.postgresql")
    log.addHandler(caplog.handler)  # the app's own logger passes nothing on
    with postgresql_database(postgresql_server) as uri:
        role = f"{make_url(uri).database}_role"
        owner = create_engine(uri, isolation_level="AUTOCOMMIT")
        with owner.connect() as connection:
            connection.execute(text(f"CREATE ROLE {role}"))
            connection.execute(text(f"GRANT CREATE ON SCHEMA public TO {role}"))
            try:
                poor = make_url(uri).update_query_dict({"options": f"-c role={role}"})
                with app_with_tables(poor.render_as_string(hide_password=False), *made) as app:
                    checked = app.test_cli_runner().invoke(args=["db", "check"])
                    client = app.test_client()
                    client.post("/products", json=product_body(name="Théière ÉMAILLÉE"))
                    found = client.get("/products?q=émaillée&name=THÉI").get_json()
                    execute(app, "DROP TABLE products CASCADE")
            finally:
                connection.execute(text(f"DROP OWNED BY {role} CASCADE"))
                connection.execute(text(f"DROP ROLE {role}"))
        owner.dispose()
    log.removeHandler(caplog.handler)

    assert [product["name"] for product in found] == ["Théière ÉMAILLÉE"]
    assert caplog.text.count("Searches will be slow") == 1
    assert checked.exit_code == 0


# It takes some seconds to count to it.
ENDLESS = 30_000_000


def counting(most: int) -> Select[int]:
    """Return a statement that takes the longer the more it counts."""
    numbers = select(literal(1).label("number")).cte(recursive=True)
    more = select(numbers.c.number + 1).where(numbers.c.number < most)
    return select(func.count()).select_from(numbers.union_all(more))


def count_alone(most: int) -> int:
    return int(database.execute(counting(most))[0][0])


def count_in_transaction(most: int) -> int:
    rows = database.in_transaction(lambda each: database.execute_in(each, counting(most)))
    return int(rows[0][0])


@pytest.fixture
def counting_app(sqlite_app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """Give an app on SQLite that counts; no statement of a request may take any time."""
    monkeypatch.setattr(sqlite, "STATEMENT_SECONDS", 0)
    app = create_app({"DATABASE_URI": sqlite_app.config["DATABASE_URI"]})
    for count in (count_alone, count_in_transaction):
        app.add_url_rule(
            f"/{count.__name__}/<int:most>",
            view_func=lambda most, c=count: str(c(most)),
            endpoint=count.__name__,
        )
    yield app
    dispose(app)


@pytest.mark.parametrize("count", [count_alone, count_in_transaction])
def test_a_long_statement_on_sqlite_is_503(
    counting_app: Flask, count: Callable[[int], int]
) -> None:
    client = counting_app.test_client()

    with logged(counting_app) as lines:
        response = client.get(f"/{count.__name__}/{ENDLESS}")
        log = lines.getvalue()

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    assert "A statement took too long" in log
    assert client.get(f"/{count.__name__}/9").text == "9"
    assert client.post("/products", json=product_body()).status_code == 201


@pytest.mark.parametrize("count", [count_alone, count_in_transaction])
def test_a_command_on_sqlite_takes_as_long_as_it_takes(
    counting_app: Flask, count: Callable[[int], int]
) -> None:
    with counting_app.app_context():
        assert count(200_000) == 200_000
