"""How many processors this process may use, and how much memory. Without torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "max 100000", or microseconds of each period
_CEILING = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def cores() -> int:
    """The processors that this process may run on: those of its affinity, at most a container's
    quota; at least one."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text().split()
        if quota != "max":
            count = min(count, int(quota) // int(period))
    return max(1, count)


def free_memory() -> int | None:
    """Bytes that can be had without swapping, of this machine and of its container; None where the
    system does not say."""
    free: int | None = None
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
    with suppress(OSError, ValueError):
        ceiling, used = (path.read_text().strip() for path in _CEILING)
        if ceiling != "max":
            left = int(ceiling) - int(used)
            free = left if free is None else min(free, left)
    return free


def fitting(most: int, each: int) -> int:
    """How many processes of `each` bytes have room here: at least one, at most `most`."""
    free = free_memory()
    return most if free is None else max(1, min(most, free // each))
