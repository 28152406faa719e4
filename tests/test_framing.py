"""How the service reads requests and writes answers: what is sent inside a body stays a body.

``REFUSED``, ``UNDERSTOOD``, ``LAST`` and ``UNFINISHED`` hold requests that two readers could
read differently. Each embeds ``SMUGGLED``, which would delete a product if it were executed.
They are sent to the running service whole, through nginx, and in two parts cut at each byte.
"""

import asyncio
import gc
import io
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from ast import literal_eval
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.client import HTTPResponse, IncompleteRead
from itertools import pairwise, repeat
from pathlib import Path
from threading import Event
from typing import IO, Any, NamedTuple, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import uvloop
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from service.server.bridge import Bridge
from service.server.protocol import BoundedProtocol
from service.server.worker import BridgeWorker
from tests.factories import product_body
from tests.helpers import app_with_tables
from tests.server import ROOT, Server, coverage_config, serving

SECONDS = 30
MEBIBYTE = 1024 * 1024
PRODUCTS = 2000
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
START = b"POST /products HTTP/1.1"
GET = b"GET /products/1 HTTP/1.1"
HOST = b"Host: a"
EXPECT = b"Expect: 100-continue"
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"DELETE /products/1 HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"Content-Length: 40"
CHUNKS = b"28\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"
# A body of 45 bytes, or one that ends before the smuggled request if it is read as chunks.
BOTH = b"0\r\n\r\n" + SMUGGLED
LENGTH_OF_BOTH = b"Content-Length: 45"
FOLLOWING = b"GET /products/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
JSON = b"Content-Type: application/json"
TEXT = [("Content-Type", "text/plain")]
IS_REFUSAL = {400, 431, 501, 505}


class Asked(NamedTuple):
    """What the app was asked."""

    method: str
    target: str
    body: bytes = b""


def request(*lines: bytes, start: bytes = START, body: bytes = b"") -> bytes:
    """Write a request."""
    return b"\r\n".join([start, *lines, b"", body])


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return request(HOST, *lines, body=body)


def with_length(length: bytes) -> bytes:
    return post(b"Content-Length: " + length, body=SMUGGLED)


def with_coding(coding: bytes) -> bytes:
    return post(b"Transfer-Encoding: " + coding, body=CHUNKS)


def with_coding_and_length(coding: bytes) -> bytes:
    return post(b"Transfer-Encoding: " + coding, LENGTH_OF_BOTH, body=BOTH)


def with_length_and_coding(coding: bytes) -> bytes:
    return post(LENGTH_OF_BOTH, b"Transfer-Encoding: " + coding, body=BOTH)


def with_line_and_length(line: bytes) -> bytes:
    return post(line, LENGTH_OF_BOTH, body=BOTH)


def with_line_and_chunks(line: bytes) -> bytes:
    return post(line, CHUNKED, body=CHUNKS)


def with_chunk_size(size: bytes) -> bytes:
    return post(CHUNKED, body=size + b"\r\n" + SMUGGLED + b"\r\n0\r\n\r\n")


def with_chunks(body: bytes) -> bytes:
    return post(CHUNKED, body=body)


def with_version(version: bytes) -> bytes:
    return request(HOST, LENGTH, start=b"POST /products" + version, body=SMUGGLED)


def with_start(start: bytes) -> bytes:
    return request(HOST, start=start, body=SMUGGLED)


def with_hosts(lines: bytes) -> bytes:
    return request(lines, start=GET, body=SMUGGLED)


def shown(value: bytes) -> str:
    text = ascii(value)[2:-1]
    return text if len(text) <= 60 else f"{text[:20]}...{len(value)} bytes"


def table(write: Callable[[bytes], bytes], values: Iterable[bytes]) -> dict[str, bytes]:
    return {f"{write.__name__}[{shown(value)}]": write(value) for value in values}


