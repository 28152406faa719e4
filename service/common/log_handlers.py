"""Logging: one line an event, each with the id of the request it belongs to."""

import logging
import re
import sys
from random import getrandbits

from flask import Flask, Response, has_request_context, request

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id() -> str:
    """Return the id of this request: its ``X-Request-ID`` where that is sound, else a new one."""
    environ = request.environ
    if "request_id" not in environ:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        environ["request_id"] = given if REQUEST_ID.fullmatch(given) else new_request_id()
    return str(environ["request_id"])


def new_request_id() -> str:
    """Return 32 hexadecimal digits; they need be distinct, not secret."""
    return f"{getrandbits(128):032x}"


class RequestIdFilter(logging.Filter):
    """Puts the request's id on every record; ``-`` outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, whatever it is."""
        record.request_id = request_id() if has_request_context() else "-"
        return True


def init_app(app: Flask) -> None:
    """Send the app's log to standard error and give every answer its request's id."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(RequestIdFilter())
    app.logger.handlers = [handler]
    app.logger.setLevel(app.config["LOG_LEVEL"])
    app.logger.propagate = False

    @app.after_request
    def name_request(response: Response) -> Response:
        response.headers["X-Request-ID"] = request_id()
        return response
