"""What only the running service shows: its workers, its memory, its connections, its signals."""

import json
import os
import re
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask
from sqlalchemy import text

from service.database import db, sqlite, transaction
from tests.factories import product_body
from tests.helpers import app_with_tables, execute, postgresql_database, wait_for
from tests.server import ROOT, Server, coverage_config, serving

THREADS = 8
POSTS = 25
MANY = 20_000
MORE_THAN_BUFFERS_HOLD = 8_000
MOST_GROWTH = 30 * 1024
MEBIBYTE = 1024 * 1024
SECONDS_TO_END_AT_ONCE = 5
SECONDS = 30
JSON = {"Content-Type": "application/json"}
# An app whose first worker is told to end in code that reports each exception as an error of its
# own, as pydantic and uvloop do.
ENDED_ONCE = """
import os, signal
from pathlib import Path
from service import create_app

def end():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException as error:
        raise RuntimeError from error

if not Path("ended").exists():
    Path("ended").touch()
    end()
app = create_app()
"""
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER

# For a test of what the server does without regard to the database.
on_sqlite_only = pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)


@pytest.fixture
def tables(empty_database: str) -> Iterator[Flask]:
    """Give an app on a database of the test's own."""
    with app_with_tables(empty_database) as app:
        yield app


@pytest.fixture
def postgresql_tables(postgresql_server: str) -> Iterator[Flask]:
    with postgresql_database(postgresql_server) as uri, app_with_tables(uri) as app:
        yield app


@pytest.fixture(scope="module")
def sqlite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run two workers on one SQLite file."""
    folder = tmp_path_factory.mktemp("server")
    uri = f"sqlite:///{folder / 'products.db'}"
    log = folder / "log"
    with (
        app_with_tables(uri),
        serving(uri, log, COVERAGE_PROCESS_CONFIG=coverage_config(), WEB_CONCURRENCY="2") as server,
    ):
        yield server


def uri_of(app: Flask) -> str:
    return str(app.config["DATABASE_URI"])


def insert_large_products(app: Flask, count: int) -> None:
    """Insert products of 2 KB."""
    execute(
        app,
        "INSERT INTO products (name, img_url, price, description)"
        f" WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
        f" SELECT 'Product', 'https://img.example.com/1.jpg', 9.99, '{'d' * 2_000}' FROM n",
    )


def connected(server: Server, receive_buffer: int | None = None) -> socket.socket:
    """Open a socket to the service; a small buffer stalls the sender soon."""
    connection = socket.socket()
    connection.settimeout(SECONDS)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", server.port))
    return connection


def begin_list(server: Server) -> tuple[socket.socket, bytes]:
    """Ask for the whole list, and read no more than its beginning."""
    connection = connected(server, receive_buffer=4096)
    connection.sendall(b"GET /products HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    beginning = connection.recv(1024)
    while b'[{"id"' not in beginning:
        beginning += connection.recv(1024)
    return connection, beginning


def read_on(connection: socket.socket) -> bytes:
    """Read until the service closes the connection."""
    pieces = iter(lambda: connection.recv(MEBIBYTE), b"")
    return b"".join(pieces)


def test_clients_that_post_at_once_to_sqlite_all_succeed(sqlite_server: Server) -> None:
    before = {product["id"] for product in sqlite_server.ask("GET", "/products")[1]}

    def post(thread: int) -> list[tuple[int, int, str]]:
        answers = []
        with closing(sqlite_server.connect()) as connection:
            for number in range(POSTS):
                body = product_body(name=f"{thread}/{number}")
                connection.request("POST", "/products", json.dumps(body), JSON)
                response = connection.getresponse()
                product = json.loads(response.read())
                answers.append((response.status, product.get("id"), product.get("name")))
        return answers

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [answer for of_thread in pool.map(post, range(THREADS)) for answer in of_thread]

    assert len(sqlite_server.workers()) == 2
    assert [status for status, _, _ in answers] == [201] * (THREADS * POSTS)
    stored = {p["id"]: p["name"] for p in sqlite_server.ask("GET", "/products")[1]}
    assert len(stored) == len(before) + THREADS * POSTS
    assert {number: stored[number] for number in stored.keys() - before} == {
        number: name for _, number, name in answers
    }


def test_a_write_that_waits_too_long_for_another_one_on_sqlite_is_503(
    sqlite_server: Server,
) -> None:
    path = sqlite_server.log.parent / "products.db"
    _, product = sqlite_server.ask("POST", "/products", product_body())
    with (
        ThreadPoolExecutor(1) as pool,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        write = pool.submit(sqlite_server.ask, "POST", "/products", product_body())
        read, found = sqlite_server.ask("GET", f"/products/{product['id']}")
        is_read_first = not write.done()
        response, problem = write.result(SECONDS)
        waited = time.monotonic() - began

    assert (read.status, found) == (200, product)
    assert is_read_first
    assert (response.status, problem["status"]) == (503, 503)
    assert int(response.headers["Retry-After"]) > 0
    assert sqlite.BUSY_SECONDS <= waited < sqlite.BUSY_SECONDS + 2
    assert sqlite_server.ask("POST", "/products", product_body())[0].status == 201


def kibibytes(pid: int, name: str) -> int:
    """Return a figure of a process's memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def test_a_long_list_streams_whole_in_little_memory(tables: Flask, tmp_path: Path) -> None:
    insert_large_products(tables, MANY)
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        (worker,) = server.workers()
        server.ask("GET", "/products?limit=1")
        Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak is what it has now
        before = kibibytes(worker, "VmRSS")

        response, listed = server.ask("GET", "/products")

        assert response.status == 200
        assert [product["id"] for product in listed] == list(range(1, MANY + 1))
        assert server.workers() == [worker]
        assert kibibytes(worker, "VmHWM") - before < MOST_GROWTH


