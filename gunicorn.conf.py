"""The configuration of gunicorn; service/config.py describes the environment variables."""

import logging
import os
import resource
import signal
import sys

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from service import create_app
from service.common.log_handlers import configure
from service.config import ConfigurationError, read_settings
from service.http.auth import refuse_invalid_file
from service.metrics import SHARED_MEMORY, SharedMetrics
from service.server.addresses import address_of, refuse_taken

_settings = read_settings()
_address = address_of(_settings.HOST)

wsgi_app = "wsgi:app"
bind = f"[{_address}]:{_settings.PORT}" if ":" in _address else f"{_address}:{_settings.PORT}"
worker_class = "service.server.worker.BridgeWorker"
workers = _settings.WEB_CONCURRENCY or len(os.sched_getaffinity(0))
threads = _settings.WEB_THREADS
# Longer than the keep-alive timeout of a proxy (nginx: 60 s), so that the proxy closes first.
keepalive = 75
graceful_timeout = 27
# Only TRUSTED_PROXIES decides which X-Forwarded headers are trusted.
forwarded_allow_ips = ""
control_socket_disable = True
# A connection needs a file descriptor, but no thread. Half of them remain for other files.
_, _max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
_files = 8192 if _max_files == resource.RLIM_INFINITY else min(_max_files, 8192)
resource.setrlimit(resource.RLIMIT_NOFILE, (_files, _max_files))
worker_connections = _files // 2
# On a slow disk, the heartbeat file of a worker may be updated too late.
worker_tmp_dir = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
loglevel = _settings.LOG_LEVEL.lower()


class AppLogger(Logger):
    """Formats the log of gunicorn like the log of the app; the app itself logs the requests."""

    def setup(self, cfg: Config) -> None:
        """Configure the loggers of gunicorn and of the libraries, and log Python warnings."""
        super().setup(cfg)
        # Only errors are logged until the start has succeeded: if it fails, there is one line.
        configure(self.error_log, "ERROR")
        configure(logging.getLogger(), "WARNING")
        logging.captureWarnings(capture=True)


logger_class = AppLogger


ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def on_starting(server: Arbiter) -> None:
    """Check all that the workers need, and create the metrics directory; a reload keeps it."""
    # Sockets that systemd or the server before hands over are in use already.
    if not {"LISTEN_FDS", "GUNICORN_FD"} & os.environ.keys():
        for address in server.cfg.address:
            if isinstance(address, tuple):
                refuse_taken(*address)
    try:
        refuse_invalid_file(_settings.API_TOKENS_FILE)
        create_app({"LOG_LEVEL": "ERROR"})  # the workers log the warnings
        vars(server)["metrics"] = SharedMetrics(_settings.PROMETHEUS_MULTIPROC_DIR)
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")
    except OSError as error:
        sys.exit(f"Error: PROMETHEUS_MULTIPROC_DIR cannot be used: {error}")
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals)
    on_reload(server)


def _hold_signals() -> None:
    """Block signals during a fork: the arbiter's handlers, which a worker inherits, lose them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def on_reload(server: Arbiter) -> None:
    """Log the events of gunicorn from here on."""
    logging.getLogger("gunicorn.error").setLevel(server.cfg.loglevel.upper())


def pre_fork(server: Arbiter, worker: Worker) -> None:
    """Assign a metrics slot to the new worker."""
    vars(server)["metrics"].assign_slot(worker.age)


def post_fork(server: Arbiter, worker: Worker) -> None:
    """Attach the worker to its metrics slot, and restore the default signal handlers."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    _release_signals()
    vars(server)["metrics"].attach(worker.age)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Release the metrics slot of a worker that has exited or was killed."""
    vars(server)["metrics"].release_slot(worker.age)


def on_exit(server: Arbiter) -> None:
    """Remove the metrics directory."""
    vars(server)["metrics"].close()
