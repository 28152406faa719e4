"""Timeouts and circuit breakers for PostgreSQL; its warnings in the log."""

import logging
import math
import select
from contextlib import closing
from contextvars import ContextVar
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any, Self
from weakref import WeakKeyDictionary

import psycopg
from flask import has_request_context
from psycopg import IsolationLevel
from psycopg.abc import PQGen, PQGenConn
from psycopg.conninfo import conninfo_attempts, timeout_from_conninfo
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus
from psycopg.waiting import wait_conn
from sqlalchemy import Engine, event
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import UserDefinedType

from service.config import SERVICE_NAME

CONNECT_SECONDS = 3
# Detect a network failure within 3 to 6 seconds, also on a connection that waits for an answer.
CONNECT_OPTIONS = {
    "application_name": SERVICE_NAME,
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3000,
}
# Timeouts that the server enforces, in milliseconds.
SERVER_TIMEOUTS = {
    "statement_timeout": 5000,
    "lock_timeout": 3000,
    "idle_in_transaction_session_timeout": 5000,
}
# For a frozen server: it enforces no timeout, but its kernel still acknowledges packets.
ANSWER_SECONDS = 6
# The interval in which a signal is noticed while connecting.
WAIT_SECONDS = 0.1
# Then it is asked to cancel the command, and has this time each for the request and the answer.
CANCEL_SECONDS = 0.5
# The function of PostgreSQL that warns of a commit whose wait for a standby was cancelled.
WAIT_FOR_STANDBY = "SyncRepWaitForLSN"
# A transaction that changes nothing, and is confirmed as a write is.
CONFIRMATION = f"pg_logical_emit_message(true, '{SERVICE_NAME}', '')"
# How often, at most, a read-only server makes the pool open its connections anew.
REPLACE_SECONDS = 1
# Between two probes of an unresponsive server.
PROBE_INTERVAL_SECONDS = 0.5
PROBE_THREAD = "postgresql-probe"

# How long connecting to one host may take.
host_seconds: ContextVar[float] = ContextVar("host_seconds")

logger = logging.getLogger(__name__)


class XID8(UserDefinedType[int]):
    """A transaction id with its epoch, so that it is never used twice."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Return the name of the type."""
        return "xid8"


ischema_names["xid8"] = XID8  # SQLAlchemy does not know the type when it reads a schema


class UnresponsiveError(psycopg.OperationalError):
    """The server did not answer in time, or the circuit breaker is open."""

    def __init__(self) -> None:
        super().__init__("the server does not answer")


class ReplicationError(psycopg.OperationalError):
    """No synchronous standby confirms writes."""

    detail = ""
    """What a client is told."""

    def __init__(self) -> None:
        super().__init__("no synchronous standby confirms writes")


class UnconfirmedError(ReplicationError):
    """A write was committed, but no synchronous standby has confirmed it: it may be lost."""

    detail = "The write may not have been kept; check whether the change was saved, then try again"


class WritesSuspendedError(ReplicationError):
    """A write was rejected."""

    detail = "The database accepts no writes at the moment; try again later"


