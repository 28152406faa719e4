"""gunicorn's worker: a few threads that wait together, and each answers what comes first.

A request takes up a thread only when all of it is there, so that no client who is slow to send
keeps out others; and a thread whose client is slow to read lets another one work meanwhile. No
request is handed from one thread to another: that takes longer than most of them.
"""

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ECONNRESET, ENOTCONN, EPIPE
from functools import lru_cache, partial
from http import HTTPStatus
from ipaddress import ip_address
from threading import Lock, Semaphore, Thread
from time import monotonic, time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from flask import Flask
from gunicorn import http, util
from gunicorn.config import Config
from gunicorn.http import message, wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.base import Worker

from service.common.intake import Intake, RefusedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# How long a request may take to come, and how long the rest of one that was refused is awaited.
REQUEST_SECONDS = 60
LINGER_SECONDS = 2
# How long a thread waits for a client that takes none of its answer.
STALL_SECONDS = 30
# How many clients may be slow to read what is more than fits into the buffers of the network.
MOST_ASIDE = 64
# How much of requests that have come in part is kept, in bytes, save what is small.
MOST_HELD = 64 * 1024 * 1024
SMALL = 8 * 1024
PIECE = 65_536
# How often the main thread looks whether time is over; more often when the worker ends.
TICK_SECONDS = 1.0
LAST_TICK_SECONDS = 0.1

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Of the threads that wait, the kernel wakes one; nothing more is told until it is asked for.
ONCE = select.EPOLLIN | select.EPOLLONESHOT
# Nearly always, a client's socket can be written to at once.
SOON = ONCE | select.EPOLLOUT
HUNG_UP = (EPIPE, ECONNRESET, ENOTCONN)


