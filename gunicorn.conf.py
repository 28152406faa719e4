"""How gunicorn serves the app; the variables are those of service/config.py."""

import logging
import os
import resource
import signal
import socket
from contextlib import suppress

from flask.cli import load_dotenv
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from service.common.cpus import available_cpus
from service.common.log_handlers import take_over
from service.common.metrics import MEMORY, SharedMetrics
from service.config import load_settings

load_dotenv()
_settings = load_settings(os.environ)


def _any_address() -> str:
    """Return the address of all interfaces; that of IPv6 where it takes IPv4 as well."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        if not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            return "[::]"
    return "0.0.0.0"  # noqa: S104  # a container serves whoever can reach it


bind = f"{_any_address()}:{_settings.PORT}"
worker_class = "service.server.worker.BridgeWorker"
workers = _settings.WEB_CONCURRENCY or available_cpus()
threads = _settings.WEB_THREADS
# Longer than a proxy keeps its connections (60 s in nginx): it is the proxy that closes them.
keepalive = 75
graceful_timeout = 27
# TRUSTED_PROXIES alone decides whose headers are believed.
forwarded_allow_ips = ""
control_socket_disable = True
# A connection costs a file, and no thread.
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
