"""What clients see while a standby is missing, and while it takes the place of the primary."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from service import create_app
from tests.cluster import DATABASE, Cluster, Node, replicated_tables
from tests.factories import product_body
from tests.helpers import dispose, empty, engine_of, logged, wait_for
from tests.load import KeyedWrites, all_written, either, under_load
from tests.relay import relayed
from tests.server import serving

pytestmark = pytest.mark.slow

WORKERS, THREADS, PROBES, CLIENTS = 6, 4, 1, 24
OUTAGE_SECONDS = 12
LONGEST_SECONDS = 8
RECOVERY_SECONDS = 2
SAMPLE_SECONDS = 0.25
WRITERS, READS_MEANWHILE, LONG_LIST = 2, 3, 300
FAILOVER_CLIENTS, WITHOUT_PRIMARY_SECONDS = 8, 3
KEYED = {"Idempotency-Key": "a-key"}
SHORT_LOCK_TIMEOUT = {"options": "-c lock_timeout=50ms"}
# The writes that wait for the standby; the probes of other apps may wait as well.
COMMITTING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event = 'SyncRep' AND query NOT LIKE '%pg_logical_emit_message%'"
)
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

T = TypeVar("T")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Give a cluster that a test may leave in any state."""
    with replicated_tables() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def lasting_cluster() -> Iterator[Cluster]:
    """Give a cluster whose primary stays; its commits wait for the standby."""
    with replicated_tables() as cluster:
        cluster.primary.require_standby()
        yield cluster


@pytest.fixture
def without_standby(lasting_cluster: Cluster) -> Iterator[Cluster]:
    """Give a cluster whose standby is missing, with one product."""
    app = create_app({"DATABASE_URI": lasting_cluster.uri(DATABASE, lasting_cluster.primary)})
    assert empty(app).test_client().post("/products", json=product_body()).status_code == 201
    dispose(app)
    lasting_cluster.standby.kill()
    yield lasting_cluster
    lasting_cluster.standby.stop()
    lasting_cluster.standby.start()
    wait_for(lasting_cluster.primary.is_followed)


@contextmanager
def serving_app(uri: str, **settings: Any) -> Iterator[Flask]:
    app = create_app({"DATABASE_URI": uri, **settings})
    try:
        yield app
    finally:
        dispose(app)


def hold_all_connections(app: Flask) -> None:
    """Have the pool open all its connections."""
    with app.test_request_context():
        connections = [engine_of(app).connect() for _ in range(app.config["WEB_THREADS"])]
        for connection in connections:
            connection.close()


