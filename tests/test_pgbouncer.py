"""The service behind a real PgBouncer in transaction mode, with two server connections.

`test_servers.py` sends every operation of the contract through it.
"""

import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from service import create_app
from tests.factories import product_body
from tests.helpers import app_with_tables, dispose, engine_of, execute, logged, wait_for
from tests.load import LOST, Load, under_load
from tests.pgbouncer import (
    PGBOUNCER,
    POOL_SIZE,
    QUERY_WAIT_SECONDS,
    PgBouncer,
    pgbouncer,
    version,
)
from tests.server import Server, serving
from tests.test_faults import LONGEST_SECONDS, PostgreSQL, libpq

pytestmark = pytest.mark.slow

CLIENTS = 16
RECOVERY_SECONDS = 5
# Version 1.21 does not notice DEALLOCATE ALL, which psycopg sends after a rollback.
KEEPS_STATEMENTS = (1, 22)
KEPT_STATEMENTS = 200
# psycopg prepares a statement that it executes more than five times on a connection.
OFTEN = 7


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
def keeping(postgresql_server: str) -> Iterator[PgBouncer]:
    """Run a PgBouncer that keeps track of prepared statements."""
    if PGBOUNCER is None or version() < KEEPS_STATEMENTS:
        pytest.skip("PgBouncer is older than 1.22, and keeps track of no prepared statements")
    with pgbouncer(postgresql_server, KEPT_STATEMENTS) as bouncer:
        yield bouncer


@pytest.fixture
def preparing_app(empty_postgresql: str, keeping: PgBouncer) -> Iterator[Flask]:
    """Return an app that prepares statements behind PgBouncer."""
    with behind(keeping, empty_postgresql) as app:
        yield app


@contextmanager
def behind(bouncer: PgBouncer, uri: str) -> Iterator[Flask]:
    with app_with_tables(uri) as direct:
        dispose(direct)
        app = create_app({"DATABASE_URI": bouncer.uri(uri), "DATABASE_PGBOUNCER": "prepared"})
        yield app
        dispose(app)


