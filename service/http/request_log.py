"""WSGI middleware (PEP 3333) around Flask: request id, log line and metrics of each request."""

import logging
from collections.abc import Generator, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flask import Flask

from service.common.log_handlers import valid_request_id
from service.common.status import HTTP_500_INTERNAL_SERVER_ERROR
from service.metrics import NO_ROUTE, Metrics, route_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MAX_PATH_LENGTH = 500
# The kubelet of Kubernetes asks these every few seconds.
PROBES = {"/health", "/readyz"}
PROBE_AGENT = "kube-probe/"
MESSAGE = (
    "%(method)s %(route)s %(path)s: %(status)d in %(duration)f s, %(bytes)d bytes to %(client)s"
)


class RequestLog:
    """WSGI middleware that records the bytes sent and whether the response was completed."""

    def __init__(self, app: Flask, metrics: Metrics) -> None:
        self._wsgi_app = app.wsgi_app
        self._events = app.logger
        self._requests = app.logger.getChild("requests")
        self._metrics = metrics

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterator[bytes]:
        """Call the app; log the request when the body is exhausted or closed.

        The app is called before this returns: Granian sends the head at that time, although
        PEP 3333 allows ``start_response`` to be called until the first piece of the body.
        """
        body = self._body(Exchange(environ, start_response))
        next(body)
        return body

    def _body(self, exchange: "Exchange") -> Generator[bytes, None, None]:
        """Yield an empty piece after the app was called, then the pieces of its body."""
        self._metrics.in_progress.inc()
        try:
            body = self._wsgi_app(exchange.environ, exchange.start_response)
            try:
                yield b""
                for piece in body:
                    yield piece
                    exchange.sent += len(piece)
            finally:
                if hasattr(body, "close"):
                    body.close()
            exchange.is_complete = True
        except Exception:
            self._events.exception(
                "The response was aborted by an exception",
                extra={"request_id": exchange.request_id},
            )
            raise
        finally:
            self._metrics.in_progress.dec()
            self._record(exchange, perf_counter() - exchange.started)

    def _record(self, exchange: "Exchange", seconds: float) -> None:
        """Count the request, and log it.

        A 5xx or an incomplete response is a warning; a probe that succeeds is for debugging only.
        """
        method = exchange.environ["REQUEST_METHOD"]
        self._metrics.count_request(method, exchange.route, exchange.status, seconds)
        is_failure = exchange.status >= HTTP_500_INTERNAL_SERVER_ERROR or not exchange.is_complete
        usual = logging.DEBUG if exchange.is_probe else logging.INFO
        level = logging.WARNING if is_failure else usual
        if self._requests.isEnabledFor(level):
            members = exchange.log_members(seconds)
            extra = {"request_id": exchange.request_id, "request": members}
            self._requests.log(level, MESSAGE, members, extra=extra)


class Exchange:
    """A request and the state of its response."""

    def __init__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> None:
        self.environ = environ
        self.request_id = valid_request_id(environ.get("HTTP_X_REQUEST_ID"))
        self.started = perf_counter()
        self.status = HTTP_500_INTERNAL_SERVER_ERROR
        self.route = NO_ROUTE
        self.sent = 0
        self.is_complete = False
        self._start_response = start_response
        environ["request_id"] = self.request_id

    @property
    def is_probe(self) -> bool:
        """Whether the kubelet asks if the service lives and is ready."""
        agent: str = self.environ.get("HTTP_USER_AGENT", "")
        return self.route in PROBES and agent.startswith(PROBE_AGENT)

    def start_response(self, line: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        """Record the status and the route, and add X-Request-ID."""
        self.status = int(line[:3])
        self.route = route_of(self.environ["werkzeug.request"].url_rule)
        headers.append(("X-Request-ID", self.request_id))
        return self._start_response(line, headers, *exc_info)

    def log_members(self, seconds: float) -> dict[str, object]:
        """Return the members of the log line."""
        members: dict[str, object] = {
            "method": self.environ["REQUEST_METHOD"],
            "route": self.route,
            "path": _path(self.environ),
            "status": self.status,
            "duration": round(seconds, 6),
            "bytes": self.sent,
            "client": self.environ.get("REMOTE_ADDR", "-"),
        }
        if "writer" in self.environ:
            members["writer"] = self.environ["writer"]
        if not self.is_complete:
            members["aborted"] = True
        return members


def _path(environ: "WSGIEnvironment") -> str:
    """Return the path without the query string, which may hold secrets."""
    path: str = environ["PATH_INFO"]
    return path.encode("latin-1").decode(errors="replace")[:MAX_PATH_LENGTH]


def init_app(app: Flask, metrics: Metrics) -> None:
    """Log the requests of ``app``; middleware added later is outside of the log."""
    app.wsgi_app = RequestLog(app, metrics)  # type: ignore[method-assign]  # as Flask documents
