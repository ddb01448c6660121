"""How much runs at a time: processors that this process may use, and what the environment says."""

import os


def core_count() -> int:
    """Processors that this process may run on, which taskset and containers can make fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(variable: str = "OMP_NUM_THREADS") -> int:
    """Threads that may run: as the environment's `variable` says, or one a core."""
    setting = os.environ.get(variable, "")
    return int(setting) if setting.isdigit() and int(setting) else core_count()
