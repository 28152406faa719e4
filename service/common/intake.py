"""When all of an HTTP/1.1 request is there (RFC 9112, sections 2.1, 6 and 7.1).

How a request is to be understood is its parser's business; here is only said when the parser
will not have to wait. What is malformed is as good as there.
"""

import re
from http import HTTPStatus

LONGEST_HEAD = 65_536
# So much more than the limit of a body shows its reader that the limit is passed.
EXCESS = 65_536
# So many digits are far beyond the limit of a body, and quickly read.
MOST_DIGITS = 18

END_OF_HEAD = b"\r\n\r\n"
# Most requests have none of these, which takes one look instead of three.
FRAMING = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect):", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*(\d+)[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
CHUNK_SIZE = re.compile(rb"[0-9a-f]+(?=[; \t\r])", re.IGNORECASE)
EXPECTATION = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


class RefusedError(Exception):
    """A request whose end is not worth waiting for."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        """Say why."""
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Intake:
    """What has come of a request so far, perhaps with the beginning of the next one."""

    def __init__(self, longest_body: int, received: bytes = b"") -> None:
        """Begin with what has come together with the request before."""
        self.received = bytearray(received)
        self.is_cut = False
        """Whether the body is too large, so that its end was not waited for."""
        self.is_chunked = False
        self.expects_continue = False
        """Whether the client waits to be told to send the body."""
        self._longest_body = longest_body
        self._whole_at: int | None = None
        self._chunk: int | None = None
        self._body = 0

    def is_whole(self) -> bool:
        """Say whether all that is to be read is there; raises ``RefusedError``."""
        if self._whole_at is None and self._chunk is None:
            self._find_head()
        if self._whole_at is None and self._chunk is not None:
            self._find_chunks(self._chunk)
        if self._whole_at is not None:
            return len(self.received) >= self._whole_at
        if len(self.received) > LONGEST_HEAD + 2 * (self._longest_body + EXCESS):
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The chunks are too small")
        return False

    def _find_head(self) -> None:
        end = self.received.find(END_OF_HEAD)
        if end > LONGEST_HEAD or (end < 0 and len(self.received) > LONGEST_HEAD):
            if self.received.find(b"\r\n", 0, LONGEST_HEAD) < 0:
                raise RefusedError(
                    HTTPStatus.REQUEST_URI_TOO_LONG,
                    f"The request's first line is longer than {LONGEST_HEAD} bytes",
                )
            raise RefusedError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request's head is larger than {LONGEST_HEAD} bytes",
            )
        head = end + len(END_OF_HEAD)
        if end >= 0 and FRAMING.search(self.received, 0, head):
            self._find_body(head)
        elif end >= 0:
            self._whole_at = head

    def _find_body(self, head: int) -> None:
        expectation = EXPECTATION.search(self.received, 0, head)
        length = LENGTH.search(self.received, 0, head)
        if CHUNKED.search(self.received, 0, head):
            self.is_chunked = True
            self._chunk = head
        else:
            size = int(length[1][:MOST_DIGITS]) if length else 0
            self.is_cut = size > self._longest_body
            self._whole_at = head if self.is_cut else head + size
        if expectation and b" HTTP/1.1\r\n" in self.received[:head]:
            self._meet(expectation)

    def _meet(self, expectation: re.Match[bytes]) -> None:
        """Take the expectation out, as its answer will have been sent when it is parsed."""
        self.expects_continue = True
        del self.received[expectation.start() : expectation.end()]
        gone = expectation.end() - expectation.start()
        if self._chunk is not None:
            self._chunk -= gone
        if self._whole_at is not None:
            self._whole_at -= gone

    def _find_chunks(self, start: int) -> None:
        """Go on from the chunk at ``start`` as far as there are any."""
        while (line_end := self.received.find(b"\r\n", start)) >= 0:
            match = CHUNK_SIZE.match(self.received, start)
            size = int(match[0], 16) if match else 0
            if not match:
                self._whole_at = len(self.received)
            elif size == 0:
                end = self.received.find(END_OF_HEAD, line_end)
                self._whole_at = None if end < 0 else end + len(END_OF_HEAD)
            elif self._body + size >= self._longest_body + EXCESS:
                self.is_cut = True
                room = self._longest_body + EXCESS - self._body
                self._whole_at = line_end + 2 + room
            else:
                self._body += size
                start = line_end + 2 + size + 2
                continue
            break
        self._chunk = start
