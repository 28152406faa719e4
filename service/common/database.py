"""The way to the database: autocommit reads, short write transactions, one engine an app."""

import logging
import select
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

import psycopg
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from psycopg.abc import RV, PQGen
from psycopg.errors import Diagnostic
from sqlalchemy import Connection, Engine, Select, Table, UpdateBase, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, PoolProxiedConnection

from service.common import postgresql
from service.common.metrics import MeteredPool

P = ParamSpec("P")
R = TypeVar("R")

Rows = Sequence[Sequence[Any]]
Statement = Select[Any] | UpdateBase

SQLITE_BUSY_SECONDS = 5
POOL_TIMEOUT_SECONDS = 3
PROBE_CONNECT_SECONDS = 2  # libpq takes no less
PROBE_SECONDS = 1
TRANSACTION_LEVELS = {"sqlite": "SERIALIZABLE", "postgresql": "READ COMMITTED"}
# PostgreSQL has undone the transaction for the sake of another one.
ROLLED_BACK = ("40001", "40P01")
RETRIES = 3
REPEAT_SECONDS = 3

logger = logging.getLogger(__name__)


def engine_options(url: URL, pool_size: int) -> dict[str, Any]:
    """Return what SQLAlchemy's ``create_engine`` is told for this database.

    A connection is in autocommit until ``transaction`` begins one: a read is one round trip.
    A PostgreSQL pool has one connection for each thread of a worker and none over.
    """
    options: dict[str, Any] = {
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "poolclass": MeteredPool,
        "pool_reset_on_return": None,  # whoever begins a transaction ends it
        "hide_parameters": True,  # what clients send is not for the log
    }
    if url.get_backend_name() == "sqlite":
        return {**options, "connect_args": {"timeout": SQLITE_BUSY_SECONDS}}
    return {
        **options,
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_TIMEOUT_SECONDS,
    }


def init_app(app: Flask, db: SQLAlchemy) -> None:
    """Make the engine of ``app``; open no connection yet."""
    db.init_app(app)
    with app.app_context():
        engine = app.extensions["engine"] = db.engine
    _listen(engine)
    if engine.dialect.name == "postgresql":
        postgresql.init_engine(engine, pgbouncer=app.config["DATABASE_PGBOUNCER"])
        event.listen(engine, "checkout", _refuse_dead)
    app.extensions["probe"] = _probe_engine(engine.url)


def engine_apart(url: URL, **arguments: Any) -> Engine:
    """Return an engine that opens a connection for each purpose and closes it after that.

    ``arguments`` go to the driver's ``connect``.
    """
    given = engine_options(url, pool_size=1)
    engine = create_engine(
        url,
        isolation_level=given["isolation_level"],
        connect_args={**given.get("connect_args", {}), **arguments},
        poolclass=NullPool,
    )
    _listen(engine)
    return engine


def _probe_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return engine_apart(url, timeout=PROBE_SECONDS)
    engine = engine_apart(url, connect_timeout=PROBE_CONNECT_SECONDS)
    event.listen(engine, "do_connect", _connect_impatiently)
    return engine


def _listen(engine: Engine) -> None:
    """Say how a connection is opened and how it begins a transaction."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _open_existing_file)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    else:
        event.listen(engine, "do_connect", postgresql.fill_in)
        event.listen(engine, "connect", _log_warnings)


class _Command(NamedTuple):
    """A statement as the driver takes it."""

    sql: str
    names: Sequence[str] | None
    """The parameters in their places; None where they go by name."""
    literals: Mapping[str, Any]
    processors: Mapping[str, Callable[[Any], Any]]
    options: Mapping[str, Any]
    returns_rows: bool

    def run(self, cursor: Any, values: Mapping[str, Any]) -> Rows:
        """Execute the command and return its rows; none if it is of a kind that gives none."""
        places = {**self.literals, **values}
        for name, process in self.processors.items():
            places[name] = process(places[name])
        in_order = places if self.names is None else [places[name] for name in self.names]
        cursor.execute(self.sql, in_order, **self.options)
        rows: Rows = cursor.fetchall() if self.returns_rows else ()
        return rows


def read(statement: Statement, parameters: Mapping[str, Any] | None = None) -> Rows:
    """Return all rows of one statement, run in autocommit: one round trip.

    If its connection turns out to be dead, and not only silent, it is run once more on a
    fresh one.
    """
    try:
        return write(statement, parameters)
    except DBAPIError as error:
        if not error.connection_invalidated or isinstance(error.orig, postgresql.SilentError):
            raise
        return write(statement, parameters)


def _repeat_if_rolled_back(function: Callable[P, R]) -> Callable[P, R]:
    """Run a whole transaction again, a few times, where a deadlock or the like has undone it."""

    @wraps(function)
    def repeat(*args: P.args, **kwargs: P.kwargs) -> R:
        last = time.monotonic() + REPEAT_SECONDS
        for _ in range(RETRIES):
            try:
                return function(*args, **kwargs)
            except DBAPIError as error:
                code = getattr(error.orig, "sqlstate", None)
                if code not in ROLLED_BACK or time.monotonic() > last:
                    raise
        return function(*args, **kwargs)

    return repeat


@_repeat_if_rolled_back
def write(statement: Statement, parameters: Mapping[str, Any] | None = None) -> Rows:
    """Return all rows of one statement that is a transaction by itself: one round trip.

    SQLAlchemy writes its SQL and keeps its connection, but the driver runs it: that takes a
    third of the time. It is run again only if it was undone: where its connection is lost,
    nobody can tell whether it was carried out.
    """
    engine = _engine()
    values = parameters or {}
    command = _command(statement, engine.dialect, tuple(values))
    pooled = None
    try:
        pooled = engine.raw_connection()
        info = pooled.info  # of this very connection, and gone with it
        cursor = info.get("cursor") or info.setdefault("cursor", pooled.cursor())
        return command.run(cursor, values)
    except engine.dialect.loaded_dbapi.Error as error:
        raise _wrapped(error, command, engine.dialect, pooled) from error
    finally:
        if pooled is not None:
            pooled.close()


def _wrapped(
    error: Any,
    command: _Command,
    dialect: Dialect,
    pooled: PoolProxiedConnection | None,
) -> BaseException:
    """Return the driver's error as SQLAlchemy raises it; a lost connection leaves the pool."""
    lost = pooled is not None and dialect.is_disconnect(error, pooled, None)
    if pooled is not None and lost:
        pooled.invalidate(error)
    driver = dialect.loaded_dbapi.Error
    wrapped: BaseException = DBAPIError.instance(
        command.sql, None, error, driver, connection_invalidated=lost, dialect=dialect
    )
    return wrapped


