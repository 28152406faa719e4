"""How many CPUs this process may use: its affinity and the limits of its control groups."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

CGROUP_FILE = "proc/self/cgroup"
V2_MOUNT = "sys/fs/cgroup"
V1_MOUNTS = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")


def available_cpus(root: Path = Path("/")) -> int:
    """Return the CPUs that this process may keep busy, at least 1; a part of one counts as one.

    ``root`` is where /proc and /sys are.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, ceil(min([allowed, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPUs that each limit on the way to this process's control group grants."""
    for group in _groups(root):
        try:
            if (group / "cpu.max").exists():
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota = (group / "cpu.cfs_quota_us").read_text()
                period = (group / "cpu.cfs_period_us").read_text()
            if quota != "max" and int(quota) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError):
            continue


def _groups(root: Path) -> Iterator[Path]:
    """Yield the directories of the process's groups and of those around them.

    In a container the mount point itself may be the group, whatever its path outside is.
    """
    try:
        lines = (root / CGROUP_FILE).read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts: tuple[str, ...] = (V2_MOUNT,)
        elif "cpu" in controllers.split(","):
            mounts = V1_MOUNTS
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for mount in mounts:
            for directory in (group, *group.parents):
                yield root / mount / directory
