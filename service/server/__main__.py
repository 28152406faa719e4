"""`python -m service.server` serves with gunicorn.

It checks the settings before gunicorn is imported, which fails if WEB_CONCURRENCY is no number.
"""

from service.config import read_settings

read_settings()

from gunicorn.app.wsgiapp import run  # noqa: E402

run(prog="gunicorn")
