"""Logging: one line an event, each with the id of the request it belongs to."""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from random import getrandbits

from flask import Flask, has_request_context, request

TERMINAL_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
REQUEST_LINE = "%(client)s %(method)s %(path)s %(status)s, %(bytes)s bytes in %(duration)s s"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id() -> str:
    """Return the id of this request."""
    return str(request.environ.get("request_id", "-"))


def sound_request_id(given: str | None) -> str:
    """Return the ``X-Request-ID`` that was given where it is sound, else a new one."""
    return given if given and REQUEST_ID.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    """Return 32 hexadecimal digits; they need be distinct, not secret."""
    return f"{getrandbits(128):032x}"


class RequestIdFilter(logging.Filter):
    """Puts the request's id on every record; ``-`` outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, whatever it is."""
        if not hasattr(record, "request_id"):
            record.request_id = request_id() if has_request_context() else "-"
        return True


class JSONFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: nothing in it ends the line or moves a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record; that of a request has members in place of a message."""
        time = datetime.fromtimestamp(record.created, UTC)
        members: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "request_id": getattr(record, "request_id", "-"),
        }
        if record.msg is REQUEST_LINE and isinstance(record.args, Mapping):
            members |= record.args
        else:
            members |= {"logger": record.name, "message": record.getMessage()}
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


def init_app(app: Flask) -> None:
    """Send the app's log and its requests' to standard error."""
    take_over(app.logger, app.config["LOG_LEVEL"])
    take_over(requests_log(app), app.config["LOG_LEVEL"])


def requests_log(app: Flask) -> logging.Logger:
    """Return the logger that has one line for each request."""
    return app.logger.getChild("requests")