class Crew:
    """So many threads at work, and one more for each that waits for its client to read on."""

    def __init__(self, number: int, work: Callable[[], None]) -> None:
        """Let ``number`` threads do ``work`` again and again."""
        self.places = Semaphore(number)
        """What a thread holds while it answers a request."""
        self._number = number
        self._work = work
        self._lock = Lock()
        self._aside = 0
        self._surplus = 0
        self._is_dismissed = False

    def start(self) -> None:
        """Let the threads begin."""
        for _ in range(self._number):
            self._hire()

    def dismiss(self) -> None:
        """Let every thread end that has nothing to do."""
        self._is_dismissed = True

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the place to another thread; raises ``BrokenPipeError`` if too many do."""
        with self._lock:
            if self._aside >= MOST_ASIDE:
                raise BrokenPipeError(EPIPE, "too many clients are slow to read")
            self._hire()
            self._aside += 1
        self.places.release()
        try:
            yield
        finally:
            self.places.acquire()
            with self._lock:
                self._aside -= 1
                self._surplus += 1

    def _hire(self) -> None:
        Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        while not self._is_dismissed and not self._is_surplus():
            self._work()

    def _is_surplus(self) -> bool:
        """Say whether this thread is one too many, as one that was aside has come back."""
        if not self._surplus:
            return False
        with self._lock:
            is_surplus = self._surplus > 0
            self._surplus -= is_surplus
            return is_surplus


class ClientSocket(socket.socket):
    """A client's socket: a thread that has to wait for it steps aside."""

    crew: Crew
    asked = b""
    """The request that is being answered, or its beginning."""

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send all of it; raises ``BrokenPipeError`` if the client has stopped reading.

        Where nobody is to wait, raises ``BlockingIOError`` if it does not fit.
        """
        if self.gettimeout() == 0:
            super().sendall(data, flags)
            return
        try:
            sent = self.send(data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        rest = memoryview(data)[sent:]
        if rest:
            with self.crew.aside():
                self._wait_and_send(rest, flags)

    def _wait_and_send(self, rest: memoryview, flags: int) -> None:
        try:
            super().sendall(rest, flags)
        except BlockingIOError:
            raise BrokenPipeError(EPIPE, "the client has stopped reading") from None


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return util.http_date(second)


class Request(message.Request):
    """A request, whose peer is not looked up each time anew."""

    def _peer_is_trusted_proxy(self) -> bool:
        peer = self.peer_addr
        return not isinstance(peer, tuple) or bool(self.cfg.trusts(peer[0]))


class Parser(http.RequestParser):
    """The requests of a connection, one after the other."""

    mesg_class = Request

    def check_body(self, longest: int) -> None:
        """See that the chunks are well-formed, before anything is done; raises if they are not."""
        body = cast("Any", self.mesg).body
        read = body.read(longest)
        body.buf.write(read)

    def finish(self) -> bool:
        """Be ready for the next request; say whether there can be one."""
        is_whole: bool = cast("Any", self).finish_body()  # the stubs know no result
        self.mesg = None
        return is_whole


def frozen(cfg: Config) -> Any:
    """Return the settings as plain attributes, as each request looks at some twenty of them."""
    allowed, networks = cfg.forwarded_allow_ips, cfg.forwarded_allow_networks()

    @lru_cache(maxsize=1024)
    def trusts(address: str) -> bool:
        return "*" in allowed or any(ip_address(address) in network for network in networks)

    settings = {name: setting.get() for name, setting in cfg.settings.items()}
    return SimpleNamespace(**settings, is_ssl=False, trusts=trusts)


class Answer(wsgi.Response):
    """An answer whose head is sent together with the beginning of its body."""

    _head = b""

    def send_headers(self) -> None:
        """Write the head, once."""
        if self.headers_sent:
            return
        major, minor = cast("tuple[int, int]", self.req.version)
        lines = [
            f"HTTP/{major}.{minor} {self.status}",
            f"Server: {self.version}",
            f"Date: {_date(int(time()))}",
            "Connection: close" if self.should_close() else "Connection: keep-alive",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        self._head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self.send_headers()
        self._send(b"0\r\n\r\n" if self.chunked else b"")

    def _send(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if head or data:
            self.sock.sendall(head + data)


class Connection:
    """A client's connection, with what has come of its next request."""

    step: "Step"
    """What to do when there is something to read."""
    deadline: float
    """When there is no more waiting for it."""

    def __init__(
        self, settings: Any, intake: Intake, sock: ClientSocket, client: Any, server: Any
    ) -> None:
        """Never wait in a thread for a client that stands still."""
        self.intake = intake
        self.sock = sock
        self.client = client
        self.server = server
        self.parser = Parser(settings, sock, client)
        stall = struct.pack("ll", STALL_SECONDS, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stall)

    def receive(self) -> bytes | None:
        """Return what has come, empty at the end; None if that is nothing yet."""
        try:
            return self.sock.recv(PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""


# What is done with a connection; it returns what is to be done next, None if that has to wait.
Step = Callable[[Connection], "Step | None"]


class BufferingWorker(Worker):
    """Collects requests without waiting for any, and answers each in the thread that has it.

    It speaks HTTP/1.1 without TLS, as to a proxy. A connection is in the hands of the thread
    that takes it out of ``_waiting``.
    """

    wsgi: Any
    _poller: select.epoll

    def __init__(self, *given: Any) -> None:
        """Begin without clients."""
        super().__init__(*given)
        self.connections: set[Connection] = set()
        self._waiting: dict[int, Connection] = {}
        self._listeners = {listener.fileno(): listener for listener in self.sockets}
        self._settings = frozen(self.cfg)
        self._most_waiting = self.cfg.worker_connections - self.cfg.threads
        self._longest_body = 0
        self._door = Lock()
        self._crew = Crew(self.cfg.threads, self._react)

    def run(self) -> None:
        """Serve until the worker is told to end, and finish what has begun."""
        self._longest_body = int(cast("Flask", self.wsgi).config["MAX_CONTENT_LENGTH"] or 0)
        self._poller = select.epoll()
        for listener in self.sockets:
            listener.settimeout(0)
            self._poller.register(listener, ONCE)
        self._crew.start()
        while self.alive and self.ppid == os.getppid():
            self._listen()
            self._tick(TICK_SECONDS)
        with self._door:
            self.alive = False
        end = monotonic() + self.cfg.graceful_timeout
        while self.connections and monotonic() < end:
            self._tick(LAST_TICK_SECONDS)
        self._crew.dismiss()
        for listener in self.sockets:
            listener.close()

    def _tick(self, seconds: float) -> None:
        """Show the arbiter that the worker lives, rest, and give up what is late."""
        self.notify()
        woken, _, _ = select.select([self.PIPE[0]], [], [], seconds)
        if woken:
            os.read(self.PIPE[0], PIECE)
        now = monotonic()
        for conn in list(self._waiting.values()):
            if not self.alive:  # let nobody who is slow hold up the end
                conn.deadline = min(conn.deadline, now + LINGER_SECONDS)
            if conn.deadline <= now and (taken := self._take(conn.sock.fileno())):
                if taken.deadline <= now:
                    self._proceed(taken, self._give_up)
                else:  # it has been answered in between, or is another of the same number
                    self._await(taken, taken.step, events=SOON)

    def _listen(self) -> None:
        """Wait for new clients, if there is room for any."""
        if self.alive and len(self.connections) < self.cfg.worker_connections:
            for listener in self.sockets:
                self._poller.modify(listener, ONCE)

    def _react(self) -> None:
        """Wait for a while for the first thing that comes, and see to it."""
        for descriptor, _ in self._poller.poll(TICK_SECONDS, maxevents=1):
            if listener := self._listeners.get(descriptor):
                self._accept(listener)
            elif conn := self._take(descriptor):
                self._proceed(conn, conn.step)

    def _take(self, descriptor: int) -> Connection | None:
        """Take a connection in hand; None if another thread has it."""
        return self._waiting.pop(descriptor, None)

    def _proceed(self, conn: Connection, step: Step | None) -> None:
        """Take one step after the other until there is something to wait for."""
        try:
            while step:
                step = step(conn)
        except Exception:
            self.log.exception("A connection has failed")
            self._drop(conn)

    def _accept(self, listener: socket.socket) -> None:
        """Welcome a client, unless the worker ends: the next one in the queue is another's."""
        with self._door:
            if self.alive:
                self._welcome(listener)

    def _welcome(self, listener: socket.socket) -> None:
        try:
            accepted, address = listener.accept()
            client = ClientSocket(accepted.family, accepted.type, accepted.proto, accepted.detach())
            client.crew = self._crew
            intake, server = Intake(self._longest_body), listener.getsockname()
            conn = Connection(self._settings, intake, client, address, server)
        except (BlockingIOError, ConnectionAbortedError):
            self._listen()
        except OSError:  # no more files, perhaps; the main thread will listen again
            self.log.exception("A client could not be accepted")
        else:
            self.connections.add(conn)
            self._listen()
            self._poller.register(client, 0)
            self._await(conn, self._begin, REQUEST_SECONDS)

    def _await(
        self, conn: Connection, step: Step, seconds: float | None = None, *, events: int = ONCE
    ) -> None:
        """Have a step taken when there is something to read, or at another event."""
        conn.step = step
        if seconds is not None:
            conn.deadline = monotonic() + seconds
        descriptor = conn.sock.fileno()
        self._waiting[descriptor] = conn
        self._poller.modify(descriptor, events)

    def _begin(self, conn: Connection) -> Step | None:
        """Collect the next request; most often all of it is there at once."""
        conn.deadline = monotonic() + REQUEST_SECONDS
        return self._collect(conn)

    def _collect(self, conn: Connection) -> Step | None:
        """Take what has come of a request."""
        intake = conn.intake
        try:
            # It may have come with the one before; then nothing more is taken in.
            piece = None if intake.received and intake.is_whole() else conn.receive()
            intake.received += piece or b""
            if intake.is_whole():
                return self._serve
            self._check_room(intake)
        except RefusedError as refusal:
            return partial(self._refuse, refusal)
        if piece == b"":
            return self._drop
        if intake.expects_continue:
            intake.expects_continue = False
            with suppress(OSError):
                conn.sock.send(CONTINUE, socket.MSG_DONTWAIT)
        self._await(conn, self._collect)
        return None

    def _check_room(self, intake: Intake) -> None:
        """Refuse a large body while there are too many others."""
        if len(intake.received) > SMALL:
            held = sum(len(conn.intake.received) for conn in list(self._waiting.values()))
            if held > MOST_HELD:
                raise RefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests are being sent"
                )

    def _serve(self, conn: Connection) -> Step | None:
        """Answer a request that is there, and go on with the next one of its connection."""
        unreader = conn.parser.unreader
        conn.sock.asked = bytes(conn.intake.received)
        unreader.unread(conn.sock.asked)
        conn.intake.received.clear()
        with self._crew.places:
            stays = self._answer(conn)
        conn.sock.asked = b""
        if not stays:
            return self._linger
        conn.intake = Intake(self._longest_body, unreader.take_buffered())
        if conn.intake.received:  # let others have their turn
            self._await(conn, self._collect, REQUEST_SECONDS, events=SOON)
        else:
            self._await(conn, self._begin, self.cfg.keepalive)
        return None

    def _answer(self, conn: Connection) -> bool:
        """Answer a request; say whether its connection can be used for another one."""
        request = None
        try:
            request = next(conn.parser)
            if conn.intake.is_chunked:
                conn.parser.check_body(self._longest_body + 1)
            return self._run_app(request, conn) and not conn.intake.is_cut and conn.parser.finish()
        except (NoMoreData, StopIteration):
            pass
        except OSError as error:
            if error.errno not in HUNG_UP:
                self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this request's
            self.handle_error(request, conn.sock, conn.client, error)
        return False

    def _run_app(self, request: Any, conn: Connection) -> bool:
        """Let the app answer; say whether the answer lets the connection be used again."""
        answer, environ = wsgi.create(
            request, conn.sock, conn.client, conn.server, self._settings, response_class=Answer
        )
        environ["wsgi.multithread"] = True
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        if conn.intake.is_cut or not self.alive or len(self._waiting) >= self._most_waiting:
            answer.force_close()
        try:
            body = self.wsgi(environ, answer.start_response)
            try:
                for piece in body:
                    answer.write(piece)
                answer.close()
            finally:
                body.close()
        except OSError:
            raise
        except Exception:
            if not answer.headers_sent:
                raise
            self.log.exception("Error handling request")
            return False  # nothing more can be said
        return not answer.should_close()

    def _refuse(self, refusal: RefusedError, conn: Connection) -> Step:
        conn.sock.asked = bytes(conn.intake.received)
        with suppress(OSError):
            util.write_error(conn.sock, refusal.status, refusal.status.phrase, refusal.detail)
        return self._linger

    def _linger(self, conn: Connection) -> Step | None:
        """Say goodbye, and discard what still comes: a reset could outrun the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return self._drop
        self._await(conn, self._discard, LINGER_SECONDS)
        return None

    def _discard(self, conn: Connection) -> Step | None:
        if conn.receive() == b"":
            return self._drop
        self._await(conn, self._discard)
        return None

    def _give_up(self, conn: Connection) -> Step:
        """Part with a client that has taken too long."""
        if conn.step == self._collect and conn.intake.received:
            detail = f"The request took more than {REQUEST_SECONDS} seconds"
            return partial(self._refuse, RefusedError(HTTPStatus.REQUEST_TIMEOUT, detail))
        return self._drop

    def _drop(self, conn: Connection) -> None:
        self.connections.discard(conn)
        conn.sock.close()
