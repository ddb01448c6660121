"""Kill conversions at random times and see that nothing is lost, torn or different.

    python tools/kills.py [--kills 200] [--seed 0] [--minutes 60]

Every round starts `convert --resume`, `zoo`, `pack` or `unpack` in an empty folder, kills it after
a random share of the time that it takes (SIGKILL by half, else SIGTERM or SIGINT), looks at every
file under a final name, and runs the same command again, at the fourth try until it ends by itself.
The result must be, byte for byte, that of a run which nobody disturbed, and what an interrupted
command says of what it leaves must be what lies there. Commands are small, so that a kill costs
little more than the start of Python; how many were made is said on the way, and after so many
minutes no further round begins.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent / "models"
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Work:
    """A command, run in a folder prepared for it, and the files that it leaves."""

    name: str
    words: tuple[str, ...]
    inputs: tuple[Path, ...] = ()
    inline: int | None = None  # bytes of weights up to which a ticket is one file
    again: tuple[str, ...] = ()  # words added when it is run again


def command(work: Work, again: bool) -> list[str]:
    """The process to start; a limit on single files is set from outside the command."""
    words = [*work.words, *(work.again if again else ())]
    if work.inline is None:
        return [sys.executable, "-m", "lt_onnx", *words]
    program = (
        f"import sys, lt_onnx.files as f; f.INLINE_LIMIT = {work.inline}; "
        f"sys.argv[1:] = {words!r}; "
        "from lt_onnx.cli.app import main; main()"
    )
    return [sys.executable, "-c", program]


def prepared(work: Work, folder: Path) -> Path:
    """An empty folder with what the command reads."""
    folder.mkdir()
    for path in work.inputs:
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy(path, folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a final name, reports apart: they tell of seconds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and ".report." not in path.name
        and not path.name.startswith("zoo.")
    }


def hidden(folder: Path) -> list[str]:
    """Temporaries."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*")]


def untrue(said: str, folder: Path, before: set[str]) -> str:
    """What is wrong with the words of an interrupted command, if anything.

    `before` are the files, hidden ones too, that it found.
    """
    made = set(contents(folder)) - before
    left = sorted(set(hidden(folder)) - before)
    lines = said.splitlines()
    if not lines or "Traceback" in said:  # it had not begun: it says nothing, or Python does
        return f"it left {made} {left} without a word" if made or left else ""
    if len(lines) != 1 or not lines[0].startswith("lt-onnx: error: interrupted"):
        return f"it said {said!r}"
    if "nothing was left behind" in said:
        return f"it said so and left {made} {left}" if made or left else ""
    kept = re.search(r"; finished and there: ([^\s;]+)(?: and (\d+) more)?", said)
    if kept is not None and not (folder / kept[1]).is_file():
        return f"{kept[1]} is not there"
    tickets = {name for name in contents(folder) if not name.endswith(".data")}
    counted = 0 if kept is None else 1 + int(kept[2] or 0)
    if counted < len(tickets & made) or counted > len(contents(folder)):
        return f"it said {said!r} and there are {sorted(contents(folder))}"
    resumed = re.search(r"; (\S+) keeps what is finished", said)
    if resumed is not None and not (folder / resumed[1]).exists():
        return f"{resumed[1]} is not there"
    others = [name for name in left if not name.endswith(".resume")]
    if others or (left and resumed is None):
        return f"it said {said!r} and left {left}"
    return ""


def works(folder: Path) -> list[Work]:
    """The commands that are killed; tickets for `pack` and `unpack` are made first."""
    zoo = folder / "nets"
    zoo.mkdir()
    for name in ("plain-relu", "plain-leakyrelu"):
        shutil.copy(MODELS / f"{name}.onnx", zoo)
    residual, ticket = MODELS / "residual.onnx", folder / "t.onnx"
    packed = folder / "t.ltz"
    quiet = ("--quiet", "--no-validate")
    for words in (
        ["convert", str(residual), "-o", str(ticket), *quiet],
        ["pack", str(ticket), "-o", str(packed), "-q"],
    ):
        subprocess.run([sys.executable, "-m", "lt_onnx", *words], check=True)
    small = ("--base-size", "4", "--price", "1e-3")  # no promise has to be found for these
    convert = ("convert", "residual.onnx", "-o", "out.onnx", "--resume", *quiet, *small)
    return [
        Work("convert", convert, (residual,)),
        Work("convert, external data", (*convert, "--mode", "2l"), (residual,), inline=0),
        Work("zoo", ("zoo", "nets", "-o", "tickets", "--workers", "2", "-q", *small), (zoo,)),
        Work("pack", ("pack", "t.onnx", "-o", "out.ltz", "-q"), (ticket,), again=("--force",)),
        Work("unpack", ("unpack", "t.ltz", "-o", "out.onnx", "-q"), (packed,), again=("--force",)),
    ]


def main() -> None:
    """Count what happened; exit 1 if anything was torn, lost or different."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    rng, counts, wrong = random.Random(given.seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as there:
        root = Path(there)
        known = {}
        for work in works(root):
            calm = prepared(work, root / "calm")
            start = time.monotonic()
            subprocess.run(command(work, False), cwd=calm, check=True)
            known[work] = contents(calm), time.monotonic() - start
            subprocess.run(command(work, True), cwd=calm, capture_output=True, check=True)
            if contents(calm) != known[work][0] or hidden(calm):
                wrong.append(f"{work.name}: another result when it is run twice")
            shutil.rmtree(calm)
        start, taken = time.monotonic(), 0.0
        while counts["kills"] < given.kills and taken < 60 * given.minutes:
            work = rng.choice(list(known))
            right, seconds = known[work]
            folder = prepared(work, root / "killed")
            before = set(contents(folder))
            for attempt in range(4):
                sent = rng.choice(SIGNALS)
                old = {*contents(folder), *hidden(folder)}
                process = subprocess.Popen(
                    command(work, attempt > 0), cwd=folder, stderr=subprocess.PIPE, text=True
                )
                try:
                    # mostly while it works, after Python has started
                    process.wait(seconds * rng.uniform(0.3, 1.05) if attempt < 3 else None)
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, sent)
                    counts["kills"] += 1
                    counts[f"{work.name}, {signal.Signals(sent).name}"] += 1
                said = process.communicate()[1]
                if process.returncode not in (0, -signal.SIGKILL):
                    lie = untrue(said, folder, old)
                    wrong += [f"{work.name}, {sent.name}: {lie}"] if lie else []
                for name, digest in contents(folder).items():
                    if name not in before and right.get(name) != digest:
                        wrong.append(f"{work.name}: {name} is torn after {sent!r}")
                if process.returncode == 0:
                    break
            if process.returncode != 0:
                wrong.append(f"{work.name}: {said.strip()}")
            if contents(folder) != right:
                wrong.append(f"{work.name}: another result in the end")
            if hidden(folder):
                wrong.append(f"{work.name}: left {hidden(folder)}")
            counts["finished again"] += 1
            shutil.rmtree(folder)
            taken = time.monotonic() - start
            print(f"{counts['kills']} kills in {taken:.0f} s", file=sys.stderr, flush=True)
    for what, count in sorted(counts.items()):
        print(f"{what:32} {count}")
    print("\n".join(wrong) or "nothing torn, lost or different")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
