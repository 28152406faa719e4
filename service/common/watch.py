"""Every request is watched from its arrival to the last byte: its id, its log line, its count."""

from collections.abc import Generator, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flask import Flask

from service.common.log_handlers import RequestLog, sound_request_id
from service.common.metrics import NO_ROUTE, Metrics, route_of
from service.common.status import HTTP_500_INTERNAL_SERVER_ERROR

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LONGEST_PATH = 500
UNKNOWN = "-"


class Watch:
    """The outermost layer of the app (PEP 3333): it sees what is really sent, and when."""

    def __init__(self, app: Flask) -> None:
        """Stand in front of ``app``."""
        self._wsgi_app = app.wsgi_app
        self._events = app.logger
        self.log = RequestLog(app)
        self._metrics: Metrics = app.extensions["metrics"]

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterator[bytes]:
        """Return the answer; write it down when the server has it all, or wants no more of it.

        The app is called at once, not at the first piece: Granian sends the head that it has
        when this returns, although PEP 3333 lets an app begin its answer with the first piece.
        """
        answer = self._answer(environ, start_response)
        next(answer)
        return answer

    def _answer(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Generator[bytes, None, None]:
        """Yield nothing once the app has been called, and then its answer."""
        begun = perf_counter()
        request_id = environ["request_id"] = sound_request_id(environ.get("HTTP_X_REQUEST_ID"))
        status, route = HTTP_500_INTERNAL_SERVER_ERROR, NO_ROUTE
        sent, whole = 0, False

        def start(line: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            nonlocal status, route
            status = int(line[:3])
            route = route_of(environ["werkzeug.request"].url_rule)
            headers.append(("X-Request-ID", request_id))
            return start_response(line, headers, *exc_info)

        self._metrics.in_progress.inc()
        try:
            body = self._wsgi_app(environ, start)
            try:
                yield b""
                for piece in body:
                    yield piece
                    sent += len(piece)
            finally:
                if hasattr(body, "close"):
                    body.close()
            whole = True
        except Exception:
            self._events.exception("The answer broke off", extra={"request_id": request_id})
            raise
        finally:
            self._metrics.in_progress.dec()
            seconds = perf_counter() - begun
            method = environ["REQUEST_METHOD"]
            self._metrics.answered(method, route, status, seconds)
            self.log.write(
                request_id=request_id,
                method=method,
                route=route,
                path=_path(environ),
                status=status,
                seconds=seconds,
                sent=sent,
                client=environ.get("REMOTE_ADDR", UNKNOWN),
                writer=environ.get("writer"),
                aborted=not whole,
            )


def _path(environ: "WSGIEnvironment") -> str:
    """Return the path without the query, which may hold secrets."""
    path: str = environ["PATH_INFO"]
    return path.encode("latin-1").decode(errors="replace")[:LONGEST_PATH]


def init_app(app: Flask) -> None:
    """Watch ``app``; what is put in front of it later is not seen."""
    watch = app.extensions["watch"] = Watch(app)
    app.wsgi_app = watch  # type: ignore[method-assign]  # the place that Flask has for it
