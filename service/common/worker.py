"""gunicorn's threaded worker, but a request takes up a thread only when all of it is there.

gthread reads each request in one of its few threads, so that a few clients who are slow to send
theirs keep out everybody else. Here the main loop collects what comes, without waiting; and a
thread whose client is slow to read lets another one work meanwhile.
"""

import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EPIPE
from functools import cached_property, partial
from http import HTTPStatus
from selectors import EVENT_READ
from threading import Semaphore
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from flask import Flask
from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

from service.common.intake import LONGEST_HEAD, Intake, RefusedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# How long a request may take to come, and how long the rest of one that was refused is awaited.
REQUEST_SECONDS = 60
LINGER_SECONDS = 2
# How long a thread waits for a client that takes none of its answer.
STALL_SECONDS = 30
# How many clients may be slow to read what is more than fits into the buffers of the network.
MOST_ASIDE = 64
# How much of requests that have come in part is kept, in bytes.
MOST_HELD = 64 * 1024 * 1024
PIECE = 65_536

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Threads(ThreadPoolExecutor):
    """So many threads at work, and one more for each that waits for its client to read on."""

    def __init__(self, number: int) -> None:
        """Let ``number`` threads work at a time."""
        super().__init__(number + MOST_ASIDE)
        self._number = number
        self._aside = 0
        self._places = Semaphore(number)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Take a place as soon as there is one."""
        with self._places:
            yield

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the place to another thread; raises ``BrokenPipeError`` if too many do."""
        with self._shutdown_lock:
            if self._aside >= MOST_ASIDE:
                raise BrokenPipeError(EPIPE, "too many clients are slow to read")
            self._aside += 1
            self._adjust_thread_count()
        self._places.release()
        try:
            yield
        finally:
            self._places.acquire()
            with self._shutdown_lock:
                self._aside -= 1

    def _adjust_thread_count(self) -> None:
        """Start a thread for what waits to be done, if it would find a place.

        The count of idle threads is forgotten before, as it is only right without a bound.
        """
        if len(self._threads) < self._number + self._aside:
            while self._idle_semaphore.acquire(timeout=0):
                pass
            super()._adjust_thread_count()


class ClientSocket(socket.socket):
    """A client's socket: a thread that has to wait for it steps aside."""

    threads: Threads

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send all of it; in the main loop, without waiting."""
        if self.gettimeout() == 0:
            super().sendall(data, flags)
            return
        try:
            sent = self.send(data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        rest = memoryview(data)[sent:]
        if rest:
            with self.threads.aside():
                self._wait_and_send(rest, flags)

    def _wait_and_send(self, rest: memoryview, flags: int) -> None:
        try:
            super().sendall(rest, flags)
        except BlockingIOError:
            raise BrokenPipeError(EPIPE, "the client has stopped reading") from None


class Connection(TConn):
    """A client's connection, with what has come of its next request."""

    def __init__(self, *given: Any) -> None:
        """Never wait in a thread for a client that stands still."""
        super().__init__(*given)
        self.data_ready = True
        self.intake = Intake(0)
        stall = struct.pack("ll", STALL_SECONDS, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stall)

    def init(self) -> None:
        """Give the parser what has come."""
        super().init()
        parser: Any = self.parser
        parser.unreader.unread(bytes(self.intake.received))
        self.intake.received.clear()


Step = Callable[[Connection], None]


