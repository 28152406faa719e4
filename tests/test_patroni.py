"""What clients see while Patroni makes another node the leader."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import DATABASE, Node
from tests.helpers import wait_for
from tests.load import KeyedWrites, all_written, under_load
from tests.patroni import ETCD, PATRONI, ManagedCluster, managed_tables
from tests.server import serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in (PATRONI, ETCD),
        reason="Patroni or etcd is not installed (Debian: patroni, etcd-server)",
    ),
]

CLIENTS, WRITES_BEFORE, RECOVERY_SECONDS, LONGEST_SECONDS = 8, 100, 2, 10


@pytest.fixture
def cluster() -> Iterator[ManagedCluster]:
    with managed_tables() as cluster:
        yield cluster


def promotion(node: Node) -> float:
    """Wait until a standby has been promoted; return when it was."""
    with node.connect() as connection:
        recovery = "SELECT pg_is_in_recovery()"
        wait_for(lambda: connection.execute(recovery).fetchone() == (False,))
    return time.monotonic()


def lose_the_leader(cluster: ManagedCluster) -> float:
    cluster.primary.kill()
    return promotion(cluster.standby)


def freeze_the_leader(cluster: ManagedCluster) -> float:
    """Have it go on when it has been replaced, and wait until Patroni ends that."""
    with cluster.primary.frozen():
        promoted = promotion(cluster.standby)
    wait_for(lambda: not cluster.primary.is_any("primary"))
    return promoted


def switch_over(cluster: ManagedCluster) -> float:
    with cluster.switch_over() as patronictl:
        promoted = promotion(cluster.standby)
    assert patronictl.returncode == 0
    return promoted


@pytest.mark.parametrize("change_the_leader", [lose_the_leader, freeze_the_leader, switch_over])
def test_another_leader_loses_no_write_and_makes_none_twice(
    cluster: ManagedCluster, tmp_path: Path, change_the_leader: Callable[[ManagedCluster], float]
) -> None:
    nodes = cluster.primary, cluster.standby
    uri = cluster.uri(DATABASE, *nodes, target_session_attrs="read-write")
    read_uri = cluster.uri(DATABASE, *nodes, target_session_attrs="prefer-standby")
    with (
        serving(uri, tmp_path / "log", WEB_CONCURRENCY="2", DATABASE_READ_URI=read_uri) as server,
        under_load(server, CLIENTS, KeyedWrites(), is_slow=True) as load,
    ):
        wait_for(lambda: len(load.acknowledged()) >= WRITES_BEFORE)
        workers = server.workers()
        promoted = change_the_leader(cluster)
        assert all_written(load, promoted) - promoted < RECOVERY_SECONDS
        load.stop()
        _, products = server.ask("GET", "/products")
        assert server.workers() == workers

    assert load.statuses(method="GET") == {200}
    assert load.statuses(method="POST") == {201, 503}
    assert max(answer.ended - answer.started for answer in load.answers) < LONGEST_SECONDS
    assert load.lost_and_twice(products) == (set(), set())
    assert "Traceback" not in server.log.read_text()