@lru_cache(maxsize=512)
def _command(statement: Statement, dialect: Dialect, names: tuple[str, ...]) -> _Command:
    """Compile a statement; an INSERT or UPDATE is of the columns in ``names``."""
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    processors = {
        name: process
        for name, parameter in compiled.binds.items()
        if (process := parameter.type.dialect_impl(dialect).bind_processor(dialect))
    }
    prepare = statement.get_execution_options().get("prepare", True)
    return _Command(
        str(compiled),
        compiled.positiontup if compiled.positional else None,
        {name: value for name, value in compiled.params.items() if name not in names},
        processors,
        {} if prepare or dialect.name == "sqlite" else {"prepare": False},
        isinstance(statement, Select) or bool(statement.returning_column_descriptions),
    )


@contextmanager
def transaction() -> Iterator[Connection]:
    """Commit what is done within, or nothing of it where an exception passes."""
    engine = _engine()
    isolation = {"isolation_level": TRANSACTION_LEVELS[engine.dialect.name]}
    with engine.connect().execution_options(**isolation) as connection, connection.begin():
        yield connection


@_repeat_if_rolled_back
def in_transaction(work: Callable[[Connection], R]) -> R:
    """Return what ``work`` does in one transaction; it may be run again, so it reads anew."""
    with transaction() as connection:
        return work(connection)


def _engine() -> Engine:
    engine: Engine = current_app.extensions["engine"]
    return engine


def run(
    connection: Connection, statement: Statement, parameters: Mapping[str, Any] | None = None
) -> Rows:
    """Return all rows of one statement; none if it is of a kind that gives none."""
    result = connection.execute(statement, parameters)
    return result.all() if result.returns_rows else ()


def insert_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert many rows of the same columns in the fastest way that the database has."""
    if connection.dialect.name == "sqlite":
        connection.execute(table.insert(), rows)
        return
    copy_in = f"COPY {table.name} ({', '.join(rows[0])}) FROM STDIN"
    session: Any = connection.connection.driver_connection
    try:
        with session.cursor() as cursor, cursor.copy(copy_in) as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
    except psycopg.Error as error:
        raise DBAPIError.instance(
            copy_in, (), error, psycopg.Error, dialect=connection.dialect
        ) from None


def sqlite_file(url: URL) -> Path | None:
    """Return the file that holds the database, whether it is there or not; None if no file does."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


@contextmanager
def probe() -> Iterator[Connection]:
    """Open a connection of its own, outside of the pool, that is given up after a few seconds.

    The server's limit ends with the transaction, so PgBouncer hands it on to nobody else.
    """
    engine: Engine = current_app.extensions["probe"]
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level=TRANSACTION_LEVELS["postgresql"])
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{PROBE_SECONDS}s'")
        yield connection


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that breaks off in time if its server is frozen and enforces no limit."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Have all that is done with it end soon."""
        super().__init__(*arguments, **options)
        self._give_up = time.monotonic() + PROBE_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the server until the time is over, then close the connection."""
        try:
            return super().wait(gen, interval, max(0, self._give_up - time.monotonic()))
        except psycopg.OperationalError:
            self.close()
            raise


def _connect_impatiently(
    dialect: Dialect,
    entry: ConnectionPoolEntry,
    arguments: list[Any],
    options: dict[str, Any],
) -> ImpatientConnection:
    return ImpatientConnection.connect(*arguments, **options)


def create_sqlite_file(url: URL) -> None:
    """Make the empty file that the other connections insist on."""
    if path := sqlite_file(url):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _open_existing_file(
    dialect: Dialect,
    entry: ConnectionPoolEntry,
    arguments: list[Any],
    options: dict[str, Any],
) -> None:
    """Keep SQLite from answering a wrong path with a new, empty database."""
    if not options.get("uri"):
        arguments[0] = f"file:{quote(arguments[0])}?mode=rw"
        options["uri"] = True


def _prepare_sqlite(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.create_function("fold", 1, _casefold, deterministic=True)


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock first: a deferred transaction fails when it comes to write."""
    if "isolation_level" in connection.get_execution_options():
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _log_warnings(connection: psycopg.Connection[Any], entry: ConnectionPoolEntry) -> None:
    connection.add_notice_handler(_log_warning)


def _log_warning(notice: Diagnostic) -> None:
    """Put into the log what PostgreSQL warns of; its mere notices are for nobody."""
    if notice.severity_nonlocalized == "WARNING":
        logger.warning(notice.message_primary)


def _refuse_dead(
    connection: psycopg.Connection[Any], entry: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """Have the pool open a fresh connection in the place of one that the server has ended.

    An idle connection has nothing to read until the server says farewell, so this takes no
    round trip; and as nothing has been sent, it serves writes as well.
    """
    if connection.closed or _readable(connection.fileno()):
        raise DisconnectionError


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
