"""Revisions of the schema: the one of a database, the one that the service requires."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

import click
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate
from sqlalchemy import (
    Connection,
    MetaData,
    String,
    column,
    create_engine,
    func,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from service.database.engine import TRANSACTION_ISOLATION, db, new_engine
from service.database.privileges import privilege_error

DIRECTORY = Path(__file__).parent.parent / "migrations"
VERSION_TABLE = "alembic_version"

# As Alembic returns it: several heads, or None for "base".
Revision = str | tuple[str, ...] | None

# The triggers of a table that are enabled.
TRIGGERS = {
    "postgresql": "SELECT tgname FROM pg_trigger"
    " WHERE tgrelid = to_regclass(:table) AND tgenabled IN ('O', 'A')",
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table",
}
NO_TABLES = "The database has no tables: run `flask db upgrade`"

# The key of the advisory lock; the value is arbitrary.
LOCK = int.from_bytes(b"migrate")
LOCK_WAIT_SECONDS = 60
LOCK_POLL_SECONDS = 0.2
CONNECT_POLL_SECONDS = 1

# A DDL statement that waits for a lock blocks all later statements on the table.
TIMEOUTS = (
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '15min'",
    "SET idle_in_transaction_session_timeout = '1min'",
)

logger = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Add the commands of `flask db`."""
    Migrate(app, db, str(DIRECTORY))


@lru_cache(maxsize=1)
def known() -> tuple[str, ...]:
    """Return the revisions of this version of the service, newest first."""
    return tuple(each.revision for each in ScriptDirectory(str(DIRECTORY)).walk_revisions())


@contextmanager
def migration_lock(url: URL, wait_seconds: float = 0) -> Iterator[Connection]:
    """Open a connection that holds the migration lock, so that migrations run one at a time.

    At the end it commits, and the lock is released with the connection. Waits up to
    ``LOCK_WAIT_SECONDS``; then raises ``ClickException`` on PostgreSQL and ``OperationalError`` on
    SQLite. Before, waits up to ``wait_seconds`` for a PostgreSQL that is unavailable; then raises
    ``OperationalError``.
    """
    is_sqlite = url.get_backend_name() == "sqlite"
    with _sqlite_lock(url) if is_sqlite else _postgresql_lock(url, wait_seconds) as connection:
        yield connection


@contextmanager
def _sqlite_lock(url: URL) -> Iterator[Connection]:
    engine = new_engine(url, timeout=LOCK_WAIT_SECONDS)
    isolation = TRANSACTION_ISOLATION["sqlite"]
    with engine.connect().execution_options(**isolation) as connection, connection.begin():
        yield connection


@contextmanager
def _postgresql_lock(url: URL, wait_seconds: float) -> Iterator[Connection]:
    with _connected(url, wait_seconds) as connection:
        refuse_pooler(connection)
        for statement in TIMEOUTS:
            connection.exec_driver_sql(statement)
        _wait_for_lock(connection)
        connection.commit()
        yield connection.execution_options(**TRANSACTION_ISOLATION["postgresql"])
        connection.commit()


def _connected(url: URL, wait_seconds: float) -> Connection:
    """Connect; while the server is unavailable, try again for a limited time.

    A server that starts for the first time may not have the role or the database yet.
    """
    engine = new_engine(url)
    deadline = time.monotonic() + wait_seconds
    logged = None
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if time.monotonic() >= deadline:
                raise
            cause = " ".join(str(error.orig).split())
        if cause != logged:
            logger.warning("Waiting up to %d s for the database: %s", wait_seconds, cause)
            logged = cause
        time.sleep(CONNECT_POLL_SECONDS)


def refuse_pooler(connection: Connection) -> None:
    """Raise ``ClickException`` if a pooler such as PgBouncer is between this and PostgreSQL.

    The lock and the timeouts of the session would stay on its connection, which other clients use.
    """
    driver: Any = connection.connection.driver_connection
    if driver.info.backend_pid != connection.scalar(select(func.pg_backend_pid())):
        raise click.ClickException(
            "This command needs a direct connection to PostgreSQL: set DATABASE_URI to its own "
            "address, not to that of PgBouncer."
        )