def test_a_stream_that_breaks_cannot_be_taken_for_a_whole_list(
    tables: Flask, tmp_path: Path
) -> None:
    insert_large_products(tables, MORE_THAN_BUFFERS_HOLD)
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        workers = server.workers()
        connection, beginning = begin_list(server)
        with connection:
            execute(tables, "ALTER TABLE products RENAME TO gone")
            received = beginning + read_on(connection)

        assert b"transfer-encoding: chunked\r\n" in received
        assert b'"id":1,' in received
        assert f'"id":{MORE_THAN_BUFFERS_HOLD},'.encode() not in received
        end = received[-20:].rstrip()
        assert not end.endswith(b"\r\n0")
        assert not end.endswith(b"]")
        assert server.ask("GET", "/health")[0].status == 200
        assert server.workers() == workers


def backends(app: Flask) -> tuple[float, set[str]]:
    """Return for how many seconds all other connections were quiet, and their states."""
    with app.app_context(), db.engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT extract(epoch FROM min(clock_timestamp() - state_change)),"
                " array_agg(state) FROM pg_stat_activity"
                " WHERE application_name = 'products' AND datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
        ).one()
    return float(found[0] or 0), set(found[1] or ())


def test_a_client_that_stops_reading_costs_no_database_connection(
    postgresql_tables: Flask, tmp_path: Path
) -> None:
    insert_large_products(postgresql_tables, MORE_THAN_BUFFERS_HOLD)
    with serving(uri_of(postgresql_tables), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        connection, beginning = begin_list(server)
        with connection:
            # The stream has stalled when it has asked the database nothing for a second.
            wait_for(lambda: backends(postgresql_tables)[0] >= 1, SECONDS)

            assert backends(postgresql_tables)[1] == {"idle"}
            rest = read_on(connection)
        assert f'"id":{MORE_THAN_BUFFERS_HOLD},'.encode() in beginning + rest
        assert rest.endswith(b"]\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"NONSENSE hush\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /?hush HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /?hush HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer hush\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: zip\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX-Endless: " + b"hush" * 17_500, 431),
        (b"GET /" + b"hush" * 16_400 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    ],
    ids=["line", "TLS", "version", "no colon", "coding", "endless header", "long line"],
)
def test_what_is_no_http_gets_a_plain_answer_and_one_line_in_the_log(
    sqlite_server: Server, sent: bytes, code: int
) -> None:
    before = len(sqlite_server.events("WARNING"))
    with connected(sqlite_server) as connection:
        connection.sendall(sent)
        head, _, _ = read_on(connection).partition(b"\r\n\r\n")

    status, *headers = head.split(b"\r\n")
    assert status.decode() == f"HTTP/1.1 {code} {HTTPStatus(code).phrase}"
    assert b"connection: close" in headers
    assert b"problem" not in head
    (event,) = sqlite_server.events("WARNING")[before:]
    assert "127.0.0.1" in event["message"]
    assert str(code) in event["message"]
    assert "hush" not in sqlite_server.log.read_text()


def test_the_location_of_a_new_product_can_be_fetched(sqlite_server: Server) -> None:
    response, created = sqlite_server.ask("POST", "/products", product_body())

    location = urlsplit(response.headers["Location"])
    assert (location.scheme, location.netloc) == ("http", f"127.0.0.1:{sqlite_server.port}")
    fetched, product = sqlite_server.ask("GET", location.path)
    assert (fetched.status, product) == (200, created)


@on_sqlite_only
def test_the_longest_link_can_be_followed(tables: Flask, tmp_path: Path) -> None:
    longest = "\U0001f6d2" * 255
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        for end in "ab":
            body = product_body(name=longest[:-1] + end, category=longest[:-1] + "\x01")
            assert server.ask("POST", "/products", body)[0].status == 201
        response, (first,) = server.ask("GET", "/products?sort=name,category&limit=1")
        link = re.match('<([^>]+)>; rel="next"', response.headers["Link"])
        assert link
        response, (second,) = server.ask(
            "GET", link[1].removeprefix(f"http://127.0.0.1:{server.port}")
        )

    assert len(link[1]) > 2_800
    assert [first["name"][-1], second["name"][-1]] == ["a", "b"]


@pytest.mark.parametrize(
    ("empty_database", "number"),
    [
        ("sqlite", signal.SIGINT),
        ("sqlite", signal.SIGQUIT),
        ("sqlite", signal.SIGTERM),
        ("postgresql", signal.SIGTERM),
    ],
    indirect=["empty_database"],
)
def test_a_signal_ends_it_cleanly(tables: Flask, tmp_path: Path, number: signal.Signals) -> None:
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="2") as server:
        workers = server.workers()
        server.ask("GET", "/products")

        server.process.send_signal(number)

        assert_ended_cleanly(server, workers)


