"""SQLite: the database file, and the settings of each connection."""

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from service.database.text import search_key

BUSY_SECONDS = 5


def file_of(url: URL) -> Path | None:
    """Return the path of a SQLite database, which need not exist; None for PostgreSQL."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def create_file(url: URL) -> None:
    """Create an empty SQLite database and its directory; does nothing for PostgreSQL.

    Raises ``OSError``. Connections of the engine never create the file.
    """
    if path := file_of(url):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def init_engine(engine: Engine) -> None:
    """Configure each connection, and begin each transaction with BEGIN IMMEDIATE."""
    event.listen(engine, "do_connect", _open_existing_file)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin_immediate)


def _open_existing_file(
    dialect: Dialect, entry: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]
) -> None:
    """Open with mode=rw, so that a wrong path does not create an empty database."""
    if not options.get("uri"):
        arguments[0] = f"file:{quote(arguments[0])}?mode=rw"
        options["uri"] = True


def _configure(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.create_function("search_key", 1, _search_key, deterministic=True)


def _search_key(text: str | None) -> str | None:
    return None if text is None else search_key(text)


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock: a deferred transaction may fail when it first writes."""
    if "isolation_level" in connection.get_execution_options():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
