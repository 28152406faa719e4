"""Reads from a standby while the primary cannot be reached (DATABASE_READ_URI).

A view allows them with ``allow``. Once a statement of a request has gone to the standby, the others
do, too.
"""

from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from flask import g
from sqlalchemy import Engine, Select, literal_column, select
from sqlalchemy.exc import DBAPIError, OperationalError

from service.database.engine import STANDBY, db
from service.database.postgresql import ReplicationError

# How long a failure keeps other requests from trying the primary: each attempt may reach the same
# standby, and takes longer than the read itself.
REMEMBERED_SECONDS = 0.1
# The whole seconds since the latest change that the standby has. One that has been promoted is up
# to date. One that has replayed nothing since its start is at least as old as that.
AGE: Select[Any] = select(
    literal_column(
        "CASE WHEN pg_is_in_recovery() THEN greatest(0, ceil(extract(epoch FROM clock_timestamp()"
        " - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))))"
        " ELSE 0 END::bigint"
    )
)
# Prefixes of SQLSTATE: connection exception; the server is shutting down, starting or has crashed.
UNREACHABLE = ("08", "57P0")


class Failure(NamedTuple):
    """The last failure of the primary."""

    error: DBAPIError
    ended_at: float
    """When it is no longer remembered, on the monotonic clock."""


_failures: WeakKeyDictionary[Engine, Failure] = WeakKeyDictionary()
"""The last failure, by the engine of the primary."""


class Reading(NamedTuple):
    """What a request has read from the standby."""

    age: int
    """The seconds since the latest change that the standby had."""
    error: DBAPIError
    """Why the primary did not answer."""


def allow() -> None:
    """Let the statements of this request go to the standby."""
    g.may_read_standby = STANDBY in db.engines
    failure = _failures.get(db.engine)
    if failure and monotonic() < failure.ended_at:
        g.primary_error = failure.error


def may_answer(error: DBAPIError) -> bool:
    """Return whether the standby is to answer what the primary did not."""
    if not g.get("may_read_standby", False) or not _is_unreachable(error):
        return False
    _failures[db.engine] = Failure(error, monotonic() + REMEMBERED_SECONDS)
    return True


def _is_unreachable(error: DBAPIError) -> bool:
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    if isinstance(error.orig, ReplicationError):
        return False
    if sqlstate is None:
        return isinstance(error, OperationalError)
    return error.connection_invalidated or sqlstate.startswith(UNREACHABLE)


def primary_error() -> DBAPIError | None:
    """Return why this request is not to try the primary; None if it is."""
    error: DBAPIError | None = g.get("primary_error")
    return error


def reading() -> Reading | None:
    """Return what this request has read from the standby; None if the primary answered."""
    found: Reading | None = g.get("standby_reading")
    return found


def use(age: int, error: DBAPIError) -> None:
    """Let all further statements of this request go to the standby."""
    g.primary_error = error
    g.standby_reading = Reading(age, error)


def settle() -> None:
    """Let the statements of a stream that has begun no longer go from one to the other."""
    g.may_read_standby = False