def test_workers_that_still_start_end_cleanly(sqlite_app: Flask, tmp_path: Path) -> None:
    with serving(uri_of(sqlite_app), tmp_path / "log", WEB_CONCURRENCY="4") as server:
        server.process.terminate()

        assert server.process.wait(SECONDS) == 0
    assert server.events("ERROR") == []


def test_the_end_of_a_worker_that_starts_is_no_error_of_its_app(
    sqlite_app: Flask, tmp_path: Path
) -> None:
    (tmp_path / "wsgi.py").write_text(ENDED_ONCE)
    (tmp_path / "gunicorn.conf.py").symlink_to(ROOT / "gunicorn.conf.py")
    log, path = tmp_path / "log", str(ROOT)

    with serving(
        uri_of(sqlite_app), log, root=tmp_path, PYTHONPATH=path, WEB_CONCURRENCY="1"
    ) as server:
        assert (tmp_path / "ended").exists()
        assert server.ask("GET", "/products")[0].status == 200
    assert server.events("ERROR") == []


def assert_ended_cleanly(server: Server, workers: list[int]) -> None:
    """Wait for the end of the service: nothing is left of it, and nothing went wrong."""
    assert server.process.wait(SECONDS) == 0
    assert workers
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
    assert server.events("ERROR") == []
    assert "Traceback" not in server.log.read_text()


@on_sqlite_only
def test_ctrl_c_ends_it_cleanly(tables: Flask, tmp_path: Path) -> None:
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="2") as server:
        workers = server.workers()
        for pid in (*workers, server.process.pid):  # a terminal tells all of them
            os.kill(pid, signal.SIGINT)

        assert_ended_cleanly(server, workers)


