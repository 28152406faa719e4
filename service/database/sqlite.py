"""SQLite: the database file, and the settings of each connection."""

import logging
import math
import sqlite3
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from flask import has_request_context
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from service.database.signature import signature
from service.database.sqlite_file import FileConnection, open_existing, sidecars
from service.database.text import search_key

BUSY_SECONDS = 5
# Of each connection. The largest one of a list takes 0.2 MB; to prepare one takes 50 µs.
CACHED_STATEMENTS = 16
# The limit of a statement, as on PostgreSQL; checked every few milliseconds.
STATEMENT_SECONDS = 5
PROGRESS_INSTRUCTIONS = 100_000

# A trigger of one connection only: another program has none of its functions.
SIGN = """\
CREATE TEMP TRIGGER IF NOT EXISTS sign_{table} AFTER INSERT ON main.{table}
BEGIN
    UPDATE {table} SET writer = signature(0), request_id = signature(1) WHERE rowid = NEW.rowid;
END"""

logger = logging.getLogger(__name__)


def file_of(url: URL) -> Path | None:
    """Return the path of a SQLite database, which need not exist; None for PostgreSQL."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def create_file(url: URL) -> None:
    """Create an empty SQLite database and its directory; does nothing for PostgreSQL.

    Raises ``OSError``. Connections of the engine never create the file.
    """
    if path := file_of(url):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            for sidecar in sidecars(path):  # of a file that was removed
                sidecar.unlink(missing_ok=True)
            # To close an existing file would release the locks of SQLite in this process.
            path.touch()


def init_engine(engine: Engine) -> None:
    """Configure each connection, and begin each transaction that writes with BEGIN IMMEDIATE."""
    event.listen(engine, "do_connect", _open_existing_file)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "checkout", _refuse_replaced)
    event.listen(engine, "begin", _begin_immediate)


def _open_existing_file(
    dialect: Dialect, entry: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]
) -> sqlite3.Connection | None:
    """Open without creating, so that a wrong path does not become an empty database.

    A path that is already a URI is left to SQLAlchemy.
    """
    return None if options.get("uri") else open_existing(Path(arguments[0]), **options)


def _configure(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.create_function("search_key", 1, _search_key, deterministic=True)
    connection.create_function("signature", 1, _signature)
    if isinstance(connection, FileConnection):
        connection.recognize()


def _refuse_replaced(
    connection: sqlite3.Connection, entry: ConnectionPoolEntry, proxy: object
) -> None:
    if isinstance(connection, FileConnection) and not connection.is_current():
        if connection.is_replaced():
            logger.warning("%s was replaced or removed: it is opened anew", connection.path)
        raise DisconnectionError  # the pool replaces the connection


def _search_key(text: str | None) -> str | None:
    return None if text is None else search_key(text)


def _signature(part: int) -> str | None:
    return [*signature().values()][part] or None


def sign_changes(connection: sqlite3.Connection, table: str) -> None:
    """Sign what triggers insert into a record of changes; to be called before each write.

    The service may have started before the table was created. If it is there, this takes 4 µs.
    """
    if has_request_context():
        with suppress(sqlite3.OperationalError):
            connection.execute(SIGN.format(table=table))


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock: a deferred transaction may fail when it first writes."""
    if _is_transaction(connection):
        writes = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_transaction(connection: Connection) -> bool:
    return "isolation_level" in connection.get_execution_options()


def init_serving_engine(engine: Engine, signed_table: str) -> None:
    """Interrupt the statements of a request after ``STATEMENT_SECONDS``; sign its changes.

    Commands of `flask` have no limit. A statement in autocommit begins when the connection is
    checked out. ``signed_table`` is the record of changes.
    """

    def sign_transaction(connection: Connection) -> None:
        if _is_transaction(connection):
            driver_connection: Any = connection.connection.driver_connection
            sign_changes(driver_connection, signed_table)

    def limit(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        info = entry.info
        info["deadline"] = math.inf
        connection.set_progress_handler(
            lambda: monotonic() > info["deadline"], PROGRESS_INSTRUCTIONS
        )

    def begin(connection: sqlite3.Connection, entry: ConnectionPoolEntry, proxy: object) -> None:
        entry.info["deadline"] = _deadline()

    def begin_in_transaction(connection: Connection, *_: object) -> None:
        connection.info["deadline"] = _deadline()

    event.listen(engine, "connect", limit)
    event.listen(engine, "checkout", begin)
    event.listen(engine, "before_cursor_execute", begin_in_transaction)
    event.listen(engine, "begin", sign_transaction)


def _deadline() -> float:
    return monotonic() + STATEMENT_SECONDS if has_request_context() else math.inf
