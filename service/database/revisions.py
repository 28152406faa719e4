"""Revisions of the schema: the one of a database, the one that the service requires."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import click
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate
from sqlalchemy import Connection, MetaData, String, column, func, inspect, select, table
from sqlalchemy.engine import URL

from service.database.engine import TRANSACTION_ISOLATION, db, new_engine

DIRECTORY = Path(__file__).parent.parent / "migrations"
VERSION_TABLE = "alembic_version"

NO_TABLES = "The database has no tables: run `flask db upgrade`"

# The key of the advisory lock; the value is arbitrary.
LOCK = int.from_bytes(b"migrate")
LOCK_WAIT_SECONDS = 60
LOCK_POLL_SECONDS = 0.2

# A DDL statement that waits for a lock blocks all later statements on the table.
TIMEOUTS = (
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '15min'",
    "SET idle_in_transaction_session_timeout = '1min'",
)


def init_app(app: Flask) -> None:
    """Add the commands of `flask db`."""
    Migrate(app, db, str(DIRECTORY))


@lru_cache(maxsize=1)
def known() -> tuple[str, ...]:
    """Return the revisions of this version of the service, newest first."""
    return tuple(each.revision for each in ScriptDirectory(str(DIRECTORY)).walk_revisions())


@contextmanager
def migration_lock(url: URL) -> Iterator[Connection]:
    """Open a connection that holds the migration lock, so that migrations run one at a time.

    The lock is released with the connection. Waits up to ``LOCK_WAIT_SECONDS``; then raises
    ``ClickException`` on PostgreSQL and ``OperationalError`` on SQLite.
    """
    lock = _sqlite_lock if url.get_backend_name() == "sqlite" else _postgresql_lock
    with lock(url) as connection:
        yield connection


@contextmanager
def _sqlite_lock(url: URL) -> Iterator[Connection]:
    engine = new_engine(url, timeout=LOCK_WAIT_SECONDS)
    isolation = TRANSACTION_ISOLATION["sqlite"]
    with engine.connect().execution_options(**isolation) as connection, connection.begin():
        yield connection


@contextmanager
def _postgresql_lock(url: URL) -> Iterator[Connection]:
    with new_engine(url).connect() as connection:
        for statement in TIMEOUTS:
            connection.exec_driver_sql(statement)
        _wait_for_lock(connection)
        connection.commit()
        yield connection.execution_options(**TRANSACTION_ISOLATION["postgresql"])


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
    revision, missing = _schema(connection, metadata)
    if not revision and not missing:
        raise click.ClickException(f"{_unstamped_message()}.")


def is_newer(connection: Connection, metadata: MetaData) -> bool:
    """Return whether the revision of the database is newer than those of this version."""
    revision, _ = _schema(connection, metadata)
    return _is_newer(revision)


def _is_newer(revision: str) -> bool:
    return revision.isdecimal() and int(revision) > int(known()[0])


def schema_error(connection: Connection, metadata: MetaData) -> str | None:
    """Return what is wrong with the schema and the command that corrects it; None if nothing is.

    A newer revision is accepted: it keeps all that this version uses, so that both versions can
    serve during a rollout or a rollback.
    """
    revision, missing = _schema(connection, metadata)
    head = known()[0]
    if not revision:
        return NO_TABLES if missing else _unstamped_message()
    if revision != head and not _is_newer(revision):
        return (
            f"The schema is at revision {revision}, but this version of the service requires "
            f"{head}: run `flask db upgrade`"
        )
    if missing:
        return f"The table {missing[0]} is missing: restore a backup or run `flask db-create`"
    return None


def _unstamped_message() -> str:
    return (
        "The tables have no revision: if `flask db-create` created them, "
        f"run `flask db stamp {known()[-1]}`, then `flask db upgrade`"
    )


def _schema(connection: Connection, metadata: MetaData) -> tuple[str, list[str]]:
    """Return the revision, or an empty string if none is recorded, and the missing tables."""
    inspector = inspect(connection)
    missing = [name for name in metadata.tables if not inspector.has_table(name)]
    versions = select(column("version_num", String)).select_from(table(VERSION_TABLE))
    found = connection.scalars(versions) if inspector.has_table(VERSION_TABLE) else ()
    return ", ".join(found), missing
