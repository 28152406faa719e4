"""uvicorn's HTTP/1.1 protocol, with bounds on the size and the time of what a client sends."""

import fcntl
import math
import struct
import termios
from asyncio import TimerHandle
from itertools import islice
from typing import Any, ClassVar
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# Of a head; and of what is sent with a body but belongs to none: chunk extensions and trailers.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_PIPELINED = 100
# Two of these would leave open which one counts (RFC 9112, sections 3.2 and 6.1).
UNIQUE = {b"host", b"transfer-encoding"}
# From the opening of a connection to its first byte; from there to the end of a head.
FIRST_BYTE_SECONDS = 10
HEAD_SECONDS = 60
# How long a client may take nothing of its answer.
STALL_SECONDS = 30
# How long the rest of a refused request is discarded, and how long an idle connection is kept when
# the worker ends: its next request may be under way.
LINGER_SECONDS = 2
TICK_SECONDS = 1
# Of so many connections the idle one with the nearest deadline makes room for a new one.
SAMPLE = 64


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a client; it is closed when its time is over."""

    max_connections: ClassVar[int] = 1000
    deadline = math.inf
    """When to close it if it is idle, on the event loop's clock."""
    is_ending = False
    """Whether the worker ends, so that the next answer is the last."""
    is_refused = False
    """Whether what is received is discarded."""
    refusal = 400
    _is_head = False
    _head_size = 0
    _unparsed = 0
    """How many bytes have come since the last head, or the last part of a body, ended."""
    _unsent = (0, 0)
    _moved_at = 0.0
    _ticker: TimerHandle

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered, or has come but for its body."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:
        """Begin to watch the time; make room if there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            some: Any = islice(self.connections, SAMPLE)
            idle = [each for each in some if each.is_idle]
            min(idle, key=lambda each: each.deadline, default=self).transport.abort()
        self.deadline = self.loop.time() + FIRST_BYTE_SECONDS
        self._tick()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        self._ticker.cancel()

    def eof_received(self) -> bool:
        """Answer what has come whole, though the client sends no more."""
        if self.is_idle or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless the connection is to be closed."""
        if self.is_refused:
            return
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:  # it is ignored (RFC 9110, section 7.8), with all after it
            self.cycle.keep_alive = False
            self.is_refused = True
        except HttpParserError:
            self._refuse(self.refusal)
        else:
            if self._unparsed > MAX_HEAD_BYTES:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """Begin a head."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")
        super().on_message_begin()
        self._is_head = True
        self._head_size = 0
        self.deadline = self.loop.time() + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer must not pass for one (RFC 9110, section 6.5.1)."""
        if not self._is_head:
            return
        self._count(len(name) + len(value))
        name = name.lower()
        if name in UNIQUE and any(name == known for known, _ in self.headers):
            raise ValueError("a header that must be unique is not")
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            raise ValueError("a coding is not supported")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Have the request answered."""
        self._is_head = False
        self._unparsed = 0
        self.deadline = math.inf
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            self.refusal = 505
            raise ValueError("the version is not supported")
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise ValueError("HTTP/1.0 has no chunks")
        if not self.url.startswith(b"/"):
            self._use_origin_form()
        super().on_headers_complete()
        self.scope["extensions"] = {"cycle": self.cycle}  # type: ignore[typeddict-item]  # ours
        if self.is_ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._unparsed = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for one."""
        super().on_response_complete()
        if self.is_idle:
            self.deadline = self.loop.time() + self.timeout_keep_alive

    def shutdown(self) -> None:
        """Answer what has come or is about to come, then close."""
        self.is_ending = True
        if self.is_idle:
            self.deadline = self.loop.time() + LINGER_SECONDS
        else:
            self.cycle.keep_alive = False

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self.refusal = 431
            raise ValueError("the head is too large")

    def _use_origin_form(self) -> None:
        """Replace another form of the target (RFC 9112, section 3.2); its host goes before."""
        if self.url == b"*" and self.parser.get_method() == b"OPTIONS":
            self.url = b"/"
            return
        target = urlsplit(self.url)
        if target.scheme not in {b"http", b"https"} or not target.netloc or b"@" in target.netloc:
            raise ValueError("the target is malformed")
        self.url = (target.path or b"/") + (b"?" + target.query if target.query else b"")
        self.headers[:] = [
            (name, target.netloc if name == b"host" else value) for name, value in self.headers
        ]

    def _refuse(self, status: int) -> None:
        """Answer what is no HTTP, unless an answer is under way: then that is the last."""
        self.is_refused = True
        self.logger.warning("Refused a malformed request of %s with %d", self.client, status)
        if self.pipeline:
            self.transport.close()
            return
        if not self.is_idle and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        line = STATUS_LINE[status]
        text = line.partition(b" ")[2]
        self.transport.write(
            b"%bcontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (line, len(text), text)
        )
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _tick(self) -> None:
        """Close the connection if its client is late."""
        now = self.loop.time()
        if size := self.transport.get_write_buffer_size():
            unsent = (size, self._in_kernel())
            if unsent != self._unsent:
                self._unsent, self._moved_at = unsent, now
            elif now - self._moved_at > STALL_SECONDS:
                self.transport.abort()
        else:
            self._unsent = (0, 0)
            if self.is_idle and now >= self.deadline:
                self.transport.close()
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)

    def _in_kernel(self) -> int:
        """Return how many bytes the kernel keeps that the client has not acknowledged."""
        socket = self.transport.get_extra_info("socket")
        size: int
        (size,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
        return size