LENGTHS = [
    *(b"", b" ", b"\t", b"+40", b"-40", b"-0", b"0x28", b"4 0", b"40,40", b"40, 40", b"40;"),
    *(b"40.0", b"4_0", b"4e1", b"\xb2", "٤٠".encode(), b"40\x0b", b"\x0c40", b"40\0", b"40\r"),
    *(b"40\n", b"\r\n 40", b"40\r\n ", b"40\r\nContent-Length: 40", b"0\r\nContent-Length: 40"),
    *(b"40\r\nContent-Length: 0", b"40\r\ncontent-length: ", b"40\r\nContent-Length : 40"),
    *(b"18446744073709551656", b"99999999999999999999", b"9" * 30_000),
]
CODINGS = [
    *(b"", b" ", b"xchunked", b"chunkedx", b"cow", b"gzip", b"identity", b'"chunked"'),
    *(b"chunked, identity", b"chunked, chunked", b"gzip, chunked", b"identity, chunked"),
    *(b"chunked,", b",chunked", b"chunked;q=1", b"chunked chunked", b"chunke\xe4"),
    *(b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b"\0chunked", b"chunked\0", b"chunked\r"),
    *(b"chunked\r\n x", b"chunked\r\n ", b"\r\n chunked", b"\n chunked", b"chunked\nX: y"),
    b"chunked\r\nTransfer-Encoding: chunked",
    b"chunked\r\nTransfer-Encoding: identity",
    b"identity\r\nTransfer-Encoding: chunked",
    b"gzip\r\ntransfer-encoding: chunked",
]
LINES = [
    *(b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked"),
    *(b" Transfer-Encoding: chunked", b"\tTransfer-Encoding: chunked"),
    *(b"Transfer-Encoding\x0b: chunked", b"Transfer\0-Encoding: chunked"),
    *(b"\0Transfer-Encoding: chunked", b"Transfer-Encoding\xa0: chunked"),
    *(b"Transfer Encoding: chunked", b"Transfer-Encoding=chunked", b"Transfer-Encoding"),
    *(b"Transfer-Encoding\n: chunked", b"Transfer-Encoding\r\n: chunked"),
    *(b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked"),
    *(b"X\nTransfer-Encoding: chunked", b"X:\nTransfer-Encoding: chunked"),
    *(b"X: y\r\n Transfer-Encoding: chunked", b"X: y\r\n\tTransfer-Encoding: chunked"),
    *(b"X: y\r\r\nTransfer-Encoding: chunked", b"X: \0\r\nTransfer-Encoding: chunked"),
    *(b": chunked", b"X: y\r", b"X: y\n", b"X: y\r\n\n", b"X: y\n\r\n", b"X: y\r\n\r", b"X: \0"),
    *(b"X: \x01", b"X: \x0b", b"X: \x7f", b"X\x7f: y", b"X\xff: y", b"X\0: y", b"(X): y"),
]
LENGTH_LINES = [
    *(b"Content-Length: 40", b"Content-Length: 0", b"Content-Length: 59", b"content-length:"),
    *(b"Content-Length : 40", b"Content-Length\t: 40", b"Content-Length\0: 40"),
    *(b"Content-Length:\r\n 40", b"X: y\nContent-Length: 40", b"X: y\rContent-Length: 40"),
]
SIZES = [
    *(b"", b" ", b"0x28", b"-28", b"+28", b" 28", b"\t28", b"2 8", b"2_8", b"28 ", b"28\t"),
    *(b"28,28", b"28.", b"28h", b"g", b"\xb228", b"28\0", b"28\x0b", b"28\n", b"28\r", b"28\r\r"),
    *(b"28 ;a", b"28;\0", b"28;a=\n", b"28;a\nb", b'28;a="', b'28;a="\r\n"', b"\r\n28"),
    *(b"10000000000000028", b"f" * 17, b"100000000000000000000000000000028"),
]
CHUNKED_BODIES = [
    *(b"26\r\n" + SMUGGLED + b"\r\n0\r\n\r\n", b"2a\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"),
    *(b"28\r\n" + SMUGGLED + b"0\r\n\r\n", b"28\r\n" + SMUGGLED + b"xx0\r\n\r\n"),
    *(b"28\r\n" + SMUGGLED + b"\n0\r\n\r\n", b"28\r\n" + SMUGGLED + b"\r0\r\n\r\n"),
    *(b"28\n" + SMUGGLED + b"\n0\n\n", b"28\r\n" + SMUGGLED + b"\r\n\r\n0\r\n\r\n"),
    *(b"0\n\n" + SMUGGLED, b"0\r\n\n" + SMUGGLED, b"0\r\r\n" + SMUGGLED, b"0 \r\n\r\n" + SMUGGLED),
    *(b"-0\r\n\r\n" + SMUGGLED, b"0x0\r\n\r\n" + SMUGGLED, b"+0\r\n\r\n" + SMUGGLED),
    *(b"0\r\n" + SMUGGLED, b"0\r\nX\r\n\r\n" + SMUGGLED, b"0\r\n X: y\r\n\r\n" + SMUGGLED),
    *(b"0\r\nX: y\n\n" + SMUGGLED, b"0\r\nX: y\n" + SMUGGLED, b"0\r\nX: \0\r\n\r\n" + SMUGGLED),
    *(b"0\r\nContent-Length: 40\r\n\r\n" + SMUGGLED, b"0\r\nX : y\r\n\r\n" + SMUGGLED),
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
]
VERSIONS = [
    *(b"", b" ", b" HTTP/0.9", b" HTTP/1.2", b" HTTP/2.0", b" HTTP/2", b" HTTP/9.9", b" HTTP/1"),
    *(b" HTTP/1.10", b" HTTP/1.01", b" HTTP/01.1", b" HTTP/11", b" HTTP/1,1", b" HTTP/1.-1"),
    *(b" HTTP/+1.1", b" HTTP/1.1x", b" HTTP/1.1 ", b" HTTP/1.1\t", b" HTTP/1.1\0", b" HTTP/1.1\r"),
    *(b" http/1.1", b" HTTPS/1.1", b" ICE/1.0", b" HTTP /1.1", b" HTTP/ 1.1", b"\tHTTP/1.1"),
    *(b"\rHTTP/1.1", b" HTTP/1.1\nX: y", b" HTTP/1.1\rX: y", b" HTTP/1.1\r\n X: y"),
]
STARTS = [
    *(b"GET", b"GET ", b"/products", b"GET HTTP/1.1", b"GET /a b HTTP/1.1", b"GET\t/ HTTP/1.1"),
    *(b" GET / HTTP/1.1", b"\0GET / HTTP/1.1", b"G\0T / HTTP/1.1", b"get / HTTP/1.1"),
    *(b"GET /\0 HTTP/1.1", b"GET /\x0b HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET /\xff HTTP/1.1"),
    *(b"GET /\rHTTP/1.1", b"GET / HTTP/1.1\n", b"BREW / HTTP/1.1", b"GET products HTTP/1.1"),
    *(b"GET * HTTP/1.1", b"OPTIONS *a HTTP/1.1", b"PRI * HTTP/2.0", b"CONNECT a:80 HTTP/1.1"),
    *(b"GET http:///products HTTP/1.1", b"GET ftp://a/ HTTP/1.1", b"GET http://b@a/ HTTP/1.1"),
    *(b"GET http://[::1/ HTTP/1.1", b"GET http://a\\b/ HTTP/1.1", b"\x16\x03\x01\x02"),
]
HOSTS = [
    *(b"Host: a\r\nHost: b", b"Host: a\r\nHost: a", b"Host: a\r\nhost: b", b"Host: a\r\nHost : b"),
    *(b"Host: a\r\n b", b"Host : a", b"Host\t: a", b"Host: a\0", b"Host: a\rb"),
]
OLD = b"POST /products HTTP/1.0"
REFUSED = {
    **table(with_length, LENGTHS),
    **table(with_coding, CODINGS),
    **table(with_coding_and_length, [*CODINGS, b"chunked", b"Chunked", b"\tchunked"]),
    **table(with_length_and_coding, [*CODINGS, b"chunked", b"Chunked", b"\tchunked"]),
    **table(with_line_and_length, LINES),
    **table(with_line_and_chunks, LENGTH_LINES),
    **table(with_chunk_size, SIZES),
    **table(with_chunks, CHUNKED_BODIES),
    **table(with_version, VERSIONS),
    **table(with_start, STARTS),
    **table(with_hosts, HOSTS),
    "chunks in HTTP/1.0": request(HOST, CHUNKED, start=OLD, body=BOTH),
    "both in HTTP/1.0": request(HOST, LENGTH_OF_BOTH, CHUNKED, start=OLD, body=BOTH),
    "chunks in a connection of HTTP/1.0 that is kept": request(
        HOST, b"Connection: keep-alive", CHUNKED, start=OLD, body=BOTH
    ),
    "a head in line feeds": b"GET /products/1 HTTP/1.1\nHost: a\n\n" + SMUGGLED,
    "a head in carriage returns": b"GET /products/1 HTTP/1.1\rHost: a\r\r" + SMUGGLED,
    "a head that ends in a line feed": request(HOST, start=GET)[:-2] + b"\n" + SMUGGLED,
    "a head that ends in CR CR LF": request(HOST, start=GET)[:-2] + b"\r\r\n" + SMUGGLED,
    "a head of 30,000 header lines": post(*[b"X: y"] * 30_000, LENGTH, body=SMUGGLED),
}
POSTED = Asked("POST", "/products", SMUGGLED)
POSTED_BOTH = Asked("POST", "/products", BOTH)
AS_SMUGGLED = {
    **table(with_length, [b"40", b" 40\t", b"0000000000000000000000040"]),
    **table(with_coding, [b"chunked", b"Chunked", b"\tchunked"]),
    **table(with_line_and_chunks, [b"Content_Length: 1", b"X: Content-Length: 1"]),
    **table(with_chunk_size, [b"28;a", b'28;a="b"', b"28;a=b;c", b"00028"]),
    **table(with_chunk_size, [b"0" * 13 + b"28", b"0" * 15 + b"28", b"0" * 30 + b"28"]),
    **table(with_chunks, [CHUNKS[:-2] + b"X: y\r\n\r\n", CHUNKS[:-2] + b"Host: b\r\n\r\n"]),
    **table(with_start, [b"\r\nPOST  /products HTTP/1.1\r\n" + LENGTH]),
    "chunks of one byte": with_chunks(b"1\r\nD\r\n1\r\nE\r\n26\r\n" + CHUNKS[6:]),
    "100-continue": post(EXPECT, LENGTH, body=SMUGGLED),
}
AS_BOTH = table(
    with_line_and_length,
    [
        *(b"Transfer_Encoding: chunked", b"Transfer-Encodin: chunked"),
        *(b"X: y\x85Transfer-Encoding: chunked", b"X: Transfer-Encoding: chunked"),
    ],
)
UNDERSTOOD: dict[str, tuple[bytes, Asked]] = {
    **{name: (sent, POSTED) for name, sent in AS_SMUGGLED.items()},
    **{name: (sent, POSTED_BOTH) for name, sent in AS_BOTH.items()},
    "GET with a length": (
        request(HOST, LENGTH, start=GET, body=SMUGGLED),
        Asked("GET", "/products/1", SMUGGLED),
    ),
    "GET with chunks": (
        request(HOST, CHUNKED, start=GET, body=CHUNKS),
        Asked("GET", "/products/1", SMUGGLED),
    ),
    "OPTIONS with a length": (
        request(HOST, LENGTH, start=b"OPTIONS * HTTP/1.1", body=SMUGGLED),
        Asked("OPTIONS", "/", SMUGGLED),
    ),
    "a target with a host": (
        request(HOST, LENGTH, start=b"GET http://a/products/1?b#c HTTP/1.1", body=SMUGGLED),
        Asked("GET", "/products/1?b", SMUGGLED),
    ),
}
UPGRADE = (b"Connection: Upgrade", b"Upgrade: h2c")
LAST: dict[str, tuple[bytes, Asked]] = {
    "HTTP/1.0": (with_start(b"GET /products/1 HTTP/1.0"), Asked("GET", "/products/1")),
    "HTTP/1.0 that asks for more": (
        with_start(b"GET /products/1 HTTP/1.0\r\nConnection: keep-alive"),
        Asked("GET", "/products/1"),
    ),
    "HTTP/1.0 with a length": (request(LENGTH, start=OLD, body=SMUGGLED + SMUGGLED), POSTED),
    "close": (with_start(GET + b"\r\nConnection: close"), Asked("GET", "/products/1")),
    "close and keep-alive": (
        with_start(GET + b"\r\nConnection: keep-alive, close"),
        Asked("GET", "/products/1"),
    ),
    "close after chunks": (
        post(b"Connection: close", CHUNKED, body=CHUNKS + SMUGGLED),
        POSTED,
    ),
    "Upgrade": (request(HOST, *UPGRADE, start=GET, body=SMUGGLED), Asked("GET", "/products/1")),
    "Upgrade with a length": (post(*UPGRADE, LENGTH, body=SMUGGLED + SMUGGLED), POSTED),
    "Upgrade with chunks": (post(*UPGRADE, CHUNKED, body=CHUNKS + SMUGGLED), POSTED),
    "CONNECT": (with_start(b"CONNECT /products/1 HTTP/1.1"), Asked("CONNECT", "/products/1")),
}
UNFINISHED = {
    **table(with_length, [b"41", b"1048576"]),
    **table(with_chunk_size, [b"2f", b"f" * 16, b"8" + b"0" * 15]),
    "no end of the head": post(b"X: y", b"Z: " + SMUGGLED.replace(b"\r\n", b" "))[:-2],
    "no last chunk": with_chunks(CHUNKS[:-5]),
    "no end of the trailers": with_chunks(CHUNKS[:-2] + b"X: y\r\n"),
}
CORPUS = {
    **REFUSED,
    **UNFINISHED,
    **{name: sent for name, (sent, _) in {**UNDERSTOOD, **LAST}.items()},
}


class Answer(NamedTuple):
    """One answer."""

    status: int
    headers: Message
    body: bytes


class Wire(io.BytesIO):
    """What was received, as ``http.client`` reads it: as many answers as there are."""

    def makefile(self, _: str) -> "Wire":
        return self

    def close(self) -> None:
        """Do nothing: it is called after each answer."""


def answers(received: bytes, *methods: str) -> list[Answer]:
    """Return all answers to requests of these methods, and of GET from there on."""
    wire = Wire(received)
    given, found = iter(methods), []
    while wire.tell() < len(received):
        response = HTTPResponse(cast("socket.socket", wire), method=next(given, "GET"))
        response.begin()
        found.append(Answer(response.status, response.headers, response.read()))
    return found


def statuses(received: bytes) -> list[int]:
    return [answer.status for answer in answers(received)]


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), SECONDS)


