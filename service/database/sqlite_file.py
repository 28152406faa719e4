"""The file of a SQLite database, which may be replaced, removed or read-only while it is open.

In WAL mode, SQLite keeps the latest writes in FILE-wal and their index in FILE-shm, and would apply
both to whatever FILE it finds.
"""

import atexit
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import quote
from weakref import WeakValueDictionary

MAX_CHECKPOINTS = 100
CHECKPOINT_PAUSE_SECONDS = 0.01
# The bytes, as offset and length, that SQLite locks as long as a connection in WAL mode is open.
DATABASE_LOCK = (0x40000002, 510)
SHM_LOCK = (128, 1)

# Device and inode of a file, which no other file has while it is open; its modification time if
# SQLite must not see it change, else 0. None if there is no file.
Identity = tuple[int, int, int] | None


class FileConnection(sqlite3.Connection):
    """A connection that recognizes its files: the database, its -wal and its -shm."""

    _open: ClassVar["WeakValueDictionary[int, FileConnection]"] = WeakValueDictionary()
    opening: ClassVar[Lock] = Lock()

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self._is_immutable = _is_immutable(path)
        self._database = _identity(path, is_immutable=self._is_immutable)
        self._wal, self._shm = sidecars(path)
        self._sidecars: dict[Path, Identity] = {}
        mode = "mode=ro&immutable=1" if self._is_immutable else "mode=rw"
        super().__init__(f"file:{quote(str(path))}?{mode}", uri=True, **options)
        self._open[id(self)] = self

    @classmethod
    def all_open(cls) -> list["FileConnection"]:
        """Return the open connections of this process."""
        return [each for reference in cls._open.valuerefs() if (each := reference())]

    @classmethod
    def open_at(cls, path: Path) -> list["FileConnection"]:
        """Return the open connections of this process to a file."""
        return [each for each in cls.all_open() if each.path == path]

    def recognize(self) -> None:
        """Remember the -wal and the -shm, which exist as soon as the connection has read."""
        self._sidecars = {each: _identity(each) for each in (self._wal, self._shm)}

    def close(self) -> None:
        """Close the connection; from then on, other files may have the inodes of its files.

        A file that is no longer in its place is completed from its -wal, which is then removed.
        """
        if not self.is_current():
            with suppress(sqlite3.Error):
                self._complete()
            remove_stale_sidecars(self.path)
        with self.opening:
            self._open.pop(id(self), None)
            super().close()

    def is_replaced(self) -> bool:
        """Return whether the database is no longer the file in its place."""
        return _identity(self.path, is_immutable=self._is_immutable) != self._database

    def is_current(self) -> bool:
        """Return whether the database and its -wal are in their places; takes 3 µs."""
        return not self.is_replaced() and _identity(self._wal) == self._sidecars.get(self._wal)

    def is_orphaned(self) -> bool:
        """Return whether the database is in its place, but its -wal is not."""
        had_wal = self._sidecars.get(self._wal) is not None
        return had_wal and not self.is_replaced() and not self.is_current()

    def remove_stale_sidecars(self) -> None:
        """Remove the -wal and the -shm if the database has been replaced."""
        if self.is_replaced():
            for file, own in self._sidecars.items():
                if own and _identity(file) == own:
                    file.unlink()

    def _complete(self) -> None:
        """Write what the -wal has to the file; only one connection at a time can."""
        for _ in range(MAX_CHECKPOINTS):
            is_busy, *_ = self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not is_busy:
                break
            time.sleep(CHECKPOINT_PAUSE_SECONDS)


def open_existing(path: Path, **options: Any) -> FileConnection:
    """Open a file, never creating it.

    Raises ``sqlite3.OperationalError``, also where SQLite would mix two files.
    """
    with FileConnection.opening:
        remove_stale_sidecars(path)
        connections = FileConnection.open_at(path)
        if any(each.is_orphaned() for each in connections):
            # SQLite would share their -shm, which does not fit the new -wal.
            raise sqlite3.OperationalError(f"unable to open {path}: its -wal was removed in use")
        if not connections and _has_foreign_sidecars(path):
            raise sqlite3.OperationalError(
                f"unable to open {path}: another process still uses the file that was in its"
                " place; a request to the service makes it open the new one"
            )
        return FileConnection(path, **options)


def _has_foreign_sidecars(path: Path) -> bool:
    """Return whether another process has the -shm open, but not the database beside it.

    To be called only if this process has neither open: it would lose its locks on them.
    """
    _, shm = sidecars(path)
    return _is_locked(shm, *SHM_LOCK) is True and _is_locked(path, *DATABASE_LOCK) is False


def _is_locked(file: Path, start: int, length: int) -> bool | None:
    """Return whether another process has locked these bytes; None if that cannot be known."""
    try:
        with file.open("rb+") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except BlockingIOError:
        return True
    except OSError:  # there is no such file, or it is read-only
        return None
    return False


def sidecars(path: Path) -> tuple[Path, Path]:
    """Return the paths of the -wal and the -shm of a file."""
    return Path(f"{path}-wal"), Path(f"{path}-shm")


def remove_stale_sidecars(path: Path) -> None:
    """Remove the -wal and the -shm of a replaced file that connections of this process have open.

    Raises ``sqlite3.OperationalError``.
    """
    connections = FileConnection.open_at(path)
    if all(each.is_current() for each in connections):
        return
    try:
        with _locked(path.parent):
            for each in connections:
                each.remove_stale_sidecars()
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open {path}: {error}") from None


def outage_message(path: Path, cause: str) -> str | None:
    """Return what is wrong with a file, and the remedy, for the log; None for other causes."""
    if "unable to open" in cause or "readonly" in cause:
        return _access_message(path, cause)
    if "malformed" in cause or "not a database" in cause:
        return f"The database file {path} is damaged ({cause}): restore it from a backup."
    if "disk is full" in cause:
        return f"The disk of {path} is full ({cause}): make room on it."
    if "database is locked" in cause:
        return f"Another write locks the database ({cause}): try again when it has finished."
    if "interrupted" in cause:
        return f"A statement took too long ({cause}): narrow the list, or use PostgreSQL."
    return None


def _access_message(path: Path, cause: str) -> str:
    """Return which file or which permission is missing."""
    if not path.exists():
        return (
            f"The database file of DATABASE_URI is missing ({path}: {cause}): "
            "restore it from a backup, or run `flask db upgrade` to begin with empty tables."
        )
    for file in (path.parent, path, *sidecars(path)):
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            return f"{file} must be readable and writable for the user {os.geteuid()} ({cause})."
    return f"The database file {path} cannot be used ({cause})."


def _is_immutable(path: Path) -> bool:
    """Return whether to open a file that is only read as one that nobody changes.

    Without a -wal and a -shm, SQLite can read it in no other way, or would make them read-only for
    its owner, too. As soon as somebody changes it, it is opened anew.
    """
    has_sidecars = any(each.exists() for each in sidecars(path))
    return not (has_sidecars or all(os.access(each, os.W_OK) for each in (path, path.parent)))


def _identity(path: Path, *, is_immutable: bool = False) -> Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns if is_immutable else 0


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
    for each in FileConnection.all_open():
        if not each.is_current():
            each.close()
