"""Whether the service says rightly that it is ready, and what to do if it is not."""

import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import URL, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from service import create_app
from service.database import db, revisions
from service.database.engine import probe
from tests.helpers import backend, dispose, execute, logged, postgresql_database, wait_for
from tests.relay import relayed

LONGEST = 3.5
NO_TRIGGER = "DROP TRIGGER record_product_update"
NO_RATING = "ALTER TABLE products RENAME COLUMN rating TO stars"


def ask(app: Flask) -> TestResponse:
    """Ask whether it is ready; whatever the answer is, it must come soon."""
    began = time.monotonic()
    response = app.test_client().get("/readyz")
    assert time.monotonic() - began < LONGEST
    return response


def fault(app: Flask) -> str:
    """Return why it is not ready."""
    response = ask(app)
    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    return str(response.get_json()["detail"])


def test_it_is_ready_when_the_database_is(app: Flask) -> None:
    response = ask(app)

    assert (response.status_code, response.get_json()) == (200, {"status": "OK"})
    assert app.test_client().head("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("commands", "statement", "said"),
    [
        ([], None, "The database has no tables"),
        (["db upgrade", "db downgrade base"], None, "The database has no tables"),
        (["db-create"], "DROP TABLE alembic_version", "The tables have no revision"),
        (["db-create"], "DELETE FROM alembic_version", "The tables have no revision"),
        (["db upgrade 0001"], "DROP TABLE alembic_version", "The tables have no revision"),
        (["db-create"], "DROP TABLE products", "The table products is missing"),
        (["db-create"], "DROP TABLE idempotency_keys", "The table idempotency_keys is missing"),
        (["db upgrade 0002"], "DROP TABLE alembic_version", "The tables have no revision"),
        (["db-create"], "DROP TABLE product_changes", "The table product_changes is missing"),
        (["db-create"], NO_RATING, "The table products has no column rating"),
        (["db-create"], NO_TRIGGER, "The table products has no trigger record_product_update"),
    ],
)
def test_what_it_says_to_run_makes_it_ready(
    own_app: Flask, commands: list[str], statement: str | None, said: str
) -> None:
    for command in commands:
        run(own_app, command)
    if statement == NO_TRIGGER and backend(own_app) == "postgresql":
        statement += " ON products"
    if statement:
        execute(own_app, statement)

    line = fault(own_app)
    assert line.startswith(said)
    for command in re.findall("`flask (.*?)`", line):
        run(own_app, command)

    assert ask(own_app).status_code == 200


def run(app: Flask, command: str) -> None:
    result = app.test_cli_runner().invoke(args=shlex.split(command))
    assert result.exit_code == 0, result.output


def test_a_database_file_that_is_not_there_has_no_tables(tmp_path: Path) -> None:
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'products.db'}"})

    assert fault(app) == "The database has no tables: run `flask db upgrade`"
    assert list(tmp_path.iterdir()) == []


def test_a_schema_of_an_earlier_version_is_not_ready(own_app: Flask) -> None:
    run(own_app, "db upgrade 0001")

    assert fault(own_app) == (
        "The schema is at revision 0001, but this version of the service requires "
        f"{revisions.known()[0]}: run `flask db upgrade`"
    )


def test_tables_of_no_revision_are_not_ready(own_app: Flask) -> None:
    run(own_app, "db upgrade")
    execute(own_app, "DROP TABLE alembic_version", NO_RATING)

    assert fault(own_app) == (
        "The tables have no revision. They are those of no revision: "
        "restore a backup or run `flask db-create`"
    )


def test_a_schema_of_a_later_version_is_not_ready_without_a_column(own_app: Flask) -> None:
    run(own_app, "db upgrade")
    execute(own_app, "UPDATE alembic_version SET version_num = '9999'", NO_RATING)

    assert fault(own_app).startswith("The table products has no column rating")


def test_a_schema_of_a_later_version_is_ready_and_stays(own_app: Flask) -> None:
    run(own_app, "db upgrade")
    execute(own_app, "UPDATE alembic_version SET version_num = '9999'")

    assert own_app.test_client().get("/readyz").status_code == 200
    run(own_app, "db upgrade")
    assert own_app.test_client().get("/readyz").status_code == 200


def test_a_revision_that_is_none_of_the_service_is_not_ready(own_app: Flask) -> None:
    run(own_app, "db upgrade")
    execute(own_app, "UPDATE alembic_version SET version_num = 'nosuch'")

    assert fault(own_app).startswith("The schema is at revision nosuch, but this version")


def test_asking_makes_no_tables(own_app: Flask) -> None:
    fault(own_app)

    with own_app.app_context():
        assert inspect(db.engine).get_table_names() == []


