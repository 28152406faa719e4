"""Reads from a standby while the primary cannot be reached (DATABASE_READ_URI).

A view allows them with ``allow``. Its statements go to the primary first; once one has gone to the
standby, the others of the request do, too.
"""

from typing import Any, NamedTuple

from flask import Flask, current_app, g
from sqlalchemy import Select, literal_column, select
from sqlalchemy.exc import DBAPIError, OperationalError

from service.database.engine import STANDBY
from service.database.postgresql import ReplicationError

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


class Reading(NamedTuple):
    """What a request has read from the standby."""

    age: int
    """The seconds since the latest change that the standby had."""
    error: DBAPIError
    """Why the primary did not answer."""


def init_app(app: Flask) -> None:
    """Remember whether there is a standby."""
    app.extensions[STANDBY] = bool(app.config["DATABASE_READ_URI"])


def allow() -> None:
    """Let the statements of this request go to the standby."""
    g.may_read_standby = current_app.extensions[STANDBY]


def may_answer(error: DBAPIError) -> bool:
    """Return whether the standby is to answer what the primary did not."""
    return g.get("may_read_standby", False) and _is_unreachable(error)


def _is_unreachable(error: DBAPIError) -> bool:
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    if isinstance(error.orig, ReplicationError):
        return False
    if sqlstate is None:
        return isinstance(error, OperationalError)
    return error.connection_invalidated or sqlstate.startswith(UNREACHABLE)


def is_in_use() -> bool:
    """Return whether this request reads the standby."""
    return "standby_reading" in g


def use(age: int, error: DBAPIError) -> None:
    """Let all further statements of this request go to the standby."""
    g.standby_reading = Reading(age, error)


def settle() -> Reading | None:
    """Return what the request has read from the standby, or None if the primary answered.

    From then on, the statements of a stream no longer go from one to the other.
    """
    g.may_read_standby = False
    reading: Reading | None = g.get("standby_reading")
    return reading