def demote_in_place(node: Node) -> None:
    """Make a server read-only; it keeps its connections."""
    node.execute("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    wait_for(lambda: node.execute("SHOW default_transaction_read_only") == [("on",)])


def test_a_write_after_a_switchover_reaches_the_new_primary_and_a_repeated_one_is_known_there(
    cluster: Cluster,
) -> None:
    uri = cluster.uri(DATABASE, cluster.primary, cluster.standby, target_session_attrs="read-write")
    cluster.primary.require_standby()
    with serving_app(uri, WEB_THREADS=3) as app:
        client, body = app.test_client(), product_body()
        hold_all_connections(app)
        first = client.post("/products", json=body, headers=KEYED)
        demote_in_place(cluster.primary)
        cluster.standby.execute("SELECT pg_promote()")

        created = client.post("/products", json=product_body())
        repeated = client.post("/products", json=body, headers=KEYED)

        assert (created.status_code, repeated.status_code) == (201, 201)
        assert repeated.headers["Location"] == first.headers["Location"]
        assert len(client.get("/products").get_json()) == 2
        for _ in range(app.config["WEB_THREADS"]):
            assert client.get(created.headers["Location"]).status_code == 200


def cancelled(cluster: Cluster, work: Callable[[], T]) -> T:
    """Return the result of work; cancel each commit that waits for the standby meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(work)
        wait_for(lambda: cluster.primary.execute(CANCEL) == [] and result.done())
        return result.result()


def assert_unconfirmed(response: TestResponse) -> None:
    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert response.get_json()["detail"] == (
        "The write may not have been kept; check whether the change was saved, then try again"
    )
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/products", {}),
        ("POST", "/products", KEYED),
        ("PATCH", "/products/1", {"If-Match": "*"}),
        ("DELETE", "/products/1", {}),
    ],
)
def test_a_write_that_no_standby_confirms_is_503(
    without_standby: Cluster, method: str, path: str, headers: dict[str, str]
) -> None:
    uri = without_standby.uri(DATABASE, without_standby.primary)

    body = product_body()

    def write(app: Flask) -> TestResponse:
        return app.test_client().open(path, method=method, json=body, headers=headers)

    with serving_app(uri) as app, serving_app(uri) as other:
        assert_unconfirmed(cancelled(without_standby, lambda: write(app)))
        refused = write(app)
        # Another worker does not know it yet. The first one has stored the change.
        assert_unconfirmed(cancelled(without_standby, lambda: write(other)))
        assert app.test_client().get("/products").status_code == 200

    assert refused.status_code == 503
    assert refused.get_json()["detail"] == (
        "The database accepts no writes at the moment; try again later"
    )


def test_no_kept_answer_is_given_before_a_standby_has_it(without_standby: Cluster) -> None:
    uri, body = without_standby.uri(DATABASE, without_standby.primary), product_body()

    def write(app: Flask) -> TestResponse:
        return app.test_client().post("/products", json=body, headers=KEYED)

    impatient = f"{uri}&{urlencode(SHORT_LOCK_TIMEOUT)}"
    with serving_app(uri) as app, serving_app(uri) as second, serving_app(impatient) as third:
        assert_unconfirmed(cancelled(without_standby, lambda: write(app)))
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(write, second)
            wait_for(lambda: without_standby.primary.execute(COMMITTING) == [(1,)])
            assert write(third).status_code == 503
            assert_unconfirmed(cancelled(without_standby, waiting.result))


def test_an_import_that_no_standby_confirms_fails(without_standby: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("name,img_url,price\r\nKettle,https://img.example.com/1.jpg,9.99\r\n")
    with serving_app(without_standby.uri(DATABASE, without_standby.primary)) as app:
        runner, command = app.test_cli_runner(), ["products-import", str(file)]
        result = cancelled(without_standby, lambda: runner.invoke(args=command))

    assert result.exit_code == 1
    assert "no synchronous standby confirms writes" in result.output


def test_writes_that_wait_for_a_standby_leave_a_thread_to_reads(
    without_standby: Cluster, tmp_path: Path
) -> None:
    primary = without_standby.primary
    with (
        serving(
            without_standby.uri(DATABASE, primary),
            tmp_path / "log",
            WEB_CONCURRENCY="1",
            WEB_THREADS="2",
        ) as server,
        ThreadPoolExecutor(WRITERS) as pool,
    ):
        writes = [
            pool.submit(server.ask, "POST", "/products", product_body()) for _ in range(WRITERS)
        ]
        wait_for(lambda: primary.execute(COMMITTING) == [(1,)])
        reads = {server.ask("GET", "/products/1")[0].status for _ in range(READS_MEANWHILE)}
        # One waits for the standby; the other one for its turn, or no longer.
        assert not all(each.done() for each in writes)
        without_standby.standby.start()
        answers = {each.result()[0].status for each in writes}

    assert reads == {200}
    assert answers <= {201, 503}


def test_a_list_does_not_go_on_with_the_standby(cluster: Cluster) -> None:
    primary = cluster.uri(DATABASE, cluster.primary)
    standby = cluster.uri(DATABASE, cluster.standby)
    with serving_app(primary, DATABASE_READ_URI=standby) as app:
        seeded = app.test_cli_runner().invoke(args=["db-seed", "--count", str(LONG_LIST)])
        assert seeded.exit_code == 0
        with closing(app.test_client().get("/products")) as response:
            pieces = response.iter_encoded()
            assert next(pieces)
            cluster.primary.kill()

            with pytest.raises(OperationalError):
                list(pieces)
        assert "X-Data-Age" not in response.headers


def test_a_failover_loses_no_write_and_makes_none_twice(cluster: Cluster, tmp_path: Path) -> None:
    uri = cluster.uri(DATABASE, cluster.primary, cluster.standby, target_session_attrs="read-write")
    read_uri = cluster.uri(DATABASE, cluster.standby)
    cluster.primary.require_standby()
    with (
        serving(uri, tmp_path / "log", WEB_CONCURRENCY="2", DATABASE_READ_URI=read_uri) as server,
        under_load(server, FAILOVER_CLIENTS, KeyedWrites(), is_slow=True) as load,
    ):
        all_written(load)
        cluster.primary.kill()
        killed = time.monotonic()
        load.wait_for(503, method="POST", since=killed)
        load.ended.wait(WITHOUT_PRIMARY_SECONDS)
        cluster.standby.execute("SELECT pg_promote()")
        promoted = time.monotonic()
        assert all_written(load, promoted) - promoted < RECOVERY_SECONDS
        load.stop()
        _, products = server.ask("GET", "/products")

    assert load.statuses(method="GET") == {200}
    assert load.statuses(method="POST") == {201, 503}
    assert max(answer.ended - answer.started for answer in load.answers) < LONGEST_SECONDS
    assert load.lost_and_twice(products) == (set(), set())
    assert "Traceback" not in server.log.read_text()


def test_reads_go_on_while_no_standby_confirms_writes(
    lasting_cluster: Cluster, tmp_path: Path
) -> None:
    primary, standby = lasting_cluster.primary, lasting_cluster.standby
    uri = lasting_cluster.uri(DATABASE, primary)
    workers, threads = str(WORKERS), str(THREADS)
    with serving(uri, tmp_path / "log", WEB_CONCURRENCY=workers, WEB_THREADS=threads) as server:
        wait_for(lambda: server.figure("database_pool_size") == WORKERS * THREADS)
        with under_load(server, CLIENTS, either, is_slow=True) as load:
            standby.kill()
            gone, most = time.monotonic(), 0
            while not load.ended.wait(SAMPLE_SECONDS) and time.monotonic() < gone + OUTAGE_SECONDS:
                most = max(most, primary.connections())
            standby.start()
            wait_for(primary.is_followed)
            back = time.monotonic()
            assert all_written(load, back) - back < RECOVERY_SECONDS

    reads = [answer.status for answer in load.answers if answer.method == "GET"]
    assert reads.count(200) >= 0.99 * len(reads)
    assert max(answer.ended - answer.started for answer in load.answers) < LONGEST_SECONDS
    assert load.statuses(gone + LONGEST_SECONDS, gone + OUTAGE_SECONDS) == {200, 503}
    assert most <= WORKERS * (THREADS + PROBES)
    assert "Traceback" not in server.log.read_text()


READS = ["/products/1", "/products", "/products?limit=1&count=true", "/products/facets"]
OTHER_READS = ["/products/changes", "/products/history", "/products.csv", "/products.jsonl"]


@pytest.fixture(scope="module")
def reading_app() -> Iterator[Flask]:
    """Give an app whose primary is dead, and whose standby has one product."""
    with replicated_tables() as cluster:
        primary = cluster.uri(DATABASE, cluster.primary)
        standby = cluster.uri(DATABASE, cluster.standby)
        with serving_app(primary, DATABASE_READ_URI=standby) as app:
            assert app.test_client().post("/products", json=product_body()).status_code == 201
            tables = "SELECT count(*) FROM products"
            wait_for(lambda: cluster.standby.execute(tables, database=DATABASE) == [(1,)])
            cluster.primary.kill()
            yield app


@pytest.mark.parametrize("path", [*READS, "/products/1/lowest-price"])
@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}])
def test_a_standby_answers_reads_with_marks(
    reading_app: Flask, path: str, headers: dict[str, str]
) -> None:
    response = reading_app.test_client().get(path, headers=headers)

    assert response.status_code == 200
    assert response.get_data()
    assert int(response.headers["X-Data-Age"]) >= 0
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers


def test_what_a_standby_lacks_is_404_with_marks(reading_app: Flask) -> None:
    response = reading_app.test_client().get("/products/2")

    assert response.status_code == 404
    assert int(response.headers["X-Data-Age"]) >= 0


@pytest.mark.parametrize("path", OTHER_READS)
def test_a_standby_does_not_answer_what_must_be_exact(reading_app: Flask, path: str) -> None:
    response = reading_app.test_client().get(path)

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert "X-Data-Age" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/products", {}),
        ("PATCH", "/products/1", {}),
        ("DELETE", "/products/1", {"If-Match": "*"}),
        ("GET", "/products/1", {"If-Match": "*"}),
    ],
)
def test_a_standby_takes_no_write_and_judges_no_precondition(
    reading_app: Flask, method: str, path: str, headers: dict[str, str]
) -> None:
    body = None if method == "GET" else product_body()
    response = reading_app.test_client().open(path, method=method, headers=headers, json=body)

    assert response.status_code == 503
    assert "X-Data-Age" not in response.headers


def test_a_service_that_can_read_is_ready(reading_app: Flask) -> None:
    ready = {
        "status": "OK",
        "detail": "Writes are 503: The database does not answer; a standby answers reads",
    }
    client = reading_app.test_client()

    # A busy machine may take longer than the second that it has to answer.
    wait_for(lambda: client.get("/readyz").get_json() == ready)


def test_the_log_says_that_a_standby_answers(reading_app: Flask) -> None:
    uris = {name: reading_app.config[name] for name in ("DATABASE_URI", "DATABASE_READ_URI")}
    with serving_app(uris.pop("DATABASE_URI"), **uris) as app, logged(app) as log:
        for _ in "12":
            assert app.test_client().get("/products?limit=1").status_code == 200
        assert log.getvalue().count("A standby answers reads") == 1


@pytest.mark.parametrize("path", ["/products", "/products?limit=1"])
def test_a_read_whose_connection_to_the_standby_is_lost_is_repeated(
    reading_app: Flask, path: str
) -> None:
    dead, standby = (reading_app.config[f"DATABASE_{name}URI"] for name in ("", "READ_"))
    with (
        relayed(standby) as (read_uri, relay),
        serving_app(dead, DATABASE_READ_URI=read_uri) as app,
    ):
        client = app.test_client()
        assert client.get(path).status_code == 200
        relay.cut_off()
        response = client.get(path)

    assert response.status_code == 200
    assert "X-Data-Age" in response.headers


def test_a_standby_that_does_not_answer_either_is_503(reading_app: Flask) -> None:
    dead = reading_app.config["DATABASE_URI"]
    with serving_app(dead, DATABASE_READ_URI=dead) as app:
        assert app.test_client().get("/products").status_code == 503
        assert app.test_client().get("/readyz").status_code == 503


def test_a_standby_answers_reads_while_the_primary_is_frozen(lasting_cluster: Cluster) -> None:
    primary = lasting_cluster.uri(DATABASE, lasting_cluster.primary)
    standby = lasting_cluster.uri(DATABASE, lasting_cluster.standby)
    with serving_app(primary, DATABASE_READ_URI=standby) as app:
        client = app.test_client()
        assert client.get("/products?limit=1").status_code == 200
        began = time.monotonic()
        with lasting_cluster.primary.frozen():
            answers = [client.get("/products?limit=1")]
            answered = time.monotonic()
            answers.append(client.get("/products?limit=1"))
            assert time.monotonic() - answered < RECOVERY_SECONDS

        assert [each.status_code for each in answers] == [200, 200]
        assert all("X-Data-Age" in each.headers for each in answers)
        assert answered - began < LONGEST_SECONDS
        wait_for(lambda: "X-Data-Age" not in client.get("/products?limit=1").headers)


def test_a_standby_is_not_used_while_the_primary_answers(lasting_cluster: Cluster) -> None:
    primary = lasting_cluster.uri(DATABASE, lasting_cluster.primary)
    standby = lasting_cluster.uri(DATABASE, lasting_cluster.standby)
    blocking = "LOCK TABLE products IN ACCESS EXCLUSIVE MODE"
    with serving_app(
        f"{primary}&{urlencode(SHORT_LOCK_TIMEOUT)}", DATABASE_READ_URI=standby
    ) as app:
        client = empty(app).test_client()
        created = client.post("/products", json=product_body())
        answers = [client.get(created.headers["Location"]), client.get("/readyz")]
        with lasting_cluster.primary.connect(DATABASE) as other, other.transaction():
            other.execute(blocking)
            blocked = client.get("/products")

    assert [each.status_code for each in answers] == [200, 200]
    assert answers[0].headers["ETag"]
    assert blocked.status_code == 503
    assert not any("X-Data-Age" in each.headers for each in (*answers, blocked))
    assert lasting_cluster.standby.connections() == 0
