"""The marks of an answer that comes from a standby: it may be older than the latest write.

``X-Data-Age`` has the seconds since the latest change that the standby has. No cache may keep the
answer, and it has no ETag, as no write is to be built on it.
"""

from time import monotonic

from flask import Flask, Response, current_app

from service.common.error_handlers import outage_message
from service.database import standby

HEADER = "X-Data-Age"
LOG_SECONDS = 60
LOGGED_AT = "standby_logged_at"


def init_app(app: Flask) -> None:
    """Mark the answers that come from a standby, if there is one."""
    standby.init_app(app)
    if app.config["DATABASE_READ_URI"]:
        app.extensions[LOGGED_AT] = 0.0
        app.after_request(_mark)


def _mark(response: Response) -> Response:
    standby.settle()
    if reading := standby.reading():
        response.headers[HEADER] = str(reading.age)
        response.headers["Cache-Control"] = "no-store"
        response.headers.remove("ETag")
        _log(outage_message(reading.error))
    return response


def _log(cause: str | None) -> None:
    """Log that a standby answers, once in ``LOG_SECONDS``."""
    if monotonic() > current_app.extensions[LOGGED_AT] + LOG_SECONDS:
        current_app.extensions[LOGGED_AT] = monotonic()
        current_app.logger.error("%s A standby answers reads.", cause)
