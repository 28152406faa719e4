"""Logging to standard error: one line per event, as JSON, or as text on a terminal."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from random import getrandbits
from typing import Any

from flask import Flask, has_request_context, request

TERMINAL_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id() -> str:
    """Return the id of the current request; ``-`` if it has none."""
    return str(request.environ.get("request_id", "-"))


def valid_request_id(given: str | None) -> str:
    """Return ``given``, the value of X-Request-ID, if it is valid, else a new id.

    A new id is 128 random bits in hexadecimal. They are not cryptographically secure.
    """
    return given if given and REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"


class RequestIdFilter(logging.Filter):
    """Adds ``request_id`` to each record; ``-`` outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: keep each record."""
        if not hasattr(record, "request_id"):
            record.request_id = request_id() if has_request_context() else "-"
        return True


class JSONFormatter(logging.Formatter):
    """Formats a record as one JSON object in ASCII, so that no text can break the line.

    A record with ``extra={"request": members}`` has these members instead of ``logger`` and
    ``message``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object; a traceback is the member ``traceback``."""
        request: dict[str, Any] | None = getattr(record, "request", None)
        members: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "request_id": getattr(record, "request_id", "-"),
            **(request or {"logger": record.name, "message": record.getMessage()}),
        }
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        return json.dumps(members).replace("\x7f", "\\u007f")


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class TerminalFormatter(logging.Formatter):
    """Formats a record as text: escapes unprintable characters and indents further lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text; the record of a request is always one line."""
        text = super().format(record)
        if hasattr(record, "request"):
            return _printable(text)
        return "\n    ".join(map(_printable, text.splitlines()))


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
    )


def new_handler() -> logging.Handler:
    """Return a handler for standard error: text if it is a terminal, else JSON."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = TerminalFormatter(TERMINAL_FORMAT) if sys.stderr.isatty() else JSONFormatter()
    handler.setFormatter(formatter)
    handler.addFilter(RequestIdFilter())
    return handler


def configure(logger: logging.Logger, level: int | str) -> None:
    """Give the logger its own handler as the only one, and stop propagation."""
    logger.handlers = [new_handler()]
    logger.setLevel(level)
    logger.propagate = False


def init_app(app: Flask) -> None:
    """Configure the logger of ``app`` with LOG_LEVEL."""
    configure(app.logger, app.config["LOG_LEVEL"])