def _wait_for_lock(connection: Connection) -> None:
    """Poll the advisory lock.

    A statement that waits in the server would block CREATE INDEX CONCURRENTLY of the other one.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while not connection.scalar(select(func.pg_try_advisory_lock(LOCK))):
        if time.monotonic() >= deadline:
            raise click.ClickException(
                f"Another migration is still running after {LOCK_WAIT_SECONDS} s: "
                "try again when it has finished."
            )
        time.sleep(LOCK_POLL_SECONDS)


def drop_version_table(connection: Connection) -> None:
    """Drop the table in which Alembic records the revision."""
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {VERSION_TABLE}")


def require_revision(connection: Connection, metadata: MetaData) -> None:
    """Raise ``ClickException`` if the tables exist but no revision is recorded."""
    tables = _Tables.of(connection, metadata)
    if tables and not _recorded(connection):
        raise click.ClickException(f"{_unrecorded_message(tables, metadata)}.")


def require_tables(connection: Connection, metadata: MetaData, revision: Revision) -> None:
    """Raise ``ClickException`` if the tables are not those of a revision; None has no tables."""
    tables = _Tables.of(connection, metadata)
    if not _are_of(tables, revision, metadata):
        raise click.ClickException(
            f"The tables are not those of this revision. {_remedy(tables, metadata)}."
        )


def is_newer(connection: Connection) -> bool:
    """Return whether the revision of the database is newer than those of this version."""
    return _is_newer(_recorded(connection))


def _is_newer(revision: str) -> bool:
    return revision.isdecimal() and int(revision) > int(known()[0])


def schema_error(connection: Connection, metadata: MetaData) -> str | None:
    """Return what is wrong with the schema and the command that corrects it; None if nothing is.

    A newer revision is accepted: it keeps all that this version uses, so that both versions can
    serve during a rollout or a rollback.
    """
    needed = metadata.info["privileges"]
    if lacking := privilege_error(connection, needed, VERSION_TABLE):
        return lacking
    revision = _recorded(connection)
    if not revision:
        tables = _Tables.of(connection, metadata)
        return _unrecorded_message(tables, metadata) if tables else NO_TABLES
    if revision != known()[0] and not _is_newer(revision):
        return (
            f"The schema is at revision {revision}, but this version of the service requires "
            f"{known()[0]}: run `flask db upgrade`"
        )
    if missing := _missing(connection, metadata):
        return f"{missing}: restore a backup or run `flask db-create`"
    return None if _is_newer(revision) else trigger_error(connection, metadata)


def trigger_error(connection: Connection, metadata: MetaData) -> str | None:
    """Return which trigger is missing or disabled and the command that corrects it, or None."""
    dialect = connection.dialect.name
    for table_name, names in metadata.info["triggers"][dialect].items():
        found = connection.execute(text(TRIGGERS[dialect]), {"table": table_name})
        for name in sorted(names - {*found.scalars()}):
            return f"The table {table_name} has no trigger {name}: run `flask db upgrade`"
    return None


def create_missing_triggers(connection: Connection, metadata: MetaData) -> None:
    """Create all triggers again if one is missing, as the revisions did that have some."""
    if _recorded(connection) == known()[0] and trigger_error(connection, metadata):
        scripts = ScriptDirectory(str(DIRECTORY)).walk_revisions()
        modules: list[Any] = [script.module for script in scripts]
        for module in reversed(modules):
            if hasattr(module, "create_triggers"):
                module.create_triggers()


def _recorded(connection: Connection) -> str:
    """Return the revision of the database, or an empty string if none is recorded."""
    versions = select(column("version_num", String)).select_from(table(VERSION_TABLE))
    found = connection.scalars(versions) if inspect(connection).has_table(VERSION_TABLE) else ()
    return ", ".join(found)


def _missing(connection: Connection, metadata: MetaData) -> str | None:
    """Return what the models have but the database has not, in words."""
    for expected in metadata.sorted_tables:
        if not inspect(connection).has_table(expected.name):
            return f"The table {expected.name} is missing"
        rows = connection.execute(select(text("*")).select_from(table(expected.name)).limit(0))
        for name in expected.columns.keys() - rows.keys():
            return f"The table {expected.name} has no column {name}"
    return None


class _Tables(NamedTuple):
    """What tells the tables of one revision from those of another."""

    columns: frozenset[tuple[str, str]]
    checks: frozenset[str | None]
    """The names of the check constraints."""

    def __bool__(self) -> bool:
        return bool(self.columns)

    @classmethod
    def of(cls, connection: Connection, metadata: MetaData) -> Self:
        """Return the tables of the database that have the name of a table of the models."""
        inspector = inspect(connection)
        names = [name for name in metadata.tables if inspector.has_table(name)]
        return cls(
            frozenset(
                (name, each["name"]) for name in names for each in inspector.get_columns(name)
            ),
            frozenset(
                each["name"] for name in names for each in inspector.get_check_constraints(name)
            ),
        )


_scratch_lock = Lock()


@lru_cache(maxsize=64)
def _tables_of(revision: Revision, metadata: MetaData) -> _Tables:
    """Return the tables of a revision: apply it to a SQLite database in memory."""
    scripts = ScriptDirectory(str(DIRECTORY)).iterate_revisions(revision or "base", "base")
    with create_engine("sqlite://").connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        with _scratch_lock, Operations.context(context):
            for script in reversed(list(scripts)):
                script.module.upgrade()
        return _Tables.of(connection, metadata)


def _are_of(tables: _Tables, revision: Revision, metadata: MetaData) -> bool:
    """Return whether the tables have the columns and the check constraints of a revision.

    Constraints that all revisions have are not compared: SQLite has one for an enum, too.
    """
    expected = _tables_of(revision, metadata)
    every = [_tables_of(each, metadata).checks for each in known()]
    telling = frozenset.union(*every) - frozenset.intersection(*every)
    return tables.columns == expected.columns and not (tables.checks ^ expected.checks) & telling


def _unrecorded_message(tables: _Tables, metadata: MetaData) -> str:
    return f"The tables have no revision. {_remedy(tables, metadata)}"


def _remedy(tables: _Tables, metadata: MetaData) -> str:
    for revision in known():
        if _are_of(tables, revision, metadata):
            return (
                f"They are those of {revision}: run `flask db stamp {revision}`, "
                "then `flask db upgrade`"
            )
    return "They are those of no revision: restore a backup or run `flask db-create`"
