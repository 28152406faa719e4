"""A WSGI app (PEP 3333) as an ASGI app whose clients never hold a thread.

The event loop collects a request's whole body, a pool thread runs the app until it has a part
of the answer, and the event loop sends that part before it asks for the next one. So a thread
is busy only while the app computes, however slowly a client sends or reads.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import Context
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import HTTPException, RequestTimeout, ServiceUnavailable

# From the end of a request's head to the end of its body.
BODY_SECONDS = 60
# If a connection is closed with data unread, the reset can overtake the answer (RFC 9112, 9.6).
LINGER_SECONDS = 2
# Of all bodies that are collected or processed at a time; a small one is always taken.
MAX_HELD_BYTES = 64 * 1024 * 1024
SMALL_BODY_BYTES = 8 * 1024
# Pieces of a body of known length are joined up to this size.
JOINED_BYTES = 64 * 1024
RETRY_AFTER_SECONDS = 2

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


class ThreadPool:
    """A fixed number of threads that run functions for the event loop."""

    def __init__(self, size: int) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = (
            SimpleQueue()
        )
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Return a future of the running event loop for what ``function`` returns or raises."""
        future = asyncio.get_running_loop().create_future()
        self._jobs.put((function, future))
        return future

    def close(self, seconds: float) -> None:
        """Run what was submitted, then end the threads; wait up to ``seconds`` for each."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(seconds)

    def _work(self) -> None:
        while job := self._jobs.get():
            function, future = job
            try:
                settle = partial(_settle, future, function(), None)
            except Exception as error:  # noqa: BLE001  # it is raised where the future is awaited
                settle = partial(_settle, future, None, error)
            with suppress(RuntimeError):  # the event loop has been closed
                future.get_loop().call_soon_threadsafe(settle)


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)


class Unread(io.RawIOBase):
    """A body that was not collected: reading it raises the reason, which the app answers."""

    def __init__(self, reason: HTTPException) -> None:
        self._reason = reason

    def read(self, size: int = -1) -> NoReturn:
        """Raise the reason."""
        raise self._reason


class Exchange:
    """One call of the WSGI app. Its methods may be called in any thread."""

    def __init__(self, app: Any, environ: dict[str, Any], is_gone: Callable[[], bool]) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_closed = False
        self._app = app
        self._environ = environ
        self._is_gone = is_gone
        self._context = Context()
        self._lock = Lock()
        self._body: Iterable[bytes] = ()
        self._pieces: Iterator[bytes] | None = None
        self._ready: list[bytes] = []
        self._is_begun = False
        self._missing: int | None = None
        """How many bytes of a body of known length are still to come."""

    def step(self) -> tuple[bytes, bool]:
        """Return the next part of the body, and whether it is the last; raises what the app does.

        From the first part on, ``status`` and ``headers`` are those of the answer.
        """
        with self._lock:
            return self._context.run(self._step)

    def close(self) -> None:
        """Tell the app, once, that nothing more is wanted of its answer."""
        with self._lock:
            self._context.run(self._close)

    def _step(self) -> tuple[bytes, bool]:
        try:
            if self._pieces is None:
                self._body = self._app(self._environ, self._start_response)
                self._pieces = iter(self._body)
            part, is_last = self._take(self._pieces)
        except BaseException:
            self._close()
            raise
        self._is_begun = True
        if is_last:
            self._close()
        return part, is_last

    def _close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            if hasattr(self._body, "close"):
                self._body.close()

    def _take(self, pieces: Iterator[bytes]) -> tuple[bytes, bool]:
        """Take one piece of a stream, or many of a body of known length."""
        size, is_last = 0, True
        for piece in pieces:
            self._ready.append(piece)
            size += len(piece)
            if size < (1 if self._missing is None else min(self._missing, JOINED_BYTES)):
                continue
            is_last = size == self._missing
            # An app that is not asked for the end of its answer knows that the client has gone.
            if not is_last or self._is_gone():
                break
        part = b"".join(self._ready)
        self._ready.clear()
        if self._missing is not None:
            self._missing -= len(part)
        return part, is_last

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info and self._is_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.status and not exc_info:
            raise RuntimeError("start_response was called twice")
        self.status = int(status[:3])
        self.headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        length = dict(self.headers).get(b"content-length")
        self._missing = int(length) if length else None
        return self._ready.append


class Bridge:
    """The ASGI app that runs a WSGI app in a thread pool."""

    def __init__(
        self, app: Any, *, threads: int, max_body: int, inline: frozenset[str] = frozenset()
    ) -> None:
        """Serve ``app`` with this many threads.

        Bodies are collected up to ``max_body`` bytes; the app refuses larger ones. The paths in
        ``inline`` never block: the event loop answers them itself, even if no thread is free.
        """
        self.pool = ThreadPool(threads)
        self._app = app
        self._max_body = max_body
        self._inline = inline
        self._held = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; ``BoundedProtocol`` gives its cycle as an extension."""
        cycle = scope["extensions"]["cycle"]
        environ = new_environ(scope)
        body = bytearray()
        try:
            environ["wsgi.input"] = await self._collect(environ, cycle, receive, body)
            if not cycle.disconnected:
                await self._answer(environ, cycle, receive, send)
        finally:
            self._held -= len(body)

    async def _collect(
        self, environ: dict[str, Any], cycle: Any, receive: Any, body: bytearray
    ) -> io.IOBase:
        """Append the request's body to ``body``; return what the app reads."""
        if int(environ.get("CONTENT_LENGTH", 0)) > self._max_body:
            return io.BytesIO()
        try:
            async with asyncio.timeout(BODY_SECONDS if cycle.more_body else None):
                is_whole = False
                while not is_whole and len(body) <= self._max_body:
                    message = await receive()
                    piece = message.get("body", b"")
                    body += piece
                    self._held += len(piece)
                    if self._held > MAX_HELD_BYTES and len(body) > SMALL_BODY_BYTES:
                        detail = "Too many requests are being sent"
                        return Unread(ServiceUnavailable(detail, retry_after=RETRY_AFTER_SECONDS))
                    is_whole = not message.get("more_body", False)
        except TimeoutError:
            return Unread(RequestTimeout(f"The body took more than {BODY_SECONDS} seconds"))
        if body:
            environ["CONTENT_LENGTH"] = str(len(body))
        return io.BytesIO(body)

    async def _answer(self, environ: dict[str, Any], cycle: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(self._app, environ, cycle.transport.is_closing)
        try:
            if environ["PATH_INFO"] in self._inline:
                part, is_last = exchange.step()
            else:
                part, is_last = await self.pool.submit(exchange.step)
            if is_unread := cycle.more_body:
                exchange.headers.append((b"connection", b"close"))
            is_framed = environ["SERVER_PROTOCOL"] != "HTTP/1.0" or b"content-length" in dict(
                exchange.headers
            )
            if not is_framed:  # HTTP/1.0 has no chunks: the body ends with the connection
                cycle.chunked_encoding = False
            await send(
                {
                    "type": "http.response.start",
                    "status": exchange.status,
                    "headers": exchange.headers,
                }
            )
            while True:
                if not is_framed:
                    cycle.expected_content_length = len(part)
                more = is_unread or not is_last
                await send({"type": "http.response.body", "body": part, "more_body": more})
                if is_last or cycle.transport.is_closing():
                    break
                part, is_last = await self.pool.submit(exchange.step)
            if is_unread:
                await _discard(receive)
                await send({"type": "http.response.body"})
        except Exception:
            if not cycle.response_started:
                raise
            cycle.transport.close()  # the app has logged it, and nothing more can be said
        finally:
            if not exchange.is_closed:
                self.pool.submit(exchange.close)
            if cycle.transport.is_closing():
                cycle.disconnected = True  # uvicorn tells only the last request of a connection


async def _discard(receive: Any) -> None:
    """Take what is left of a request's body, for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass


def new_environ(scope: Any) -> dict[str, Any]:
    """Return the WSGI environment of an HTTP scope, without ``wsgi.input``.

    No header of a client can set anything but ``HTTP_*``, ``CONTENT_TYPE`` and ``CONTENT_LENGTH``.
    """
    server, port = scope["server"] or ("", 0)
    client, _ = scope["client"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client.removeprefix("::ffff:"),  # IPv4 on a socket of both families
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    for name, value in scope["headers"]:
        # With an underscore, a name could pass for another one; the body's coding is undone.
        if b"_" in name or name == b"transfer-encoding":
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ
