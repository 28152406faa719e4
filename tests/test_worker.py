"""gunicorn's worker with one thread, in this process: who has to wait for whom."""

import http.client
import io
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, cast

import pytest
from flask import Flask
from gunicorn.config import Config
from gunicorn.glogging import Logger

from service.common import worker as module
from service.common.database import insert_rows, transaction
from service.common.worker import BufferingWorker, ClientSocket, Crew, Parser
from service.models import products
from tests.conftest import wait_for
from tests.factories import product_body, product_row

SECONDS = 20
GET = b"GET /products HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /products HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LARGE = 100_000


class Listener(socket.socket):
    """A listener that can hold up a thread which is about to accept a client."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.is_reached = Event()
        self.goes_on = Event()
        self.goes_on.set()

    def accept(self) -> tuple[socket.socket, Any]:
        self.is_reached.set()
        assert self.goes_on.wait(SECONDS)
        return super().accept()


@dataclass
class Running:
    """A worker that runs in a thread."""

    worker: BufferingWorker
    listener: Listener
    port: int
    thread: Thread

    def connect(self) -> socket.socket:
        """Open a connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)

    def end(self) -> None:
        """Tell it to end, as a signal does."""
        self.worker.handle_exit(signal.SIGTERM, None)
        os.write(self.worker.PIPE[1], b".")

    def stop(self) -> float:
        """Stop it; return how long that took."""
        began = time.monotonic()
        self.end()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        return time.monotonic() - began

    def wait_for_clients(self, number: int) -> None:
        """Wait until so many connections are open."""
        wait_for(lambda: len(self.worker.connections) == number)


def threads() -> list[Thread]:
    """Return the threads that answer requests."""
    return [thread for thread in threading.enumerate() if "_go_on" in thread.name]


def in_progress(app: Flask) -> float:
    """Return how many requests are being answered."""
    exposition = app.extensions["metrics"].exposition().decode()
    found = re.search(r"^http_requests_in_progress (\S+)$", exposition, re.MULTILINE)
    assert found
    return float(found[1])


@pytest.fixture
def running(sqlite_app: Flask, request: pytest.FixtureRequest) -> Iterator[Running]:
    settings = Config()
    for name, value in getattr(request, "param", {}).items():
        settings.set(name, value)
    settings.set("threads", 1)
    settings.set("graceful_timeout", SECONDS)
    listener = Listener()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    worker = BufferingWorker(
        1, os.getppid(), [listener], cast(Any, None), 30, settings, Logger(settings)
    )
    worker.wsgi = cast(Any, sqlite_app)
    worker.PIPE[:] = os.pipe()
    running = Running(worker, listener, listener.getsockname()[1], Thread(target=worker.run))
    running.thread.start()
    yield running
    if running.thread.is_alive():
        running.stop()
    worker.tmp.close()
    for end in worker.PIPE:
        os.close(end)


def answer(client: socket.socket) -> http.client.HTTPResponse:
    """Read the head of an answer."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response


def assert_others_are_answered(running: Running) -> None:
    with running.connect() as other:
        other.sendall(GET)
        assert answer(other).status == 200


def post(body: bytes, *headers: bytes) -> bytes:
    return POST + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_nobody_waits_for_a_request_that_comes_byte_by_byte(running: Running) -> None:
    sent = post(json.dumps(product_body(name="Slow")).encode())
    with running.connect() as slow:
        for number in range(len(sent)):
            slow.sendall(sent[number : number + 1])
            if number in {0, 30, len(sent) - 2}:
                assert_others_are_answered(running)

        response = answer(slow)
        assert (response.status, json.load(response)["name"]) == (201, "Slow")


def test_requests_sent_at_once_are_answered_in_their_order(running: Running) -> None:
    bodies = [json.dumps(product_body(name=f"No. {n}")).encode() for n in range(3)]
    sent = b"".join(map(post, bodies))
    with running.connect() as client:
        client.sendall(sent[:-1])
        client.sendall(sent[-1:])
        client.shutdown(socket.SHUT_WR)
        stream = client.makefile("rb")
        names = []
        for _ in bodies:
            assert stream.readline() == b"HTTP/1.1 201 CREATED\r\n"
            headers = http.client.parse_headers(stream)
            names.append(json.loads(stream.read(int(headers["Content-Length"])))["name"])

    assert names == ["No. 0", "No. 1", "No. 2"]


def test_of_requests_sent_at_once_no_more_are_held_than_one_piece(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 1000)
    held = []
    parse = Parser.__next__

    def look_and_parse(parser: Parser) -> Any:
        held.append(len(parser.unreader.buf.getvalue()))
        return parse(parser)

    monkeypatch.setattr(Parser, "__next__", look_and_parse)
    with running.connect() as client:
        client.sendall(GET * 200)
        client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").read().count(b"HTTP/1.1 200 OK\r\n") == 200

    assert len(held) == 200
    assert max(held) < 1000 + len(GET)


def test_who_sends_many_requests_at_once_lets_others_have_their_turn(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = running.worker.wsgi
    paths = []
    has_begun, goes_on = Event(), Event()

    def slow_at_first(environ: Any, start_response: Any) -> Any:
        paths.append(environ["PATH_INFO"])
        has_begun.set()
        assert goes_on.wait(SECONDS)
        return app(environ, start_response)

    slow_at_first.config = app.config  # type: ignore[attr-defined]
    monkeypatch.setattr(running.worker, "wsgi", slow_at_first)
    with running.connect() as greedy, running.connect() as other:
        greedy.sendall(GET * 50)
        greedy.shutdown(socket.SHUT_WR)
        assert has_begun.wait(SECONDS)
        other.sendall(GET.replace(b"/products", b"/health"))
        goes_on.set()
        assert answer(other).status == 200
        assert greedy.makefile("rb").read().count(b"HTTP/1.1 200 OK\r\n") == 50

    assert paths.index("/health") < 10


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: %022d\r\n\r\n{" % 5,
        POST + b"Transfer-Encoding: chunked\r\n\r\n%022x\r\n{" % 5,
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\n{",
        GET[:-2] + b"Content-Length: 9999999999999999999\r\n\r\n",
        GET[:-2] + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[-60:]),
)
def test_no_way_to_write_a_length_holds_up_others(running: Running, sent: bytes) -> None:
    with running.connect() as client:
        client.sendall(sent)
        running.wait_for_clients(1)
        assert_others_are_answered(running)


@pytest.mark.parametrize("head", [POST, GET[:-2]])
@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"2\r\n{}xx0\r\n\r\n", b"2,\r\n{}\r\n", b"0\r\nContent-Length: 3\r\n\r\n"]
)
def test_a_malformed_body_is_refused_once(
    running: Running, head: bytes, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with running.connect() as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        response = answer(client)
        assert (response.status, response.headers["Connection"]) == (400, "close")
        response.read()
        assert client.recv(1) == b""
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_a_connection_serves_one_request_after_another(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=SECONDS)
    for _ in range(3):
        connection.request("GET", "/products")
        with connection.getresponse() as response:
            assert response.status == 200
            response.read()
    assert len(running.worker.connections) == 1
    connection.close()
    running.wait_for_clients(0)


@pytest.mark.parametrize(
    ("running", "scheme"),
    [
        ({"forwarded_allow_ips": "127.0.0.1"}, "https"),
        ({"forwarded_allow_ips": "10.0.0.0/8,127.0.0.0/24"}, "https"),
        ({"forwarded_allow_ips": "*"}, "https"),
        ({"forwarded_allow_ips": "10.0.0.1,::1"}, "http"),
        ({"forwarded_allow_ips": ""}, "http"),
    ],
    indirect=["running"],
)
def test_only_a_trusted_proxy_is_believed_about_the_scheme(running: Running, scheme: str) -> None:
    with running.connect() as client:
        client.sendall(
            b"GET /products?limit=1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        link = answer(client).headers["Link"]

    assert link.startswith(f"<{scheme}://a/products?")


def test_a_client_that_expects_to_be_told_is_told_once(running: Running) -> None:
    body = json.dumps(product_body()).encode()
    head, _, _ = post(body, b"Expect: 100-continue\r\n").partition(body)
    with running.connect() as client:
        client.sendall(head)
        stream = client.makefile("rb")
        assert [stream.readline(), stream.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        client.sendall(body)

        assert stream.readline() == b"HTTP/1.1 201 CREATED\r\n"


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_that_is_too_large_is_not_awaited(running: Running, expect: bytes) -> None:
    with running.connect() as client:
        client.sendall(POST + expect + b"Content-Length: 2000000\r\n\r\n{")
        response = answer(client)
        assert (response.status, response.headers["Connection"]) == (413, "close")
        response.read()
        assert client.recv(1) == b""
        client.sendall(b" " * LARGE)  # which is no cause to reset the connection
    running.wait_for_clients(0)
    assert_others_are_answered(running)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nX: y", post(b"{}")[:-1]])
def test_a_request_that_does_not_end_is_given_up(
    running: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 1)
    with running.connect() as slow, running.connect() as silent:
        slow.sendall(sent)

        assert answer(slow).status == 408
        assert silent.recv(1) == b""
        slow.close()
        running.wait_for_clients(0)


@pytest.fixture
def renewed(running: Running, monkeypatch: pytest.MonkeyPatch) -> Event:
    """Renew the time of a client just as the main thread gives it up, as its thread may do."""
    number = ClientSocket.fileno
    renewed = Event()

    def renew_and_number(sock: ClientSocket) -> int:
        for conn in running.worker.connections:
            if vars(conn).get("deadline") == 0:
                conn.deadline = time.monotonic() + SECONDS
                renewed.set()
        return number(sock)

    monkeypatch.setattr(ClientSocket, "fileno", renew_and_number)
    return renewed


def test_a_request_that_has_just_come_is_not_given_up(running: Running, renewed: Event) -> None:
    with running.connect() as client:
        running.wait_for_clients(1)
        next(iter(running.worker.connections)).deadline = 0
        assert renewed.wait(SECONDS)
        client.sendall(GET)
        assert answer(client).status == 200


def test_a_request_that_came_with_another_is_not_forgotten(
    running: Running, renewed: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = running.worker.wsgi
    begun = {"/products": Event(), "/health": Event()}
    goes_on = {"/products": Event(), "/health": Event()}

    def slow(environ: Any, start_response: Any) -> Any:
        begun[environ["PATH_INFO"]].set()
        assert goes_on[environ["PATH_INFO"]].wait(SECONDS)
        return app(environ, start_response)

    slow.config = app.config  # type: ignore[attr-defined]
    monkeypatch.setattr(running.worker, "wsgi", slow)
    with running.connect() as many, running.connect() as other:
        many.sendall(GET * 50)
        assert begun["/products"].wait(SECONDS)
        other.sendall(GET.replace(b"/products", b"/health"))
        goes_on["/products"].set()
        assert begun["/health"].wait(SECONDS)  # which the only thread is busy with now
        (waiting,) = (conn for conn in running.worker.connections if conn.intake.received)
        waiting.deadline = 0
        assert renewed.wait(SECONDS)
        goes_on["/health"].set()
        answers = 0
        stream = many.makefile("rb")
        while answers < 50:
            line = stream.readline()
            assert line
            answers += line == b"HTTP/1.1 200 OK\r\n"


def test_a_client_that_goes_away_is_forgotten(running: Running) -> None:
    for sent in (b"", GET[:-1], post(b"{}")[:-1]):
        with running.connect() as client:
            client.sendall(sent)
            running.wait_for_clients(1)
        running.wait_for_clients(0)


def test_a_client_that_does_not_go_is_left(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0)
    with running.connect() as client:
        client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer(client).status == 200
        running.wait_for_clients(0)


@pytest.mark.parametrize("running", [{"worker_connections": 3}], indirect=True)
def test_a_client_too_many_waits_until_another_has_been_answered(running: Running) -> None:
    clients = [running.connect() for _ in range(4)]
    clients[3].sendall(GET)
    running.wait_for_clients(3)
    clients[0].sendall(GET)
    first = answer(clients[0])
    assert len(running.worker.connections) == 3
    assert (first.status, first.headers["Connection"]) == (200, "close")

    clients[0].close()
    assert answer(clients[3]).status == 200
    for client in clients:
        client.close()
    running.wait_for_clients(0)


def test_a_client_that_comes_in_the_last_instant_is_answered(running: Running) -> None:
    running.listener.goes_on.clear()
    with running.connect() as client:
        client.sendall(GET)
        assert running.listener.is_reached.wait(SECONDS)
        running.end()
        running.thread.join(1)
        running.listener.goes_on.set()

        response = answer(client)
        assert (response.status, response.headers["Connection"]) == (200, "close")
        client.close()
        running.thread.join(SECONDS)
    assert not running.thread.is_alive()


def test_a_client_that_comes_after_the_end_is_left_to_another_worker(running: Running) -> None:
    with running.connect() as first, running.listener.dup() as listener_of_another:
        first.sendall(GET[:-1])
        running.wait_for_clients(1)
        running.end()
        with running.connect() as late:
            first.sendall(GET[-1:])
            assert answer(first).status == 200
            first.close()
            running.thread.join(SECONDS)
            assert not running.thread.is_alive()

            listener_of_another.settimeout(SECONDS)
            accepted, address = listener_of_another.accept()
            accepted.close()
            assert address == late.getsockname()


@pytest.mark.parametrize("size", [module.SMALL, LARGE])
def test_no_more_bodies_are_collected_than_there_is_room_for(
    running: Running, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 2 * size)
    sent = post(b" " * (size + 1))[:-1]
    clients = [running.connect() for _ in range(3)]
    for client in clients:
        client.sendall(sent)
        assert_others_are_answered(running)

    assert answer(clients[2]).status == 503
    for client in clients:
        client.close()
    running.wait_for_clients(0)


@pytest.mark.parametrize("sent", [b"", GET, GET[:-1], post(b"{}")[:-1]])
def test_no_client_holds_up_the_end(running: Running, sent: bytes) -> None:
    with running.connect() as client:
        client.sendall(sent)
        if sent == GET:
            assert answer(client).status == 200
        running.wait_for_clients(1)

        assert running.stop() < 2 * module.LINGER_SECONDS + 2


def test_a_request_that_comes_at_the_end_is_answered(running: Running) -> None:
    with running.connect() as client:
        client.sendall(GET)
        answer(client).read()
        client.sendall(GET[:-1])
        running.end()
        client.sendall(GET[-1:])

        response = answer(client)
        assert (response.status, response.headers["Connection"]) == (200, "close")


@pytest.mark.parametrize("running", [{"max_requests": 2}], indirect=True)
def test_a_worker_ends_after_the_requests_that_it_may_answer(running: Running) -> None:
    with running.connect() as client:
        for kept in ("keep-alive", "close"):
            client.sendall(GET)
            response = answer(client)
            response.read()
            assert (response.status, response.headers["Connection"]) == (200, kept)
    running.thread.join(SECONDS)
    assert not running.thread.is_alive()


@pytest.fixture
def long_list(sqlite_app: Flask) -> None:
    """Fill the catalogue with more than the buffers of the network hold."""
    rows = [product_row(description="x" * 10_000) for _ in range(800)]
    with sqlite_app.app_context(), transaction() as connection:
        insert_rows(connection, products, rows)


def begin_to_read(running: Running) -> socket.socket:
    """Ask for the whole list, and read no more than the beginning of its head."""
    client = socket.socket()
    client.settimeout(SECONDS)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", running.port))
    client.sendall(GET)
    assert client.recv(17) == b"HTTP/1.1 200 OK\r\n"
    return client


def read_on(client: socket.socket) -> bytes:
    """Read until there is no more."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while not received.endswith(b"\r\n0\r\n\r\n") and (piece := client.recv(100_000)):
            received += piece
    return bytes(received)


