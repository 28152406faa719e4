"""What Prometheus is told, and the log beside it, in one process and over gunicorn's workers."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from service import create_app
from service.config import ConfigurationError
from service.database import db
from service.metrics import SharedMetrics
from tests.factories import product_body
from tests.helpers import app_with_tables, wait_for
from tests.server import ROOT, Server, obey_permissions, serving

SECONDS = 20
MORE_THAN_BUFFERS_HOLD = 40_000
REQUESTS = 30
EVENT = ["time", "level", "request_id", "logger", "message"]
POOL_SIZE = 3

Figures = dict[tuple[str, tuple[str, ...]], float]


def figures(text: str) -> Figures:
    """Return each sample by its name and its labels' values, in the order of their names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(client: FlaskClient) -> Figures:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.mimetype == "text/plain"
    return figures(response.text)


def scraped_from(server: Server) -> Figures:
    with closing(server.connect()) as connection:
        connection.request("GET", "/metrics")
        return figures(connection.getresponse().read().decode())


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/health", ("GET", "/health", "200")),
        ("HEAD", "/health", ("HEAD", "/health", "200")),
        ("GET", "/products/7?q=made-up", ("GET", "/products/{product_id}", "404")),
        ("DELETE", "/products/7", ("DELETE", "/products/{product_id}", "204")),
        ("GET", "/products?limit=x", ("GET", "/products", "400")),
        ("GET", "/products/made-up", ("GET", "none", "404")),
        ("GET", "/made-up", ("GET", "none", "404")),
        ("MADEUP", "/health", ("other", "none", "405")),
        ("GET", "/static/made-up", ("GET", "/static/{filename}", "404")),
    ],
)
def test_a_request_is_counted_and_timed_by_its_route(
    client: FlaskClient, method: str, path: str, labels: tuple[str, str, str]
) -> None:
    before = scraped(client)

    client.open(path, method=method, buffered=True)

    after = scraped(client)
    count = ("http_requests_total", labels)
    assert after[count] - before.get(count, 0) == 1
    timed = ("http_request_duration_seconds_count", labels[:2])
    assert after[timed] - before.get(timed, 0) == 1
    total = ("http_request_duration_seconds_sum", labels[:2])
    assert 0 < after[total] - before.get(total, 0) < SECONDS
    in_last_bucket = ("http_request_duration_seconds_bucket", ("+Inf", *labels[:2]))
    assert after[in_last_bucket] == after[timed]
    assert not [name for name in after if "made-up" in str(name).lower()]


def test_a_stream_is_in_progress_to_its_end(client: FlaskClient) -> None:
    streamed = client.get("/products")
    during = scraped(client)
    streamed.close()

    assert during["http_requests_in_progress", ()] == 2  # the scrape is one, too
    assert scraped(client)["http_requests_in_progress", ()] == 1


def test_the_pool_tells_how_many_connections_are_held(app: Flask, client: FlaskClient) -> None:
    with app.app_context(), db.engine.connect(), db.engine.connect():
        held = scraped(client)

    assert held["database_pool_size", ()] == POOL_SIZE
    assert held["database_pool_in_use", ()] == 2
    assert scraped(client)["database_pool_in_use", ()] == 0


def test_the_pool_counts_on_after_its_connections_were_disposed_of(
    app: Flask, client: FlaskClient
) -> None:
    with app.app_context(), db.engine.connect() as held:
        db.engine.dispose()
        with db.engine.connect():
            assert scraped(client)["database_pool_in_use", ()] == 2
        held.invalidate()

    assert scraped(client)["database_pool_in_use", ()] == 0


def test_the_size_of_the_pools_is_that_of_all_threads(empty_database: str, tmp_path: Path) -> None:
    with serving(empty_database, tmp_path / "log", WEB_CONCURRENCY="2", WEB_THREADS="3") as server:
        wait_for(lambda: scraped_from(server)["database_pool_size", ()] == 2 * 3)


def test_who_waits_for_a_connection_is_counted_and_timed(
    postgresql_app: Flask,
) -> None:
    client = postgresql_app.test_client()
    before = scraped(client)
    answered = Event()

    def read() -> int:
        status = postgresql_app.test_client().get("/products/1").status_code
        answered.set()
        return status

    with ThreadPoolExecutor(1) as thread:
        with postgresql_app.app_context(), ExitStack() as busy:
            for _ in range(POOL_SIZE):
                busy.enter_context(db.engine.connect())
            reading = thread.submit(read)
            held = answered.wait(0.2)
        assert reading.result(SECONDS) == 404

    after = scraped(client)
    assert not held
    count, total = (
        after[name, ()] - before[name, ()]
        for name in ("database_pool_wait_seconds_count", "database_pool_wait_seconds_sum")
    )
    assert count == 1
    assert 0.1 < total < SECONDS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run two workers on a list that is longer than what buffers hold."""
    folder = tmp_path_factory.mktemp("served")
    uri = f"sqlite:///{folder / 'products.db'}"
    with app_with_tables(uri) as app:
        seeded = app.test_cli_runner().invoke(
            args=["db-seed", "--count", str(MORE_THAN_BUFFERS_HOLD)]
        )
        assert seeded.exit_code == 0
        with serving(uri, folder / "log", WEB_CONCURRENCY="2") as server:
            wait_for_two_workers(server)
            yield server


def wait_for_two_workers(server: Server, *gone: int) -> None:
    """Wait until two workers have begun to count, none of them one of ``gone``."""
    wait_for(lambda: len(set(server.workers()) - set(gone)) == 2)
    wait_for(lambda: scraped_from(server)["database_pool_size", ()] == 2 * POOL_SIZE)


def stalled_list(server: Server, name: str) -> socket.socket:
    """Ask for the whole list and read only its beginning."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    head = f"GET /products HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {name}\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(1024).startswith(b"HTTP/1.1 200")
    return connection


def metrics_directory(server: Server) -> Path:
    """Return where the workers keep their metrics; one of them must have begun."""
    maps = "".join(Path(f"/proc/{worker}/maps").read_text() for worker in server.workers())
    return next(
        Path(line.split()[-1]).parent for line in maps.splitlines() if "products-metrics-" in line
    )


def nothing_is_in_progress(directory: Path) -> bool:
    """Look into the files themselves: a scrape would be in progress, too."""
    files = [str(file) for file in directory.glob("gauge_*.db")]
    merged = {metric.name: metric for metric in MultiProcessCollector.merge(files)}
    return bool(merged["http_requests_in_progress"].samples[0].value == 0)


@contextmanager
def stopped(worker: int) -> Iterator[None]:
    """Keep a worker from doing anything."""
    os.kill(worker, signal.SIGSTOP)
    try:
        threads = list(Path(f"/proc/{worker}/task").iterdir())
        wait_for(lambda: all("State:\tT" in (t / "status").read_text() for t in threads))
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def test_the_figures_are_those_of_both_workers_even_of_one_that_was_killed(
    served: Server,
) -> None:
    first, second = served.workers()
    reads = ("http_requests_total", ("GET", "/products/{product_id}", "200"))
    in_progress = ("http_requests_in_progress", ())
    expected = scraped_from(served).get(reads, 0)
    for worker in (first, second):
        with stopped(worker):  # the other one serves
            for _ in range(REQUESTS):
                assert served.ask("GET", "/products/1")[0].status == 200
            expected += REQUESTS
            # It counts when it has sent all of an answer: the client may be quicker.
            wait_for(lambda: scraped_from(served).get(reads) == expected)  # noqa: B023
    wait_for(lambda: nothing_is_in_progress(metrics_directory(served)))
    with stopped(second), stalled_list(served, "stalled"):
        # The list and the scrape itself; the scrape before may not be over at once.
        wait_for(lambda: scraped_from(served)[in_progress] == 2)
        os.kill(first, signal.SIGKILL)
    wait_for_two_workers(served, first)

    wait_for(lambda: scraped_from(served)[in_progress] == 1)
    after = scraped_from(served)
    assert after[reads] == expected
    assert after["database_pool_in_use", ()] == 0


def test_a_worker_that_takes_over_counts_on_and_leaves_no_more_files(served: Server) -> None:
    directory = metrics_directory(served)
    kinds = ("counter", "gauge_livesum", "histogram", "summary")
    health = ("http_requests_total", ("GET", "/health", "200"))
    expected = scraped_from(served)[health]

    for _ in range(2):
        for worker in (workers := served.workers()):
            os.kill(worker, signal.SIGKILL)
        wait_for_two_workers(served, *workers)
        for _ in range(REQUESTS):
            served.ask("GET", "/health")
        expected += REQUESTS
        wait_for(lambda: scraped_from(served)[health] == expected)  # noqa: B023  # called now

    files = {file.name for file in directory.iterdir()}
    assert files <= {f"{kind}_{slot}.db" for kind in kinds for slot in (0, 1)}


def test_the_directory_of_the_metrics_goes_with_the_service(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'products.db'}"
    given = tmp_path / "metrics"
    given.mkdir()
    (given / "gauge_livesum_7.db").write_bytes(b"of another time")
    with serving(uri, tmp_path / "log") as server:
        private = metrics_directory(server)
        assert stat.S_IMODE(private.stat().st_mode) == stat.S_IRWXU
    with serving(
        uri, tmp_path / "log", WEB_CONCURRENCY="1", PROMETHEUS_MULTIPROC_DIR=str(given)
    ) as server:
        (given / "counter_9.db").touch()  # as of a worker that has just begun
        assert scraped_from(server)["database_pool_size", ()] > 0
        assert (given / "counter_0.db").exists()
        (given / "notes.db").write_bytes(b"of somebody else")
        assert scraped_from(server)["database_pool_size", ()] > 0

    assert not private.exists()
    assert [file.name for file in given.iterdir()] == ["notes.db"]


@pytest.mark.parametrize(
    "name", ["products.db", "notes", "gauge_7.db", "counter_1.db.bak", "a/b.db", "counter_1.db/b"]
)
def test_a_directory_with_anything_but_metrics_is_refused_and_kept(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    for file in (tmp_path / "counter_0.db", tmp_path / name):
        file.write_bytes(b"content")

    with pytest.raises(ConfigurationError, match="for metrics alone"):
        SharedMetrics(str(tmp_path))

    assert (tmp_path / name).read_bytes() == b"content"
    assert (tmp_path / "counter_0.db").exists()


def test_the_directory_of_the_catalogue_is_refused_with_one_line(tmp_path: Path) -> None:
    with app_with_tables(f"sqlite:///{tmp_path / 'products.db'}"):
        pass
    before = (tmp_path / "products.db").read_bytes()

    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "wsgi:app"],
        cwd=ROOT, env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip

    *events, line = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert line.startswith("Error: PROMETHEUS_MULTIPROC_DIR must have a directory for metrics")
    assert [json.loads(event)["level"] for event in events] == ["INFO"] * len(events)
    assert (tmp_path / "products.db").read_bytes() == before


def test_a_slot_goes_from_worker_to_worker_with_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    shared = SharedMetrics(str(tmp_path / "metrics"))

    for worker in (1, 2):
        shared.assign_slot(worker)
        shared.attach(worker)
        client = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'none.db'}"}).test_client()
        client.get("/health", buffered=True)
        counted = scraped(client)
        shared.release_slot(worker)

    assert counted["http_requests_total", ("GET", "/health", "200")] == 2
    assert {file.stem[-2:] for file in (tmp_path / "metrics").iterdir()} == {"_0"}
    shared.close()
    assert list((tmp_path / "metrics").iterdir()) == []


