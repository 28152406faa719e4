"""PostgreSQL's limits, what is repeated, and what each of its errors becomes."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import cast

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.pool import QueuePool

from service import create_app, database
from service.database import MAX_RETRIES, postgresql
from service.database.engine import POOL_TIMEOUT_SECONDS
from service.database.postgresql import CircuitBreaker
from tests.factories import product_body
from tests.helpers import app_with_tables, dispose, engine_of, execute, logged, wait_for
from tests.relay import relayed

WRITES = [
    ("POST", "/products", {}),
    ("PUT", "/products/1", {}),
    ("PATCH", "/products/1", {}),
    ("PATCH", "/products/1", {"If-Match": "*"}),
    ("DELETE", "/products/1", {}),
    ("DELETE", "/products/1", {"If-Match": "*"}),
]
BEFORE = "CREATE TRIGGER faulty BEFORE INSERT OR UPDATE OR DELETE ON products"
AT_COMMIT = (
    "CREATE CONSTRAINT TRIGGER faulty AFTER INSERT OR UPDATE OR DELETE ON products"
    " DEFERRABLE INITIALLY DEFERRED"
)
OUTAGES = [
    *("08006", "25P03", "53100", "53200", "53300", "55P03"),
    *("57014", "57P01", "57P02", "57P03", "58030"),
]

NO_TIMEOUTS = "-c statement_timeout=0 -c lock_timeout=0"
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
WAITING_LONG = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND clock_timestamp() - query_start > '3 seconds' AND datname = current_database()"
)
COMMITTING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'"
    " AND datname = current_database()"
)

Fault = Callable[..., None]
writes = pytest.mark.parametrize(("method", "path", "headers"), WRITES)


@pytest.fixture
def fault(postgresql_app: Flask) -> Iterator[Fault]:
    """Give what makes the first writes of a row fail; a sequence counts all of them."""

    def make(action: str, times: int = 1, trigger: str = BEFORE) -> None:
        execute(
            postgresql_app,
            "CREATE SEQUENCE attempts",
            "CREATE FUNCTION faulty() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF nextval('attempts') <= {times} THEN {action}; END IF;"
            " RETURN coalesce(NEW, OLD); END $$",
            f"{trigger} FOR EACH ROW EXECUTE FUNCTION faulty()",
        )

    yield make
    execute(
        postgresql_app,
        "DROP FUNCTION IF EXISTS faulty CASCADE",
        "DROP SEQUENCE IF EXISTS attempts",
    )


def rejection(code: str) -> str:
    return f"RAISE EXCEPTION USING ERRCODE = '{code}'"


@contextmanager
def another_session(app: Flask) -> Iterator[Connection]:
    """Open a transaction of somebody else's."""
    engine = create_engine(app.config["DATABASE_URI"])
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def attempts(app: Flask) -> int:
    with another_session(app) as connection:
        return int(connection.scalar(text("SELECT last_value FROM attempts")) or 0)


