"""A WSGI app (PEP 3333) as an ASGI app whose clients never hold a thread.

The event loop collects a request's whole body, a pool thread runs the app until it has a part
of the answer, and the event loop sends that part before it asks for the next one. So a thread
is busy only while the app computes, however slowly a client sends or reads.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from contextvars import Context
from threading import Lock
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from flask import request
from werkzeug.exceptions import HTTPException, RequestTimeout, ServiceUnavailable

from service.server.threads import ThreadPool

# From the end of a request's head to the end of its body.
BODY_SECONDS = 60
# If a connection is closed with data unread, the reset can overtake the answer (RFC 9112, 9.6).
LINGER_SECONDS = 2
# The maximum size of all bodies that are collected or processed at a time, but for small ones.
MAX_HELD_BYTES = 64 * 1024 * 1024
SMALL_BODY_BYTES = 8 * 1024
# Pieces of a body of known length are joined up to this size.
JOINED_BYTES = 64 * 1024
RETRY_AFTER_SECONDS = 2
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
REFUSAL = "bridge.refusal"
"""The key of the WSGI environment for the exception with which the app is to answer."""

Headers = list[tuple[bytes, bytes]]
Part = tuple[int, Headers, bytes, bool]


class Unread(io.RawIOBase):
    """A body that was not collected: reading it raises the reason, which the app answers."""

    def __init__(self, reason: HTTPException) -> None:
        self._reason = reason

    def read(self, size: int = -1) -> NoReturn:
        """Raise the reason."""
        raise self._reason


class HeadWithBody:
    """Holds the head of an answer until its body begins: one packet instead of two."""

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write the head together with what comes next."""
        if self._head:
            self._cycle.transport = self._transport
            self._transport.writelines([self._head, data])
        else:
            self._head = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def parts(app: Any, environ: dict[str, Any], is_gone: Callable[[], bool]) -> Generator[Part]:
    """Call a WSGI app; yield status, headers, a part of the body, and whether it is the last.

    A part is one piece of a stream, or many of a body of known length. A body is exhausted only
    while the client is connected. Otherwise it is closed, so that the app logs it as aborted.
    """
    start: list[Any] = []
    ready: list[bytes] = []
    is_sent = False
    missing = None

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        nonlocal missing
        if exc_info and is_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if start and not exc_info:
            raise RuntimeError("start_response was called twice")
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        start[:] = int(status[:3]), encoded
        length = _length(encoded)
        missing = int(length) if length else None
        return ready.append

    body = app(environ, start_response)
    try:
        size = 0
        for piece in body:
            ready.append(piece)
            size += len(piece)
            if size < (1 if missing is None else min(missing, JOINED_BYTES)):
                continue
            if size == missing and not is_gone():
                continue
            yield *start, b"".join(ready), False
            is_sent = True
            missing = None if missing is None else missing - size
            ready.clear()
            size = 0
    finally:
        if hasattr(body, "close"):
            body.close()
    yield *start, b"".join(ready), True


class Steps:
    """Runs a generator in a context of its own, step by step, each in any thread."""

    def __init__(self, generator: Generator[Part]) -> None:
        self.is_closed = False
        self._generator = generator
        self._context = Context()
        self._lock = Lock()

    def next(self) -> Part:
        """Return the next part; raises what the app does."""
        with self._lock:
            part = self._context.run(next, self._generator)
            self.is_closed = part[-1]
            return part

    def close(self) -> None:
        """End the generator where it is."""
        with self._lock:
            self._context.run(self._generator.close)


