"""Prometheus metrics of requests and database connections, aggregated over all workers."""

import os
import re
import shutil
from collections.abc import Iterable
from functools import lru_cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    generate_latest,
    values,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from werkzeug.routing import Rule

from service.config import SERVICE_NAME, ConfigurationError

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# The labels of a request with another method, or without a matching route.
UNKNOWN_METHOD = "other"
NO_ROUTE = "none"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# The names that prometheus_client gives its files; other files may be anything.
FILE_NAME = re.compile(
    r"(counter|histogram|summary|gauge_(live)?(all|max|min|mostrecent|sum))_[0-9]+\.db"
)
VARIABLE = re.compile(r"<(?:[^<>:]*:)?([^<>:]*)>")
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # mkdtemp makes an unpredictable name in it

# prometheus_client reads PROMETHEUS_MULTIPROC_DIR when it is imported. Only a worker of gunicorn
# may share its metrics (SharedMetrics.attach); a command of `flask` must not.
values.ValueClass = values.MutexValue


class PoolMetrics:
    """The metrics of the connection pool (``service.database.engine.PoolMetrics``)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        size = Gauge(
            "database_pool_size",
            "Maximum number of database connections.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        in_use = Gauge(
            "database_pool_in_use",
            "Database connections in use by requests.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        wait_seconds = Summary(
            "database_pool_wait_seconds",
            "Time that requests waited for a database connection.",
            registry=registry,
        )
        self.set_size = size.set
        self.count_checkout = in_use.inc
        self.count_checkin = in_use.dec
        self.observe_wait = wait_seconds.observe


class Metrics:
    """The metrics of this process. No label has a value that clients choose freely."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests",
            "Requests that were answered completely or in part.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the arrival of a request to the last byte of its response.",
            ("method", "route"),
            registry=self._registry,
            buckets=SECONDS,
        )
        self.in_progress = Gauge(
            "http_requests_in_progress",
            "Requests in progress.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.pool = PoolMetrics(self._registry)
        self._cached_children = lru_cache(maxsize=None)(self._children)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request and observe its duration."""
        label = method if method in METHODS else UNKNOWN_METHOD
        requests, durations = self._cached_children(label, route, status)
        requests.inc()
        durations.observe(seconds)

    def _children(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(method, route, status), self._seconds.labels(method, route)

    def exposition(self) -> bytes:
        """Return the metrics of all workers in the Prometheus text format."""
        registry = self._registry
        if values.ValueClass is not values.MutexValue:
            registry = CollectorRegistry()
            registry.register(AllWorkersCollector())
        return generate_latest(registry)


class AllWorkersCollector(Collector):
    """Collects the metrics of all workers from the files in PROMETHEUS_MULTIPROC_DIR."""

    def collect(self) -> Iterable[Metric]:
        """Merge the files; that of a worker that is starting may still be empty."""
        directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        files = [
            str(file)
            for file in directory.iterdir()
            if FILE_NAME.fullmatch(file.name) and not _is_empty(file)
        ]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)
        return metrics


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:  # the worker has exited since the directory was read
        return True


def route_of(rule: Rule | None) -> str:
    """Return the path template of a rule, such as ``/things/{thing_id}``, or ``NO_ROUTE``."""
    return _template(rule.rule) if rule else NO_ROUTE


@lru_cache
def _template(rule: str) -> str:
    return VARIABLE.sub(r"{\1}", rule)


class SharedMetrics:
    """The directory in which the workers of gunicorn keep their metrics.

    Each worker has the files of a numbered slot. A new worker reuses the slot of one that has
    ended, and continues its counters: no count is lost, and the number of files is bounded.
    """

    def __init__(self, directory: str) -> None:
        """Use and empty ``directory``; if it is an empty string, create a private one.

        Raises ``OSError`` if that is not possible, and ``ConfigurationError`` if it has anything
        but metrics; it is then unchanged.
        """
        self._is_private = not directory
        parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        self._directory = Path(directory or mkdtemp(prefix=f"{SERVICE_NAME}-metrics-", dir=parent))
        self._directory.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=self._directory).close()  # raises OSError if it is not writable
        self._slots: dict[int, int] = {}
        self._refuse_other_files()
        self._delete_files()

    def assign_slot(self, worker: int) -> None:
        """Assign the first free slot to a worker that is about to start."""
        self._slots[worker] = next(slot for slot in count() if slot not in self._slots.values())

    def attach(self, worker: int) -> None:
        """Store the metrics of this process in the slot of ``worker``."""
        slot = self._slots[worker]
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self._directory)
        values.ValueClass = values.MultiProcessValue(lambda: slot)

    def release_slot(self, worker: int) -> None:
        """Free the slot of a worker; its counters remain, its gauges are removed."""
        mark_process_dead(self._slots.pop(worker), str(self._directory))

    def close(self) -> None:
        """Delete the files, and the directory if it is private."""
        self._delete_files()
        if self._is_private:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _refuse_other_files(self) -> None:
        for file in self._directory.iterdir():
            if not FILE_NAME.fullmatch(file.name) or not file.is_file():
                raise ConfigurationError(
                    f"PROMETHEUS_MULTIPROC_DIR must have a directory for metrics alone, but"
                    f" {file} is in it: set another directory"
                )

    def _delete_files(self) -> None:
        for file in self._directory.iterdir():
            if FILE_NAME.fullmatch(file.name):
                file.unlink()
