"""Failover: what clients see while the standby is missing, and when the primary is lost."""

import argparse
import time
from collections import Counter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.cluster import DATABASE, Cluster, replicated_tables
from tests.helpers import wait_for
from tests.load import KeyedWrites, all_written, either, under_load
from tests.server import serving

SECONDS, ROUNDS = 60, 5
WORKERS, THREADS, CLIENTS = 6, 4, 24
SAMPLE_SECONDS = 0.5
WITH_PRIMARY_SECONDS, WITHOUT_PRIMARY_SECONDS = 5, 5


def main() -> None:
    """Take the standby away, then kill the primary several times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with replicated_tables() as cluster:
        without_standby(cluster, given.seconds)
    rounds = []
    for _ in range(given.rounds):
        with replicated_tables() as cluster:
            rounds.append(failover(cluster))
    print(f"writes are back after the promotion: {median(rounds):.2f} s, {max(rounds):.2f} at most")


def without_standby(cluster: Cluster, seconds: float) -> None:
    """Kill the standby, and start it again after a time."""
    cluster.primary.require_standby()
    primary, standby = cluster.primary, cluster.standby
    with (
        TemporaryDirectory() as folder,
        serving(
            cluster.uri(DATABASE, primary),
            Path(folder) / "log",
            WEB_CONCURRENCY=str(WORKERS),
            WEB_THREADS=str(THREADS),
        ) as server,
    ):
        wait_for(lambda: server.figure("database_pool_size") == WORKERS * THREADS)
        with under_load(server, CLIENTS, either) as load:
            standby.kill()
            gone, most = time.monotonic(), 0
            while time.monotonic() < gone + seconds:
                load.ended.wait(SAMPLE_SECONDS)
                most = max(most, primary.connections())
            standby.start()
            wait_for(primary.is_followed)
            back = time.monotonic()
            written = all_written(load, back)
    during = [each for each in load.answers if each.ended >= gone and each.started < back]
    reads = Counter(answer.status for answer in during if answer.method == "GET")
    print(f"{seconds} s without a standby, {WORKERS} workers of {THREADS} threads")
    print(f"reads: {reads.total() / seconds:,.0f}/s, {reads[200] / reads.total():.2%} are 200")
    print(f"longest answer: {max(each.ended - each.started for each in during):.2f} s")
    print(f"connections to the primary: {most}")
    print(f"writes of all clients are back after: {written - back:.2f} s")


def failover(cluster: Cluster) -> float:
    """Kill the primary and promote the standby; return how long writes took after that."""
    cluster.primary.require_standby()
    uri = cluster.uri(DATABASE, cluster.primary, cluster.standby, target_session_attrs="read-write")
    standby = cluster.uri(DATABASE, cluster.standby)
    with (
        TemporaryDirectory() as folder,
        serving(
            uri, Path(folder) / "log", WEB_CONCURRENCY="2", DATABASE_READ_URI=standby
        ) as server,
        under_load(server, CLIENTS, KeyedWrites()) as load,
    ):
        load.ended.wait(WITH_PRIMARY_SECONDS)
        cluster.primary.kill()
        killed = load.wait_for(503, method="POST")
        load.ended.wait(WITHOUT_PRIMARY_SECONDS)
        cluster.standby.execute("SELECT pg_promote()")
        promoted = time.monotonic()
        back = all_written(load, promoted)
        load.stop()
        _, products = server.ask("GET", "/products")
    acknowledged = len(load.acknowledged())
    lost, twice = map(len, load.lost_and_twice(products))
    reads = [answer for answer in load.answers if answer.method == "GET"]
    during = [answer for answer in reads if killed <= answer.started < promoted]
    print(f"{acknowledged:,} writes acknowledged, {lost} lost, {twice} twice;", end=" ")
    print(f"reads by status {dict(Counter(each.status for each in reads))};", end=" ")
    print(f"without a primary {len(during) / (promoted - killed):,.0f} reads/s;", end=" ")
    print(f"writes back after {back - promoted:.2f} s")
    return back - promoted


if __name__ == "__main__":
    main()
