"""A campaign of hostile files: cases by number, run in forked processes that a crash may end.

Comes in: a target, numbers of cases, a seed. Goes out: figures of a batch, as plain values.
"""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import seeds
import typer
from attempts import Case, Functions, Outcome, attempt, memory
from mutants.mutate import mutate
from mutants.values import Files, Random

from lt_onnx import pipeline
from lt_onnx.cli import app
from lt_onnx.packing import pack, unpack
from lt_onnx.planning import prediction
from lt_onnx.progress import Progress
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
    said: dict[str, str] = field(default_factory=dict)  # of the first case of each finding

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
            self.said.setdefault(outcome.wrong, outcome.said.strip())

    def join(self, other: "Figures") -> None:
        """Count another batch's cases."""
        self.cases += other.cases
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count
        self.other += other.other
        self.peak, self.seconds = max(self.peak, other.peak), self.seconds + other.seconds
        if other.longest > self.longest:
            self.longest, self.longest_case = other.longest, other.longest_case
        for wrong, numbers in other.findings.items():
            self.findings[wrong] = sorted([*self.findings.get(wrong, []), *numbers])
        self.said = {**other.said, **self.said}


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
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
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


@cache
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


def try_cases(
    target: str, numbers: range, seed: int, seconds: int, tell: Progress
) -> Mapping[str, Any]:
    """The figures of some cases, each for so many seconds at most."""
    stock, start = stock_of(target), time.perf_counter()
    figures, waiting = Figures(target), numbers
    while waiting:
        here, there = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=_work, args=(there, stock, waiting, seed, seconds))
        worker.start()
        there.close()
        at = waiting.start - 1
        try:
            while True:
                message = here.recv()
                if isinstance(message, int):
                    at = message
                else:
                    figures.add(message)
                    tell(target, figures.cases / len(numbers))
        except EOFError:
            worker.join()
        except BaseException:  # nobody reads what it sends any more
            worker.kill()
            raise
        if worker.exitcode and at < waiting.start:
            raise RuntimeError(f"{target}: no case was begun; exit code {worker.exitcode}")
        if worker.exitcode:
            figures.add(crash(at, worker.exitcode, seconds))
        waiting = range(at + 1, numbers.stop) if worker.exitcode else range(0)
    figures.seconds = time.perf_counter() - start
    return asdict(figures)


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
            wrong = crash(0, worker.exitcode or 0, seconds).wrong
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


def crash(number: int, code: int, seconds: int) -> Outcome:
    """What a case came to that ended its process."""
    if code == -signal.SIGALRM:
        return Outcome(number, None, f"no answer in {seconds} s", "", seconds, 0)
    name = signal.Signals(-code).name if code < 0 else str(code)
    return Outcome(number, None, f"worker died: {name}", "", 0.0, 0)
