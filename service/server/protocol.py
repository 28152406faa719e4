"""uvicorn's HTTP/1.1 protocol, with bounds on the size and the time of what a client sends."""

import fcntl
import math
import socket
import struct
import termios
from asyncio import TimerHandle
from contextlib import suppress
from itertools import chain
from typing import Any, ClassVar
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# The maximum size of a request head, and of all chunk extensions and trailers of a body.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_PIPELINED = 100
# From the opening of a connection to its first byte; from there to the end of a head.
FIRST_BYTE_SECONDS = 10
HEAD_SECONDS = 60
# How long a client may take nothing of its answer.
STALL_SECONDS = 30
# How long a refused client has to read why, and how long an idle connection is kept when the
# worker ends: its next request may be under way.
LINGER_SECONDS = 2
TICK_SECONDS = 1
# How much the kernel takes of an answer beyond what the client has room for.
MAX_UNSENT_BYTES = 128 * 1024
# SO_LINGER with no time: the kernel discards what was not sent.
DISCARD = struct.pack("ii", 1, 0)


class BodyEvents:
    """What a parser tells of a body, without the head before it."""

    def __init__(self, protocol: "BoundedProtocol") -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a client; it is closed when its time is over."""

    max_connections: ClassVar[int] = 1000
    silent: ClassVar[dict["BoundedProtocol", None]] = {}
    """The connections of this process without a request so far, the oldest first."""
    kept: ClassVar[dict["BoundedProtocol", None]] = {}
    """The idle keep-alive connections, the oldest first."""
    deadline = math.inf
    """When to close it if it has no request in progress, in seconds of the event loop's clock.

    It is infinite after the first request: uvicorn has the timer of keep-alive.
    """
    is_ending = False
    """Whether the worker ends, so that the next answer is the last."""
    _has_ended = False
    """Whether no more requests are read."""
    _unparsed = 0
    """The bytes that were received since the end of the last head or piece of a body."""
    _unsent = (0, 0)
    _moved_at = 0.0
    _ticker: TimerHandle
    _socket: Any

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:
        """Begin to watch the time; make room if there are too many connections."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)
        self._socket = transport.get_extra_info("socket")
        with suppress(OSError):  # a Unix socket has no such option
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        if len(self.connections) > self.max_connections:
            oldest = next(chain(self.silent, self.kept), self)
            oldest.forget()
            oldest.transport.abort()
        self.silent[self] = None
        self.deadline = self.loop.time() + FIRST_BYTE_SECONDS
        self._tick()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        self._ticker.cancel()
        self.forget()

    def forget(self) -> None:
        """Take the connection out of those that make room for others."""
        self.silent.pop(self, None)
        self.kept.pop(self, None)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio.Protocol has it
        """Answer what has come whole, though the client sends no more."""
        if not self._has_ended:  # it is told again whenever reading is resumed
            if self.is_idle or (self.cycle.more_body and not self.pipeline):
                return False
            self._stop_reading()
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._has_ended:
            return
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:  # it is ignored (RFC 9110, section 7.8)
            self._end_with_body(data[upgrade.args[0] :])
        except HttpParserError:
            self._refuse()
        else:
            if self._unparsed > MAX_HEAD_BYTES:
                self._refuse()

    def on_message_begin(self) -> None:
        """Begin a head."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self.forget()
        self.deadline = self.loop.time() + HEAD_SECONDS

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        name, value = name.lower(), value.strip(b" \t")
        # Two of these would leave open which one counts (RFC 9112, sections 3.2 and 6.1).
        is_unique = name in {b"host", b"transfer-encoding"}
        if is_unique and any(name == known for known, _ in self.headers):
            raise ValueError("there are two of a header that must be unique")
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            raise ValueError("this coding is not supported")
        if name == b"content-length":  # int() refuses more than 4,300 digits
            value = value.lstrip(b"0") or b"0"
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise ValueError("there are too many headers")

    def on_headers_complete(self) -> None:
        """Have the request answered."""
        self._unparsed = len(self.url) + sum(len(n) + len(v) for n, v in self.headers)
        if self._unparsed > MAX_HEAD_BYTES:
            raise ValueError("the head is too large")
        version, names = self.parser.get_http_version(), {name for name, _ in self.headers}
        is_sound = b"host" in names if version == "1.1" else b"transfer-encoding" not in names
        if version not in {"1.0", "1.1"} or not is_sound:
            raise ValueError("this version has no such head (RFC 9112, sections 3.2 and 6.1)")
        self._unparsed = 0
        self.deadline = math.inf
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1
        if not self.url.startswith(b"/"):
            self._use_origin_form()
        super().on_headers_complete()
        self.headers = []  # of trailers, which must not pass for headers (RFC 9110, section 6.5.1)
        extensions: Any = {"cycle": self.cycle}  # for what the bridge needs and ASGI does not have
        self.scope["extensions"] = extensions
        if self.is_ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._unparsed = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next answer, or end with the last one."""
        is_last = self._has_ended and not self.pipeline
        super().on_response_complete()
        if is_last:
            self.transport.close()
        elif self.is_idle and not self.transport.is_closing():
            self.kept[self] = None

    def shutdown(self) -> None:
        """Answer what has come or is about to come, then close."""
        self.is_ending = True
        if self.is_idle:
            self.deadline = self.loop.time() + LINGER_SECONDS
        else:
            self.cycle.keep_alive = False

    def _use_origin_form(self) -> None:
        """Replace another form of the target (RFC 9112, section 3.2); its host goes first."""
        if self.url == b"*" and self.parser.get_method() == b"OPTIONS":
            self.url = b"/"
            return
        target = urlsplit(self.url)
        if target.scheme not in {b"http", b"https"} or not target.netloc or b"@" in target.netloc:
            raise ValueError("the target is malformed")
        self.url = (target.path or b"/") + (b"?" + target.query if target.query else b"")
        self.headers[:] = [(n, target.netloc if n == b"host" else v) for n, v in self.headers]

    def _end_with_body(self, data: bytes) -> None:
        """Parse the body of a request with `Upgrade`, after which httptools stops parsing."""
        framing = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in self.cycle.scope["headers"]
            if name in {b"content-length", b"transfer-encoding"}
        )
        if not framing:
            self._stop_reading()
            return
        self.cycle.keep_alive = False
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        self.parser = HttpRequestParser(BodyEvents(self))
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n" % framing)
        self.data_received(data)

    def _stop_reading(self) -> None:
        """Close the connection after the answers to what has come whole."""
        if self.cycle.more_body:  # it waits behind others; its body will not come
            self.pipeline.popleft()
        self.cycle.keep_alive = False
        self._has_ended = True
        self.flow.pause_reading()

    def _refuse(self) -> None:
        """Refuse what is no HTTP, or too much; an answer that is under way is sent before."""
        is_large = self._unparsed > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS
        line = STATUS_LINE[431 if is_large else 400]
        client = self.client[0].removeprefix("::ffff:") if self.client else "-"
        self.logger.warning("Malformed request from %s: %s", client, line.decode().strip())
        if self.pipeline or not (self.is_idle or self.cycle.more_body):
            self._stop_reading()
        else:
            if self.cycle is not None:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.flow.pause_reading()
            head = line + b"content-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head)
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _tick(self) -> None:
        """Close the connection if its client is late."""
        now = self.loop.time()
        if size := self.transport.get_write_buffer_size():
            # With what the kernel holds, so that also a client that reads very slowly is seen.
            queued = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
            unsent = (size, struct.unpack("i", queued)[0])
            if unsent != self._unsent:
                self._unsent, self._moved_at = unsent, now
            elif now - self._moved_at > STALL_SECONDS:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DISCARD)
                self.transport.abort()
        else:
            self._unsent = (0, 0)
            if self.is_idle and now >= self.deadline:
                self.transport.close()
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)