def assert_reads_are_answered(running: Running) -> None:
    with running.connect() as other:
        other.sendall(GET.replace(b"/products", b"/products/1"))
        assert answer(other).status == 200


@pytest.mark.usefixtures("long_list")
def test_nobody_waits_for_a_client_that_is_slow_to_read(running: Running) -> None:
    slow = []
    for _ in range(3):
        slow.append(begin_to_read(running))
        assert_reads_are_answered(running)

    for client in slow:
        assert read_on(client).endswith(b"]\r\n0\r\n\r\n")
        assert_reads_are_answered(running)
        client.close()
    running.wait_for_clients(0)


@pytest.mark.usefixtures("long_list")
def test_who_has_waited_for_its_client_waits_for_its_turn(
    running: Running, sqlite_app: Flask
) -> None:
    with begin_to_read(running) as slow, running.connect() as writer:
        assert_reads_are_answered(running)
        with sqlite_app.app_context(), transaction():
            writer.sendall(post(json.dumps(product_body()).encode()))
            wait_for(lambda: in_progress(sqlite_app) == 2)
            slow.settimeout(0.5)
            with pytest.raises(TimeoutError):
                read_on(slow)
        slow.settimeout(SECONDS)

        assert answer(writer).status == 201
        assert read_on(slow).endswith(b"]\r\n0\r\n\r\n")


