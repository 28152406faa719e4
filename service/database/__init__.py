"""Statements in autocommit, and transactions."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import psycopg
from sqlalchemy import Connection, Select, Table, UpdateBase, select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from service.database import postgresql, sqlite, standby
from service.database.dialects import Differing
from service.database.engine import (
    SIGNED_TABLE,
    STANDBY,
    TRANSACTION_ISOLATION,
    Base,
    db,
)
from service.database.pgbouncer import GONE, is_unsent

__all__ = [
    "Base",
    "Recipe",
    "Rows",
    "Statement",
    "confirm_writes",
    "db",
    "execute",
    "in_transaction",
    "transaction",
]

P = ParamSpec("P")
R = TypeVar("R")

Rows = Sequence[Sequence[Any]]
Statement = Select[Any] | UpdateBase

# SQLSTATE of a serialization failure, of a deadlock and of a server that is read-only since it was
# demoted: PostgreSQL has rolled back.
ROLLED_BACK = {"40001", "40P01", "25006"}
# Messages about a connection that must be replaced: a prepared statement whose plan refers to a
# dropped type or table; a SQLite file that was read-only when it was opened.
STALE = ("cache lookup failed", "cached plan must not change", "readonly database")
_confirmation = select(Differing(postgresql.CONFIRMATION, "0"))
MAX_RETRIES = 3
RETRY_SECONDS = 3


def _retry_if_rolled_back(function: Callable[P, R]) -> Callable[P, R]:
    """Retry what the database rolled back or refused unexecuted, up to ``MAX_RETRIES`` times."""

    @wraps(function)
    def retry(*args: P.args, **kwargs: P.kwargs) -> R:
        deadline = time.monotonic() + RETRY_SECONDS
        for _ in range(MAX_RETRIES):
            try:
                return function(*args, **kwargs)
            except DBAPIError as error:
                if not _is_rolled_back(error) or time.monotonic() > deadline:
                    raise
        return function(*args, **kwargs)

    return retry


def _is_rolled_back(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in ROLLED_BACK or _is_stale(error.orig)


def _is_stale(error: BaseException | None) -> bool:
    is_gone = getattr(error, "sqlstate", None) in GONE
    return is_gone or any(message in str(error) for message in STALE)


class Recipe(NamedTuple):
    """A function that returns a SELECT, and its hashable arguments.

    It is called only if the compiled statement is not in the cache, which then holds its SQL but
    not the SELECT itself: that takes ten times the memory.
    """

    build: Callable[..., Select[Any]]
    arguments: tuple[Hashable, ...]


def execute(statement: Statement | Recipe, parameters: Mapping[str, Any] | None = None) -> Rows:
    """Execute one statement in autocommit, in one round trip, and return all its rows.

    A SELECT whose connection is lost is retried once on a new connection, unless the server is
    unresponsive or PgBouncer cannot reach it. A write is retried only if the server rolled it back
    or refused it: after a lost connection it may have been committed. If the primary cannot be
    reached, a standby may answer. Raises ``DBAPIError``, or ``sqlalchemy.exc.TimeoutError`` if no
    pooled connection is free in time.
    """
    values = parameters or {}
    if failure := standby.primary_error():
        return _execute_on_standby(statement, values, failure)
    try:
        return _execute_again_if_lost(statement, values)
    except DBAPIError as error:
        if not standby.may_answer(error):
            raise
        return _execute_on_standby(statement, values, error)


def _execute_on_standby(
    statement: Statement | Recipe, values: Mapping[str, Any], error: DBAPIError
) -> Rows:
    """Execute a read on the standby; if that fails as well, raise the error of the primary."""
    try:
        if not standby.reading():
            ((age,),) = _execute_again_if_lost(standby.AGE, {}, STANDBY)
            standby.use(age, error)
        return _execute_again_if_lost(statement, values, STANDBY)
    except SQLAlchemyError as failure:
        raise error from failure


def _execute_again_if_lost(
    statement: Statement | Recipe, values: Mapping[str, Any], bind: str | None = None
) -> Rows:
    try:
        return _execute(statement, values, bind)
    except DBAPIError as error:
        is_lost = error.connection_invalidated and not isinstance(
            error.orig, postgresql.UnresponsiveError
        )
        if not is_lost or is_unsent(error.orig) or not isinstance(statement, Select | Recipe):
            raise
    return _execute(statement, values, bind)


@_retry_if_rolled_back
def _execute(
    statement: Statement | Recipe, values: Mapping[str, Any], bind: str | None = None
) -> Rows:
    """Compile with SQLAlchemy, and execute with the driver on a pooled connection.

    Bypassing SQLAlchemy's result layer saves two thirds of the time.
    """
    if isinstance(statement, UpdateBase):
        postgresql.require_writes(db.engine)
    engine = db.engines[bind]
    command = _command(statement, engine.dialect, tuple(values))
    pooled = None
    try:
        pooled = engine.raw_connection()
        info = pooled.info  # kept for the life of the driver's connection
        cursor = info.get("cursor") or info.setdefault("cursor", pooled.cursor())
        if isinstance(statement, UpdateBase) and engine.dialect.name == "sqlite":
            sqlite.sign_changes(cursor.connection, db.metadata.info[SIGNED_TABLE])
        return command.execute(cursor, values)
    except engine.dialect.loaded_dbapi.Error as error:
        raise _wrapped(error, command, engine.dialect, pooled) from error
    finally:
        if pooled is not None:
            pooled.close()


class _Command(NamedTuple):
    """A compiled statement with the arguments that the driver needs."""

    sql: str
    names: Sequence[str] | None
    """The order of positional parameters; None if the driver takes them by name."""
    literals: Mapping[str, Any]
    processors: Mapping[str, Callable[[Any], Any]]
    options: Mapping[str, Any]
    returns_rows: bool

    def execute(self, cursor: Any, values: Mapping[str, Any]) -> Rows:
        """Execute the statement and return its rows; an empty tuple if it returns none."""
        bound = {**self.literals, **values}
        for name, process in self.processors.items():
            bound[name] = process(bound[name])
        arguments = bound if self.names is None else [bound[name] for name in self.names]
        cursor.execute(self.sql, arguments, **self.options)
        rows: Rows = cursor.fetchall() if self.returns_rows else ()
        return rows


# The SQL of a list has up to 20 kB. To compile a usual one takes 1 ms.
@lru_cache(maxsize=128)
def _command(statement: Statement | Recipe, dialect: Dialect, names: tuple[str, ...]) -> _Command:
    """Compile a statement; ``names`` are the columns that an INSERT or UPDATE sets."""
    if isinstance(statement, Recipe):
        statement = statement.build(*statement.arguments)
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


def _wrapped(
    error: Any, command: _Command, dialect: Dialect, pooled: PoolProxiedConnection | None
) -> BaseException:
    """Return the error as a ``DBAPIError``; invalidate a connection that is lost or stale."""
    is_lost = pooled is not None and dialect.is_disconnect(error, pooled, None)
    if pooled is not None and (is_lost or _is_stale(error)):
        pooled.invalidate(error)
    driver = dialect.loaded_dbapi.Error
    wrapped: BaseException = DBAPIError.instance(
        command.sql, None, error, driver, connection_invalidated=is_lost, dialect=dialect
    )
    return wrapped


def confirm_writes() -> None:
    """Wait until a synchronous standby, if there is one, has all that was committed before.

    For a write that changed nothing, because it may repeat one that failed after its commit.
    """
    execute(_confirmation)


@contextmanager
def transaction(*, writes: bool = True) -> Iterator[Connection]:
    """Open a connection and a transaction; commit on success, roll back on an exception.

    Without ``writes`` it may write to temporary tables only; SQLite then lets others write.
    """
    if writes:
        postgresql.require_writes(db.engine)
    isolation = TRANSACTION_ISOLATION[db.engine.dialect.name]
    with db.engine.connect().execution_options(**isolation, writes=writes) as connection:
        try:
            with connection.begin():
                yield connection
        except DBAPIError as error:
            if _is_stale(error.orig):
                connection.invalidate(error)
            raise


@_retry_if_rolled_back
def in_transaction(work: Callable[[Connection], R], *, writes: bool = True) -> R:
    """Call ``work`` in a transaction and return its result; it is called again for a retry."""
    with transaction(writes=writes) as connection:
        return work(connection)


def execute_in(
    connection: Connection, statement: Statement, parameters: Mapping[str, Any] | None = None
) -> Rows:
    """Execute one statement on the connection of a transaction, and return all its rows."""
    result = connection.execute(statement, parameters)
    return result.all() if result.returns_rows else ()


def insert_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows that have the same columns; uses COPY on PostgreSQL."""
    if connection.dialect.name == "sqlite":
        connection.execute(table.insert(), rows)
        return
    copy_in = f"COPY {table.name} ({', '.join(rows[0])}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(copy_in) as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
    except psycopg.Error as error:
        raise DBAPIError.instance(
            copy_in, (), error, psycopg.Error, dialect=connection.dialect
        ) from None