class BufferingWorker(ThreadWorker):
    """Collects requests in its main loop and answers them in its threads.

    It speaks HTTP/1.1 without TLS, as to a proxy.
    """

    tpool: Threads
    pending_conns: deque[Any]

    def __init__(self, *given: Any) -> None:
        """Begin without clients."""
        super().__init__(*given)
        self.lingering_conns: deque[Connection] = deque()

    @cached_property
    def longest_body(self) -> int:
        """The largest body that the app will read, in bytes."""
        app = cast(Flask, self.wsgi)
        return int(app.config["MAX_CONTENT_LENGTH"] or 0)

    def accept(self, listener: socket.socket) -> None:
        """Welcome a client."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        patient = ClientSocket(client.family, client.type, client.proto, client.detach())
        patient.threads = self.tpool
        self._await_request(Connection(self.cfg, patient, address, listener.getsockname()))

    def get_thread_pool(self) -> Threads:
        """Make the threads that answer."""
        return Threads(self.cfg.threads)

    def handle(self, conn: TConn) -> bool:
        """Answer a request, in a thread."""
        with self.tpool.at_work():
            return super().handle(conn)

    def _await_request(self, conn: Connection, received: bytes = b"") -> None:
        """Collect the next request; most often all of it is there at once."""
        conn.intake = Intake(self.longest_body, received)
        if step := self._receive(conn):
            step(conn)
            return
        conn.timeout = monotonic() + (REQUEST_SECONDS if self.alive else LINGER_SECONDS)
        self.pending_conns.append(conn)
        self._watch(conn, self.on_pending_socket_readable)

    def _watch(self, conn: Connection, callback: Callable[[Any, socket.socket], None]) -> None:
        self.poller.register(conn.sock, EVENT_READ, partial(callback, conn))

    def on_client_socket_readable(self, conn: Any, client: socket.socket) -> None:
        """Begin with the next request of a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_request(conn)

    def on_pending_socket_readable(self, conn: Any, client: socket.socket) -> None:
        """Go on with a request that has come in part."""
        if step := self._receive(conn):
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            step(conn)

    def _receive(self, conn: Connection) -> Step | None:
        """Take what has come; return what is to be done, None if there is more to come."""
        try:
            piece = conn.sock.recv(PIECE)
        except BlockingIOError:
            piece = None
        except OSError:
            return self._drop
        intake = conn.intake
        intake.received += piece or b""
        try:
            if intake.is_whole():
                return self.enqueue_req
            self._check_room(intake)
        except RefusedError as refusal:
            return partial(self._refuse, refusal)
        if piece == b"":
            return self._drop
        if intake.expects_continue:
            intake.expects_continue = False
            with suppress(OSError):
                conn.sock.send(CONTINUE)
        return None

    def _check_room(self, intake: Intake) -> None:
        """Refuse a large body while there are too many others."""
        if len(intake.received) > LONGEST_HEAD:
            held = sum(len(conn.intake.received) for conn in self.pending_conns)
            if held > MOST_HELD:
                raise RefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests are being sent"
                )

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Close a connection with the rest of a body that is too large in it."""
        if conn.intake.is_cut:
            return False
        return bool(super()._keepalive_after(conn, keepalive))  # type: ignore[misc]  # the stubs lack it

    def finish_request(self, conn: Any, fs: Future[bool]) -> None:
        """Go on with a connection when its request is answered."""
        try:
            keeps_alive = not fs.cancelled() and fs.result()
            conn.sock.settimeout(0)
        except OSError:
            self._drop(conn)
            return
        if not keeps_alive:
            self._linger(conn)
        elif received := conn.parser.unreader.take_buffered():
            self._await_request(conn, received)
        else:
            conn.set_timeout()
            if not self.alive:
                conn.timeout = monotonic() + LINGER_SECONDS
            self.keepalived_conns.append(conn)
            self._watch(conn, self.on_client_socket_readable)

    def _refuse(self, refusal: RefusedError, conn: Connection) -> None:
        with suppress(OSError):
            util.write_error(conn.sock, refusal.status, refusal.status.phrase, refusal.detail)
        self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        """Say goodbye, and discard what still comes: a reset could outrun the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        conn.timeout = monotonic() + LINGER_SECONDS
        self.lingering_conns.append(conn)
        self._watch(conn, self._discard)

    def _discard(self, conn: Connection, client: socket.socket) -> None:
        try:
            ended = not client.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self.poller.unregister(client)
            self.lingering_conns.remove(conn)
            self._drop(conn)

    def _drop(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """Give up on requests that do not come to an end."""
        late = RefusedError(
            HTTPStatus.REQUEST_TIMEOUT, f"The request took more than {REQUEST_SECONDS} seconds"
        )
        for conn in self._expired(self.pending_conns):
            if conn.intake.received:
                self._refuse(late, conn)
            else:
                self._drop(conn)
        for conn in self._expired(self.lingering_conns):
            self._drop(conn)

    def _expired(self, waiting: deque[Any]) -> Iterator[Any]:
        now = monotonic()
        while waiting and waiting[0].timeout <= now:
            conn = waiting.popleft()
            self.poller.unregister(conn.sock)
            yield conn

    def _cap_keepalive(self, deadline: float) -> None:
        """Let nobody who is slow to send hold up the end."""
        super()._cap_keepalive(deadline)  # type: ignore[misc]  # the stubs lack it
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)
