"""How many processors this process may use: of the machine, of its affinity, of its cgroup."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["available_cpus"]

_PROC = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def available_cpus(proc: Path = _PROC, root: Path = _ROOT) -> int:
    """Return the number of processors that this process may use, at least 1.

    A container or a service manager may limit the process to the time of some processors (a
    quota), although it sees all of them. More threads than that are stopped for a part of every
    period, so a quota counts as its number of processors, rounded up.

    Parameters
    ----------
    proc : Path
        What names the cgroups of this process.
    root : Path
        Where the cgroups are mounted.

    Notes
    -----
    Quotas are read once in a process, because that takes as long as learning from a thousand rows;
    the affinity is asked for in each call.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min(cpus, _least_quota(proc, root))))


@functools.cache
def _least_quota(proc: Path, root: Path) -> float:
    """Return the least quota, rounded up; infinity if there is none."""
    return min((math.ceil(quota) for quota in _quotas(proc, root)), default=math.inf)


def _quotas(proc: Path, root: Path) -> Iterator[float]:
    """Yield the processors that each cgroup of this process, or one above it, leaves."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            of_version, read = root, _quota_of_v2
        elif "cpu" in controllers.split(","):
            of_version, read = root / "cpu", _quota_of_v1
        else:
            continue
        # Inside a container the path may be that of the host, of which only the root is mounted.
        below = PurePosixPath(path.lstrip("/"))
        for group in (below, *below.parents):
            quota = read(of_version / group)
            if quota is not None and quota > 0:
                yield quota


def _quota_of_v2(group: Path) -> float | None:
    text = _read(group / "cpu.max")  # "max 100000" or "150000 100000"
    quota, _, period = text.partition(" ")
    return _ratio(quota, period)


def _quota_of_v1(group: Path) -> float | None:
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    try:
        return float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
