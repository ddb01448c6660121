"""Rates of a run, by the clock: what the benchmarks share."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Line: TypeAlias = dict[str, Any]

MAX_YARDSTICK_SECONDS = 10.0  # for one problem; beyond, the yardstick is left out

# the process tells its own peak: what the system says of one that has ended begins with that of the
# process it came from, and counts what its children share with it
ALONE = """
import atexit, pathlib, re, sys
status, out = pathlib.Path("/proc/self/status"), pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: out.write_text(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
from lt_onnx.cli.app import main
main()
"""


class Clock:
    """How long to measure: `quick` only shows that a benchmark runs."""

    quick = False


def seconds(run: Callable[[], object], rounds: int = 3) -> float:
    """The shortest time of some rounds; the first one, which compiles, does not count."""
    run()
    best = float("inf")
    for _ in range(1 if Clock.quick else rounds):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def rate(run: Callable[[int], object], guess: float, most: int) -> float:
    """Problems per second of `run(count)`: the best of up to ten times a tenth of a second."""
    count, wanted = min(most, max(2, int(guess * 0.05))), 0.02 if Clock.quick else 0.1
    run(count)  # compiles what so many problems take
    while True:
        start = time.perf_counter()
        run(count)
        took = time.perf_counter() - start
        if took > wanted / 3 or count == most:
            break
        count = min(most, int(count * max(2, wanted / max(took, 1e-6))))
    rounds = max(1, min(9, int(1 / took)))
    return count / min(took, seconds(lambda: run(count), rounds))


def python_rate(run: Callable[[int], object], subsets: float) -> float | None:
    """The same for plain Python, problem by problem; None where one would take too long."""
    if subsets * 2e-6 > (0.2 if Clock.quick else MAX_YARDSTICK_SECONDS):
        return None
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < (0.05 if Clock.quick else 1.0):
        run(done)
        done += 1
    return done / (time.perf_counter() - start)


def run_alone(words: list[str]) -> tuple[int, float, int]:
    """Exit code, seconds and bytes at the peak of a command of lt-onnx, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        peak = Path(folder) / "peak"
        start = time.perf_counter()
        made = subprocess.run(
            [sys.executable, "-c", ALONE, str(peak), *words], stdout=subprocess.DEVNULL
        )
        return made.returncode, time.perf_counter() - start, int(peak.read_text()) * 1024