@contextmanager
def silence() -> Iterator[int]:
    """Give a port where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@contextmanager
def nobody() -> Iterator[int]:
    """Give a port where no connection is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def third_of_three(uri: str) -> Iterator[Flask]:
    """Give an app for a server that comes after two frozen ones."""
    url = make_url(uri)
    third = (url.query.get("host") or url.host, url.query.get("port") or url.port or "")
    with silence() as first, silence() as second:
        hosts = {"host": f"127.0.0.1,127.0.0.1,{third[0]}", "port": f"{first},{second},{third[1]}"}
        app = at(url.set(host=None, port=None).update_query_dict(hosts))
        yield app
        dispose(app)


def test_two_frozen_hosts_leave_time_for_the_third(postgresql_app: Flask) -> None:
    with third_of_three(postgresql_app.config["DATABASE_URI"]) as app:
        assert ask(app).status_code == 200
        began = time.monotonic()
        assert app.test_client().get("/products").status_code == 200
        assert time.monotonic() - began < LONGEST


@pytest.mark.slow
def test_the_third_host_is_found_again_in_spite_of_two_frozen_ones(postgresql_app: Flask) -> None:
    with (
        relayed(postgresql_app.config["DATABASE_URI"]) as (uri, relay),
        third_of_three(uri) as app,
    ):
        relay.hold()
        assert app.test_client().get("/products").status_code == 503
        relay.release()
        began = time.monotonic()
        wait_for(lambda: app.test_client().get("/products").status_code == 200)

        assert time.monotonic() - began < 2 * LONGEST  # one for the probe, one for the request


def test_frozen_hosts_have_one_time_together() -> None:
    with silence() as first, silence() as second, nobody() as third:
        hosts = ",".join(f"127.0.0.1:{port}" for port in (first, second, third))
        app = at(make_url(f"postgresql+psycopg:///none?host={hosts}"))

        assert fault(app) == "The database does not answer"
        began = time.monotonic()
        assert app.test_client().get("/products").status_code == 503
        assert time.monotonic() - began < LONGEST
        assert app.test_client().get("/products").status_code == 503
        assert time.monotonic() - began < LONGEST


def at(url: URL) -> Flask:
    return create_app({"DATABASE_URI": url.render_as_string(hide_password=False)})


@pytest.mark.parametrize("there", [nobody, silence])
def test_a_server_that_is_not_there_or_frozen_is_told_from_a_wrong_schema(
    there: Callable[[], AbstractContextManager[int]],
) -> None:
    with there() as port:
        app = create_app({"DATABASE_URI": f"postgresql+psycopg://shop@127.0.0.1:{port}/none"})
        with logged(app) as lines:
            assert fault(app) == "The database does not answer"
            assert "check that it runs, and check DATABASE_URI" in lines.getvalue()
        assert app.test_client().get("/health").status_code == 200


def test_a_table_that_is_locked_is_waited_for_no_longer_than_a_second(
    postgresql_app: Flask,
) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    engine = create_engine(postgresql_app.config["DATABASE_URI"])
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE alembic_version"))
        assert fault(postgresql_app) == "The database does not answer"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            wait_for(lambda: not other.scalar(waiting), LONGEST)
    engine.dispose()

    assert ask(postgresql_app).status_code == 200


def test_a_server_that_freezes_half_way_is_given_up(postgresql_app: Flask) -> None:
    def wait() -> None:
        with postgresql_app.app_context(), probe() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SELECT pg_sleep(60)")

    began = time.monotonic()
    with pytest.raises(OperationalError):
        wait()

    assert time.monotonic() - began < LONGEST


def test_it_needs_no_connection_of_the_pool(postgresql_app: Flask) -> None:
    with postgresql_app.app_context(), ExitStack() as busy:
        for _ in range(postgresql_app.config["WEB_THREADS"]):
            busy.enter_context(db.engine.connect())

        assert ask(postgresql_app).status_code == 200
    dispose(postgresql_app)


def test_it_leaves_no_connection_behind(postgresql_server: str) -> None:
    with postgresql_database(postgresql_server) as uri:
        app = create_app({"DATABASE_URI": uri})
        fault(app)
        engine = create_engine(uri)
        others = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wait_for(lambda: not connection.scalar(others), LONGEST)
        engine.dispose()


def test_a_revision_that_cannot_be_read_is_told_from_a_wrong_schema(own_app: Flask) -> None:
    run(own_app, "db-create")
    execute(own_app, "ALTER TABLE alembic_version RENAME COLUMN version_num TO number")

    assert fault(own_app) == "The database does not answer"
