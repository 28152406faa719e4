"""A slow network between the browser and the service: it holds answers back, and loses them.

It also gives answers as those of a standby.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import urllib3

PATIENCE_SECONDS = 60
# What a hop says to the next one alone.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
REQUESTS = {
    "saves": r"(POST|PUT|PATCH) ",
    "creations": r"POST ",
    "updates": r"(PUT|PATCH) ",
    "deletes": r"DELETE ",
    "lists": r"GET /products\?",
    "products": r"GET /products/\d+$",
    "plans": r"POST /products/import\?.*dry_run",
    "imports": r"POST /products/import(?!.*dry_run)",
    "histories": r"GET /products/history\?id=",
    "deletions": r"GET /products/history\?op=",
    "requests": r"GET /products/history\?request=.*limit=1000",
    "feeds": r"GET /products/changes",
    "answers": r".* /products",
}


@dataclass
class Hold:
    """Answers that are held back until an event; of all such requests, or of the next one."""

    pattern: str
    is_once: bool
    released: Event = field(default_factory=Event)


class QuietServer(ThreadingHTTPServer):
    """A server of a page that may go away at any time."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


class Network:
    """Takes requests to the service and gives its answers back, as it is told."""

    def __init__(self, service: str) -> None:
        """Take the address of the service, and begin."""
        self.has_primary = True
        self._service = service
        self._pool = urllib3.PoolManager(maxsize=20)
        self._holds: list[Hold] = []
        self._held: list[Hold] = []
        self._lost: list[str] = []
        self._waiting: list[str] = []
        self._asked: list[str] = []
        self._server = QuietServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def hold(self, kind: str, *, is_once: bool = False) -> None:
        """Hold back the answers to these requests from now on, or to the next one alone."""
        hold = Hold(REQUESTS[kind], is_once)
        self._holds.append(hold)
        self._held.append(hold)

    def holds(self, kind: str) -> bool:
        """Say whether such an answer is being held."""
        return any(re.match(REQUESTS[kind], request) for request in self._waiting)

    def count(self, kind: str) -> int:
        """Return how many such requests have come."""
        return sum(bool(re.match(REQUESTS[kind], request)) for request in self._asked)

    def lose(self, kind: str) -> None:
        """Carry out the next such request, and lose its answer."""
        self._lost.append(REQUESTS[kind])

    def mend(self) -> None:
        """Give all answers that are held; hold and lose no more, and ask the primary."""
        for hold in self._held:
            hold.released.set()
        self._held.clear()
        self._holds.clear()
        self._lost.clear()
        self.has_primary = True

    def close(self) -> None:
        """End it."""
        self.mend()
        self._server.shutdown()
        self._server.server_close()

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> urllib3.BaseHTTPResponse | None:
        """Return the service's answer when it is due; None if it is lost."""
        response = self._pool.request(
            method,
            self._service + path,
            headers=headers,
            body=body or None,
            retries=False,
            redirect=False,
            decode_content=False,
        )
        request = f"{method} {path}"
        self._asked.append(request)
        for pattern in [each for each in self._lost if re.match(each, request)]:
            self._lost.remove(pattern)
            return None
        for hold in [each for each in self._holds if re.match(each.pattern, request)]:
            self._wait(hold, request)
        return response

    def _wait(self, hold: Hold, request: str) -> None:
        if hold.is_once and hold in self._holds:
            self._holds.remove(hold)
        self._waiting.append(request)
        hold.released.wait(PATIENCE_SECONDS)
        self._waiting.remove(request)


def _handler(network: Network) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP_BY_HOP}
            try:
                body = self.rfile.read(length)
                response = network.ask(self.command, self.path, headers, body)
            except urllib3.exceptions.HTTPError:
                response = None
            self._answer(response)

        def _answer(self, response: urllib3.BaseHTTPResponse | None) -> None:
            if response is None:
                # A browser asks again where it has got nothing at all.
                self.send_response_only(200)
                self.send_header("Content-Length", "1")
                self.end_headers()
                self.close_connection = True
                return
            self.send_response_only(response.status)
            left_out = HOP_BY_HOP if network.has_primary else HOP_BY_HOP | {"etag"}
            for name, value in response.headers.items():
                if name.lower() not in left_out:
                    self.send_header(name, value)
            if not network.has_primary:
                self.send_header("X-Data-Age", "3")
            self.send_header("Content-Length", str(len(response.data)))
            with suppress(ConnectionError):  # the page has gone
                self.end_headers()
                self.wfile.write(response.data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = relay  # noqa: N815  # as the base names them

    return Handler