def read_on(connection: socket.socket) -> bytes:
    """Read until the other side ends the connection."""
    return b"".join(iter(partial(connection.recv, MEBIBYTE), b""))


def exchange(port: int, sent: bytes, *, is_all: bool = False) -> bytes:
    """Return what is answered until the service ends the connection; say if that is all sent."""
    with connected(port) as connection:
        connection.sendall(sent)
        if is_all:
            connection.shutdown(socket.SHUT_WR)
        return read_on(connection)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("framing")
    uri = f"sqlite:///{folder / 'products.db'}"
    with app_with_tables(uri) as app:
        seeded = app.test_cli_runner().invoke(args=["db-seed", "--count", str(PRODUCTS)])
        assert seeded.exit_code == 0, seeded.output
        with serving(
            uri, folder / "log", COVERAGE_PROCESS_CONFIG=coverage_config(), WEB_CONCURRENCY="1"
        ) as running:
            yield running


def has_product_1(port: int) -> bool:
    """Ask on a connection of its own whether the smuggled request was not executed."""
    (answer,) = answers(exchange(port, FOLLOWING))
    return answer.status == 200 and json.loads(answer.body)["id"] == 1


def test_an_ambiguous_request_is_rejected_and_the_connection_closed(
    subtests: pytest.Subtests, server: Server
) -> None:
    for name, sent in REFUSED.items():
        with subtests.test(name):
            (refusal,) = answers(exchange(server.port, sent))

            assert refusal.status in IS_REFUSAL
            assert refusal.headers["Connection"] == "close"
            assert has_product_1(server.port)


def test_the_request_after_an_unusual_one_is_the_next_to_be_answered(
    subtests: pytest.Subtests, server: Server
) -> None:
    for name, (sent, _) in UNDERSTOOD.items():
        with subtests.test(name):
            first, second = answers(exchange(server.port, sent + FOLLOWING))

            assert first.status in {200, 415}
            assert (second.status, json.loads(second.body)["id"]) == (200, 1)
            assert has_product_1(server.port)


def test_nothing_is_answered_after_the_last_request(
    subtests: pytest.Subtests, server: Server
) -> None:
    for name, (sent, _) in LAST.items():
        with subtests.test(name):
            (answer,) = answers(exchange(server.port, sent))

            assert answer.status in {200, 405, 415}
            assert answer.headers["Connection"] == "close"
            assert has_product_1(server.port)


def test_an_incomplete_request_is_not_answered(subtests: pytest.Subtests, server: Server) -> None:
    for name, sent in UNFINISHED.items():
        with subtests.test(name):
            assert exchange(server.port, sent, is_all=True) == b""
            assert has_product_1(server.port)


def test_leading_zeros_of_a_length_are_no_failure_of_the_service(server: Server) -> None:
    (answer,) = answers(exchange(server.port, with_length(b"0" * 30_000 + b"40"), is_all=True))

    assert answer.status in {400, 415, 431}
    assert has_product_1(server.port)


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        (b"Content-Length: 1200000", SMUGGLED * 30_000),
        (CHUNKED, CHUNKS[:-5] * 30_000 + b"0\r\n\r\n"),
    ],
    ids=["length", "chunks"],
)
def test_a_body_that_is_too_large_is_not_read_as_requests(
    server: Server, framing: bytes, sent: bytes
) -> None:
    (answer,) = answers(exchange(server.port, post(framing, JSON, body=sent), is_all=True))

    assert answer.status == 413
    assert has_product_1(server.port)


def test_a_length_beyond_all_integers_is_too_large(server: Server) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server.port)) for _ in range(2)]
        for connection, length in zip(connections, (2**63 + 40, 2**64 - 1), strict=True):
            connection.sendall(post(JSON, b"Content-Length: %d" % length, body=SMUGGLED))
        received = [read_on(connection) for connection in connections]

    assert [statuses(each) for each in received] == [[413], [413]]
    assert has_product_1(server.port)


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what was asked."""
    query = environ["QUERY_STRING"]
    target = f"{environ['PATH_INFO']}?{query}" if query else environ["PATH_INFO"]
    asked = tuple(Asked(environ["REQUEST_METHOD"], target, environ["wsgi.input"].read()))
    answer = repr(asked).encode()
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(answer)))])
    return [answer]


def asked_of(received: bytes) -> list[Asked]:
    """Return what the echoing app was asked, in the order of its answers."""
    return [
        Asked(*literal_eval(answer.body.decode()))
        for answer in answers(received)
        if answer.status == 200
    ]


class Observed(BoundedProtocol):
    """A connection that notes in which parts its bytes came."""

    def connection_made(self, transport: Any) -> None:
        self.sizes: list[int] = []
        self.is_lost = asyncio.Event()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.is_lost.set()

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        super().data_received(data)


@dataclass
class Local:
    """The worker's protocol and bridge in this process; a client has one end of a socket pair."""

    config: Config
    runner: asyncio.Runner

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[socket.socket, Observed]]:
        """Open a connection; return the client's end and the protocol at the other end."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        with ours:
            transport, protocol = await loop.connect_accepted_socket(
                lambda: Observed(self.config, ServerState(), {}, loop), theirs
            )
            try:
                yield ours, protocol
            finally:
                transport.abort()
        await asyncio.sleep(0)

    async def converse(self, *parts: bytes, is_all: bool = False) -> bytes:
        """Send parts that arrive one by one; return all that is answered."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS), self.client() as (connection, protocol):
            with suppress(BrokenPipeError):  # what comes after the last request may find no reader
                for number, part in enumerate(parts):
                    for _ in range(3 if number else 0):  # turns of the event loop, to receive it
                        await asyncio.sleep(0)
                    await loop.sock_sendall(connection, part)
                if is_all:
                    connection.shutdown(socket.SHUT_WR)
            received = b""
            with suppress(ConnectionResetError):  # the same, after the answer
                while part := await loop.sock_recv(connection, MEBIBYTE):
                    received += part
            assert protocol.sizes[0] == len(parts[0])
            return received

    def exchange(self, *parts: bytes, is_all: bool = False) -> bytes:
        return self.runner.run(self.converse(*parts, is_all=is_all))


@contextmanager
def locally(
    app: WSGIApplication, writers: int = 2, turn_seconds: float = SECONDS
) -> Iterator[Local]:
    """Run a WSGI app as the worker does; end its threads."""
    bridge = Bridge(
        app,
        threads=2,
        writers=writers,
        turn_seconds=turn_seconds,
        max_body=MEBIBYTE,
        inline=(),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        config = Config(
            bridge,
            log_config=None,
            date_header=False,
            timeout_keep_alive=2 * SECONDS,
            **BridgeWorker.CONFIG_KWARGS,
        )
        yield Local(config, runner)
        bridge.pool.close(SECONDS)


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    """Give the echoing app."""
    with locally(echo) as running:
        yield running


def cuts(sent: bytes) -> list[int]:
    """Return each place where a request can be cut in two; of a long one, some of them."""
    return [*range(1, min(len(sent), 400)), *range(400, len(sent), 997)]


def outcomes(local: Local, sent: bytes, *, is_all: bool) -> set[tuple[tuple[int, bytes], ...]]:
    """Return all the ways in which a request is answered, depending on where it is cut."""

    async def each() -> set[bytes]:
        ways = [(sent,), *((sent[:cut], sent[cut:]) for cut in cuts(sent))]
        if len(sent) < 400:
            ways.append(tuple(bytes([byte]) for byte in sent))
        return {await local.converse(*parts, is_all=is_all) for parts in ways}

    return {
        tuple((answer.status, answer.body) for answer in answers(received))
        for received in local.runner.run(each())
    }


@pytest.mark.no_cover  # other tests reach the same lines
def test_an_ambiguous_request_is_rejected_wherever_it_is_cut(
    subtests: pytest.Subtests, caplog: pytest.LogCaptureFixture, local: Local
) -> None:
    caplog.set_level(logging.ERROR, "uvicorn.error")  # 35,000 warnings
    for name, sent in REFUSED.items():
        with subtests.test(name):
            ((refusal,),) = outcomes(local, sent, is_all=False)

            assert refusal[0] in IS_REFUSAL


def test_an_unusual_request_is_parsed_alike_wherever_it_is_cut(
    subtests: pytest.Subtests, local: Local
) -> None:
    for name, (sent, asked) in {**UNDERSTOOD, **LAST}.items():
        with subtests.test(name):
            (((status, body),),) = outcomes(local, sent, is_all=True)

            assert (status, Asked(*literal_eval(body.decode()))) == (200, asked)


def test_an_incomplete_request_is_not_executed_wherever_it_is_cut(
    subtests: pytest.Subtests, local: Local
) -> None:
    for name, sent in UNFINISHED.items():
        with subtests.test(name):
            assert outcomes(local, sent, is_all=True) == {()}


NGINX_CONFIGURATION = """
daemon off;
user root;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    keepalive_timeout 0;
    upstream service {{
        server 127.0.0.1:{port};
        keepalive 1;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_next_upstream off;
    proxy_ignore_client_abort on;
    server {{
        listen 127.0.0.1:{strict};
        location / {{ proxy_pass http://service; }}
    }}
    server {{
        listen 127.0.0.1:{lenient};
        ignore_invalid_headers off;
        underscores_in_headers on;
        merge_slashes off;
        proxy_request_buffering off;
        location / {{ proxy_pass http://service; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def proxies(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Run nginx in front of the service; give the ports of a strict and of a lenient one.

    It closes each client's connection after one answer, so that a second request can reach the
    service only inside of the first one.
    """
    if NGINX is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    with ExitStack() as stack:
        listeners = {
            name: stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for name in ("strict", "lenient")
        }
        ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
        configuration = folder / "nginx.conf"
        configuration.write_text(
            NGINX_CONFIGURATION.format(folder=folder, port=server.port, **ports)
        )
        descriptors = [listener.fileno() for listener in listeners.values()]
        process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)],
            env={"NGINX": "".join(f"{descriptor};" for descriptor in descriptors)},
            pass_fds=descriptors,
        )
    try:
        yield ports
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.mark.parametrize("proxy", ["strict", "lenient"])
def test_nothing_is_smuggled_through_nginx(
    subtests: pytest.Subtests, proxies: dict[str, int], proxy: str
) -> None:
    for name, sent in CORPUS.items():
        with subtests.test(name):
            exchange(proxies[proxy], sent, is_all=True)

            assert has_product_1(proxies[proxy])


