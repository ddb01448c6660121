"""Feed hostile files to the command line and see that it says so in one line, every time.

    python tools/fuzz.py --target reader|samples|verify|unpack [--cases 1000] [--jobs 1] [--seed 0]
                         [--seconds 30] [--save DIR]
    python tools/fuzz.py --again DIR

Every case is a mutant of a small seed (see `seeds`, `mutants`) and is made again from its number.
It runs (see `attempts`) inside a forked worker, which a crash ends and another one replaces. What
is asked of it:

- exit code 0, 1 or 2, no exception; of 2, one printable line that names the file; 3 only for
  conversions that are predicted to take more memory than they are allowed;
- `--seconds` and 2 GB of memory at most; no file left but what was asked for;
- an accepted ticket, and an unpacked one, computes what its seed computes, bit for bit. A mutant
  whose seal was renewed (half of them) may be another genuine ticket: fewer weights kept and
  recorded so, another scale. Those are counted apart.

Exits with 1 when anything was found; `--save` keeps the mutants, `--again` tries those of a folder.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import seeds
import typer
from attempts import SECONDS, Case, Functions, Outcome, attempt, memory, placed
from mutants.mutate import mutate
from mutants.values import Files, Random

from lt_onnx import pipeline
from lt_onnx.cli import app
from lt_onnx.packing import pack, unpack
from lt_onnx.planning import prediction
from lt_onnx.validation import per_layer
from lt_onnx.verification import verify

# all that commands import when they need it: a campaign is of one state of the code
LOADED = (pipeline, prediction, pack, unpack, per_layer, verify)

MEMORY = "1500M"  # that a conversion is allowed
ROOM = 6 << 30  # address space that a worker may take: past that it would harm the machine
BATCH = 1000  # cases of a worker
TARGETS = ("reader", "samples", "verify", "unpack")
FORK = multiprocessing.get_context("fork")


@dataclass
class Figures:
    """A campaign's figures."""

    target: str
    cases: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    other: int = 0  # re-sealed tickets that are genuine and compute something else
    longest: float = 0.0
    longest_case: int = 0
    peak: int = 0
    seconds: float = 0.0
    findings: dict[str, list[int]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one case."""
        self.cases += 1
        self.codes[str(outcome.code)] = self.codes.get(str(outcome.code), 0) + 1
        self.other += outcome.other
        self.peak = max(self.peak, outcome.peak)
        if outcome.seconds > self.longest:
            self.longest, self.longest_case = outcome.seconds, outcome.number
        if outcome.wrong:
            self.findings.setdefault(outcome.wrong, []).append(outcome.number)


@dataclass(frozen=True)
class Stock:
    """The seeds that a target's mutants are made of, and tickets that are known to be genuine."""

    target: str
    seeds: list[Files]
    tickets: list[Files] = field(default_factory=list)


def case_of(stock: Stock, number: int, seed: int) -> Case:
    """The case of a number."""
    rng = random.Random(f"{stock.target}/{seed}/{number}")
    resealed = stock.target == "verify" and number % 2 == 1
    files = mutate(rng, stock.seeds, resealed)
    first = next(iter(files))
    return Case(files, *_command(rng, stock.target, f"{{}}/{first}"), sealed=not resealed)


def _command(rng: Random, target: str, path: str) -> tuple[list[str], str]:
    match target:
        case "samples":
            return ["validate", "{}/tiny.onnx", "{}/tiny.onnx", "--samples", path], ""
        case "verify":
            return ["verify", path], ""
        case "unpack":
            return ["unpack", path, "-o", "{}/out.onnx"], "out.onnx"
    share = rng.random()
    if share < 0.02:
        words = ["convert", path, "-o", "{}/out.onnx", "--base-size", "3", "-q"]
        words += ["--max-memory", MEMORY, "--mode", rng.choice(["l+1", "2l"])]
        return words, "out.onnx"
    return ["inspect" if share < 0.9 else "plan", path], ""


# workers --------------------------------------------------------------------------------------


def _work(pipe: Connection, stock: Stock, numbers: range, seed: int, seconds: int) -> None:
    """A worker: runs cases and sends what they came to, before each one its number."""
    _confine()
    genuine = Functions(stock.tickets) if stock.tickets else None
    with workplace(stock.target) as folder:
        for number in numbers:
            case = case_of(stock, number, seed)
            pipe.send(number)
            pipe.send(attempt(case, number, folder, seconds=seconds, genuine=genuine))


def _confine() -> None:
    """Let this process do no harm."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = memory("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@contextlib.contextmanager
def workplace(target: str) -> Iterator[Path]:
    """A folder with what the commands of `target` need beside the mutant."""
    if not isinstance(app.app, typer.core.TyperGroup):
        app.app = typer.main.get_command(app.app)  # type: ignore[assignment]  # made once, not ever again
    with tempfile.TemporaryDirectory() as place:
        if target == "samples":
            (Path(place) / "tiny.onnx").write_bytes(seeds.network("tiny").SerializeToString())
        yield Path(place)


def stock_of(target: str) -> Stock:
    """The seeds of a target, those that lt-onnx makes in a process apart."""
    match target:
        case "reader":
            return Stock(target, seeds.readers())
        case "samples":
            return Stock(target, seeds.samples())
    here, there = FORK.Pipe(duplex=False)
    maker = FORK.Process(target=_make, args=(there,))
    maker.start()
    there.close()
    made: dict[str, list[Files]] = here.recv()
    maker.join()
    return Stock(target, made[target], made["verify"])


def _make(pipe: Connection) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = seeds.tickets(Path(place))
        pipe.send({"verify": made, "unpack": seeds.packs(Path(place), made)})


def campaign(stock: Stock, cases: range, *, jobs: int, seed: int, seconds: int) -> Figures:
    """Run the cases of these numbers, so many at once, each for so many seconds at most."""
    figures, start = Figures(stock.target), time.perf_counter()
    waiting = [cases[at : at + BATCH] for at in range(0, len(cases), BATCH)]
    running: dict[Connection, tuple[Any, range, int]] = {}
    told = start
    while waiting or running:
        while waiting and len(running) < jobs:
            numbers = waiting.pop(0)
            here, there = FORK.Pipe(duplex=False)
            worker = FORK.Process(target=_work, args=(there, stock, numbers, seed, seconds))
            worker.start()
            there.close()
            running[here] = worker, numbers, numbers.start - 1
        for ready in wait([*running]):
            assert isinstance(ready, Connection)
            worker, numbers, at = running[ready]
            try:
                message = ready.recv()
            except EOFError:
                del running[ready]
                worker.join()
                if worker.exitcode and at >= 0:
                    figures.add(_crash(at, worker.exitcode, seconds))
                    if at + 1 < numbers.stop:
                        waiting.insert(0, range(at + 1, numbers.stop))
                continue
            if isinstance(message, int):
                running[ready] = worker, numbers, message
                continue
            figures.add(message)
            if message.wrong and len(figures.findings[message.wrong]) == 1:
                print(
                    f"{stock.target} {message.number}: {message.wrong}\n    {message.said.strip()}"
                )
        if time.perf_counter() - told > 30:
            told = time.perf_counter()
            print(
                f"{stock.target}: {figures.cases:,} cases, {len(figures.findings)} findings, "
                f"{figures.cases / (told - start):.0f}/s",
                file=sys.stderr,
                flush=True,
            )
    figures.seconds = time.perf_counter() - start
    return figures


def again(corpus: Path, seconds: int) -> dict[str, str]:
    """What is still wrong with the mutants that `--save` kept in the folders of `corpus`."""
    found = {}
    for folder in sorted(path.parent for path in corpus.glob("*/about.json")):
        here, there = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=_work_again, args=(there, folder, seconds))
        worker.start()
        there.close()
        try:
            wrong = here.recv().wrong
        except EOFError:
            worker.join()
            wrong = _crash(0, worker.exitcode or 0, seconds).wrong
        worker.join()
        if wrong:
            found[folder.name] = wrong
    return found


def _work_again(pipe: Connection, folder: Path, seconds: int) -> None:
    about = json.loads((folder / "about.json").read_text())
    kept = sorted(
        (p for p in folder.iterdir() if p.name != "about.json"),
        key=lambda path: path.suffix != ".onnx",
    )
    case = Case({path.name: path.read_bytes() for path in kept}, about["words"], about["made"])
    _confine()
    with workplace(about["target"]) as place:
        pipe.send(attempt(case, 0, place, seconds=seconds))


def _crash(number: int, code: int, seconds: int) -> Outcome:
    if code == -signal.SIGALRM:
        return Outcome(number, None, f"no answer in {seconds} s", "", seconds, 0)
    name = signal.Signals(-code).name if code < 0 else str(code)
    return Outcome(number, None, f"worker died: {name}", "", 0.0, 0)


def save_findings(figures: Figures, stock: Stock, seed: int, folder: Path) -> None:
    """Keep the first mutant of every finding, in a folder of its own."""
    for count, (wrong, numbers) in enumerate(figures.findings.items()):
        place = folder / f"{stock.target}-{count}"
        place.mkdir(parents=True, exist_ok=True)
        case = case_of(stock, numbers[0], seed)
        placed(case.files, place)
        about = {
            "target": stock.target,
            "wrong": wrong,
            "words": case.words,
            "made": case.made,
            "number": numbers[0],
            "seed": seed,
        }
        (place / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def main() -> None:
    """Run what the words ask for."""
    parse = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    what = parse.add_mutually_exclusive_group(required=True)
    what.add_argument("--target", choices=TARGETS)
    what.add_argument("--again", type=Path, help="folder of mutants that were saved")
    parse.add_argument("--cases", type=int, default=1000)
    parse.add_argument("--first", type=int, default=0, help="number of the first case")
    parse.add_argument("--jobs", type=int, default=1)
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--seconds", type=int, default=SECONDS, help="that a case may take")
    parse.add_argument("--save", type=Path, default=None, help="folder for what is found")
    given = parse.parse_args()
    if given.again is not None:
        print(json.dumps(found := again(given.again, given.seconds), indent=1))
        sys.exit(1 if found else 0)
    stock, cases = stock_of(given.target), range(given.first, given.first + given.cases)
    figures = campaign(stock, cases, jobs=given.jobs, seed=given.seed, seconds=given.seconds)
    if given.save is not None:
        save_findings(figures, stock, given.seed, given.save)
    shown = asdict(figures) | {
        "peak": f"{figures.peak / 1e6:.0f} MB",
        "findings": {wrong: len(at) for wrong, at in figures.findings.items()},
        "first": {wrong: at[0] for wrong, at in figures.findings.items()},
        "per_second": round(figures.cases / max(figures.seconds, 1e-9), 1),
    }
    print(json.dumps(shown, indent=1))
    sys.exit(1 if figures.findings else 0)


if __name__ == "__main__":
    main()
