"""PostgreSQL's connections: how long anything may take, and when to leave it in peace."""

from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any

import psycopg
from flask import has_request_context
from psycopg import IsolationLevel
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

CONNECT_SECONDS = 3
# A server that is cut off is noticed in 3 to 6 seconds, also by a connection that only waits.
ARGUMENTS = {
    "application_name": "products",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3000,
}
# What the server itself ends, in milliseconds.
LIMITS = {
    "statement_timeout": 5000,
    "lock_timeout": 3000,
    "idle_in_transaction_session_timeout": 5000,
}
# A server that is frozen ends nothing, while its kernel goes on to acknowledge what is sent.
ANSWER_SECONDS = 6
# Between one try to reach a silent server and the next.
PAUSE_SECONDS = 0.5


class SilentError(psycopg.OperationalError):
    """The server has not answered in time, or had not when it was last asked."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the server does not answer")


class Gate:
    """Shut while the server is silent: then everybody fails at once.

    So no requests queue up behind each other's vain waiting. A thread of its own asks the
    server until there is an answer.
    """

    def __init__(self) -> None:
        """Begin open."""
        self.is_shut = False
        self.arguments: dict[str, Any] = {}
        """How a connection is opened."""
        self._lock = Lock()

    def shut(self) -> None:
        """Let nobody ask the server until it answers."""
        with self._lock:
            if not self.is_shut:
                Thread(target=self._open_in_time, daemon=True).start()
                self.is_shut = True

    def _open_in_time(self) -> None:
        while not self._is_answered():
            sleep(PAUSE_SECONDS)
        with self._lock:
            self.is_shut = False

    def _is_answered(self) -> bool:
        begun = monotonic()
        try:
            psycopg.connect(**self.arguments).close()
        except (psycopg.Error, OSError) as error:
            return not _is_silence(error, begun)
        return True


def _is_silence(error: Exception, begun: float) -> bool:
    """Say whether a connection was waited for in vain; a refusal is an answer."""
    is_timeout = isinstance(error, psycopg.errors.ConnectionTimeout)
    return is_timeout or monotonic() - begun >= CONNECT_SECONDS


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives a silent server up; what it was asked may yet be carried out."""

    gate: Gate

    def wait(
        self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = ANSWER_SECONDS
    ) -> Any:
        """Ask, and wait for the answer; raises ``SilentError`` if there is none in time.

        It does so at once where the server was silent when another connection asked it.
        """
        if self.gate.is_shut:
            self.close()
            raise SilentError
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()
            self.gate.shut()
            raise SilentError from None

    def set_autocommit(self, value: bool) -> None:
        """Change what the next statement begins with; the server is not asked."""
        with self.lock:
            super().wait(self._set_autocommit_gen(value))

    def set_isolation_level(self, value: IsolationLevel | None) -> None:
        """Change what the next transaction begins with; the server is not asked."""
        with self.lock:
            super().wait(self._set_isolation_level_gen(value))


def fill_in(
    dialect: Dialect, entry: ConnectionPoolEntry, _: list[Any], options: dict[str, Any]
) -> None:
    """Complete how a connection is opened; what DATABASE_URI asks for goes before."""
    for name, value in ARGUMENTS.items():
        options.setdefault(name, value)


def init_engine(engine: Engine, *, pgbouncer: bool) -> None:
    """Have the connections that serve requests keep to the limits.

    A command may take as long as it takes. PgBouncer refuses to pass the limits on, and knows
    nothing of statements that a connection has prepared.
    """
    gate = Gate()

    def connect(
        dialect: Dialect, entry: ConnectionPoolEntry, _: list[Any], given: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        arguments = dict(given)
        if pgbouncer:
            arguments["prepare_threshold"] = None
        if not has_request_context():
            return psycopg.connect(**arguments)
        if not pgbouncer:
            limits = "".join(f"-c {name}={value} " for name, value in LIMITS.items())
            arguments["options"] = limits + str(arguments.get("options", ""))
        return _connect(gate, arguments)

    def refuse_silent(
        connection: psycopg.Connection[Any],
        entry: ConnectionPoolEntry,
        proxy: PoolProxiedConnection,
    ) -> None:
        """Have the pool open a fresh connection, which fails."""
        if gate.is_shut:
            raise DisconnectionError

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", refuse_silent)


def _connect(gate: Gate, arguments: dict[str, Any]) -> BoundedConnection:
    if gate.is_shut:
        raise SilentError
    gate.arguments = arguments
    begun = monotonic()
    try:
        connection = BoundedConnection.connect(**arguments)
    except psycopg.Error as error:
        if _is_silence(error, begun):
            gate.shut()
        raise
    connection.gate = gate
    return connection
