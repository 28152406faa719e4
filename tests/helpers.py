"""What several tests do: databases, apps with tables, the log, and waiting."""

import io
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import Any, cast
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, Engine, create_engine, make_url, text

from service import create_app
from service.database import db, transaction
from tests.factories import product_body

DATABASES = ("sqlite", "postgresql")
GIVEN_POSTGRESQL = os.environ.get("TEST_DATABASE_URI")
WAIT_SECONDS = 30
PAUSE_SECONDS = 0.01
FIRST_PORT, PORTS = 20_000, 12_000
# For a test of what the app does without regard to the database.
on_sqlite_only = pytest.mark.parametrize("app", ["sqlite"], indirect=True)
# One round trip, in a fifth of the time of TRUNCATE.
EMPTY_POSTGRESQL = """
    DELETE FROM products;
    DELETE FROM product_changes;
    DELETE FROM idempotency_keys;
    UPDATE product_change_log SET pruned = NULL;
    SELECT setval(pg_get_serial_sequence('products', 'id'), 1, false);
"""


@contextmanager
def postgresql_database(server: str) -> Iterator[str]:
    """Make an empty database, give its URI, and drop it."""
    name = f"products_test_{uuid4().hex}"
    locale = (
        ""
        if "TEST_DATABASE_URI" in os.environ
        else "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
    )
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            text(f"CREATE DATABASE {name} ENCODING UTF8 {locale} TEMPLATE template0")
        )
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@contextmanager
def app_with_tables(uri: str, *command: str) -> Iterator[Flask]:
    """Make an app and, with this command or `db-create`, its tables."""
    app = create_app({"DATABASE_URI": uri, "TESTING": True})
    try:
        made = app.test_cli_runner().invoke(args=command or ["db-create"])
        assert made.exit_code == 0, made.output
        yield app
    finally:
        dispose(app)


def dispose(app: Flask) -> None:
    """Close the app's connections."""
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


def engine_of(app: Flask) -> Engine:
    """Return the engine that serves the app's requests."""
    with app.app_context():
        return db.engine


def execute(app: Flask, *statements: str) -> None:
    """Run SQL past the app, in one transaction."""
    with app.app_context(), transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


def empty(app: Flask) -> Flask:
    """Delete all products, their changes and keys, and restart the ids at 1."""
    if backend(app) == "sqlite":
        tables = ("products", "product_changes", "idempotency_keys", "sqlite_sequence")
        forget_pruning = "UPDATE product_change_log SET pruned = NULL"
        execute(app, *(f"DELETE FROM {table}" for table in tables), forget_pruning)
    else:
        with app.app_context(), db.engine.connect() as connection:
            connection.exec_driver_sql(EMPTY_POSTGRESQL)
    return app


def backend(app: Flask) -> str:
    """Return ``sqlite`` or ``postgresql``."""
    return make_url(app.config["DATABASE_URI"]).get_backend_name()


@contextmanager
def logged(app: Flask) -> Iterator[io.StringIO]:
    """Catch what the app writes to its log, as it is written."""
    handler = app.logger.handlers[0]  # pytest puts its own after it
    with closing(io.StringIO()) as lines:
        stream = cast(logging.StreamHandler[io.TextIOBase], handler)
        before = stream.setStream(lines)
        yield lines
        if before is not None:
            stream.setStream(before)


@contextmanager
def running_post(app: Flask, key: str) -> Iterator[FlaskClient]:
    """Keep a POST with this Idempotency-Key running, on PostgreSQL; give a client."""
    other = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "WEB_THREADS": 4})
    client, headers = other.test_client(), {"Idempotency-Key": key}
    with ThreadPoolExecutor(1) as pool:
        with app.app_context(), transaction() as connection:
            connection.execute(text("LOCK TABLE products IN SHARE MODE"))
            post = other.test_client().post
            first = pool.submit(post, "/products", json=product_body(), headers=headers)
            wait_for(lambda: is_waiting(connection))
            yield client
        assert first.result().status_code == 201
    dispose(other)


def is_waiting(connection: Connection) -> bool:
    """Return whether another transaction waits for this one, on PostgreSQL."""
    mine = (
        "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    )
    return connection.execute(text(mine)).first() is not None


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the operations of an OpenAPI document by operationId."""
    members = chain.from_iterable(path.items() for path in document["paths"].values())
    return {each["operationId"]: each for name, each in members if name != "parameters"}


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens.

    Linux gives it to no connection until it is used: those have ports from 32,768 on.
    """
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait until ``condition`` is true; fail if it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(PAUSE_SECONDS)