@pytest.mark.usefixtures("long_list")
def test_there_are_no_more_threads_than_before_when_slow_readers_have_read_all(
    running: Running,
) -> None:
    for _ in range(2):
        with begin_to_read(running) as slow:
            assert_reads_are_answered(running)
            read_on(slow)

    wait_for(lambda: len(threads()) == 1)


@pytest.mark.usefixtures("long_list")
def test_of_too_many_slow_readers_the_last_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ASIDE", 1)
    with begin_to_read(running) as first:
        assert_reads_are_answered(running)
        with begin_to_read(running) as last:
            assert_reads_are_answered(running)
            assert not read_on(last).endswith(b"\r\n0\r\n\r\n")
        assert read_on(first).endswith(b"]\r\n0\r\n\r\n")


@pytest.mark.usefixtures("long_list")
def test_a_client_that_stops_reading_is_given_up(
    running: Running, sqlite_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = io.StringIO()
    monkeypatch.setattr(sqlite_app.extensions["watch"].log, "stream", lines)
    monkeypatch.setattr(module, "STALL_SECONDS", 1)
    with begin_to_read(running) as client:
        running.wait_for_clients(1)
        running.wait_for_clients(0)

        assert not read_on(client).endswith(b"\r\n0\r\n\r\n")
    assert [json.loads(line)["aborted"] for line in lines.getvalue().splitlines()] == [True]


def test_what_gunicorn_refuses_waits_for_nobody() -> None:
    theirs, ours = socket.socketpair()
    client = ClientSocket(ours.family, ours.type, ours.proto, ours.detach())
    client.crew = Crew(1, lambda: None)
    with theirs, client:
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.sendall(bytes(10_000_000))
