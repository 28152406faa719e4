"""How many CPUs a process may use, on trees of /proc and /sys as kernels make them."""

import os
from pathlib import Path

import pytest

from service.common.cpus import available_cpus

ALLOWED = 8
V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, ALLOWED),
        ({"proc/self/cgroup": "0::/\n"}, ALLOWED),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, ALLOWED),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "9900000 100000\n"}, ALLOWED),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "nonsense\n"}, ALLOWED),
        (
            {
                "proc/self/cgroup": "0::/pods/one\n",
                f"{V2}/pods/one/cpu.max": "max 100000\n",
                f"{V2}/pods/cpu.max": "200000 100000\n",
            },
            2,
        ),
        ({"proc/self/cgroup": "0::/of/the/host\n", f"{V2}/cpu.max": "100000 50000\n"}, 2),
        (
            {
                "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/docker/one\n0::/\n",
                f"{V1}/docker/one/cpu.cfs_quota_us": "300000\n",
                f"{V1}/docker/one/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/of/the/host\n",
                f"{V1}/cpu.cfs_quota_us": "-1\n",
                f"{V1}/cpu.cfs_period_us": "100000\n",
            },
            ALLOWED,
        ),
    ],
)
def test_affinity_and_every_quota_limit_the_cpus(
    files: dict[str, str], cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALLOWED)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert available_cpus(tmp_path) == cpus


def test_this_machine_has_at_least_one_cpu() -> None:
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))