class Bridge:
    """The ASGI app that runs a WSGI app in a thread pool."""

    def __init__(
        self,
        app: Any,
        *,
        threads: int,
        writers: int,
        turn_seconds: float,
        max_body: int,
        inline: tuple[str, ...],
        limits: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Serve ``app`` with this many threads, of which at most ``writers`` run writes.

        A write waits up to ``turn_seconds`` for those before it; then the app refuses it.
        Bodies are collected up to ``max_body`` bytes, or up to the limit of their path; the app
        refuses larger ones. The paths in ``inline`` never block: the event loop answers them
        itself, even if no thread is free.
        """
        self.pool = ThreadPool(threads, writers)
        self._app = app
        self._writes_take_turns = writers < threads
        self._turn_seconds = turn_seconds
        self._max_body = max_body
        self._limits = limits
        self._inline = inline
        self._held = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; ``BoundedProtocol`` gives its cycle as an extension."""
        cycle = scope["extensions"]["cycle"]
        environ = new_environ(scope)
        body = io.BytesIO()
        try:
            environ["wsgi.input"] = await self._collect(environ, cycle, receive, body)
            if not cycle.disconnected:
                await self._answer(environ, cycle, receive, send)
        except asyncio.CancelledError:  # the worker ends before the answer does
            cycle.disconnected = True
        finally:
            self._held -= body.getbuffer().nbytes
            body.close()  # what refers to it may be a cycle that is collected late

    async def _collect(
        self, environ: dict[str, Any], cycle: Any, receive: Any, body: io.BytesIO
    ) -> io.IOBase:
        """Write the request's body into ``body``; return what the app reads."""
        limit = self._limits.get(environ["PATH_INFO"].rstrip("/"), self._max_body)
        if int(environ.get("CONTENT_LENGTH", 0)) > limit or not (cycle.more_body or cycle.body):
            return body
        try:
            async with asyncio.timeout(BODY_SECONDS):
                is_whole = False
                while not is_whole and body.tell() <= limit:
                    message = await receive()
                    piece = message.get("body", b"")
                    body.write(piece)
                    self._held += len(piece)
                    if self._held > MAX_HELD_BYTES and body.tell() > SMALL_BODY_BYTES:
                        self._held -= body.tell()
                        body.seek(0)
                        body.truncate()
                        detail = "Too many requests are being sent"
                        return Unread(ServiceUnavailable(detail, retry_after=RETRY_AFTER_SECONDS))
                    is_whole = not message.get("more_body", False)
        except TimeoutError:
            return Unread(RequestTimeout(f"The body took more than {BODY_SECONDS} seconds"))
        environ["CONTENT_LENGTH"] = str(body.tell())
        body.seek(0)
        return body

    async def _answer(self, environ: dict[str, Any], cycle: Any, receive: Any, send: Any) -> None:
        """Run the app, and send each part of its answer before the next one is asked for."""
        transport = cycle.transport
        answer = Steps(parts(self._app, environ, transport.is_closing))
        try:
            status, headers, part, is_last = await self._begin_answer(environ, answer)
            if is_unread := cycle.more_body:
                headers.append((b"connection", b"close"))
            is_framed = _begin(cycle, headers)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            while True:
                if not is_framed:
                    cycle.expected_content_length = len(part)
                more = is_unread or not is_last
                await send({"type": "http.response.body", "body": part, "more_body": more})
                if is_last or transport.is_closing():
                    break
                *_, part, is_last = await self.pool.submit(answer.next)
            if is_unread:
                await _discard(receive)
                await send({"type": "http.response.body"})
        except Exception:
            if not cycle.response_started:
                raise
            transport.close()  # the app has logged it, and nothing more can be said
        finally:
            if not answer.is_closed:
                self.pool.submit(answer.close)
            if transport.is_closing():
                cycle.disconnected = True  # uvicorn tells only the last request of a connection

    async def _begin_answer(self, environ: dict[str, Any], answer: Steps) -> Part:
        """Run the app until it has the first part of its answer; a write waits for its turn."""
        if environ["PATH_INFO"] in self._inline:
            return answer.next()
        if environ["REQUEST_METHOD"] in SAFE_METHODS or not self._writes_take_turns:
            return await self.pool.submit(answer.next)

        def refuse() -> None:
            detail = "Too many writes are waiting"
            environ[REFUSAL] = ServiceUnavailable(detail, retry_after=RETRY_AFTER_SECONDS)

        return await self.pool.submit_in_turn(answer.next, self._turn_seconds, refuse)


def raise_refusal() -> None:
    """Raise the exception with which the app is to answer; a function for ``before_request``."""
    if refusal := request.environ.get(REFUSAL):
        raise refusal


def _begin(cycle: Any, headers: Headers) -> bool:
    """Have the head sent with the body; return whether the body says by itself where it ends.

    HTTP/1.0 has no chunks: there, a body of unknown length ends with the connection.
    """
    if cycle.scope["method"] != "HEAD":
        cycle.transport = HeadWithBody(cycle)
    if cycle.scope["http_version"] == "1.0" and not _length(headers):
        cycle.chunked_encoding = False
        return False
    return True


def _length(headers: Headers) -> bytes | None:
    return next((value for name, value in headers if name.lower() == b"content-length"), None)


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
        if b"_" in name or name in {b"transfer-encoding", b"upgrade"}:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ
