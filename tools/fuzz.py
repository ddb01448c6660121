"""Feed hostile files to the command line and see that it says so in one line, every time.

    python tools/fuzz.py --target reader|samples|verify|unpack [--cases 1000] [--jobs 1] [--seed 0]
                         [--save DIR]
    python tools/fuzz.py --again DIR

Every case is a mutant of a small seed (see `seeds`, `mutants`) and is made again from its number.
It runs inside a forked worker, which a crash ends and another one replaces. What is asked of it:

- exit code 0, 1 or 2, no exception; of 2, one printable line that names the file; 3 only for
  conversions that are predicted to take more memory than they are allowed;
- 30 seconds and 2 GB of memory at most; no file left but what was asked for;
- an accepted ticket, and an unpacked one, computes what its seed computes, bit for bit. A mutant
  whose seal was renewed (half of them) may be another genuine ticket: fewer weights kept and
  recorded so, another scale. Those are counted apart.

Exits with 1 when anything was found; `--save` keeps the mutants, `--again` tries those of a folder.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import mutants
import numpy as np
import seeds
import typer
from mutants import Files, Random

from lt_onnx import cli, packing, pipeline, verification
from lt_onnx.planning import prediction
from lt_onnx.validation import per_layer

# all that commands import when they need it: a campaign is of one state of the code
LOADED = (pipeline, prediction, packing, per_layer, verification)

SECONDS = 30
BYTES = 2 << 30
MEMORY = "1500M"  # that a conversion is allowed
ROOM = 6 << 30  # address space that a worker may take: past that it would harm the machine
BATCH = 1000  # cases of a worker
TARGETS = ("reader", "samples", "verify", "unpack")
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What one case came to; `wrong` is empty when nothing was."""

    number: int
    code: int | None
    wrong: str
    said: str
    seconds: float
    peak: int
    other: bool = False  # accepted, and computes something else


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
class Case:
    """A mutant, and the command that is given it."""

    files: Files
    words: list[str]  # {} stands for the folder
    made: str = ""  # the file that a success leaves
    sealed: bool = False  # nothing but the seed's own function is to be accepted
    seed: int = -1


def case_of(target: str, stock: list[Files], number: int, seed: int) -> Case:
    """The case of a number."""
    rng = random.Random(f"{target}/{seed}/{number}")
    resealed = target == "verify" and number % 2 == 1
    files = mutants.mutate(rng, stock, resealed)
    first = next(iter(files))
    return Case(files, *_command(rng, target, f"{{}}/{first}"), sealed=not resealed)


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
        words = [
            "convert",
            path,
            "-o",
            "{}/out.onnx",
            "--base-size",
            "3",
            "-q",
            "--max-memory",
            MEMORY,
        ]
        return [*words, "--mode", rng.choice(["l+1", "2l"])], "out.onnx"
    return ["inspect" if share < 0.9 else "plan", path], ""


def attempt(case: Case, number: int, folder: Path) -> Outcome:
    """Run one case in this process."""
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    words = [word.replace("{}", str(folder)) for word in case.words]
    before = {file.name for file in folder.iterdir()}
    _forget_peak()
    resting = _memory("VmRSS")
    out, err, code, wrong = io.StringIO(), io.StringIO(), None, ""
    start = time.perf_counter()
    signal.alarm(SECONDS)  # no handler: it ends the worker, whatever that is doing
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli._run(words)
    except BaseException as error:
        wrong = _signature(error)
    signal.alarm(0)
    seconds, peak = time.perf_counter() - start, _memory("VmHWM") - resting
    said = err.getvalue()
    left = {file.name for file in folder.iterdir()} - before
    wrong = wrong or _judge(case, code, out.getvalue(), said, left, peak)
    other = False
    if not wrong and code == 0 and case.words[0] in ("verify", "unpack"):
        other = not _same(folder / (case.made or next(iter(case.files))))
        if other and case.sealed:
            wrong = "accepted, but computes something else"
    for file in folder.iterdir():
        if file.name not in before or file.name in case.files:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    return Outcome(number, code, wrong, said[:500], seconds, peak, other and not wrong)


def _judge(case: Case, code: int | None, out: str, said: str, left: set[str], peak: int) -> str:
    """What is wrong with an answer; empty when nothing is."""
    lines = said.splitlines()
    if code == 3 and "--max-memory" in said:
        return ""
    if code not in (0, 1, 2):
        return f"exit code {code}: {_plain(said)}"
    if code == 2 and (len(lines) != 1 or not lines[0].startswith("lt-onnx: error: ")):
        return f"not one line but {len(lines)}: {_plain(lines[0] if lines else '')}"
    if not all(c.isprintable() or c == "\n" for c in out + said):
        return f"prints what steers a terminal: {_plain(said or out)}"
    if max(map(len, lines), default=0) > 5000:
        return "prints an endless line"
    if left - ({case.made, f"{case.made}.data"} if code != 2 else set()):
        return f"leaves {sorted(left)}"
    if peak > BYTES:
        return f"takes {peak >> 30} GB"
    return ""


def _signature(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "lt_onnx" in f.filename] or frames
    return (
        f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}"
    )


def _plain(text: str) -> str:
    return re.sub(r"'[^']*'|[0-9]+|/[^ ]*", "…", text)[:100]