class CircuitBreaker:
    """Rejects requests immediately while the server does not answer, so that they do not queue.

    Closed: connections work normally; a timeout opens the breaker. Open: connecting and executing
    raise ``UnresponsiveError`` immediately, and a background thread probes the server (half-open).
    The first answer to a probe, even a refusal, closes the breaker.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.connect_options: dict[str, Any] = {}
        """The options of the last connection, which the probe uses."""
        self.replaced_at = -math.inf
        """The time before which the connections of the pool were opened that are to be replaced."""
        self._lock = Lock()

    def open(self) -> None:
        """Open the breaker, and start the thread that probes the server."""
        with self._lock:
            if not self.is_open:
                Thread(target=self._probe_until_answered, name=PROBE_THREAD, daemon=True).start()
                self.is_open = True

    def _probe_until_answered(self) -> None:
        while not self._is_answered():
            sleep(PROBE_INTERVAL_SECONDS)
        with self._lock:
            self.is_open = False

    def _is_answered(self) -> bool:
        started = monotonic()
        try:
            BoundedConnection.connect(**self.connect_options).close()
        except (psycopg.Error, OSError) as error:
            return not _is_timeout(error, started)
        return True


def _is_timeout(error: Exception, started: float) -> bool:
    """Return whether connecting timed out; any other error is an answer."""
    is_timeout = isinstance(error, psycopg.errors.ConnectionTimeout)
    return is_timeout or monotonic() - started >= CONNECT_SECONDS


class WriteBreaker(CircuitBreaker):
    """Rejects writes while no synchronous standby confirms them; reads continue.

    A commit that waits for a standby holds its thread and its connection. The first one whose wait
    was cancelled opens the breaker. Then only the probe waits; when it is confirmed, it closes the
    breaker.
    """

    def __init__(self, server: CircuitBreaker) -> None:
        """Use the connect options of ``server``, the breaker of all connections."""
        super().__init__()
        self._server = server

    def _is_answered(self) -> bool:
        try:
            with closing(_connect(self._server, self._server.connect_options)) as connection:
                connection.autocommit = True
                connection.execute(f"SELECT {CONFIRMATION}")
        except (psycopg.OperationalError, OSError):
            return False
        except psycopg.Error:  # such as that of a read-only server, which writes then get, too
            return True
        return True


_write_breakers: WeakKeyDictionary[Engine, WriteBreaker] = WeakKeyDictionary()


class ConfirmedConnection(psycopg.Connection[Any]):
    """A connection whose commands fail if no standby confirms what they have committed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        origins: list[str | None] = []
        self._notice_origins = origins  # a notice itself is freed after its handler has run
        self.add_notice_handler(lambda notice: origins.append(notice.source_function))

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Send a command and wait for its answer.

        Raises ``UnconfirmedError`` if it was committed, but its wait for a standby was cancelled.
        PostgreSQL then only warns.
        """
        result = super().wait(gen, interval, timeout)
        if self._notice_origins:
            is_unconfirmed = WAIT_FOR_STANDBY in self._notice_origins
            self._notice_origins.clear()
            if is_unconfirmed:
                raise UnconfirmedError
        return result


class BoundedConnection(ConfirmedConnection):
    """A connection that waits a limited time for an answer."""

    breaker: CircuitBreaker | None = None
    write_breaker: CircuitBreaker | None = None
    deadline = math.inf
    """The time at which every wait ends, on the monotonic clock."""
    opened_at = 0.0

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Connect to the first host that accepts, within ``connect_timeout`` for all of them.

        Each host gets an equal share of the time that is left, so that the last one still has
        some if the others are frozen. Raises ``ConnectionTimeout`` if one of them was too slow.
        """
        attempts: list[Any] = list(conninfo_attempts(options))
        end = monotonic() + timeout_from_conninfo(options)
        errors: list[psycopg.Error] = []
        for attempt in attempts:
            host_seconds.set((end - monotonic()) / (len(attempts) - len(errors)))
            try:
                return super().connect(conninfo, **attempt)
            except psycopg.Error as error:
                errors.append(error)
        raise _joined(errors, [str(attempt.get("host")) for attempt in attempts])

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        yield from ()  # psycopg itself waits for at least two seconds
        return wait_conn(super()._connect_gen(conninfo), WAIT_SECONDS, host_seconds.get())

    def wait(
        self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = ANSWER_SECONDS
    ) -> Any:
        """Send a command and wait for its answer.

        After ``timeout`` seconds the command is cancelled. Closes the connection and raises
        ``UnresponsiveError`` if that is not answered either, at the deadline, or immediately if
        the circuit breaker is open.
        """
        if self.breaker and self.breaker.is_open:
            self.close()
            raise UnresponsiveError
        if self.deadline < math.inf:
            timeout = max(0, min(timeout or math.inf, self.deadline - monotonic()))
        try:
            return self._wait_or_cancel(gen, interval, timeout)
        except UnconfirmedError:
            if self.write_breaker:
                self.write_breaker.open()
            raise
        except psycopg.errors.ReadOnlySqlTransaction:
            self._replace_connections()
            raise
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()
            if self.breaker:
                self.breaker.open()
            raise UnresponsiveError from None

    def _wait_or_cancel(self, gen: PQGen[Any], interval: float, timeout: float | None) -> Any:
        """Wait; when the time is over, cancel the command and wait for its end.

        Otherwise a commit that waits for a standby would go on waiting after its connection was
        closed, and each one would take a place of ``max_connections``.
        """
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE or not self.breaker:
                raise
        self.cancel_safe(timeout=CANCEL_SECONDS)
        return super().wait(gen, interval, CANCEL_SECONDS)

    def _replace_connections(self) -> None:
        """Have the pool replace its connections: the server was demoted, another one is primary.

        Not more often than once in ``REPLACE_SECONDS``: the new connections may lead to the same.
        """
        now = monotonic()
        if self.breaker and now - self.breaker.replaced_at > REPLACE_SECONDS:
            self.breaker.replaced_at = now

    def set_autocommit(self, value: bool) -> None:
        """Set the autocommit mode; works while the breaker is open, as nothing is sent."""
        with self.lock:
            super().wait(self._set_autocommit_gen(value))

    def set_isolation_level(self, value: IsolationLevel | None) -> None:
        """Set the isolation level; works while the breaker is open, as nothing is sent."""
        with self.lock:
            super().wait(self._set_isolation_level_gen(value))


