"""The marks of an answer that comes from a standby: it may be older than the latest write.

``X-Data-Age`` has the seconds since the latest change that the standby has. No cache may keep the
answer, and it has no ETag, as no write is to be built on it.
"""

import math
from time import monotonic

from flask import Flask, Response

from service.common.error_handlers import outage_message
from service.database import standby

HEADER = "X-Data-Age"
LOG_SECONDS = 60


def init_app(app: Flask) -> None:
    """Mark the answers that come from a standby, and log that, once in ``LOG_SECONDS``."""
    if not app.config["DATABASE_READ_URI"]:
        return
    logged_at = -math.inf

    @app.after_request
    def mark(response: Response) -> Response:
        nonlocal logged_at
        standby.settle()
        if reading := standby.reading():
            _mark(response, reading.age)
            if monotonic() > logged_at + LOG_SECONDS:
                logged_at = monotonic()
                app.logger.error("%s A standby answers reads.", outage_message(reading.error))
        return response


def _mark(response: Response, age: int) -> None:
    response.headers[HEADER] = str(age)
    response.headers["Cache-Control"] = "no-store"
    response.headers.remove("ETag")