def lines_of(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def lines_of_request(server: Server, name: str) -> list[dict[str, Any]]:
    return [line for line in lines_of(server) if line["request_id"] == name]


def answer_to(server: Server, sent: bytes) -> tuple[HTTPResponse, bytes]:
    """Send something raw; return the answer and its body."""
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        connection.sendall(sent)
        response = HTTPResponse(connection)
        response.begin()
        return response, response.read()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /products HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /products?limit=3&hush=hush HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /apidocs/swagger-ui.css HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /products/1 HTTP/1.0\r\n\r\n",
        b"GET /%0a%1b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["stream", "refused", "file", "HTTP/1.0", "escapes"],
)
def test_every_answer_has_one_line_that_agrees_with_it_and_tells_no_secret(
    served: Server, sent: bytes
) -> None:
    response, body = answer_to(served, sent)

    name = response.headers["X-Request-ID"]
    wait_for(lambda: bool(lines_of_request(served, name)))
    (line,) = lines_of_request(served, name)
    assert (line["status"], line["bytes"]) == (response.status, len(body))
    assert line["client"] == "127.0.0.1"
    assert "aborted" not in line
    text = served.log.read_text()
    assert "hush" not in text.lower()
    assert text.isascii()
    assert text.replace("\n", "").isprintable()


def test_a_client_that_hangs_up_has_a_line_with_what_it_was_sent(served: Server) -> None:
    stalled_list(served, "gone").close()
    wait_for(lambda: bool(lines_of_request(served, "gone")))

    (line,) = lines_of_request(served, "gone")
    whole = len(json.dumps(served.ask("GET", "/products")[1]))
    assert (line["level"], line["status"], line["aborted"]) == ("WARNING", 200, True)
    assert 0 < line["bytes"] < whole / 2


def test_the_events_of_gunicorn_are_lines_of_the_same_form(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "log") as server:
        (worker, *_) = server.workers()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: worker not in server.workers())
        wait_for(lambda: any(line["level"] == "ERROR" for line in lines_of(server)))

    events = [line for line in lines_of(server) if "logger" in line]
    assert all(list(line) == EVENT for line in events)
    messages = [(line["level"], line["message"]) for line in events]
    assert messages[0][1].startswith("Listening at: ")
    killed = f"Worker (pid:{worker}) was sent SIGKILL! Perhaps out of memory?"
    assert ("ERROR", killed) in messages
    assert messages[-1] == ("INFO", "Shutting down: Master")


def test_the_level_holds_for_gunicorn_too(tmp_path: Path) -> None:
    with serving(
        f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "log", LOG_LEVEL="WARNING"
    ) as server:
        server.ask("GET", "/products/1")

    assert {line["level"] for line in lines_of(server)} == {"WARNING", "ERROR"}


@pytest.fixture
def read_only_tree(tmp_path: Path) -> Iterator[Path]:
    """Copy what is deployed to where nobody may write."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "service", tree / "service", ignore=shutil.ignore_patterns("*.pyc"))
    directories = [tree, *(path for path in tree.rglob("*") if path.is_dir())]
    for directory in directories:
        directory.chmod(0o555)
    yield tree
    for directory in directories:
        directory.chmod(0o755)


def test_the_service_needs_no_place_to_write_in_its_tree(
    tmp_path: Path, read_only_tree: Path
) -> None:
    refused = subprocess.run(
        [sys.executable, "-c", "open('new', 'x')"],
        cwd=read_only_tree,
        capture_output=True,
        check=False,
        preexec_fn=obey_permissions,
    )
    assert b"PermissionError" in refused.stderr

    uri = f"sqlite:///{tmp_path / 'products.db'}"
    with (
        app_with_tables(uri),
        serving(
            uri, tmp_path / "log", root=read_only_tree, before=obey_permissions, WEB_CONCURRENCY="2"
        ) as server,
    ):
        assert server.ask("POST", "/products", product_body())[0].status == 201
        posts = ("http_requests_total", ("POST", "/products", "201"))
        wait_for(lambda: scraped_from(server).get(posts) == 1)
        wait_for_two_workers(server)
        os.kill(killed := server.workers()[0], signal.SIGKILL)
        wait_for_two_workers(server, killed)
        assert scraped_from(server)[posts] == 1

    assert server.process.returncode == 0
    assert "Traceback" not in server.log.read_text()
