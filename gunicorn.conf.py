"""How gunicorn serves the app; the variables are those of service/config.py."""

import logging
import os
import re
import resource
import signal
from socket import socket
from typing import Any, cast

from flask import Flask
from flask.cli import load_dotenv
from gunicorn import util
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from service.common.cpus import available_cpus
from service.common.error_handlers import problem_response
from service.common.log_handlers import sound_request_id, take_over
from service.common.metrics import MEMORY, SharedMetrics
from service.common.worker import ClientSocket
from service.config import load_settings

REQUEST_ID_FIELD = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)

load_dotenv()
_settings = load_settings(os.environ)

bind = f"0.0.0.0:{_settings.PORT}"
worker_class = "service.common.worker.BufferingWorker"
workers = _settings.WEB_CONCURRENCY or available_cpus()
threads = _settings.WEB_THREADS
# Longer than a proxy keeps its connections (60 s in nginx): it is the proxy that closes them.
keepalive = 75
graceful_timeout = 25
forwarded_allow_ips = _settings.FORWARDED_ALLOW_IPS
control_socket_disable = True
# What a query and a cursor may have in them needs more than 4 KiB; a whole head has 64 KiB.
limit_request_line = 0
# A slow client costs a file, and no thread.
_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
_files = 8192 if _most_files == resource.RLIM_INFINITY else min(_most_files, 8192)
resource.setrlimit(resource.RLIMIT_NOFILE, (_files, _most_files))
worker_connections = _files // 2
# In a file on a disk that is slow, a worker's sign of life may come too late.
worker_tmp_dir = MEMORY if os.access(MEMORY, os.W_OK) else None
loglevel = _settings.LOG_LEVEL.lower()


class AppLogger(Logger):
    """gunicorn's own log in the form of the app's; the app writes the lines of the requests."""

    def setup(self, cfg: Config) -> None:
        """Write what libraries have to say in the same form, too."""
        super().setup(cfg)
        take_over(self.error_log, self.loglevel)
        take_over(logging.getLogger(), "WARNING")
        logging.captureWarnings(capture=True)

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Leave out what quotes a refused request: a token may be in it. It has its own line."""
        if not str(msg).startswith("Invalid request from"):
            super().warning(msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Leave out queries, and what the app has written with the request's id before."""
        if msg != "Error handling request":
            super().exception(msg, *(str(arg).partition("?")[0] for arg in args), **kwargs)


logger_class = AppLogger


def on_starting(server: Arbiter) -> None:
    """Make the place of the metrics; it outlives this file, which is read anew at each SIGHUP."""
    vars(server)["metrics"] = SharedMetrics(_settings.PROMETHEUS_MULTIPROC_DIR)


def pre_fork(server: Arbiter, worker: Worker) -> None:
    """Give the new worker a place of its own in it."""
    vars(server)["metrics"].enter(worker.age)


def post_fork(server: Arbiter, worker: Worker) -> None:
    """Have this worker use it; and let it end at once if it is told to before it has begun.

    Until the worker sets its own handlers it has those of its parent, in which a signal is lost.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    vars(server)["metrics"].join(worker.age)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Free it, however the worker has ended."""
    vars(server)["metrics"].leave(worker.age)


def on_exit(server: Arbiter) -> None:
    """Leave nothing behind."""
    vars(server)["metrics"].remove()


def post_worker_init(worker: Worker) -> None:
    """Answer what gunicorn itself refuses as the app answers the rest, and write it down."""
    watch = cast("Flask", worker.wsgi).extensions.get("watch")

    def write_problem(sock: socket, status_int: int, reason: str, mesg: str) -> None:
        asked = cast("ClientSocket", sock).asked.partition(b"\r\n\r\n")[0] + b"\r\n"
        given = REQUEST_ID_FIELD.search(asked)
        request_id = sound_request_id(given and given[1].decode("latin-1"))
        head, body = problem_response(status_int, mesg, request_id)
        if asked.lstrip().startswith(b"HEAD "):
            body = b""
        if watch:  # the benchmark's floor has none
            watch.refused(status_int, request_id, len(body), _client(sock))
        util.write_nonblock(sock, head + body)

    util.write_error = write_problem


def _client(sock: socket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return "-"
