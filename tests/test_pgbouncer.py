"""The service behind a real PgBouncer in transaction mode, with two server connections.

`test_servers.py` sends every operation of the contract through it.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import create_engine, text

from service import create_app
from tests.helpers import app_with_tables, dispose, engine_of, execute
from tests.load import LOST, Load, under_load
from tests.pgbouncer import POOL_SIZE, PgBouncer
from tests.server import Server, serving

pytestmark = pytest.mark.slow

CLIENTS = 16
RECOVERY_SECONDS = 5


@pytest.fixture
def app(empty_postgresql: str, bouncer: PgBouncer) -> Iterator[Flask]:
    """Return an app behind PgBouncer; its tables were created on a direct connection."""
    with app_with_tables(empty_postgresql) as direct:
        dispose(direct)
        behind = create_app(
            {"DATABASE_URI": bouncer.uri(empty_postgresql), "DATABASE_PGBOUNCER": True}
        )
        yield behind
        dispose(behind)


@pytest.fixture
def server(app: Flask, tmp_path: Path) -> Iterator[Server]:
    uri = app.config["DATABASE_URI"]
    with serving(
        uri,
        tmp_path / "log",
        DATABASE_PGBOUNCER="true",
        WEB_CONCURRENCY="2",
        WEB_THREADS="4",
    ) as server:
        yield server
    assert "Traceback" not in server.log.read_text()


@contextmanager
def load_of(server: Server) -> Iterator[Load]:
    """Send reads and writes; afterwards check that each acknowledged write is stored once."""
    with under_load(server, CLIENTS) as load:
        yield load
        load.stop()
        _, products = server.ask("GET", "/products")
        stored = Counter(product["name"] for product in products)
        assert {a.name for a in load.answers if a.status == 201} <= stored.keys()
        assert set(stored.values()) == {1}


def backends(uri: str) -> int:
    """Return how many connections others have to a database of PostgreSQL."""
    engine = create_engine(uri)
    with engine.connect() as connection:
        found = connection.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    engine.dispose()
    return int(found or 0)


def test_many_clients_share_two_server_connections(server: Server, empty_postgresql: str) -> None:
    with load_of(server) as load:
        for client in range(CLIENTS):
            for _ in range(3):
                since = time.monotonic()
                load.wait_for(201, method="POST", since=since, client=client)
                load.wait_for(200, method="GET", since=since, client=client)
        assert 1 <= backends(empty_postgresql) <= POOL_SIZE

    assert load.statuses() == {200, 201}


def test_clients_recover_from_a_restart_of_pgbouncer(server: Server, bouncer: PgBouncer) -> None:
    with load_of(server) as load:
        bouncer.kill()
        killed = time.monotonic()
        try:
            load.wait_for(503, method="GET", since=killed)
            load.wait_for(503, method="POST", since=killed)
            response, problem = server.ask("GET", "/readyz")
        finally:
            bouncer.start()
        started = time.monotonic()

        for client in range(CLIENTS):
            written = load.wait_for(201, method="POST", since=started, client=client)
            read = load.wait_for(200, method="GET", since=started, client=client)
            assert max(written, read) - started < RECOVERY_SECONDS
        assert server.ask("GET", "/readyz")[0].status == 200

    assert (response.status, problem["detail"]) == (503, "The database does not answer")
    assert LOST not in load.statuses()
    assert load.statuses() == {200, 201, 503}
    assert [a for a in load.answers if a.status == 503 and not a.retry_after] == []


def test_pgbouncer_is_ready_when_its_database_is(app: Flask) -> None:
    assert app.test_client().get("/readyz").status_code == 200

    execute(app, "ALTER TABLE products RENAME TO elsewhere")

    assert app.test_client().get("/readyz").status_code == 503


def test_a_probe_leaves_no_timeout_on_a_server_connection(app: Flask) -> None:
    assert app.test_client().get("/readyz").status_code == 200

    with engine_of(app).connect() as connection:
        timeout = connection.exec_driver_sql("SHOW statement_timeout").scalar()

    assert timeout == "0"


def test_without_the_setting_pgbouncer_refuses_the_timeouts(app: Flask) -> None:
    other = create_app({"DATABASE_URI": app.config["DATABASE_URI"]})

    response = other.test_client().get("/products")

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    dispose(other)


@pytest.mark.parametrize("command", [("db-create",), ("db", "upgrade")])
def test_migrations_work_through_pgbouncer(
    empty_postgresql: str, bouncer: PgBouncer, command: tuple[str, ...]
) -> None:
    with app_with_tables(bouncer.uri(empty_postgresql), *command) as app:
        checked = app.test_cli_runner().invoke(args=["db", "check"])
        assert checked.exit_code == 0, checked.output
        assert app.test_client().get("/readyz").status_code == 200

        downgraded = app.test_cli_runner().invoke(args=["db", "downgrade", "base"])
        assert downgraded.exit_code == 0, downgraded.output
        assert app.test_client().get("/readyz").status_code == 503


def test_a_migration_on_a_direct_connection_does_not_disturb_clients(
    server: Server, empty_postgresql: str
) -> None:
    with load_of(server) as load:
        direct = create_app({"DATABASE_URI": empty_postgresql})
        upgraded = direct.test_cli_runner().invoke(args=["db", "upgrade"])
        dispose(direct)
        since = time.monotonic()
        load.wait_for(201, method="POST", since=since)

    assert upgraded.exit_code == 0, upgraded.output
    assert load.statuses() == {200, 201}
