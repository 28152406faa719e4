"""The schema and its revisions: which one this version needs, and how a database gets there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, MetaData, String, column, func, inspect, select, table
from sqlalchemy.engine import URL

from service.common.database import TRANSACTION_LEVELS, engine_apart

VERSION_TABLE = "alembic_version"

NO_TABLES = "The database has no tables: run `flask db upgrade`"

# Any number will do that nobody else locks in this database.
LOCK = int.from_bytes(b"migrate")
LOCK_WAIT_SECONDS = 60
LOCK_POLL_SECONDS = 0.2

# A change that waits for a lock stops whoever comes after it, so it gives up soon.
LIMITS = (
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '15min'",
    "SET idle_in_transaction_session_timeout = '1min'",
)


def init_app(app: Flask, db: SQLAlchemy) -> None:
    """Add the commands of `flask db`, and learn which revisions there are."""
    directory = str(Path(app.root_path, "migrations"))
    Migrate(app, db, directory)
    revisions = ScriptDirectory(directory).walk_revisions()
    app.extensions["revisions"] = [revision.revision for revision in revisions]


@contextmanager
def sole_migration(url: URL) -> Iterator[Connection]:
    """Open a connection for a migration, as soon as no other one is running.

    The lock ends with the connection. What is read from here on is what the other one has left.
    Raises ``ClickException`` or ``OperationalError`` if that takes too long.
    """
    backend = url.get_backend_name()
    isolation = {"isolation_level": TRANSACTION_LEVELS[backend]}
    if backend == "sqlite":
        engine = engine_apart(url, timeout=LOCK_WAIT_SECONDS)
        with engine.connect().execution_options(**isolation) as connection, connection.begin():
            yield connection
        return
    with engine_apart(url).connect() as connection:
        for limit in LIMITS:
            connection.exec_driver_sql(limit)
        _wait_for_lock(connection)
        connection.commit()
        yield connection.execution_options(**isolation)


def _wait_for_lock(connection: Connection) -> None:
    """Try again and again: to wait in the server would be a transaction that others wait for."""
    give_up = time.monotonic() + LOCK_WAIT_SECONDS
    while not connection.scalar(select(func.pg_try_advisory_lock(LOCK))):
        if time.monotonic() >= give_up:
            raise click.ClickException(
                f"Another migration is still running after {LOCK_WAIT_SECONDS} s: "
                "try again when it is done."
            )
        time.sleep(LOCK_POLL_SECONDS)


def stamp_head(connection: Connection) -> None:
    """Write down that the schema is the one that this version needs."""
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {VERSION_TABLE}")
    script = ScriptDirectory(current_app.extensions["migrate"].directory)
    MigrationContext.configure(connection).stamp(script, "head")


def refuse_unstamped(connection: Connection, metadata: MetaData) -> None:
    """Raise ``ClickException`` if there are tables of which no revision is known."""
    found, missing = _schema(connection, metadata)
    if not found and not missing:
        raise click.ClickException(f"{_unstamped()}.")


def is_later(connection: Connection, metadata: MetaData) -> bool:
    """Say whether a later version of the service has migrated: revisions are numbered."""
    found, _ = _schema(connection, metadata)
    return _is_later(found)


def _is_later(revision: str) -> bool:
    return revision.isdecimal() and int(revision) > int(_revisions()[0])


def schema_fault(connection: Connection, metadata: MetaData) -> str | None:
    """Say what is wrong with the schema and which command mends it; None if it is right.

    That of a later version is right: it keeps whatever this one uses, so that this one can serve
    while the other is rolled out, and again when it is rolled back.
    """
    found, missing = _schema(connection, metadata)
    head = _revisions()[0]
    if not found:
        return NO_TABLES if missing else _unstamped()
    if found != head and not _is_later(found):
        return (
            f"The schema is at revision {found}, and this version of the service needs {head}: "
            "run `flask db upgrade`"
        )
    if missing:
        return f"The table {missing[0]} is missing: restore a back-up, or run `flask db-create`"
    return None


def _revisions() -> list[str]:
    """Return the revisions that this version knows, from the head to the first."""
    revisions: list[str] = current_app.extensions["revisions"]
    return revisions


def _unstamped() -> str:
    return (
        "The tables have no revision: if `flask db-create` has made them, "
        f"run `flask db stamp {_revisions()[-1]}`, then `flask db upgrade`"
    )


def _schema(connection: Connection, metadata: MetaData) -> tuple[str, list[str]]:
    """Return the revision of the database, empty if it has none, and the tables that it lacks."""
    inspector = inspect(connection)
    missing = [name for name in metadata.tables if not inspector.has_table(name)]
    versions = select(column("version_num", String)).select_from(table(VERSION_TABLE))
    found = connection.scalars(versions) if inspector.has_table(VERSION_TABLE) else ()
    return ", ".join(found), missing
