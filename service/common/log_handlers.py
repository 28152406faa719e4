"""Logging: one line an event, each with the id of the request it belongs to."""

import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from random import getrandbits
from time import time
from typing import NamedTuple

from flask import Flask, has_request_context, request

from service.common.status import HTTP_500_INTERNAL_SERVER_ERROR

TERMINAL_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id() -> str:
    """Return the id of this request."""
    return str(request.environ.get("request_id", "-"))


def sound_request_id(given: str | None) -> str:
    """Return the ``X-Request-ID`` that was given where it is sound, else a new one.

    A new one need be distinct, not secret.
    """
    return given if given and REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"


class RequestIdFilter(logging.Filter):
    """Puts the request's id on every record; ``-`` outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, whatever it is."""
        if not hasattr(record, "request_id"):
            record.request_id = request_id() if has_request_context() else "-"
        return True


def _iso(seconds: float) -> str:
    """Write a time in ISO 8601, to the millisecond; the most of it is the same for a second."""
    return f"{_iso_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=1)
def _iso_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class JSONFormatter(logging.Formatter):
    """One JSON object a line; as it is in ASCII, no text in it ends the line or moves a cursor."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record, and its traceback as one member."""
        members = {
            "time": _iso(record.created),
            "level": record.levelname,
            "request_id": getattr(record, "request_id", "-"),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        return json.dumps(members).replace("\x7f", "\\u007f")


class TerminalFormatter(logging.Formatter):
    """A line to read; those of a traceback are indented, so that no text passes for a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record with whatever is not printable escaped."""
        first, *others = super().format(record).splitlines() or [""]
        return "\n    ".join(map(_printable, [first, *others]))


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
    )


def new_handler() -> logging.Handler:
    """Return what writes to standard error: for a person if that is a terminal, else JSON."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = TerminalFormatter(TERMINAL_FORMAT) if sys.stderr.isatty() else JSONFormatter()
    handler.setFormatter(formatter)
    handler.addFilter(RequestIdFilter())
    return handler


def take_over(logger: logging.Logger, level: int | str) -> None:
    """Let a logger write as all others do, and no other handler write the same once more."""
    logger.handlers = [new_handler()]
    logger.setLevel(level)
    logger.propagate = False


class RequestLine(NamedTuple):
    """How the line of a request is written."""

    template: str
    text: Callable[[str], str]
    writer: str
    aborted: str


JSON_LINE = RequestLine(
    '{"time": "%s", "level": "%s", "request_id": "%s", "method": %s, "route": "%s", "path": %s,'
    ' "status": %d, "duration": %.6f, "bytes": %d, "client": %s%s%s}\n',
    encode_basestring_ascii,
    ', "writer": "%s"',
    ', "aborted": true',
)
TERMINAL_LINE = RequestLine(
    "%s %s [%s] %s %s %s: %d in %.6f s, %d bytes to %s%s%s\n", _printable, ", by %s", ", aborted"
)


class RequestLog:
    """One line for each request; past `logging` and `json`, which cost three times as much."""

    def __init__(self, app: Flask) -> None:
        """Write what the level of the app's own log lets pass."""
        self._logger = app.logger
        self._form = TERMINAL_LINE if sys.stderr.isatty() else JSON_LINE
        self.stream = sys.stderr

    def write(
        self,
        *,
        request_id: str,
        method: str,
        route: str,
        path: str,
        status: int,
        seconds: float,
        sent: int,
        client: str,
        writer: str | None,
        aborted: bool,
    ) -> None:
        """Write one line: a warning if the service failed, or the answer could not be sent whole.

        A log that cannot be written to breaks no answer.
        """
        failed = aborted or status >= HTTP_500_INTERNAL_SERVER_ERROR
        level = logging.WARNING if failed else logging.INFO
        if not self._logger.isEnabledFor(level):
            return
        template, text, by, mark = self._form
        line = template % (
            _iso(time()),
            logging.getLevelName(level),
            request_id,
            text(method),
            route,
            text(path),
            status,
            seconds,
            sent,
            text(client),
            by % writer if writer else "",
            mark if aborted else "",
        )
        try:
            self.stream.write(line.replace("\x7f", "\\u007f"))
        except (OSError, ValueError):
            return


def init_app(app: Flask) -> None:
    """Send the app's log to standard error."""
    take_over(app.logger, app.config["LOG_LEVEL"])