@writes
@pytest.mark.parametrize("trigger", [BEFORE, AT_COMMIT], ids=["before", "at commit"])
@pytest.mark.parametrize("code", ["25006", "40001", "40P01"])
def test_a_write_that_was_rolled_back_is_repeated(
    postgresql_app: Flask,
    stocked_client: FlaskClient,
    fault: Fault,
    code: str,
    trigger: str,
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    fault(rejection(code), MAX_RETRIES, trigger)

    response = stocked_client.open(
        path, method=method, json=product_body(name="New"), headers=headers
    )

    assert response.status_code in (200, 201, 204), response.text
    assert attempts(postgresql_app) == MAX_RETRIES + 1
    left = {"POST": 2, "DELETE": 0}.get(method, 1)
    assert len(stocked_client.get("/products").get_json()) == left


@writes
def test_it_is_not_repeated_for_ever(
    postgresql_app: Flask,
    stocked_client: FlaskClient,
    fault: Fault,
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    fault(rejection("40001"), 1000)

    response = stocked_client.open(path, method=method, json=product_body(), headers=headers)

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    assert attempts(postgresql_app) == MAX_RETRIES + 1


def test_it_is_not_repeated_when_it_has_taken_long(
    postgresql_app: Flask,
    stocked_client: FlaskClient,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "RETRY_SECONDS", -1)
    fault(rejection("40001"), 1000)

    assert stocked_client.post("/products", json=product_body()).status_code == 503
    assert attempts(postgresql_app) == 1


@writes
@pytest.mark.parametrize("trigger", [BEFORE, AT_COMMIT], ids=["before", "at commit"])
def test_a_write_whose_connection_is_lost_is_not_repeated(
    postgresql_app: Flask,
    stocked_client: FlaskClient,
    fault: Fault,
    trigger: str,
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    fault("PERFORM pg_terminate_backend(pg_backend_pid())", 1, trigger)

    response = stocked_client.open(path, method=method, json=product_body(), headers=headers)

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.get_json()["detail"].endswith(
        "check whether the change was saved, then try again"
    )
    assert attempts(postgresql_app) == 1


@pytest.mark.parametrize("code", OUTAGES)
def test_an_outage_is_503_and_not_repeated(
    postgresql_app: Flask, stocked_client: FlaskClient, fault: Fault, code: str
) -> None:
    fault(rejection(code), 1000)

    response = stocked_client.patch("/products/1", json={"rating": 1}, headers={"If-Match": "*"})

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    assert code not in response.text
    assert attempts(postgresql_app) == 1


@pytest.mark.parametrize("code", ["23505", "22003", "P0001"])
def test_a_fault_of_our_own_is_500(
    postgresql_app: Flask,
    stocked_client: FlaskClient,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    monkeypatch.setitem(postgresql_app.config, "PROPAGATE_EXCEPTIONS", value=False)
    fault(rejection(code), 1000)

    response = stocked_client.patch("/products/1", json={"rating": 1})

    assert (response.status_code, response.mimetype) == (500, "application/problem+json")
    assert "Retry-After" not in response.headers
    assert attempts(postgresql_app) == 1


def test_the_service_does_its_work_in_spite_of_a_deadlock(
    postgresql_app: Flask, stocked_client: FlaskClient
) -> None:
    change, lock = {"rating": 5}, text("LOCK TABLE products IN SHARE MODE")
    with another_session(postgresql_app) as other, ThreadPoolExecutor(1) as pool:
        other.execute(lock)  # lets the other lock its row, but not change it
        answer = pool.submit(
            stocked_client.patch, "/products/1", json=change, headers={"If-Match": "*"}
        )
        wait_for(lambda: answer.done() or other.scalar(WAITING) > 0)
        assert not answer.done()
        # Whoever waits first looks for a deadlock first, and so gives way: the service, unless
        # the machine is so busy that this session begins to wait after that.
        with suppress(OperationalError):
            other.execute(text("SELECT FROM products WHERE id = 1 FOR UPDATE"))
        other.rollback()

        response = answer.result()

    assert (response.status_code, response.get_json()["rating"]) == (200, 5)


def with_parameters(app: Flask, **parameters: str) -> Flask:
    """Return another app on the same database, with parameters in its URI."""
    return app_at(app.config["DATABASE_URI"], **parameters)


def app_at(uri: str, **parameters: str) -> Flask:
    url = make_url(uri).update_query_dict(parameters)
    return create_app({"DATABASE_URI": url.render_as_string(hide_password=False)})


def limits(app: Flask) -> dict[str, str]:
    """Return the limits of a connection that the app opens now."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with engine_of(app).connect() as connection:
        found = {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}
    dispose(app)
    return found


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["5s", "3s", "5s"]),
        ({"options": "-c lock_timeout=7s"}, ["5s", "7s", "5s"]),
        ({"options": "-cstatement_timeout=0"}, ["0", "3s", "5s"]),
    ],
)
def test_what_serves_a_request_has_limits_that_the_uri_may_change(
    postgresql_app: Flask, parameters: dict[str, str], expected: list[str]
) -> None:
    app = with_parameters(postgresql_app, **parameters)

    with app.test_request_context():
        assert list(limits(app).values()) == expected


def test_a_command_takes_as_long_as_it_takes(postgresql_app: Flask) -> None:
    app = with_parameters(postgresql_app)

    with app.app_context():
        assert set(limits(app).values()) == {"0"}


def test_pgbouncer_is_sent_no_options_and_nothing_prepared(
    postgresql_app: Flask, stocked_client: FlaskClient
) -> None:
    uri = postgresql_app.config["DATABASE_URI"]
    app = create_app({"DATABASE_URI": uri, "DATABASE_PGBOUNCER": True})
    prepared = "SELECT count(*) FROM pg_prepared_statements"
    with app.test_request_context():
        for _ in range(10):
            assert app.test_client().get("/products/1").status_code == 200
        with engine_of(app).connect() as connection:
            assert connection.exec_driver_sql(prepared).scalar() == 0
        assert set(limits(app).values()) == {"0"}


@pytest.mark.parametrize("name", ["lock_timeout", "statement_timeout"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/products"), ("POST", "/products")])
def test_a_statement_that_takes_too_long_is_503(
    postgresql_app: Flask, name: str, method: str, path: str
) -> None:
    app = with_parameters(postgresql_app, options=f"-c {name}=50ms")
    client = app.test_client()
    with another_session(postgresql_app) as other:
        other.execute(text("LOCK TABLE products"))
        response = client.open(path, method=method, json=product_body())

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    assert client.get("/products").get_json() == []
    dispose(app)


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.usefixtures("stocked_client")
def test_a_slow_statement_keeps_nobody_from_a_server_that_is_well(
    postgresql_app: Flask, method: str
) -> None:
    """The longest that a request may take, as the server sets no limit here."""
    app = with_parameters(postgresql_app, options=NO_TIMEOUTS)
    client, others = app.test_client(), app.test_client()
    assert others.get("/products/1").status_code == 200
    with another_session(postgresql_app) as session:
        session.execute(text("LOCK TABLE products"))
        began = time.monotonic()
        response = client.open("/products/1", method=method, json={"rating": 1})
        answered = time.monotonic()
        session.rollback()
        wait_for(lambda: others.get("/products/1").status_code == 200)
        well = time.monotonic()

    assert response.status_code == 503
    assert answered - began < postgresql.ANSWER_SECONDS + 1
    assert well - answered < 1
    dispose(app)


def test_a_commit_succeeds_although_the_breaker_opens_before_its_answer(
    postgresql_app: Flask, stocked_client: FlaskClient, fault: Fault
) -> None:
    assert stocked_client.post("/products", json=product_body()).status_code == 201
    fault(f"PERFORM pg_sleep({postgresql.ANSWER_SECONDS - 1})", 1, AT_COMMIT)
    with relayed(postgresql_app.config["DATABASE_URI"]) as (uri, relay):
        app = app_at(uri, options=NO_TIMEOUTS)
        with (
            ThreadPoolExecutor(2) as threads,
            engine_of(postgresql_app).connect() as watcher,
            another_session(postgresql_app) as other,
        ):
            other.execute(text("SELECT FROM products WHERE id = 2 FOR UPDATE"))
            timed_out = threads.submit(app.test_client().patch, "/products/2", json={"rating": 2})
            wait_for(lambda: watcher.scalar(WAITING_LONG) == 1)
            committed = threads.submit(
                app.test_client().patch,
                "/products/1",
                json={"rating": 1},
                headers={"If-Match": "*"},
            )
            wait_for(lambda: watcher.scalar(COMMITTING) == 1)
            relay.hold()  # keeps the breaker open, as no probe is answered

            assert timed_out.result().status_code == 503
            assert not committed.done()
            assert committed.result().status_code == 200
            assert app.test_client().get("/products/1").status_code == 503
        relay.release()
        wait_for(lambda: app.test_client().get("/products/1").status_code == 200)

        assert app.test_client().get("/products/1").get_json()["rating"] == 1
        assert cast(QueuePool, engine_of(app).pool).checkedout() == 0
        dispose(app)


def test_a_pool_without_a_free_connection_is_503(
    postgresql_app: Flask, stocked_client: FlaskClient
) -> None:
    app = with_parameters(postgresql_app, options=NO_TIMEOUTS)
    size = cast(QueuePool, engine_of(app).pool).size()

    def change(rating: int) -> int:
        body = {"rating": rating}
        return app.test_client().patch("/products/1", json=body).status_code

    with ThreadPoolExecutor(size) as threads:
        with another_session(postgresql_app) as other, logged(app) as log:
            other.execute(text("SELECT FROM products WHERE id = 1 FOR UPDATE"))
            changes = [threads.submit(change, rating) for rating in range(size)]
            wait_for(lambda: other.scalar(WAITING) == size)

            began = time.monotonic()
            response = app.test_client().get("/products/1")
            waited = time.monotonic() - began

            assert not any(each.done() for each in changes)
            assert "All database connections are in use" in log.getvalue()
        assert [each.result() for each in changes] == [200] * size

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    assert POOL_TIMEOUT_SECONDS <= waited < POOL_TIMEOUT_SECONDS + 1
    assert app.test_client().get("/products/1").status_code == 200
    dispose(app)


def test_a_server_that_closes_each_connection_at_once_is_503(
    postgresql_app: Flask, stocked_client: FlaskClient
) -> None:
    def refuse(*_: object) -> None:
        raise DisconnectionError

    engine = engine_of(postgresql_app)
    event.listen(engine, "checkout", refuse)
    response = stocked_client.get("/products/1")
    event.remove(engine, "checkout", refuse)

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert stocked_client.get("/products/1").status_code == 200
    assert "database_pool_in_use 0.0" in stocked_client.get("/metrics").text


def askers() -> int:
    """Return how many threads try to reach a silent server."""
    return sum(thread.name == postgresql.PROBE_THREAD for thread in threading.enumerate())


def test_a_refusal_that_was_long_in_coming_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app({"DATABASE_URI": "postgresql+psycopg://127.0.0.1:1/products"})
    client = app.test_client()
    with logged(app) as log:
        assert client.get("/products").status_code == 503
        assert client.get("/products").status_code == 503
        assert "does not answer" not in log.getvalue()

        monkeypatch.setattr(postgresql, "CONNECT_SECONDS", 0)
        assert client.get("/products").status_code == 503
        assert client.get("/products").status_code == 503
        assert "does not answer" in log.getvalue()
    monkeypatch.undo()
    wait_for(lambda: askers() == 0)


def test_one_thread_asks_a_silent_server_until_it_answers() -> None:
    breaker = CircuitBreaker()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        port = silent.getsockname()[1]
        breaker.connect_options = {"host": "127.0.0.1", "port": port, "connect_timeout": 2}
        breaker.open()
        breaker.open()
        assert (breaker.is_open, askers()) == (True, 1)
        first, _ = silent.accept()
        second, _ = silent.accept()  # as the first has been given up
        assert (breaker.is_open, askers()) == (True, 1)
        first.close()
        second.close()  # which is an answer
    wait_for(lambda: not breaker.is_open)
    wait_for(lambda: askers() == 0)


@pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}])
def test_writes_go_on_after_the_tables_were_made_anew(
    empty_postgresql: str, headers: dict[str, str]
) -> None:
    with app_with_tables(empty_postgresql) as app:
        client = app.test_client()
        for _ in range(6):  # psycopg prepares a statement that it executes more than five times
            assert client.post("/products", json=product_body()).status_code == 201
            assert (
                client.put("/products/1", json=product_body(), headers=headers).status_code == 200
            )
        commands = create_app({"DATABASE_URI": empty_postgresql})
        created = commands.test_cli_runner().invoke(args=["db-create", "--yes"])
        assert created.exit_code == 0, created.output

        assert client.post("/products", json=product_body()).status_code == 201
        assert client.put("/products/1", json=product_body(), headers=headers).status_code == 200
        assert client.get("/products/1").status_code == 200
        dispose(commands)