def _memory(key: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{key}:")[1].split()[0])


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _same(path: Path) -> bool:
    """Whether a ticket computes what one of the seeds computes."""
    return _function(path) in _known()


@cache
def _known() -> frozenset[bytes]:
    with tempfile.TemporaryDirectory() as place:
        return frozenset(_function(_placed(files, Path(place))) for files in _tickets)


_tickets: list[Files] = []  # of which mutants are accepted when they compute the same


def _placed(files: Files, folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / next(iter(files))


def _function(path: Path) -> bytes:
    """A network's outputs on a fixed input; the error where it cannot be run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    x = np.random.default_rng(7).normal(size=(4, 2, 6, 6)).astype(np.float32)
    try:
        session = onnxruntime.InferenceSession(str(path), options)
        values = session.run(None, {session.get_inputs()[0].name: x})
    except Exception as error:  # the runtime's own kinds: all the same here
        return str(error).encode()
    return b"".join(np.asarray(value).tobytes() for value in values)


# workers --------------------------------------------------------------------------------------


def _work(pipe: Connection, target: str, stock: list[Files], numbers: range, seed: int) -> None:
    """A worker: runs cases and sends what they came to, before each one its number."""
    _confine()
    with workplace(target) as folder:
        for number in numbers:
            pipe.send(number)
            pipe.send(attempt(case_of(target, stock, number, seed), number, folder))


def _confine() -> None:
    """Let this process do no harm."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _memory("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@contextlib.contextmanager
def workplace(target: str) -> Iterator[Path]:
    """A folder with what the commands of `target` need beside the mutant."""
    if not isinstance(cli.app, typer.core.TyperGroup):
        cli.app = typer.main.get_command(cli.app)  # type: ignore[assignment]  # made once, not ever again
    with tempfile.TemporaryDirectory() as place:
        if target == "samples":
            (Path(place) / "tiny.onnx").write_bytes(seeds.network("tiny").SerializeToString())
        yield Path(place)


def stock_of(target: str) -> list[Files]:
    """The seeds of a target, those that lt-onnx makes in a process apart."""
    match target:
        case "reader":
            return seeds.readers()
        case "samples":
            return seeds.samples()
    here, there = FORK.Pipe(duplex=False)
    maker = FORK.Process(target=_make, args=(there,))
    maker.start()
    there.close()
    made: dict[str, list[Files]] = here.recv()
    maker.join()
    _tickets[:] = made["verify"]
    return made[target]


def _make(pipe: Connection) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = seeds.tickets(Path(place))
        pipe.send({"verify": made, "unpack": seeds.packs(Path(place), made)})


def campaign(
    target: str, cases: int, jobs: int, seed: int, save: Path | None, first: int = 0
) -> Figures:
    """Run a campaign."""
    figures, start = Figures(target), time.perf_counter()
    stock = stock_of(target)
    waiting = [
        range(at, min(at + BATCH, first + cases)) for at in range(first, first + cases, BATCH)
    ]
    running: dict[Connection, tuple[Any, range, int]] = {}
    told = start
    while waiting or running:
        while waiting and len(running) < jobs:
            numbers = waiting.pop(0)
            here, there = FORK.Pipe(duplex=False)
            worker = FORK.Process(target=_work, args=(there, target, stock, numbers, seed))
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
                    figures.add(_crash(at, worker.exitcode))
                    if at + 1 < numbers.stop:
                        waiting.insert(0, range(at + 1, numbers.stop))
                continue
            if isinstance(message, int):
                running[ready] = worker, numbers, message
                continue
            figures.add(message)
            if message.wrong and len(figures.findings[message.wrong]) == 1:
                print(f"{target} {message.number}: {message.wrong}\n    {message.said.strip()}")
        if time.perf_counter() - told > 30:
            told = time.perf_counter()
            print(
                f"{target}: {figures.cases:,} cases, {len(figures.findings)} findings, "
                f"{figures.cases / (told - start):.0f}/s",
                flush=True,
            )
    figures.seconds = time.perf_counter() - start
    if save is not None:
        for number, (wrong, numbers_found) in enumerate(figures.findings.items()):
            _save(save / f"{target}-{number}", wrong, target, stock, numbers_found[0], seed)
    return figures


def again(corpus: Path) -> dict[str, str]:
    """What is still wrong with the mutants that `--save` kept in the folders of `corpus`."""
    found = {}
    for folder in sorted(path.parent for path in corpus.glob("*/about.json")):
        here, there = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=_work_again, args=(there, folder))
        worker.start()
        there.close()
        try:
            wrong = here.recv().wrong
        except EOFError:
            worker.join()
            wrong = _crash(0, worker.exitcode or 0).wrong
        worker.join()
        if wrong:
            found[folder.name] = wrong
    return found


def _work_again(pipe: Connection, folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    kept = sorted(
        (p for p in folder.iterdir() if p.name != "about.json"),
        key=lambda path: path.suffix != ".onnx",
    )
    case = Case({path.name: path.read_bytes() for path in kept}, about["words"], about["made"])
    _confine()
    with workplace(about["target"]) as place:
        pipe.send(attempt(case, 0, place))


def _crash(number: int, code: int) -> Outcome:
    name = signal.Signals(-code).name if code < 0 else str(code)
    wrong = f"no answer in {SECONDS} s" if -code == signal.SIGALRM else f"worker died: {name}"
    return Outcome(number, None, f"{wrong}", "", SECONDS if -code == signal.SIGALRM else 0.0, 0)


def _save(
    folder: Path, wrong: str, target: str, stock: list[Files], number: int, seed: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    case = case_of(target, stock, number, seed)
    _placed(case.files, folder)
    about = {
        "target": target,
        "wrong": wrong,
        "words": case.words,
        "made": case.made,
        "number": number,
        "seed": seed,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


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
    parse.add_argument("--save", type=Path, default=None, help="folder for what is found")
    given = parse.parse_args()
    if given.again is not None:
        print(json.dumps(found := again(given.again), indent=1))
        sys.exit(1 if found else 0)
    figures = campaign(given.target, given.cases, given.jobs, given.seed, given.save, given.first)
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
