"""The engines: a pooled one for requests, and one without a pool for the readiness probe."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Protocol

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, PoolProxiedConnection, QueuePool

from service.config import ConfigurationError
from service.database import pgbouncer, postgresql, sqlite

POOL_TIMEOUT_SECONDS = 3
# How long a write waits for the other writes of its worker. On PostgreSQL it may then take six
# seconds more.
WRITE_TURN_SECONDS = {"sqlite": 5, "postgresql": 2}
PROBE_CONNECT_SECONDS = 2  # the minimum of libpq
PROBE_SECONDS = 1
PROBE = "probe"
STANDBY = "standby"
STANDBY_PROBE = "standby_probe"
# The key under which the metadata have the name of the record of changes.
SIGNED_TABLE = "signed_table"
# The isolation level of a transaction; otherwise a connection is in autocommit.
TRANSACTION_ISOLATION = {
    "sqlite": {"isolation_level": "SERIALIZABLE"},
    "postgresql": {"isolation_level": "READ COMMITTED"},
}


class Base(DeclarativeBase):
    """The base of the models; a naming convention lets migrations refer to constraints."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)


class PoolMetrics(Protocol):
    """The metrics of a connection pool."""

    def set_size(self, connections: int) -> None:
        """Set the maximum number of connections."""

    def count_checkout(self) -> None:
        """Increment the connections in use."""

    def count_checkin(self) -> None:
        """Decrement the connections in use."""

    def observe_wait(self, seconds: float) -> None:
        """Observe the time that a thread waited for a connection."""


class TimedPool(QueuePool):
    """A connection pool that measures how long a thread waits for a connection."""

    __module__ = QueuePool.__module__  # SQLAlchemy derives the name of its logger from it
    metrics: PoolMetrics | None = None

    def connect(self) -> PoolProxiedConnection:
        """Check out a connection; raises ``TimeoutError`` of SQLAlchemy if none is free in time."""
        if not self.metrics or self.checkedin() or self.overflow() < 0:
            return super().connect()
        started = perf_counter()
        try:
            return super().connect()
        finally:
            self.metrics.observe_wait(perf_counter() - started)

    def recreate(self) -> "TimedPool":
        """Return an empty pool with the same settings and metrics."""
        pool = super().recreate()
        assert isinstance(pool, TimedPool)  # noqa: S101  # for mypy
        pool.metrics = self.metrics
        return pool


def init_app(app: Flask, metrics: PoolMetrics) -> None:
    """Create the engines from DATABASE_URI, without opening a connection.

    Raises ``ConfigurationError`` if the directory of a SQLite file cannot be created.
    A connection is in autocommit until a transaction begins, so that a read is one round trip.
    The pool has one connection for each thread of a worker.
    """
    url = make_url(app.config["DATABASE_URI"])
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _pool_options(url, app.config["WEB_THREADS"])
    app.config["SQLALCHEMY_BINDS"] = {PROBE: _probe_options(url), **_standby_binds(app.config)}
    app.config["WRITE_THREADS"] = _write_threads(url, app.config["WEB_THREADS"])
    app.config["WRITE_TURN_SECONDS"] = WRITE_TURN_SECONDS[url.get_backend_name()]
    try:
        db.init_app(app)
    except OSError as error:  # it creates the directory of a relative path
        raise ConfigurationError(
            f"The directory of the database cannot be created: {error}"
        ) from None
    with app.app_context():
        engines = db.engines
    for engine in engines.values():
        _listen(engine)
    if url.get_backend_name() == "postgresql":
        pooler = app.config["DATABASE_PGBOUNCER"]
        for name in engines.keys() & {PROBE, STANDBY_PROBE}:
            postgresql.init_probe_engine(engines[name], PROBE_SECONDS)
        for name in engines.keys() & {None, STANDBY}:
            postgresql.init_serving_engine(engines[name], pgbouncer=bool(pooler))
        if pooler == "prepared":
            pgbouncer.PreparedStatements().listen(engines[None])
    else:
        sqlite.init_serving_engine(engines[None], db.metadata.info[SIGNED_TABLE])
    _count_connections(engines[None], metrics)


def new_engine(url: URL, **arguments: Any) -> Engine:
    """Return an engine without a pool; ``arguments`` are passed to the driver's ``connect``."""
    engine = create_engine(url, **_options(url, **arguments), poolclass=NullPool)
    _listen(engine)
    return engine


@contextmanager
def probe(bind: str = PROBE) -> Iterator[Connection]:
    """Open a connection outside of the pools, with short timeouts.

    ``bind`` is ``PROBE`` or ``STANDBY_PROBE``.
    SET LOCAL limits the timeout to the transaction, so that PgBouncer does not leak it to other
    clients.
    """
    engine = db.engines[bind]
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(**TRANSACTION_ISOLATION["postgresql"])
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{PROBE_SECONDS}s'")
        yield connection


def _pool_options(url: URL, size: int) -> dict[str, Any]:
    return {
        **_options(url),
        "poolclass": TimedPool,
        "pool_size": size,
        "max_overflow": 0,
        "pool_timeout": POOL_TIMEOUT_SECONDS,
        "pool_reset_on_return": None,  # each transaction is ended by the code that began it
        "skip_autocommit_rollback": True,
        "hide_parameters": True,  # the log must not contain what clients send
    }


def _write_threads(url: URL, threads: int) -> int:
    """Return how many threads of a worker may run writes at a time.

    Writes that wait must not hold the thread that reads need. SQLite runs one write at a time; a
    second one polls for its lock, and may wait in vain while others take it in turn.
    """
    return 1 if url.get_backend_name() == "sqlite" else max(threads - 1, 1)


def _standby_binds(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the engines of the standby; one idle connection stays after it was used."""
    if not config["DATABASE_READ_URI"]:
        return {}
    url = make_url(config["DATABASE_READ_URI"])
    pool = {**_pool_options(url, 1), "max_overflow": config["WEB_THREADS"] - 1}
    return {STANDBY: {"url": url, **pool}, STANDBY_PROBE: _probe_options(url)}


def _probe_options(url: URL) -> dict[str, Any]:
    timeouts: dict[str, Any] = {"connect_timeout": PROBE_CONNECT_SECONDS}
    if url.get_backend_name() == "sqlite":
        timeouts = {"timeout": PROBE_SECONDS}
    return {"url": url, **_options(url, **timeouts), "poolclass": NullPool}


def _options(url: URL, **arguments: Any) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        arguments.setdefault("timeout", sqlite.BUSY_SECONDS)
        arguments.setdefault("cached_statements", sqlite.CACHED_STATEMENTS)
    return {"isolation_level": "AUTOCOMMIT", "connect_args": arguments}


def _listen(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        sqlite.init_engine(engine)
    else:
        postgresql.init_engine(engine)


def _count_connections(engine: Engine, metrics: PoolMetrics) -> None:
    pool = engine.pool
    assert isinstance(pool, TimedPool)  # noqa: S101  # for mypy
    pool.metrics = metrics
    metrics.set_size(pool.size())

    # A checkout that fails is repeated with the same entry, and then checked in, too. Only one
    # thread at a time uses an entry.
    counted: set[ConnectionPoolEntry] = set()

    def count_checkout(_: object, entry: ConnectionPoolEntry, proxy: object) -> None:
        if entry not in counted:
            counted.add(entry)
            metrics.count_checkout()

    def count_checkin(_: object, entry: ConnectionPoolEntry) -> None:
        if entry in counted:
            counted.remove(entry)
            metrics.count_checkin()

    event.listen(engine, "checkout", count_checkout)
    event.listen(engine, "checkin", count_checkin)