def _joined(errors: list[psycopg.Error], hosts: list[str]) -> psycopg.Error:
    """Return one error for all hosts: a timeout if one of them is."""
    if len(errors) == 1:
        return errors[0]
    text = "; ".join(f"{host}: {error}" for host, error in zip(hosts, errors, strict=True))
    if any(isinstance(error, psycopg.errors.ConnectionTimeout) for error in errors):
        return psycopg.errors.ConnectionTimeout(text)
    return psycopg.OperationalError(text)


def init_engine(engine: Engine) -> None:
    """Add default connect options, and log the warnings of the server."""
    event.listen(engine, "do_connect", _add_connect_options)
    event.listen(engine, "connect", _log_warnings)


def init_serving_engine(engine: Engine, *, pgbouncer: bool) -> None:
    """Apply the timeouts and circuit breakers to connections that serve requests.

    Commands of `flask` have no timeouts. With ``pgbouncer``, server timeouts and prepared
    statements are off: PgBouncer in transaction mode supports neither.
    """
    breaker = CircuitBreaker()
    write_breaker = _write_breakers[engine] = WriteBreaker(breaker)

    def connect(
        dialect: Dialect, entry: ConnectionPoolEntry, _: list[Any], given: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        options = {**given, "prepare_threshold": None} if pgbouncer else dict(given)
        if not has_request_context():
            return ConfirmedConnection.connect(**options)
        if not pgbouncer:
            options["options"] = _server_timeouts() + str(options.get("options", ""))
        connection = _connect(breaker, options)
        connection.write_breaker = write_breaker
        return connection

    def refuse_unusable(
        connection: psycopg.Connection[Any], entry: ConnectionPoolEntry, proxy: object
    ) -> None:
        is_outdated = (
            isinstance(connection, BoundedConnection)
            and connection.opened_at <= breaker.replaced_at
        )
        if breaker.is_open or is_outdated or _is_disconnected(connection):
            raise DisconnectionError  # the pool replaces the connection

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", refuse_unusable)


def require_writes(engine: Engine) -> None:
    """Raise ``sqlalchemy.exc.OperationalError`` while the circuit breaker of writes is open."""
    breaker = _write_breakers.get(engine)
    if breaker and breaker.is_open:
        raise OperationalError("", None, WritesSuspendedError())


def _server_timeouts() -> str:
    return "".join(f"-c {name}={value} " for name, value in SERVER_TIMEOUTS.items())


def _is_disconnected(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has closed an idle connection, without a round trip.

    An idle connection is readable only when the server has closed it. Nothing was sent, so that
    even a write can be executed on a new connection.
    """
    return connection.closed or _is_readable(connection.fileno())


def init_probe_engine(engine: Engine, seconds: float) -> None:
    """Set the deadline of each connection to ``seconds`` after it was opened."""

    def connect(
        dialect: Dialect, entry: ConnectionPoolEntry, _: list[Any], options: dict[str, Any]
    ) -> BoundedConnection:
        connection = BoundedConnection.connect(**options)
        connection.deadline = monotonic() + seconds
        return connection

    event.listen(engine, "do_connect", connect)


def _connect(breaker: CircuitBreaker, options: dict[str, Any]) -> BoundedConnection:
    if breaker.is_open:
        raise UnresponsiveError
    breaker.connect_options = options
    started = monotonic()
    try:
        connection = BoundedConnection.connect(**options)
    except psycopg.Error as error:
        if _is_timeout(error, started):
            breaker.open()
        raise
    connection.breaker = breaker
    connection.opened_at = started
    return connection


def _add_connect_options(
    dialect: Dialect, entry: ConnectionPoolEntry, _: list[Any], options: dict[str, Any]
) -> None:
    """Add the options that DATABASE_URI does not set."""
    for name, value in CONNECT_OPTIONS.items():
        options.setdefault(name, value)


def _log_warnings(connection: psycopg.Connection[Any], entry: ConnectionPoolEntry) -> None:
    connection.add_notice_handler(_log_warning)


def _log_warning(notice: Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        logger.warning(notice.message_primary)


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