def get(port: int, path: str) -> Answer:
    """Get what is at a path with a request id that is as long as possible."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines.append(f"X-Request-ID: {'r' * 128}")
    (answer,) = answers(exchange(port, "\r\n".join([*lines, "", ""]).encode()))
    return answer


def test_the_links_of_a_page_pass_nginx_or_are_refused(proxies: dict[str, int]) -> None:
    query = "/products?limit=1&sort=-name,category"
    ids = [1, 2, *range(2**31 - 98, 2**31)]
    filters = ["&status=active"] * 100 + [f"&id={number}" for number in ids]
    passed = []
    for count in range(0, len(filters), 4):
        answer = get(proxies["strict"], query + "".join(filters[:count]))
        if answer.status != 200:
            break
        passed.append(answer.headers["Link"])

    assert answer.status == 400
    assert json.loads(answer.body)["errors"][0]["parameter"] == "query"
    assert 2_900 < len(passed[-1]) <= 3_072
    following, _, _ = passed[-1].removeprefix("<http://localhost").partition(">")
    assert get(proxies["strict"], following).status == 200


def kept_connections(server: Server) -> set[str]:
    """Return the addresses of those who are connected to the service."""
    port = f":{server.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return {row[2] for row in rows if row[1].endswith(port) and row[3] == established}


def test_nginx_uses_one_connection_for_many_requests(
    server: Server, proxies: dict[str, int]
) -> None:
    seen = set()
    for port in proxies.values():
        for _ in range(3):
            assert has_product_1(port)
            seen |= kept_connections(server)

    assert len(seen) == 1


def test_the_smuggled_request_would_be_executed(server: Server) -> None:
    alone = SMUGGLED.replace(b"products/1", b"products/2")

    assert statuses(exchange(server.port, alone + FOLLOWING)) == [204, 200]


INSERTED = st.lists(
    st.sampled_from(
        [
            *(b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b"\x0b", b":", b": ", b",", b";"),
            *(b"0", b"40", b"X", b"Transfer-Encoding", b"Content-Length", b"chunked", b"Host"),
        ]
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=500)
@given(inserted=INSERTED, cut=st.integers(0, 200))
def test_no_line_before_the_length_ends_the_body_sooner(
    local: Local, inserted: bytes, cut: int
) -> None:
    sent = post(inserted, LENGTH, body=SMUGGLED)
    parts = [part for part in (sent[:cut], sent[cut:]) if part]

    received = local.exchange(*parts, is_all=True)

    assert {asked.method for asked in asked_of(received)} <= {"POST"}


@st.composite
def written_requests(draw: st.DrawFn) -> tuple[bytes, Asked]:
    """Write a request in one of the ways that HTTP has."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]))
    target = draw(st.sampled_from(["/", "/products", "/products/1?a=b"]))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=50) | st.just(SMUGGLED), max_size=4))
    body = b"".join(pieces)
    if draw(st.booleans()):
        framing, sent = b"Content-Length: %d" % len(body), body
    else:
        extension = draw(st.sampled_from([b"", b";a", b';a="b"']))
        trailer = draw(st.sampled_from([b"", b"X: y\r\n", b"Host: b\r\nX: y\r\n"]))
        chunks = [b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces]
        framing, sent = CHUNKED, b"".join([*chunks, b"0\r\n", trailer, b"\r\n"])
    start = f"{method} {target} HTTP/1.1".encode()
    first = draw(st.sampled_from([b"", b"\r\n"]))
    return first + request(HOST, framing, start=start, body=sent), Asked(method, target, body)


@given(
    written=st.lists(written_requests(), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 1500), max_size=4).map(sorted),
)
def test_pipelined_requests_are_read_as_they_were_written(
    local: Local, written: list[tuple[bytes, Asked]], cuts: list[int]
) -> None:
    sent = b"".join(each for each, _ in written)
    parts = [sent[start:end] for start, end in pairwise([0, *cuts, len(sent)]) if sent[start:end]]

    received = local.exchange(*parts, is_all=True)

    assert asked_of(received) == [asked for _, asked in written]


def late(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"la"
    yield b"te"


def late_after_nothing(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b""
    yield b"late"


def written(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", TEXT)
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


def only_written(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [*TEXT, ("Content-Length", "7")])
    write(b"written")
    return []


def replaced(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "1000")])
    yield b""
    try:
        int("")
    except ValueError:
        start_response("404 Not Found", TEXT, sys.exc_info())
    yield b"nothing here"


def answering(status: str, headers: list[tuple[str, str]], *pieces: bytes) -> WSGIApplication:
    """Return an app that has one answer to everything."""

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        return pieces

    return app


def many_pieces(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "200000")])
    yield from (b"%05d" % number for number in range(40_000))


