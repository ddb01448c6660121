"""How much runs at a time: processors that this process may use, and what the environment says."""

import ctypes
import math
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

M_ARENA_MAX = -8  # of glibc's mallopt
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def core_count() -> int:
    """Processors that this process may use, which taskset and containers can make fewer."""
    allowed = hasattr(os, "sched_getaffinity")
    there = len(os.sched_getaffinity(0)) if allowed else os.cpu_count() or 1
    return max(int(min(group_quota(), there)), 1)


@cache
def group_quota(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> float:
    """Processors' time that this process's control groups may use; infinity without a limit."""
    quota = math.inf
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mounts = [groups] if not controllers else [groups / "cpu", groups / controllers]
            for mount in mounts:
                place = mount / path.lstrip("/")
                for folder in (place, *place.parents):
                    if folder.is_relative_to(mount):
                        quota = min(quota, _quota_of(folder))
    return quota


def _quota_of(folder: Path) -> float:
    """The processors of one control group, of version 2 or 1."""
    with suppress(OSError, ValueError):
        part, whole = (folder / "cpu.max").read_text().split()
        return int(part) / int(whole)
    with suppress(OSError, ValueError):
        part, whole = ((folder / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return int(part) / int(whole) if int(part) > 0 else math.inf
    return math.inf


def thread_count(variable: str = "OMP_NUM_THREADS") -> int:
    """Threads that may run: as the environment's `variable` says, or one a core."""
    setting = os.environ.get(variable, "")
    return int(setting) if setting.isdigit() and int(setting) else core_count()


def share_heap() -> None:
    """Let all threads to come share one heap: of many, each keeps what was freed in it.

    Only where the C library is glibc: others have no such heaps. For a process of one's own.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
