"""Prepared statements through PgBouncer, and its errors."""

import logging
import math
import re
from time import monotonic
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from service.database.postgresql import BoundedConnection

# How often psycopg executes a statement before it prepares it.
PREPARE_THRESHOLD = 5
# The names that PgBouncer gives to the prepared statements that it keeps track of.
KEPT = "PGBOUNCER_"
OWN_NAMES = "SELECT name FROM pg_prepared_statements WHERE statement = current_query()"
GONE_OR_THERE = (
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.DuplicatePreparedStatement,
)
# SQLSTATE of a prepared statement that does not exist, and of one that exists already.
GONE = {"26000", "42P05"}
# These, and those of a plan that refers to what was dropped; nothing was executed.
STALE = {*GONE, "0A000", "XX000"}
# PgBouncer's default server_lifetime: after that, no connection has a plan from before.
STALE_SECONDS = 3600
# What PgBouncer says, with PROTOCOL_VIOLATION, to those who waited for a connection in vain.
PROTOCOL_VIOLATION = "08P01"
NO_SERVER = re.compile(
    "query_wait_timeout|pgbouncer cannot connect to server|server login has been failing"
)
# SQLSTATE that only a login has: PgBouncer passes it on to those who wait for a connection.
LOGIN_FAILURES = ("28", "3D000", "53300", "57P03")

logger = logging.getLogger(__name__)


def is_unsent(error: BaseException | None) -> bool:
    """Return whether PgBouncer had no connection to the server, so that nothing was sent to it."""
    sqlstate = getattr(error, "sqlstate", None) or ""
    has_no_server = sqlstate == PROTOCOL_VIOLATION and NO_SERVER.match(str(error))
    return bool(has_no_server) or sqlstate.startswith(LOGIN_FAILURES)


class PreparedStatements:
    """Prepares statements if PgBouncer keeps track of them, which it does from version 1.22 on.

    PgBouncer prepares a statement once on each of its connections, for all clients. If the plan
    fails, because the tables have changed, a new connection to PgBouncer does not help: nothing
    is prepared then until PgBouncer has replaced its connections.
    """

    def __init__(self) -> None:
        self._paused_until = -math.inf

    def listen(self, engine: Engine) -> None:
        """Follow the connections of an engine."""
        event.listen(engine, "connect", self._check)
        event.listen(engine, "checkout", self._set_threshold)
        event.listen(engine, "invalidate", self._pause_if_stale)

    def _check(self, connection: psycopg.Connection[Any], entry: ConnectionPoolEntry) -> None:
        """Find out whether PgBouncer keeps track; else it might execute another statement."""
        is_serving = isinstance(connection, BoundedConnection)
        entry.info["is_prepared"] = is_serving and _keeps_track(connection)

    def _set_threshold(
        self, connection: psycopg.Connection[Any], entry: ConnectionPoolEntry, proxy: object
    ) -> None:
        is_prepared = entry.info["is_prepared"] and monotonic() >= self._paused_until
        connection.prepare_threshold = PREPARE_THRESHOLD if is_prepared else None

    def _pause_if_stale(
        self, connection: object, entry: ConnectionPoolEntry, error: BaseException | None
    ) -> None:
        if getattr(getattr(error, "orig", error), "sqlstate", None) in STALE:
            self._paused_until = monotonic() + STALE_SECONDS
            logger.warning(
                "Prepared statements are stale, as after a change of the tables; none is used for"
                " %d s. To end that earlier, send RECONNECT to PgBouncer, and restart the service.",
                STALE_SECONDS,
            )


def _keeps_track(connection: psycopg.Connection[Any]) -> bool:
    """Return whether PgBouncer keeps track of prepared statements: it then renames them."""
    connection.prepare_threshold = PREPARE_THRESHOLD
    try:
        with connection.transaction():
            names = [name for (name,) in connection.execute(OWN_NAMES, prepare=True)]
            if names and all(name.startswith(KEPT) for name in names):
                return True
            for name in names:
                connection.execute(SQL("DEALLOCATE {}").format(Identifier(name)))
    except GONE_OR_THERE as error:
        if KEPT in str(error):
            return True
    except psycopg.Error:
        connection.close()
        raise
    logger.warning(
        "PgBouncer does not keep track of prepared statements: set max_prepared_statements in it,"
        " or DATABASE_PGBOUNCER=true"
    )
    return False
