"""What one large ticket costs whose rows workers solve, beside one that is made in one process.

    python tools/row_scaling.py [--size 6M] [--workers 2]

The same random ResNet (see `random_resnet`) is converted both ways, in mode `l+1` and as default
says, not validated; that both tickets are the same bytes is checked. Seconds are of this machine
and of what else it does: compare them within one run. Memory is the largest that the command held,
and that any of its workers did.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from random_resnet import SIZES, random_resnet

LOOK_SECONDS = 0.2  # from one look at memory to the next


@dataclass(frozen=True)
class Conversion:
    """What one took."""

    seconds: float  # by the clock
    solve: float  # of them for subset sums
    here: float  # gigabytes of the command
    worker: float  # and of its largest child


def converted(target: Path, workers: int) -> Conversion:
    """Convert `target` in its folder."""
    report = target.with_name("report.json")
    words = ["convert", target.name, "--no-validate", "--force", "-q", "--report", report.name]
    words += ["--workers", str(workers)]
    start, here, worker = time.perf_counter(), 0, 0
    process = psutil.Popen([sys.executable, "-m", "lt_onnx", *words], cwd=target.parent)
    while process.poll() is None:
        time.sleep(LOOK_SECONDS)
        try:
            here = max(here, process.memory_info().rss)
            children = process.children(recursive=True)
            worker = max([worker, *(child.memory_info().rss for child in children)])
        except psutil.Error:  # one has just ended
            continue
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    solve = json.loads(report.read_text())["seconds"]["solve"]
    return Conversion(time.perf_counter() - start, solve, here / 1e9, worker / 1e9)


def main() -> None:
    """Print a table; exit 1 where tickets differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="6M")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    made, first = list[list[str]](), 0.0
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "net.onnx"
        weights = random_resnet(target, SIZES[given.size])
        print(f"{weights:,} weights, {os.cpu_count()} cores, load before: {load}")
        print("way                s  of one process  solving s  GB here  of a worker", flush=True)
        for workers in (1, given.workers):
            way = "one process" if workers == 1 else f"{workers} workers"
            took = converted(target, workers)
            first = first or took.seconds
            theirs = f"{took.worker:.2f}" if workers > 1 else "-"
            print(
                f"{way:12} {took.seconds:7.1f}  {took.seconds / first:14.2f}  {took.solve:9.1f}"
                f"  {took.here:7.2f}  {theirs:>11}",
                flush=True,
            )
            files = sorted(target.parent.glob("net.ticket.onnx*"))
            made.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    same = made[0] == made[1] and len(made[0]) > 0
    print("tickets are the same bytes" if same else "TICKETS DIFFER")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