@pytest.fixture
def server(request: pytest.FixtureRequest, app: Flask, tmp_path: Path) -> Iterator[Server]:
    """Serve with the setting that the test gives, or ``true``."""
    uri = app.config["DATABASE_URI"]
    with serving(
        uri,
        tmp_path / "log",
        DATABASE_PGBOUNCER=getattr(request, "param", "true"),
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


@pytest.mark.parametrize("server", ["true", "prepared"], indirect=True)
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


@pytest.mark.parametrize("command", ["db-create --yes", "db upgrade"])
def test_a_migration_through_pgbouncer_is_refused_and_leaves_nothing_behind(
    app: Flask, empty_postgresql: str, command: str
) -> None:
    client = app.test_client()
    assert client.post("/products", json=product_body()).status_code == 201

    result = app.test_cli_runner().invoke(args=command.split())

    assert result.exit_code == 1
    assert re.fullmatch("Error: This command needs a direct connection .*\n", result.stderr)
    assert settings_of_server_connections(app) == {("0", "0", "0")}
    assert locks(empty_postgresql) == 0
    assert client.get("/products/1").status_code == 200
    assert client.get("/readyz").status_code == 200


@contextmanager
def each_server_connection(uri: str) -> Iterator[list[psycopg.Connection]]:
    """Give clients in transactions that have all server connections of PgBouncer, one each."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(psycopg.connect(libpq(uri), prepare_threshold=None))
            for _ in range(POOL_SIZE)
        ]
        for client in clients:
            client.execute("SELECT 1")
        yield clients


def settings_of_server_connections(app: Flask) -> set[tuple[str, ...]]:
    """Return the timeouts of all server connections, each of which a transaction holds."""
    query = (
        "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
        " current_setting('idle_in_transaction_session_timeout')"
    )
    with each_server_connection(app.config["DATABASE_URI"]) as connections:
        return {tuple(each.execute(query).fetchone() or ()) for each in connections}


def locks(uri: str) -> int:
    """Return how many advisory locks there are in the database."""
    with psycopg.connect(libpq(uri)) as connection:
        held = connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'")
        return held.rowcount


def read_and_write(client: FlaskClient) -> set[int]:
    """Read and write often enough for the statements to be prepared; return the statuses."""
    statuses = set()
    for _ in range(OFTEN):
        created = client.post("/products", json=product_body())
        path = f"/products/{created.get_json()['id']}"
        change = {"headers": {"If-Match": created.headers["ETag"]}, "json": {"rating": 1}}
        answers = [created, client.get(path), client.patch(path, **change)]
        statuses |= {answer.status_code for answer in answers}
    return statuses


def prepared(uri: str) -> list[str]:
    """Return what is prepared on the server connections of PgBouncer, without the check."""
    query = "SELECT name, statement FROM pg_prepared_statements"
    with each_server_connection(uri) as connections:
        found = [row for each in connections for row in each.execute(query)]
    assert all(name.startswith("PGBOUNCER_") for name, _ in found)
    return [statement for _, statement in found if "row_to_json" in statement]


def test_statements_are_prepared_if_pgbouncer_keeps_track(preparing_app: Flask) -> None:
    assert read_and_write(preparing_app.test_client()) == {200, 201}

    statements = prepared(preparing_app.config["DATABASE_URI"])
    assert any(statement.startswith("SELECT") for statement in statements)
    assert any(statement.startswith("INSERT") for statement in statements)


def test_a_rollback_does_not_end_the_preparing(preparing_app: Flask) -> None:
    client = preparing_app.test_client()
    for _ in range(3):
        assert read_and_write(client) == {200, 201}
        stale = client.patch("/products/1", json={"rating": 2}, headers={"If-Match": '"other"'})
        assert stale.status_code == 412

    assert read_and_write(client) == {200, 201}
    assert prepared(preparing_app.config["DATABASE_URI"])


def test_requests_go_on_after_the_tables_were_made_anew(
    preparing_app: Flask, empty_postgresql: str
) -> None:
    client = preparing_app.test_client()
    assert read_and_write(client) == {200, 201}
    with app_with_tables(empty_postgresql, "db-create", "--yes"), logged(preparing_app) as log:
        assert read_and_write(client) == {200, 201}
        assert read_and_write(client) == {200, 201}
        assert log.getvalue().count("send RECONNECT") == 1


def test_requests_go_on_after_prepared_statements_are_gone(preparing_app: Flask) -> None:
    """DEALLOCATE in a DO is one that PgBouncer does not notice."""
    client = preparing_app.test_client()
    assert read_and_write(client) == {200, 201}
    with each_server_connection(preparing_app.config["DATABASE_URI"]) as connections:
        for each in connections:
            each.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")

    assert read_and_write(client) == {200, 201}


def test_nothing_is_prepared_if_pgbouncer_does_not_keep_track(
    empty_postgresql: str, bouncer: PgBouncer
) -> None:
    with behind(bouncer, empty_postgresql) as app, logged(app) as log:
        assert read_and_write(app.test_client()) == {200, 201}

        assert "PgBouncer does not keep track of prepared statements" in log.getvalue()
        assert prepared(bouncer.uri(empty_postgresql)) == []


@pytest.fixture(scope="module")
def stoppable() -> Iterator[tuple[Flask, PostgreSQL]]:
    """Give an app behind PgBouncer, and the PostgreSQL behind that."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    with TemporaryDirectory() as folder:
        postgresql = PostgreSQL(folder)
        try:
            with app_with_tables(postgresql.uri) as direct, pgbouncer(postgresql.uri) as bouncer:
                dispose(direct)
                uri = bouncer.uri(postgresql.uri)
                app = create_app({"DATABASE_URI": uri, "DATABASE_PGBOUNCER": True})
                yield app, postgresql
                dispose(app)
        finally:
            postgresql.stop()


AGAIN = "The database is unavailable; try again later"
CHECK = "The database connection was lost; check whether the change was saved, then try again"


def test_without_a_server_nothing_was_sent(stoppable: tuple[Flask, PostgreSQL]) -> None:
    app, postgresql = stoppable
    client = app.test_client()
    assert client.post("/products", json=product_body()).status_code == 201

    postgresql.signal(signal.SIGKILL)
    for method in ("POST", "GET", "POST"):
        began = time.monotonic()
        answer = client.open("/products", method=method, json=product_body())
        assert time.monotonic() - began < LONGEST_SECONDS
        assert (answer.status_code, answer.get_json()["detail"]) == (503, AGAIN)
    postgresql.start()
    wait_for(lambda: client.post("/products", json=product_body()).status_code == 201)

    assert len(client.get("/products").get_json()) == 2


def test_a_statement_that_was_running_when_the_server_was_lost_may_be_saved(
    stoppable: tuple[Flask, PostgreSQL],
) -> None:
    app, postgresql = stoppable
    with (
        ThreadPoolExecutor(1) as thread,
        closing(psycopg.connect(libpq(postgresql.uri))) as other,
    ):
        other.execute("LOCK TABLE products")
        post = thread.submit(app.test_client().post, "/products", json=product_body())
        wait_for(lambda: is_waiting(other))
        postgresql.signal(signal.SIGKILL)

        answer = post.result()
        postgresql.start()

    assert (answer.status_code, answer.get_json()["detail"]) == (503, CHECK)


def is_waiting(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT FROM pg_locks WHERE NOT granted").rowcount > 0


def test_waiting_for_a_server_connection_in_vain_sends_nothing(app: Flask) -> None:
    def ask(method: str) -> tuple[int, str]:
        answer = app.test_client().open("/products", method=method, json=product_body())
        return answer.status_code, answer.get_json()["detail"]

    assert app.test_client().get("/products").get_json() == []
    with each_server_connection(app.config["DATABASE_URI"]), ThreadPoolExecutor(2) as threads:
        began = time.monotonic()
        answers = list(threads.map(ask, ("GET", "POST")))
        waited = time.monotonic() - began

    assert answers == [(503, AGAIN)] * 2
    assert waited < 2 * QUERY_WAIT_SECONDS  # once each
    assert app.test_client().get("/products").get_json() == []


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