@on_sqlite_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_end_at_once_waits_for_no_client(
    tables: Flask, tmp_path: Path, number: signal.Signals
) -> None:
    insert_large_products(tables, MORE_THAN_BUFFERS_HOLD)
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        connection, _ = begin_list(server)
        with connection:
            sent = time.monotonic()
            server.process.send_signal(number)

            assert server.process.wait(SECONDS) == 0
            assert time.monotonic() - sent < SECONDS_TO_END_AT_ONCE
    assert "Traceback" not in server.log.read_text()


@on_sqlite_only
def test_the_workers_of_a_master_that_was_killed_end(tables: Flask, tmp_path: Path) -> None:
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="2") as server:
        wait_for(lambda: len(server.workers()) == 2)

        server.process.kill()
        server.process.wait()

        wait_for(lambda: not server.is_listening(), SECONDS)


@on_sqlite_only
def test_the_number_of_workers_follows_signals(tables: Flask, tmp_path: Path) -> None:
    with serving(uri_of(tables), tmp_path / "log", WEB_CONCURRENCY="2") as server:
        wait_for(lambda: len(server.workers()) == 2)
        first, second = server.workers()

        server.process.send_signal(signal.SIGTTIN)
        wait_for(lambda: len(server.workers()) == 3)
        server.process.send_signal(signal.SIGTTOU)
        wait_for(lambda: len(server.workers()) == 2)
        assert first not in server.workers()

        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(server.workers()) == 2 and second not in server.workers())
        assert server.ask("GET", "/products")[0].status == 200
        workers = server.workers()

    assert_ended_cleanly(server, workers)


@pytest.mark.parametrize(("excess", "code"), [(0, 201), (1, 413), (100_000, 413)])
def test_a_chunked_body_may_have_one_mebibyte(
    sqlite_server: Server, excess: int, code: int
) -> None:
    body = json.dumps(product_body()).encode().ljust(MEBIBYTE + excess)
    chunks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    with closing(sqlite_server.connect()) as connection:
        connection.request("POST", "/products", chunks, JSON, encode_chunked=True)
        response = connection.getresponse()
        answer = json.loads(response.read())

    assert response.status == code, answer
    assert response.headers["X-Request-ID"]


def end_backends(app: Flask) -> int:
    """End all other connections to the database, as its restart does; return how many."""
    with app.app_context(), db.engine.connect() as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
        ).scalars()
        return list(ended).count(True)


def test_a_client_that_resets_its_connection_before_its_answer_is_no_failure(
    postgresql_tables: Flask, tmp_path: Path
) -> None:
    with serving(uri_of(postgresql_tables), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        server.ask("POST", "/products", product_body())
        with postgresql_tables.app_context(), transaction() as other:
            other.execute(text("SELECT FROM products FOR UPDATE"))
            with connected(server) as connection:
                connection.sendall(
                    b"PATCH /products/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n"
                    b'Content-Type: application/json\r\n\r\n{"rating":5}'
                )
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                wait_for(lambda: other.scalar(waiting) == 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            server.ask("GET", "/health")  # the event loop sees the reset first
        wait_for(lambda: '"PATCH"' in server.log.read_text())
        assert server.ask("GET", "/products/1")[1]["rating"] == 5

    (line,) = [each for each in server.log.read_text().splitlines() if '"PATCH"' in each]
    assert json.loads(line)["aborted"]
    assert server.events("ERROR") == []


def test_dead_database_connections_are_noticed(postgresql_tables: Flask, tmp_path: Path) -> None:
    with serving(uri_of(postgresql_tables), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        response, created = server.ask("POST", "/products", product_body())
        assert response.status == 201
        path = f"/products/{created['id']}"

        assert end_backends(postgresql_tables) > 0
        assert server.ask("GET", path)[0].status == 200

        assert end_backends(postgresql_tables) > 0
        response, again = server.ask("POST", "/products", product_body())
        assert response.status == 201
        assert [p["id"] for p in server.ask("GET", "/products")[1]] == [created["id"], again["id"]]
