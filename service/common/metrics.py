"""What is counted, for Prometheus: requests and database connections, over all workers."""

import os
import re
import shutil
from collections.abc import Iterable
from functools import lru_cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import cast

from flask import Flask
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
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from werkzeug.routing import Rule

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OTHER_METHOD = "other"
NO_ROUTE = "none"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
VARIABLE = re.compile(r"<(?:[^<>:]*:)?([^<>:]*)>")
MEMORY = "/dev/shm"  # noqa: S108  # a directory with a name that cannot be guessed is made in it

# Only a worker of gunicorn shares its metrics (see SharedMetrics.join): a command of `flask`
# must not, whatever the environment says.
values.ValueClass = values.MutexValue


class PoolMetrics:
    """The connections of the database pool."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Count from nothing."""
        self.size = Gauge(
            "database_pool_size",
            "Database connections that may be open.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._in_use = Gauge(
            "database_pool_in_use",
            "Database connections that a request holds.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.wait_seconds = Summary(
            "database_pool_wait_seconds",
            "How long requests waited because all database connections were in use.",
            registry=registry,
        )
        # An entry is in one thread's hands at a time, so none of them needs a lock.
        self._taken: set[ConnectionPoolEntry] = set()

    def take(self, entry: ConnectionPoolEntry) -> None:
        """Count a connection as in use, once."""
        if entry not in self._taken:
            self._taken.add(entry)
            self._in_use.inc()

    def give_back(self, entry: ConnectionPoolEntry) -> None:
        """Count it as free again."""
        if entry in self._taken:
            self._taken.discard(entry)
            self._in_use.dec()


class MeteredPool(QueuePool):
    """A pool that tells its metrics who holds a connection and who waits for one."""

    __module__ = QueuePool.__module__  # its log is SQLAlchemy's, which is quiet
    metrics: PoolMetrics | None = None

    def report_to(self, metrics: PoolMetrics) -> None:
        """Count there from now on."""
        self.metrics = metrics
        metrics.size.set(self.size() + self._max_overflow)

    def recreate(self) -> "MeteredPool":
        """Return an empty pool like this one, which counts in the same place."""
        pool = cast("MeteredPool", super().recreate())
        pool.metrics = self.metrics
        return pool

    def _do_get(self) -> ConnectionPoolEntry:
        waits = self.checkedin() == 0 and self.overflow() >= self._max_overflow
        begun = perf_counter()
        try:
            entry = super()._do_get()
        finally:
            if waits and self.metrics:
                self.metrics.wait_seconds.observe(perf_counter() - begun)
        if self.metrics:
            self.metrics.take(entry)
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self.metrics:
            self.metrics.give_back(record)
        super()._do_return_conn(record)


class Metrics:
    """What one process has counted; no label holds what a client made up."""

    def __init__(self) -> None:
        """Count from nothing, or on from where this worker's slot is."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests",
            "Requests that were answered, whole or in part.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "From a request's arrival to the last byte of its answer.",
            ("method", "route"),
            registry=self._registry,
            buckets=SECONDS,
        )
        self.in_progress = Gauge(
            "http_requests_in_progress",
            "Requests that are being answered now.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.pool = PoolMetrics(self._registry)
        self._labelled = lru_cache(maxsize=None)(self._label)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time a request."""
        requests, durations = self._labelled(
            method if method in METHODS else OTHER_METHOD, route, status
        )
        requests.inc()
        durations.observe(seconds)

    def _label(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(method, route, status), self._seconds.labels(method, route)

    def exposition(self) -> bytes:
        """Return all figures in the text format of Prometheus; those of all workers as one."""
        registry = self._registry
        if values.ValueClass is not values.MutexValue:
            registry = CollectorRegistry()
            registry.register(AllWorkers())
        return generate_latest(registry)


class AllWorkers(Collector):
    """The figures of all workers, as one."""

    def collect(self) -> Iterable[Metric]:
        """Read the files of the workers; one that has just begun may have an empty one."""
        directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        files = [str(file) for file in directory.glob("*.db") if not _is_empty(file)]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)
        return metrics


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:  # the worker has just ended
        return True


def route_of(rule: Rule | None) -> str:
    """Return the template of a path, such as ``/products/{product_id}``."""
    return _template(rule.rule) if rule else NO_ROUTE


@lru_cache
def _template(rule: str) -> str:
    return VARIABLE.sub(r"{\1}", rule)


def init_app(app: Flask) -> None:
    """Count what ``app`` does; ``database.init_app`` comes first."""
    metrics = app.extensions["metrics"] = Metrics()
    pool = app.extensions["engine"].pool
    if isinstance(pool, MeteredPool):
        pool.report_to(metrics.pool)


class SharedMetrics:
    """The directory in which gunicorn's workers keep their metrics, each in files of its slot.

    The next worker goes on counting in the slot of one that has ended, however it ended: no
    request is forgotten, and a worker that dies again and again leaves no pile of files.
    """

    def __init__(self, given: str) -> None:
        """Empty the directory that was given, or make a private one."""
        self._is_private = not given
        writable = MEMORY if os.access(MEMORY, os.W_OK) else None
        self._directory = Path(given or mkdtemp(prefix="products-metrics-", dir=writable))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._slots: dict[int, int] = {}
        self._empty()

    def enter(self, worker: int) -> None:
        """Give a worker that is about to start the first slot that is free."""
        self._slots[worker] = next(slot for slot in count() if slot not in self._slots.values())

    def join(self, worker: int) -> None:
        """Share the metrics of this process, which is that worker."""
        slot = self._slots[worker]
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self._directory)
        values.ValueClass = values.MultiProcessValue(lambda: slot)

    def leave(self, worker: int) -> None:
        """Keep what a worker has counted, but nothing of it is in progress or in use any more."""
        mark_process_dead(self._slots.pop(worker), str(self._directory))

    def remove(self) -> None:
        """Leave nothing behind."""
        self._empty()
        if self._is_private:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _empty(self) -> None:
        for file in self._directory.glob("*.db"):
            file.unlink()
