"""Clients that write and read all the while, and remember what they were answered."""

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, Event
from types import MappingProxyType
from typing import Any

import pytest

from tests.factories import product_body
from tests.server import Server

LOST = 0
PAUSE_SECONDS = 0.05
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Answer:
    """What became of one request; the status of one that was not answered is ``LOST``."""

    client: int
    method: str
    name: str
    status: int
    retry_after: str | None
    started: float
    ended: float


Ask = Callable[[http.client.HTTPConnection, int, int], Answer]
"""A function that a client calls again and again, with its number and that of the call."""


@dataclass
class Load:
    """The answers so far."""

    answers: list[Answer] = field(default_factory=list)
    changed: Condition = field(default_factory=Condition)
    ended: Event = field(default_factory=Event)
    clients: list[Future[None]] = field(default_factory=list)

    def stop(self) -> None:
        """Have the clients ask no more, and wait for the answers that are still to come."""
        self.ended.set()
        for client in self.clients:
            client.result()

    def wait_for(
        self,
        *statuses: int,
        method: str,
        since: float = 0,
        seconds: float = 30,
        client: int | None = None,
    ) -> float:
        """Wait for an answer to what anybody, or one client, asked after ``since``.

        Return when it came.
        """

        def answers() -> list[Answer]:
            return [
                answer
                for answer in self.answers
                if answer.started >= since
                and answer.method == method
                and client in (None, answer.client)
            ]

        def found() -> list[float]:
            return [answer.ended for answer in answers() if answer.status in statuses]

        with self.changed:
            if not self.changed.wait_for(found, seconds):
                others = Counter(answer.status for answer in answers())
                pytest.fail(f"no {method} of {client} was answered {statuses}, but {others}")
            return min(found())

    def statuses(
        self, begin: float = 0, end: float = float("inf"), method: str | None = None
    ) -> set[int]:
        """Return the statuses of what was asked in a time, by all methods or by one."""
        return {
            answer.status
            for answer in self.answers
            if begin <= answer.started < end and method in (None, answer.method)
        }

    def acknowledged(self) -> set[str]:
        """Return the names of the products that were created."""
        return {answer.name for answer in self.answers if answer.status == 201}

    def lost_and_twice(self, products: Iterable[Mapping[str, Any]]) -> tuple[set[str], set[str]]:
        """Return the names of writes that were acknowledged but not stored, or stored twice."""
        stored = Counter(product["name"] for product in products)
        return self.acknowledged() - stored.keys(), {name for name, n in stored.items() if n > 1}

    def add(self, answer: Answer) -> None:
        """Remember an answer."""
        with self.changed:
            self.answers.append(answer)
            self.changed.notify_all()


def alternately(connection: http.client.HTTPConnection, client: int, number: int) -> Answer:
    """Read and write in turn."""
    ask = write if number % 2 else read
    return ask(connection, client, f"{client}/{number}")


def either(connection: http.client.HTTPConnection, client: int, number: int) -> Answer:
    """Only read or only write, depending on the client."""
    ask = write if client % 2 else read
    return ask(connection, client, f"{client}/{number}")


@contextmanager
def under_load(
    server: Server, clients: int = 8, ask: Ask = alternately, *, is_slow: bool = False
) -> Iterator[Load]:
    """Have clients write and read until the end of the block; slow ones pause in between."""
    load = Load()
    with ThreadPoolExecutor(clients) as pool:
        load.clients = [
            pool.submit(_run, server, load, ask, number, is_slow) for number in range(clients)
        ]
        try:
            load.wait_for(200, method="GET")
            load.wait_for(201, method="POST")
            yield load
        finally:
            load.stop()


def all_written(load: Load, since: float = 0) -> float:
    """Wait until each odd client, which writes, has begun and made a write after ``since``.

    Return when the last one had.
    """
    writers = range(1, len(load.clients), 2)
    return max(load.wait_for(201, method="POST", since=since, client=each) for each in writers)


def _run(server: Server, load: Load, ask: Ask, client: int, is_slow: bool) -> None:
    connection = server.connect()
    for number in count():
        if load.ended.is_set():
            break
        answer = ask(connection, client, number)
        load.add(answer)
        if answer.status in (LOST, 503) or is_slow:
            load.ended.wait(PAUSE_SECONDS)
        if answer.status == LOST:
            connection.close()
    connection.close()


def read(connection: http.client.HTTPConnection, client: int, name: str) -> Answer:
    """Read the newest products."""
    return _answer(connection, client, name, "GET", "/products?sort=-id&limit=5")


def write(connection: http.client.HTTPConnection, client: int, name: str) -> Answer:
    """Create a product of this name."""
    return _create(connection, client, product_body(name=name))


class KeyedWrites:
    """Clients that read, and clients that repeat a write with its key until it is acknowledged."""

    def __init__(self) -> None:
        self._unacknowledged: dict[int, dict[str, Any]] = {}

    def __call__(self, connection: http.client.HTTPConnection, client: int, number: int) -> Answer:
        name = f"{client}/{number}"
        if client % 2 == 0:
            return read(connection, client, name)
        # With its key the whole body is repeated: another one under the same key is 422.
        body = self._unacknowledged.setdefault(client, product_body(name=name))
        answer = _create(connection, client, body, {"Idempotency-Key": body["name"]})
        if answer.status == 201:
            del self._unacknowledged[client]
        return answer


def _create(
    connection: http.client.HTTPConnection,
    client: int,
    body: dict[str, Any],
    headers: Mapping[str, str] = NO_HEADERS,
) -> Answer:
    return _answer(connection, client, body["name"], "POST", "/products", json.dumps(body), headers)


def _answer(
    connection: http.client.HTTPConnection,
    client: int,
    name: str,
    method: str,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Answer:
    """Send a request; a connection that was closed is opened anew."""
    status, retry_after = LOST, None
    started = time.monotonic()
    with suppress(OSError, http.client.HTTPException):
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        with closing(connection.getresponse()) as response:
            response.read()
            status, retry_after = response.status, response.headers["Retry-After"]
    return Answer(client, method, name, status, retry_after, started, time.monotonic())