def reader(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    stream = environ["wsgi.input"]
    start_response("200 OK", TEXT)
    read = [stream.read(2), stream.readline(), stream.readline(3), *stream.readlines(1)]
    return [repr([*read, *stream, stream.read(10)]).encode()]


LINES_READ = repr([b"ab", b"c\n", b"def", b"\n", b"g\n", b"h", b""]).encode()
COUNTED = b"".join(b"%05d" % number for number in range(40_000))
READ_BODY = b"abc\ndef\ng\nh"
READ_CHUNKS = b"5\r\nabc\nd\r\n6\r\nef\ng\nh\r\n0\r\n\r\n"
CLOSE = b"Connection: close"
GET_CLOSE = request(HOST, CLOSE, start=GET)
HEAD_CLOSE = request(HOST, CLOSE, start=b"HEAD / HTTP/1.1")
GET_OLD = request(HOST, start=b"GET / HTTP/1.0")
HEAD_OLD = request(HOST, start=b"HEAD / HTTP/1.0")
EMPTY = [*TEXT, ("Content-Length", "0")]
TEN = [*TEXT, ("Content-Length", "10")]
TAG = [("ETag", '"a"')]


class Body:
    """The body of an answer; it notes how often it is closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.closings = 0
        self.is_closed = Event()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        self.closings += 1
        self.is_closed.set()


@contextmanager
def validated(app: WSGIApplication) -> Iterator[tuple[Local, list[Body]]]:
    """Run an app under the validator of PEP 3333; give the bodies that it returns, too."""
    bodies: list[Body] = []

    def noted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        bodies.append(Body(app(environ, start_response)))
        return bodies[-1]

    with locally(validator(noted)) as local:
        yield local, bodies


@pytest.mark.parametrize(
    ("app", "sent", "status", "content"),
    [
        (late, GET_CLOSE, 200, b"late"),
        (late_after_nothing, GET_CLOSE, 200, b"late"),
        (written, GET_CLOSE, 200, b"one two three"),
        (only_written, GET_CLOSE, 200, b"written"),
        (replaced, GET_CLOSE, 404, b"nothing here"),
        (answering("200 OK", TEXT), GET_CLOSE, 200, b""),
        (answering("200 OK", EMPTY), GET_CLOSE, 200, b""),
        (answering("200 OK", TEXT, b"", b""), GET_CLOSE, 200, b""),
        (answering("204 No Content", []), GET_CLOSE, 204, b""),
        (answering("304 Not Modified", TAG), GET_CLOSE, 304, b""),
        (many_pieces, GET_CLOSE, 200, COUNTED),
        (many_pieces, HEAD_CLOSE, 200, b""),
        (late, HEAD_CLOSE, 200, b""),
        (written, HEAD_CLOSE, 200, b""),
        (reader, post(CLOSE, b"Content-Length: 11", body=READ_BODY), 200, LINES_READ),
        (reader, post(CLOSE, CHUNKED, body=READ_CHUNKS), 200, LINES_READ),
        (late, GET_OLD, 200, b"late"),
        (many_pieces, GET_OLD, 200, COUNTED),
        (late, HEAD_OLD, 200, b""),
        (answering("200 OK", TEXT), GET_OLD, 200, b""),
    ],
)
def test_the_bridge_serves_as_pep_3333_demands(
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    app: WSGIApplication,
    sent: bytes,
    status: int,
    content: bytes,
) -> None:
    gc.freeze()  # so that only what the test leaves behind is collected
    with validated(app) as (local, bodies):
        received = local.exchange(sent)
    gc.collect()
    gc.unfreeze()

    (answer,) = answers(received, sent.partition(b" ")[0].decode())
    assert (answer.status, answer.body) == (status, content)
    assert [body.closings for body in bodies] == [1]
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


def test_a_stream_is_sent_piece_by_piece(caplog: pytest.LogCaptureFixture) -> None:
    go_on = Event()

    def stream(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"first"
        assert go_on.wait(SECONDS)
        yield b"second"

    async def read(local: Local) -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS), local.client() as (connection, _):
            await loop.sock_sendall(connection, GET_CLOSE)
            first = await loop.sock_recv(connection, MEBIBYTE)
            go_on.set()
            parts = [first]
            while parts[-1]:
                parts.append(await loop.sock_recv(connection, MEBIBYTE))
            return parts

    with validated(stream) as (local, _):
        first, *rest = local.runner.run(read(local))

    assert first.endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert b"".join(rest) == b"6\r\nsecond\r\n0\r\n\r\n"


def fails_at_once(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    raise LookupError


def fails_at_first(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    raise LookupError
    yield b""


def starts_twice(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"twice"]


def never_starts(_: WSGIEnvironment, __: StartResponse) -> Iterable[bytes]:
    return [b"headless"]


def exits(_: WSGIEnvironment, __: StartResponse) -> Iterable[bytes]:
    sys.exit()


@pytest.mark.parametrize("app", [fails_at_once, fails_at_first, starts_twice, never_starts, exits])
def test_an_app_that_fails_before_its_answer_begins_is_an_internal_error(
    caplog: pytest.LogCaptureFixture, app: WSGIApplication
) -> None:
    with validated(app) as (local, bodies):
        received = local.exchange(GET_CLOSE)

    assert statuses(received) == [500]
    assert all(body.closings == 1 for body in bodies)


def breaks_off(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"beginning"
    raise LookupError


def breaks_off_a_length(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "100000")])
    yield b"beginning".ljust(70_000)
    raise LookupError


def replaced_too_late(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"beginning"
    try:
        int("")
    except ValueError:
        start_response("500 Internal Server Error", TEXT, sys.exc_info())
    yield b"an error in the middle of an answer"


@pytest.mark.parametrize(
    "app",
    [breaks_off, breaks_off_a_length, answering("200 OK", TEN, b"beginning"), replaced_too_late],
)
def test_an_answer_that_breaks_off_cannot_be_taken_for_a_whole_one(
    caplog: pytest.LogCaptureFixture, app: WSGIApplication
) -> None:
    with validated(app) as (local, bodies):
        received = local.exchange(request(HOST, start=GET) + FOLLOWING)

    with pytest.raises(IncompleteRead) as broken:
        answers(received)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert broken.value.partial.rstrip() in {b"beginning", b""}
    assert b"error in the middle" not in received
    assert [body.closings for body in bodies] == [1]


@pytest.mark.parametrize("pieces", [[b"0123456789", b"X"], [b"0123456789X"], [b"0", b"123456789X"]])
def test_an_answer_is_no_longer_than_its_content_length(
    caplog: pytest.LogCaptureFixture, pieces: list[bytes]
) -> None:
    with validated(answering("200 OK", TEN, *pieces)) as (local, bodies):
        received = local.exchange(request(HOST, start=GET) + FOLLOWING)

    assert received.count(b"HTTP/1.1 ") <= 1
    assert b"X" not in received
    assert [body.closings for body in bodies] == [1]


@pytest.mark.parametrize("length", ["", "10000000000"])
def test_an_answer_is_closed_once_when_its_client_has_gone(
    caplog: pytest.LogCaptureFixture, length: str
) -> None:
    def endless(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT, *([("Content-Length", length)] if length else [])])
        return repeat(b"on and on".ljust(10_000))

    async def go_away(local: Local, bodies: list[Body]) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS), local.client() as (connection, _):
            await loop.sock_sendall(connection, request(HOST, start=GET))
            await loop.sock_recv(connection, 100)
            connection.close()
            assert await loop.run_in_executor(None, bodies[0].is_closed.wait, SECONDS)

    with validated(endless) as (local, bodies):
        local.runner.run(go_away(local, bodies))

    assert caplog.text == ""
    assert [body.closings for body in bodies] == [1]


@pytest.mark.parametrize("headers", [TEXT, [*TEXT, ("Content-Length", "4")]])
def test_a_client_that_has_gone_before_its_answer_begins_is_no_failure(
    caplog: pytest.LogCaptureFixture, headers: list[tuple[str, str]]
) -> None:
    is_asked, go_on = Event(), Event()

    def slow(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_asked.set()
        assert go_on.wait(SECONDS)
        start_response("200 OK", headers)
        return [b"la", b"te"]

    async def go_away(local: Local, bodies: list[Body]) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS), local.client() as (connection, protocol):
            await loop.sock_sendall(connection, post(EXPECT, LENGTH, body=SMUGGLED))
            await loop.run_in_executor(None, is_asked.wait, SECONDS)
            connection.close()  # with the 100 unread, which resets the connection
            await protocol.is_lost.wait()
            go_on.set()
            await asyncio.gather(*protocol.tasks)

    with validated(slow) as (local, bodies):
        local.runner.run(go_away(local, bodies))

    assert caplog.text == ""
    assert [body.closings for body in bodies] == [1]


def environment(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what a client can set of the environment."""
    environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    given = {name: value for name, value in environ.items() if isinstance(value, str)}
    return [json.dumps(given).encode()]


@pytest.fixture(scope="module")
def mirror() -> Iterator[Callable[[bytes], dict[str, str]]]:
    """Give what returns the environment of a request."""
    with locally(environment) as local:

        def environ_of(sent: bytes) -> dict[str, str]:
            (answer,) = answers(local.exchange(sent, is_all=True))
            assert answer.status == 200
            environ: dict[str, str] = json.loads(answer.body)
            return environ

        yield environ_of


EnvironOf = Callable[[bytes], dict[str, str]]
TRAILERS = b"Host: b\r\nX-Request-ID: t\r\nAuthorization: Bearer t\r\nX-Forwarded-For: ::2\r\n"


def test_trailers_do_not_reach_the_app(mirror: EnvironOf) -> None:
    assert mirror(with_chunks(CHUNKS[:-2] + TRAILERS + b"\r\n")) == mirror(with_length(b"40"))


@pytest.mark.parametrize(
    "line",
    [
        *(b"SCRIPT_NAME: /static", b"PATH_INFO: /health", b"QUERY_STRING: limit=1"),
        *(b"REQUEST_METHOD: GET", b"REMOTE_ADDR: 203.0.113.9", b"REMOTE_USER: root"),
        *(b"SERVER_NAME: b", b"SERVER_PORT: 1", b"HTTP_HOST: b", b"Content_Length: 1"),
        *(b"X_Request_ID: u", b"X_Forwarded_For: 203.0.113.9", b"X-Forwarded_Proto: https"),
    ],
)
def test_a_header_with_an_underscore_does_not_reach_the_app(mirror: EnvironOf, line: bytes) -> None:
    assert mirror(post(line, LENGTH, body=SMUGGLED)) == mirror(with_length(b"40"))


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"wsgi.url_scheme: https", None, ""),
        (b"Script-Name: /static", "HTTP_SCRIPT_NAME", "/static"),
        (b"Path-Info: /health", "HTTP_PATH_INFO", "/health"),
        (b"Remote-Addr: 203.0.113.9", "HTTP_REMOTE_ADDR", "203.0.113.9"),
        (b"X-Forwarded-For: 203.0.113.9", "HTTP_X_FORWARDED_FOR", "203.0.113.9"),
        (b"X-Forwarded-Proto: https", "HTTP_X_FORWARDED_PROTO", "https"),
        (b"Content-Type: text/plain", "CONTENT_TYPE", "text/plain"),
        (b"X:\t\xff y\t ", "HTTP_X", "\xff y"),
        (b"X: a\r\nX: b", "HTTP_X", "a,b"),
    ],
)
def test_a_header_sets_no_variable_but_its_own(
    mirror: EnvironOf, line: bytes, name: str | None, value: str
) -> None:
    environ = mirror(post(line, LENGTH, body=SMUGGLED))

    own = {name: value} if name else {}
    assert {key: environ[key] for key in environ if "WSGI" not in key} == {
        **mirror(with_length(b"40")),
        **own,
    }


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%2Fb%00%FF", "/a/b\0\xff", ""),
        (b"/?a?b", "/", "a?b"),
        (b"//b/c", "//b/c", ""),
        (b"/a/../b/./c", "/a/../b/./c", ""),
        (b"http://a", "/", ""),
        (b"http://a?b", "/", "b"),
        (b"HTTP://a:80/b?c", "/b", "c"),
    ],
)
def test_a_target_is_parted_in_path_and_query(
    mirror: EnvironOf, target: bytes, path: str, query: str
) -> None:
    environ = mirror(request(HOST, start=b"GET " + target + b" HTTP/1.1"))

    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
    assert environ["SCRIPT_NAME"] == ""


