"""How gunicorn serves the app; the variables are those of service/config.py."""

import os
from socket import socket

from flask.cli import load_dotenv
from gunicorn import util

from service.common.error_handlers import problem_response
from service.config import load_settings

load_dotenv()
_settings = load_settings(os.environ)

bind = f"0.0.0.0:{_settings.PORT}"
worker_class = "gthread"
workers = _settings.WEB_CONCURRENCY
threads = _settings.WEB_THREADS
keepalive = 75
control_socket_disable = True


def _write_problem(sock: socket, status_int: int, reason: str, mesg: str) -> None:
    """Answer what gunicorn itself refuses as the app answers the rest."""
    util.write_nonblock(sock, problem_response(status_int, reason, mesg))


util.write_error = _write_problem
