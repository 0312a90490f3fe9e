"""What this process may use of its machine: all of it, or less where its container or service has less.

Linux' control groups of both versions (Documentation/admin-guide/cgroup-v1 and cgroup-v2 of the kernel).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_PROCESS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def memory(process: Path = _PROCESS, groups: Path = _GROUPS) -> int:
    """Bytes."""
    found = [int(psutil.virtual_memory().total)]
    for folder, unified in _folders("memory", process, groups):
        with suppress(OSError, ValueError):  # "max", or no such file
            found.append(int((folder / ("memory.max" if unified else "memory.limit_in_bytes")).read_text()))
    return min(found)


def cores(process: Path = _PROCESS, groups: Path = _GROUPS) -> int:
    """How many threads can run at once; a quota of one and a half cores counts for two."""
    found = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for folder, unified in _folders("cpu", process, groups):
        with suppress(OSError, ValueError):
            if unified:
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            if int(quota) > 0:  # -1: as much as there is
                found.append(math.ceil(int(quota) / int(period)))
    return min(found)


def _folders(controller: str, process: Path, groups: Path) -> Iterator[tuple[Path, bool]]:
    """Where this process's limits of a kind may be, and whether in the second version's one tree.

    In a container the root is the container's own, whatever path the process sees.
    """
    with suppress(OSError):
        for line in process.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = groups / controller if controllers else groups
            yield root / path.lstrip("/"), not controllers
            yield root, not controllers