LIMITED = b"GET /products?limit=1 HTTP/1.1"
FORWARDED = [
    *(b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: b"),
    *(b"X-Forwarded-Port: 81", b"X-Forwarded-Prefix: /b", b"X-Real-IP: 203.0.113.9"),
    b"Forwarded: for=203.0.113.9;proto=https;host=b",
]
DISGUISED = [line.replace(b"d-", b"d_") for line in FORWARDED]


@pytest.mark.parametrize(
    ("start", "lines", "link"),
    [
        (LIMITED, [b"Host: a:81"], "http://a:81"),
        (b"GET http://b/products?limit=1 HTTP/1.1", [HOST], "http://b"),
        (b"GET http://b:81/products?limit=1 HTTP/1.1", [HOST], "http://b:81"),
        (b"GET https://B/products?limit=1 HTTP/1.1", [HOST], "http://b"),
        (b"GET http://b/products?limit=1 HTTP/1.0", [HOST], "http://b"),
        (LIMITED, [HOST, *FORWARDED], "http://a"),
        (LIMITED, [HOST, b"SCRIPT_NAME: /b", b"wsgi.url_scheme: https"], "http://a"),
    ],
)
def test_links_have_the_host_of_the_target_or_of_host(
    server: Server, start: bytes, lines: list[bytes], link: str
) -> None:
    (answer,) = answers(exchange(server.port, request(*lines, start=start), is_all=True))

    assert answer.status == 200
    assert answer.headers["Link"].startswith(f"<{link}/products?limit=1")


def test_a_target_with_a_host_needs_host_as_well(server: Server) -> None:
    sent = request(start=b"GET http://b/products?limit=1 HTTP/1.1")

    assert statuses(exchange(server.port, sent, is_all=True)) == [400]


def test_a_trusted_proxy_is_believed_but_not_with_underscores(
    sqlite_app: Flask, tmp_path: Path
) -> None:
    uri = str(sqlite_app.config["DATABASE_URI"])
    with serving(uri, tmp_path / "log", WEB_CONCURRENCY="1", TRUSTED_PROXIES="1") as server:
        links = [
            answer.headers["Link"].partition("/products")[0]
            for lines in ([*FORWARDED, b"X-Request-ID: one"], [*DISGUISED, b"X-Request-ID: two"])
            for answer in answers(
                exchange(server.port, request(HOST, *lines, start=LIMITED), is_all=True)
            )
        ]

    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    named = {line["request_id"]: line["client"] for line in log if "client" in line}
    assert links == ["<https://b", "<http://a"]
    assert (named["one"], named["two"]) == ("203.0.113.9", "127.0.0.1")


@pytest.mark.parametrize(
    "sent",
    [
        request(HOST, b"X_Request_ID: mine", start=GET),
        post(CHUNKED, body=CHUNKS[:-2] + b"X-Request-ID: mine\r\n\r\n"),
    ],
    ids=["underscores", "trailer"],
)
def test_a_request_is_not_named_by_what_is_no_header(server: Server, sent: bytes) -> None:
    (answer,) = answers(exchange(server.port, sent, is_all=True))

    assert answer.headers["X-Request-ID"] not in {"mine", None}


@pytest.mark.parametrize("lines", [[], [b"Connection: keep-alive"]], ids=["", "keep-alive"])
@pytest.mark.parametrize("path", [b"/products", b"/products?limit=100", b"/"])
def test_an_answer_in_http_1_0_ends_with_the_connection(
    server: Server, path: bytes, lines: list[bytes]
) -> None:
    old = request(HOST, *lines, start=b"GET " + path + b" HTTP/1.0")
    (answer,) = answers(exchange(server.port, old))
    (modern,) = answers(
        exchange(server.port, request(HOST, CLOSE, start=b"GET " + path + b" HTTP/1.1"))
    )

    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert answer.headers["Transfer-Encoding"] is None
    assert answer.body == modern.body != b""


def test_a_whole_list_in_http_1_0_has_neither_chunks_nor_a_length(server: Server) -> None:
    (answer,) = answers(exchange(server.port, b"GET /products HTTP/1.0\r\n\r\n"))

    assert answer.headers["Content-Length"] is None
    assert len(json.loads(answer.body)) > PRODUCTS - 10


@pytest.mark.parametrize("start", [b"OPTIONS * HTTP/1.1", b"OPTIONS http://a HTTP/1.1"])
def test_options_of_the_whole_service_are_answered(server: Server, start: bytes) -> None:
    (answer,) = answers(exchange(server.port, request(HOST, start=start), is_all=True))

    assert answer.status in {200, 204}


@pytest.mark.parametrize(
    "method", [b"BREW", b"get", b"TRACE", b"CONNECT", b"PROPFIND", b"PURGE", b"G" * 5000, b"M-X"]
)
def test_an_unknown_method_is_refused(server: Server, method: bytes) -> None:
    sent = request(HOST, start=method + b" /products HTTP/1.1")

    (answer,) = answers(exchange(server.port, sent, is_all=True))

    assert answer.status in {400, 405}


PRODUCT = json.dumps(product_body()).encode()
PRODUCT_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(PRODUCT), PRODUCT)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: %d" % len(PRODUCT), PRODUCT),
        (CHUNKED, PRODUCT_CHUNKS),
    ],
    ids=["length", "chunks"],
)
def test_a_client_that_waits_for_100_is_told_once_to_go_on(
    server: Server, framing: bytes, body: bytes
) -> None:
    with connected(server.port) as connection:
        connection.sendall(post(EXPECT, JSON, CLOSE, framing))
        interim = connection.recv(MEBIBYTE)
        connection.sendall(body[:10])
        connection.sendall(body[10:])
        received = read_on(connection)

    assert interim == CONTINUE
    assert CONTINUE not in received
    assert statuses(received) == [201]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(HOST, EXPECT, JSON, b"Content-Length: 9", start=OLD, body=b"[1, 2, 3]"), 400),
        (post(EXPECT, JSON, CLOSE, b"Content-Length: 1048577"), 413),
        (post(EXPECT, JSON, CLOSE, b"Content-Length: 10", CHUNKED), 400),
        (request(HOST, EXPECT, CLOSE, start=GET), 200),
    ],
    ids=["HTTP/1.0", "too large", "ambiguous", "no body"],
)
def test_no_other_client_is_told_to_go_on(server: Server, sent: bytes, status: int) -> None:
    received = exchange(server.port, sent)

    assert b" 100 " not in received
    assert statuses(received) == [status]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("excess", "expected"), [(0, [201, 200]), (1, [413])])
