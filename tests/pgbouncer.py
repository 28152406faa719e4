"""A PgBouncer in transaction mode in front of PostgreSQL."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL, make_url

from tests.helpers import free_port, wait_for

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# From version 1.21 on.
KEEPING = "max_prepared_statements = {}"
POOL_SIZE = 2
QUERY_WAIT_SECONDS = 3
STOP_SECONDS = 30
CONFIGURATION = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
server_login_retry = 1
query_wait_timeout = {seconds}
server_connect_timeout = 3
{more}
"""


class PgBouncer:
    """A PgBouncer that can be killed and started again."""

    def __init__(self, server: URL, folder: Path, more: str = "") -> None:
        """Configure it; ``server`` is where PostgreSQL listens."""
        self.port = free_port()
        self._configuration = folder / "pgbouncer.ini"
        self._configuration.write_text(
            CONFIGURATION.format(
                server=_connection_string(server),
                port=self.port,
                pool_size=POOL_SIZE,
                seconds=QUERY_WAIT_SECONDS,
                more=more,
            )
        )
        self._user = _user(server)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [str(PGBOUNCER), "--quiet", str(self._configuration)]
        if self._user:
            command += ["--user", self._user]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(self._is_listening)

    def kill(self) -> None:
        """End it and all its connections at once."""
        if self._process:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def uri(self, database: str) -> str:
        """Return the URI of a database by way of it."""
        url = make_url(database).set(host="127.0.0.1", port=self.port, query={})
        return url.render_as_string(hide_password=False)

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _connection_string(server: URL) -> str:
    host = server.host or server.query.get("host") or "127.0.0.1"
    given = {"host": host, "port": server.port, "user": server.username}
    parts = {**given, "password": server.password}
    return " ".join(f"{name}={value}" for name, value in parts.items() if value)


def _user(server: URL) -> str | None:
    """Return who runs it in place of root: the owner of the socket of PostgreSQL, or nobody."""
    if os.geteuid() != 0:
        return None
    host = server.query.get("host")
    return Path(host).owner() if isinstance(host, str) else "nobody"


def version() -> tuple[int, ...]:
    """Return the version of PgBouncer, such as (1, 25, 2)."""
    command = [str(PGBOUNCER), "--version"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", printed.partition("\n")[0])))


@contextmanager
def pgbouncer(server: str, statements: int = 0) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of the server at this URI until the end of the block.

    It keeps track of so many prepared ``statements`` of each connection, if it can.
    """
    keeping = KEEPING.format(statements) if version() >= (1, 21) else ""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # another user reads the configuration
        bouncer = PgBouncer(make_url(server), Path(folder), keeping)
        bouncer.start()
        try:
            yield bouncer
        finally:
            bouncer.kill()
