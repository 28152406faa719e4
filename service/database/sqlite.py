"""SQLite: the database file, and the settings of each connection.

A file that is replaced or removed while connections have it open is opened anew. In WAL mode,
SQLite keeps the latest writes in FILE-wal and their index in FILE-shm, and would apply both to
whatever FILE it finds.
"""

import atexit
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from service.database.text import search_key

BUSY_SECONDS = 5
MAX_CHECKPOINTS = 100
CHECKPOINT_PAUSE_SECONDS = 0.01

logger = logging.getLogger(__name__)

# Device and inode of a file, which no other file has while it is open; its modification time if
# SQLite must not see it change, else 0. None if there is no file.
Identity = tuple[int, int, int] | None


class FileConnection(sqlite3.Connection):
    """A connection that recognizes its files: the database, its -wal and its -shm."""

    opened: ClassVar["WeakSet[FileConnection]"] = WeakSet()

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self._is_immutable = _is_immutable(path)
        self._database = _identity(path, is_immutable=self._is_immutable)
        self._sidecars: dict[Path, Identity] = {}
        mode = "mode=ro&immutable=1" if self._is_immutable else "mode=rw"
        super().__init__(f"file:{quote(str(path))}?{mode}", uri=True, **options)

    @classmethod
    def opened_at(cls, path: Path) -> list["FileConnection"]:
        """Return the connections of this process to a file."""
        return [each for each in cls.opened if each.path == path]

    def recognize(self) -> None:
        """Remember the -wal and the -shm that the connection has opened."""
        self._sidecars = {each: _identity(each) for each in _sidecars(self.path)}
        self.opened.add(self)

    def close(self) -> None:
        """Close the connection; from then on, other files may have the inodes of its files.

        A file that is no longer in its place is completed from its -wal, which is then removed.
        """
        if not self.is_current():
            with suppress(sqlite3.Error):
                self._complete()
            _remove_stale_sidecars(self.path)
        self.opened.discard(self)
        super().close()

    def is_replaced(self) -> bool:
        """Return whether the database is no longer the file in its place."""
        return _identity(self.path, is_immutable=self._is_immutable) != self._database

    def is_current(self) -> bool:
        """Return whether all files are in their places; takes 3 µs."""
        return not self.is_replaced() and all(
            _identity(file) == own for file, own in self._sidecars.items()
        )

    def is_orphaned(self) -> bool:
        """Return whether the file is there, but the -wal and the -shm are others."""
        return any(self._sidecars.values()) and not self.is_replaced() and not self.is_current()

    def _complete(self) -> None:
        """Write what the -wal has to the file, in turn with other connections."""
        for _ in range(MAX_CHECKPOINTS):
            is_busy, *_ = self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not is_busy:
                break
            time.sleep(CHECKPOINT_PAUSE_SECONDS)

    def remove_stale_sidecars(self) -> None:
        """Remove the -wal and the -shm of a file that has been replaced."""
        if self.is_replaced():
            for file, own in self._sidecars.items():
                if own and _identity(file) == own:
                    file.unlink()


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
            for sidecar in _sidecars(path):  # of a file that was removed
                sidecar.unlink(missing_ok=True)
        path.touch()


def outage_message(url: URL, cause: str) -> str | None:
    """Return what is wrong with the file, and the remedy, for the log; None for other causes."""
    path = file_of(url)
    if path is None:
        return None
    if "unable to open" in cause or "readonly" in cause:
        return _access_message(path, cause)
    if "malformed" in cause or "not a database" in cause:
        return f"The database file {path} is damaged ({cause}): restore it from a backup."
    if "disk is full" in cause:
        return f"The disk of {path} is full ({cause}): make room on it."
    if "database is locked" in cause:
        return f"Another write locks the database ({cause}): try again when it has finished."
    return None


def _access_message(path: Path, cause: str) -> str:
    """Return which file is missing, or which permission."""
    if not path.exists():
        return (
            f"The database file of DATABASE_URI is missing ({path}: {cause}): "
            "restore it from a backup, or run `flask db upgrade` to begin with empty tables."
        )
    for file in (path.parent, path, *_sidecars(path)):
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            return f"{file} must be readable and writable for the user {os.geteuid()} ({cause})."
    return f"The database file {path} cannot be used ({cause})."


def init_engine(engine: Engine) -> None:
    """Configure each connection, and begin each transaction with BEGIN IMMEDIATE."""
    event.listen(engine, "do_connect", _open_existing_file)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "checkout", _refuse_replaced)
    event.listen(engine, "begin", _begin_immediate)


def _open_existing_file(
    dialect: Dialect, entry: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]
) -> sqlite3.Connection | None:
    """Open without creating, so that a wrong path does not become an empty database."""
    if options.get("uri"):
        return None
    path = Path(arguments[0])
    _remove_stale_sidecars(path)
    if any(each.is_orphaned() for each in FileConnection.opened_at(path)):
        # SQLite would share the -shm of before, which does not fit the -wal in its place.
        raise sqlite3.OperationalError(f"unable to open {path}: its -wal was removed while in use")
    return FileConnection(path, **options)


def _is_immutable(path: Path) -> bool:
    """Return whether to open a file that is only read as one that nobody changes.

    Without a -wal and a -shm, SQLite can read it in no other way, or would make them read-only for
    its owner, too. As soon as somebody changes it, it is opened anew.
    """
    has_sidecars = any(each.exists() for each in _sidecars(path))
    return not (has_sidecars or all(os.access(each, os.W_OK) for each in (path, path.parent)))


def _configure(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.create_function("search_key", 1, _search_key, deterministic=True)
    if isinstance(connection, FileConnection):
        connection.recognize()


def _refuse_replaced(
    connection: sqlite3.Connection, entry: ConnectionPoolEntry, proxy: object
) -> None:
    if isinstance(connection, FileConnection) and not connection.is_current():
        if connection.is_replaced():
            logger.warning("%s was replaced or removed: it is opened anew", connection.path)
        raise DisconnectionError  # the pool replaces the connection


def _identity(path: Path, *, is_immutable: bool = False) -> Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns if is_immutable else 0


def _sidecars(path: Path) -> tuple[Path, ...]:
    return Path(f"{path}-wal"), Path(f"{path}-shm")


def _remove_stale_sidecars(path: Path) -> None:
    """Remove the -wal and the -shm that connections of this process have left behind."""
    connections = FileConnection.opened_at(path)
    if all(each.is_current() for each in connections):
        return
    try:
        with _locked(path.parent):
            for each in connections:
                each.remove_stale_sidecars()
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open {path}: {error}") from None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes from doing the same, as they may have opened the new file by then."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@atexit.register
def _close_replaced() -> None:
    """Leave no -wal of a file that has been replaced to the next process."""
    for each in list(FileConnection.opened):
        if not each.is_current():
            each.close()


def _search_key(text: str | None) -> str | None:
    return None if text is None else search_key(text)


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock: a deferred transaction may fail when it first writes."""
    if "isolation_level" in connection.get_execution_options():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