def test_a_body_may_have_one_mebibyte(
    server: Server, is_chunked: bool, excess: int, expected: list[int]
) -> None:
    body = PRODUCT.ljust(MEBIBYTE + excess)
    if is_chunked:
        chunks = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
        encoded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        sent = post(JSON, CHUNKED, body=encoded + b"0\r\n\r\n")
    else:
        sent = post(JSON, b"Content-Length: %d" % len(body), body=body)

    found = statuses(exchange(server.port, sent + FOLLOWING, is_all=True))

    assert found[: len(expected)] == expected


@pytest.mark.parametrize("count", [2, 100])
@pytest.mark.parametrize("is_all", [True, False], ids=["half-closed", "open"])
def test_pipelined_requests_are_answered_in_order(server: Server, count: int, is_all: bool) -> None:
    ids = range(11, 11 + count)
    lines = [HOST, CLOSE]
    sent = b"".join(
        request(
            *(lines[: 1 + (number == ids[-1] and not is_all)]),
            start=b"GET /products/%d HTTP/1.1" % number,
        )
        for number in ids
    )

    answered = answers(exchange(server.port, sent, is_all=is_all))

    assert [json.loads(answer.body)["id"] for answer in answered] == list(ids)


def test_a_whole_list_and_what_is_asked_after_it_are_answered_in_order(server: Server) -> None:
    sent = request(HOST, start=b"GET /products HTTP/1.1") * 3 + FOLLOWING

    answered = [json.loads(answer.body) for answer in answers(exchange(server.port, sent))]

    assert [len(each) for each in answered[:3]] == [len(answered[0])] * 3
    assert answered[3]["id"] == 1


H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
WEBSOCKET = (
    *(b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(HOST, *H2C, start=GET), 200),
        (post(*H2C, JSON, b"Content-Length: %d" % len(PRODUCT), body=PRODUCT), 201),
        (post(*H2C, JSON, CHUNKED, body=PRODUCT_CHUNKS), 201),
        (request(HOST, *WEBSOCKET, start=GET), 200),
    ],
    ids=["h2c", "h2c with a length", "h2c with chunks", "websocket"],
)
def test_an_upgrade_is_not_made_and_the_connection_ends(
    server: Server, sent: bytes, status: int
) -> None:
    (answer,) = answers(exchange(server.port, sent))

    assert (answer.status, answer.headers["Connection"]) == (status, "close")
    assert answer.headers["Upgrade"] is None


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "junk", [b"\0", b"junk\r\n\r\n", b"\x16\x03\x01", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_requests_before_junk_are_answered(server: Server, count: int, junk: bytes) -> None:
    received = exchange(server.port, request(HOST, start=GET) * count + junk)

    found = statuses(received)
    assert found[:count] == [200] * count
    assert found[count:] in ([], [400])


def test_requests_before_an_unfinished_one_are_answered(local: Local) -> None:
    sent = request(HOST, start=GET) * 3 + post(LENGTH, body=SMUGGLED[:-1])

    assert asked_of(local.exchange(sent, is_all=True)) == [Asked("GET", "/products/1")] * 3


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.fixture(scope="module")
def configured(session_sqlite_app: Flask) -> Iterator[tuple[int, IO[bytes]]]:
    """Run the service where its own configuration says; give the port and the log."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "DATABASE_URI": str(session_sqlite_app.config["DATABASE_URI"]),
        "HOST": "*",
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=ROOT,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr
        assert any(b"Listening at" in line for line in process.stderr)
        yield port, process.stderr
        process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6")),
    ],
)
def test_it_listens_on_ipv4_and_ipv6_and_logs_who_asks(
    configured: tuple[int, IO[bytes]], address: str
) -> None:
    port, log = configured
    name = b"from-" + address.replace(":", "").encode()
    with socket.create_connection((address, port), SECONDS) as connection:
        sent = request(HOST, CLOSE, b"X-Request-ID: " + name, *FORWARDED, start=LIMITED)
        connection.sendall(sent)
        (answer,) = answers(read_on(connection))

    line = next(json.loads(line) for line in log if name in line)
    assert answer.headers["X-Request-ID"] == name.decode()
    assert (answer.status, line["client"]) == (200, address)
