"""SQLite: a file that is replaced, removed, locked, damaged, or not to be written."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, make_url

from service import create_app
from service.database import db, sqlite
from tests.factories import product_body
from tests.helpers import app_with_tables, dispose, engine_of, logged, wait_for
from tests.load import under_load
from tests.server import Server, obey_permissions, serving
from tests.test_framing import answers, locally

SECONDS = 20
PROMPT_SECONDS = 2
POSTS = 4
READS = 20
SHORT_TURN_SECONDS = 0.1
GET = b"GET /products/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
DELETE = GET.replace(b"GET", b"DELETE")
FIRST, OTHER, LATER = "in the first file", "in the other file", "a later one"


def uri_of(file: Path) -> str:
    return f"sqlite:///{file}"


def sidecars(file: Path) -> list[Path]:
    """Return where SQLite keeps what is not yet in the file, and the index of that."""
    return [Path(f"{file}-wal"), Path(f"{file}-shm")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a file with one product, which no process has open."""
    return new_file(tmp_path / "products.db", FIRST)


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    return new_file(tmp_path / "other.db", OTHER)


def new_file(path: Path, name: str) -> Path:
    with app_with_tables(uri_of(path)) as app:
        assert post(app.test_client(), name) == 201
    return path


@pytest.fixture
def app(file: Path) -> Iterator[Flask]:
    """Give an app that has the file open in all its connections."""
    app = create_app({"DATABASE_URI": uri_of(file), "TESTING": True})
    with app.app_context(), db.engine.connect(), db.engine.connect():
        pass
    yield app
    dispose(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Give a client of the app that has created a product since the file was opened."""
    client = app.test_client()
    assert post(client, LATER) == 201
    return client


def post(client: FlaskClient, name: str) -> int:
    return client.post("/products", json=product_body(name=name)).status_code


def listed(client: FlaskClient) -> list[str]:
    return [product["name"] for product in client.get("/products").get_json()]


def names_in(file: Path) -> list[str]:
    """Return what is in a file without its -wal; the file must be sound."""
    with closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [name for (name,) in connection.execute("SELECT name FROM products ORDER BY id")]


def test_a_file_that_replaces_another_is_opened_anew(
    app: Flask, client: FlaskClient, file: Path, other_file: Path, tmp_path: Path
) -> None:
    before = file.rename(tmp_path / "before.db")
    other_file.rename(file)

    assert [listed(client) for _ in "123"] == [[OTHER]] * 3
    assert post(client, LATER) == 201
    assert listed(client) == [OTHER, LATER]
    dispose(app)
    assert (names_in(file), names_in(before)) == ([OTHER, LATER], [FIRST, LATER])
    assert not any(each.exists() for each in sidecars(file))


def test_a_connection_that_is_added_does_not_mix_two_files(file: Path, other_file: Path) -> None:
    app = create_app({"DATABASE_URI": uri_of(file), "TESTING": True})
    client = app.test_client()
    assert post(client, LATER) == 201
    with app.app_context(), db.engine.connect():  # the only one so far
        other_file.replace(file)

        assert listed(client) == [OTHER]
        assert post(client, LATER) == 201
        assert client.get("/readyz").status_code == 200
    dispose(app)
    assert names_in(file) == [OTHER, LATER]


def test_a_file_that_is_removed_is_an_outage_until_there_is_one_again(
    app: Flask, client: FlaskClient, file: Path
) -> None:
    file.unlink()

    with logged(app) as lines:
        assert [post(client, "lost") for _ in "123"] == [503] * 3
        assert client.get("/products").status_code == 503
        advice = lines.getvalue()
    assert client.get("/readyz").status_code == 503
    assert "database_pool_in_use 0.0" in client.get("/metrics").text
    assert f"is missing ({file}: unable to open database file): restore it" in advice
    assert not file.exists()
    made = app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert made.exit_code == 0, made.output

    assert listed(client) == []
    assert post(client, "in the new file") == 201
    dispose(app)
    assert names_in(file) == ["in the new file"]


def test_the_whole_directory_may_go(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    file = new_file(tmp_path / "directory" / "products.db", FIRST)
    with app_with_tables(uri_of(file), "db", "upgrade") as app:
        assert post(app.test_client(), LATER) == 201
        file.parent.rename(tmp_path / "gone")

        assert post(app.test_client(), "lost") == 503
        (tmp_path / "gone").rename(file.parent)
        assert listed(app.test_client()) == [FIRST, LATER]


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_new_file_does_not_take_over_what_a_removed_one_has_left(
    file: Path, is_removed: bool
) -> None:
    for each in sidecars(file):
        each.write_bytes(b"of another process")
    if is_removed:
        file.unlink()

    sqlite.create_file(make_url(uri_of(file)))

    assert [each.exists() for each in sidecars(file)] == [not is_removed] * 2
    assert file.exists()


def test_a_file_that_comes_back_has_all_that_was_written(
    app: Flask, client: FlaskClient, file: Path, tmp_path: Path
) -> None:
    away = file.rename(tmp_path / "away.db")
    assert post(client, "lost") == 503
    away.rename(file)

    assert listed(client) == [FIRST, LATER]
    assert post(client, "the last") == 201
    dispose(app)
    assert names_in(file) == [FIRST, LATER, "the last"]


def test_what_is_not_yet_in_the_file_is_not_lost_with_the_wal(
    app: Flask, client: FlaskClient, file: Path
) -> None:
    for each in sidecars(file):
        each.unlink()

    assert [post(client, f"later {number}") for number in range(4)] == [503, 201, 201, 201]
    dispose(app)
    assert names_in(file) == [FIRST, LATER, "later 1", "later 2", "later 3"]


@pytest.mark.slow
def test_no_write_is_lost_while_a_file_is_replaced(
    file: Path, other_file: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before.db"
    with serving(uri_of(file), tmp_path / "log", WEB_CONCURRENCY="2") as server:
        with under_load(server) as load:
            file.rename(before)
            other_file.rename(file)
            since = time.monotonic()
            for client in range(len(load.clients)):
                load.wait_for(201, method="POST", since=since, client=client)
        written = {answer.name for answer in load.answers if answer.status == 201}
        warnings = [each["message"] for each in server.events("WARNING")]

    stored = names_in(before)[1:] + names_in(file)[1:]
    assert (sorted(stored), names_in(file)[0]) == (sorted(written), OTHER)
    assert f"{file} was replaced or removed: it is opened anew" in warnings
    assert "Traceback" not in server.log.read_text()


def test_a_command_waits_until_the_service_has_left_the_file_before(
    file: Path, other_file: Path, tmp_path: Path
) -> None:
    with serving(uri_of(file), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        assert server.ask("POST", "/products", product_body())[0].status == 201
        other_file.replace(file)
        with app_with_tables(uri_of(file), "token-create", "shop") as app:
            upgrade = partial(app.test_cli_runner().invoke, args=["db", "upgrade"])

            refused = upgrade()
            _, products = server.ask("GET", "/products")
            done = upgrade()

        assert (refused.exit_code, done.exit_code) == (1, 0)
        assert "a request to the service makes it open the new one" in refused.stderr
        assert [product["name"] for product in products] == [OTHER]
    assert names_in(file) == [OTHER]


def test_a_service_that_ends_leaves_no_wal_to_the_file_that_has_come(
    file: Path, other_file: Path, tmp_path: Path
) -> None:
    with serving(uri_of(file), tmp_path / "log", WEB_CONCURRENCY="1") as server:
        assert server.ask("POST", "/products", product_body())[0].status == 201
        assert all(each.exists() for each in sidecars(file))
        other_file.replace(file)

    assert not any(each.exists() for each in sidecars(file))
    assert names_in(file) == [OTHER]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep everybody else from writing to the file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_reads_are_prompt_while_one_write_waits_for_the_lock_and_the_others_for_it(
    file: Path, tmp_path: Path
) -> None:
    def one_writes(server: Server) -> bool:
        """Say whether exactly one write has begun; the scrape itself is in progress, too."""
        with closing(server.connect()) as connection:
            connection.request("GET", "/metrics")
            return b"http_requests_in_progress 2.0" in connection.getresponse().read()

    with (
        serving(uri_of(file), tmp_path / "log", WEB_CONCURRENCY="1", WEB_THREADS="3") as server,
        ThreadPoolExecutor(POSTS) as pool,
    ):
        with locked(file):
            posts = [
                pool.submit(server.ask, "POST", "/products", product_body()) for _ in range(POSTS)
            ]
            wait_for(lambda: one_writes(server))
            began = time.monotonic()
            reads = {server.ask("GET", "/products/1")[0].status for _ in range(READS)}
            seconds = time.monotonic() - began
            assert not any(each.done() for each in posts)
            assert one_writes(server)

        assert (reads, {each.result()[0].status for each in posts}) == ({200}, {201})
        assert seconds < PROMPT_SECONDS


def test_a_write_that_waits_too_long_for_its_turn_is_refused_and_a_read_is_not(
    app: Flask, file: Path
) -> None:
    async def converse() -> list[bytes]:
        with locked(file):
            writes = {asyncio.create_task(local.converse(DELETE)) for _ in "12"}
            refused, waiting = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
            read = await local.converse(GET)
        return [refused.pop().result(), read, await waiting.pop()]

    with locally(app, writers=1, turn_seconds=SHORT_TURN_SECONDS) as local:
        (refused,), (read,), (written,) = map(answers, local.runner.run(converse()))

    assert (refused.status, read.status, written.status) == (503, 200, 204)
    assert json.loads(refused.body)["detail"] == "Too many writes are waiting"
    assert int(refused.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("guarded", "mode", "named"),
    [
        ("products.db", 0o444, "products.db"),
        (".", 0o555, ""),
        ("products.db-wal", 0o444, "products.db-wal"),
        ("products.db-shm", 0o444, "products.db-shm"),
    ],
)
def test_what_may_not_be_written_is_read_and_named(
    file: Path, tmp_path: Path, guarded: str, mode: int, named: str
) -> None:
    place, log = file.parent / guarded, tmp_path.with_suffix(".log")
    with ExitStack() as stack:
        if "-" in guarded:
            other = stack.enter_context(closing(sqlite3.connect(file, isolation_level=None)))
            other.execute("UPDATE products SET rating = 5")
        usual = place.stat().st_mode
        place.chmod(mode)
        server = stack.enter_context(
            serving(uri_of(file), log, before=obey_permissions, WEB_CONCURRENCY="1")
        )

        assert server.ask("GET", "/products/1")[0].status == 200
        response, _ = server.ask("POST", "/products", product_body())
        assert (response.status, server.ask("GET", "/products/1")[0].status) == (503, 200)
        assert server.ask("GET", "/readyz")[0].status == 200
        (message,) = [each["message"] for each in server.events("ERROR")]
        assert f"{file.parent / named} must be readable and writable for the user" in message
        place.chmod(usual)
        assert server.ask("POST", "/products", product_body())[0].status == 201


def test_a_file_that_only_others_may_write_is_read_as_they_leave_it(
    file: Path, tmp_path: Path
) -> None:
    one_more = (
        "INSERT INTO products (name, img_url, price)"
        " SELECT name, img_url, price FROM products LIMIT 1"
    )
    file.parent.chmod(0o555)
    with serving(
        uri_of(file), tmp_path.with_suffix(".log"), before=obey_permissions, WEB_CONCURRENCY="1"
    ) as server:
        counts = [len(server.ask("GET", "/products")[1])]
        for _ in range(3):
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute(one_more)
            counts.append(len(server.ask("GET", "/products")[1]))
    file.parent.chmod(0o755)

    assert counts == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"no database" * 1000, b""])
def test_a_file_that_is_no_database_is_an_outage(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    app = create_app({"DATABASE_URI": uri_of(file), "TESTING": True})

    with logged(app) as lines:
        assert app.test_client().get("/products").status_code == 503
        assert post(app.test_client(), "lost") == 503
        advice = lines.getvalue()

    assert ("restore it from a backup" in advice) == bool(content)
    assert app.test_client().get("/readyz").status_code == 503


def test_a_damaged_file_is_an_outage(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    app = create_app({"DATABASE_URI": uri_of(file), "TESTING": True})

    with logged(app) as lines:
        assert app.test_client().get("/products").status_code == 503
        assert f"{file} is damaged" in lines.getvalue()


def test_a_full_disk_is_an_outage_of_writes_only(app: Flask, client: FlaskClient) -> None:
    def fill(connection: sqlite3.Connection, _: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    dispose(app)
    event.listen(engine_of(app), "connect", fill)
    with logged(app) as lines:
        statuses = {post(client, str(number) * 80) for number in range(100)}
        assert statuses == {201, 503}
        assert "is full (database or disk is full): make room on it" in lines.getvalue()
    assert client.get("/products/1").status_code == 200
