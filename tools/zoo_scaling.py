"""What a zoo costs, and what workers bring: the same small networks converted in several ways.

    python tools/zoo_scaling.py [--networks 24] [--workers 2] [--scheduler]

Every way makes the same tickets, which is checked: `lt-onnx convert` once for each in one process,
whose kernels are compiled, with the reports that a zoo writes; a zoo of one worker; one of several;
and with `--scheduler` one of as many workers of a Dask scheduler, all started here. Wall-clock
seconds are those of the whole command, processor seconds those of all its processes. Both are of
this machine and of what else it does: compare them within one run.
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from random_resnet import random_resnet

SETTINGS = ("--mode", "2l", "--base-size", "8", "--price", "1e-4", "--calibration-count", "16")
WIDTH = 1  # of the networks, which differ by their seed
ONE_PROCESS = """
import sys
from pathlib import Path
from lt_onnx.cli.app import run
folder, out, *settings = sys.argv[1:]
for target in sorted(Path(folder).glob("*.onnx")):
    ticket = Path(out) / f"{target.stem}.ticket.onnx"
    reports = [w for face in ("json", "html") for w in ("--report", f"{out}/{target.stem}.{face}")]
    run(["convert", str(target), "-o", str(ticket), "--quiet", "--per-layer", *reports, *settings])
"""


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a command, by the clock and of processors."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def tickets(folder: Path) -> dict[str, str]:
    """SHA-256 of every ticket."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.ticket.onnx"))
    }


def main() -> None:
    """Print a table; exit 1 where tickets differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", action="store_true", help="also on a scheduler's workers")
    given = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    print(f"{given.networks} networks, {os.cpu_count()} cores, load before: {load}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        root, started = Path(place), []
        (root / "nets").mkdir()
        for number in range(given.networks):
            random_resnet(root / "nets" / f"n{number:02}.onnx", WIDTH, seed=number)
        zoo = ["-m", "lt_onnx", "zoo", str(root / "nets"), "-q", *SETTINGS]
        ways = {
            "one process": ["-c", ONE_PROCESS, str(root / "nets"), str(root / "one process")],
            "1 worker": zoo,
            f"{given.workers} workers": [*zoo, "--workers", str(given.workers)],
        }
        ways["one process"] += SETTINGS
        if given.scheduler:
            about = root / "scheduler.json"
            commands = [
                ["scheduler", "--port", "0"],
                *[["worker", "--nthreads", "1"]] * given.workers,
            ]
            for command in commands:
                words = ["-m", f"distributed.cli.dask_{command[0]}", *command[1:]]
                words += ["--scheduler-file", str(about), "--no-dashboard"]
                nobody = subprocess.DEVNULL
                started.append(
                    subprocess.Popen(
                        [sys.executable, *words], cwd=place, stdout=nobody, stderr=nobody
                    )
                )
            while not about.exists():
                time.sleep(0.1)
            ways["scheduler"] = [*zoo, "--scheduler-file", str(about)]
        made, first = {}, 0.0
        print("way                s  of one process  processor s")
        try:
            for way, command in ways.items():
                out = root / way
                out.mkdir()
                words = command if way == "one process" else [*command, "-o", str(out)]
                took, processors = timed(words)
                first, made[way] = first or took, tickets(out)
                of = f"{took / first:14.2f}"
                shown = "     elsewhere" if way == "scheduler" else f"{processors:11.1f}"
                print(f"{way:12} {took:7.1f}  {of}  {shown}", flush=True)
        finally:
            for process in started:
                process.kill()
                process.wait()
        same = all(one == made["one process"] for one in made.values())
        complete = len(made["one process"]) == given.networks
        print("tickets are the same bytes" if same and complete else "TICKETS DIFFER")
    sys.exit(0 if same and complete else 1)


if __name__ == "__main__":
    main()
