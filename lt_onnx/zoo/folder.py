"""A folder of networks converted one by one, each in a process of its own.

A model that fails, crashes or is out of memory does not stop the rest, and what is finished is not
done again: beside every ticket lies its JSON report, written last, that holds the target's hash and
the command; where both are the same, the ticket is kept. What was under way goes on from its last
finished layer.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lt_onnx.errors import InputError, LtOnnxError
from lt_onnx.options import Options
from lt_onnx.pipeline import Job, command
from lt_onnx.reading.model_file import load, read_manifest
from lt_onnx.validation.limits import Limits
from lt_onnx.zoo.parent_watch import LEASH

Done = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Zoo:
    """What to convert, where to, and how.

    `<name>.calibration.npz` and `<name>.samples.npz` beside a model are used for it.
    """

    folder: Path
    output: Path
    options: Options
    limits: Limits
    jobs: int = 1
    force: bool = False
    _running: set["subprocess.Popen[str]"] = field(default_factory=set)

    def targets(self) -> list[Path]:
        """The networks under the folder, tickets and what lies in the output folder apart."""
        output = self.output.resolve()
        found = [
            path
            for path in sorted(self.folder.rglob("*.onnx"))
            if path.is_file() and output not in path.resolve().parents and not _is_ticket(path)
        ]
        if not found:
            raise InputError(f"{self.folder}: there is no ONNX file under it")
        return found

    def run(self, done: Done) -> list[dict[str, Any]]:
        """Convert all of them; `done` is called with each entry of the report as it comes.

        Raises InputError when there is nothing to convert or nowhere to write. An interrupt ends
        the conversions under way.
        """
        targets = self.targets()
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.output}: cannot be made: {error.strerror}") from None

        def one(target: Path) -> dict[str, Any]:
            entry = self._entry(target)
            done(entry)
            return entry

        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                return list(pool.map(one, targets))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(self._running):
                    process.terminate()
                raise

    def _entry(self, target: Path) -> dict[str, Any]:
        name = target.relative_to(self.folder).with_suffix("").as_posix()
        ticket = self.output / f"{name}.ticket.onnx"
        report = self.output / f"{name}.report.json"
        line = command(self._job(target, ticket), self.options)
        finished = _finished(target, ticket, report, line)
        failure = ""
        if finished is None:
            ticket.parent.mkdir(parents=True, exist_ok=True)
            failure = self._convert(line, report)
        document = finished or (None if failure else json.loads(report.read_text()))
        return _summary(name, target, ticket, document, failure, finished is not None)

    def _job(self, target: Path, ticket: Path) -> Job:
        def beside(kind: str) -> Path | None:
            path = target.with_name(f"{target.stem}.{kind}.npz")
            return path if path.is_file() else None

        return Job(
            target,
            ticket,
            beside("calibration"),
            beside("samples"),
            limits=self.limits,
            per_layer=True,
        )

    def _convert(self, line: str, report: Path) -> str:
        """Run one conversion; the line that says why there is no ticket, or nothing."""
        threads = str(max((os.cpu_count() or 1) // self.jobs, 1))
        settings = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads, LEASH: "1"}
        words = [*shlex.split(line)[1:], "--report", str(report), "--quiet", "--resume"]
        process = subprocess.Popen(
            [sys.executable, "-m", "lt_onnx", *words, *(["--force"] if self.force else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings},
        )
        self._running.add(process)
        assert process.stderr is not None  # stdin stays open: its end tells that we are gone
        with process:
            told = process.stderr.read()
        self._running.discard(process)
        if process.returncode in (0, 1) and _command(report) == line:
            return ""
        if process.returncode < 0:
            return f"killed by signal {-process.returncode}"
        lines = told.strip().splitlines() or [f"exit code {process.returncode}"]
        return lines[-1].removeprefix("lt-onnx: error: ")


def _command(report: Path) -> str | None:
    """The command that a report is of."""
    try:
        return str(json.loads(report.read_text())["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_ticket(path: Path) -> bool:
    try:
        return read_manifest(path) is not None
    except InputError:
        return False  # unreadable: a conversion will say why


def _finished(target: Path, ticket: Path, report: Path, line: str) -> dict[str, Any] | None:
    """The report of an earlier run, if it was of the same target and settings."""
    if not (ticket.is_file() and report.is_file()):
        return None
    try:
        document: dict[str, Any] = json.loads(report.read_text())
        manifest = read_manifest(ticket)
        sha256 = load(target)[1]
        known = document["command"] == line and document["target"]["sha256"] == sha256
        return document if known and manifest and manifest.target_sha256 == sha256 else None
    except (OSError, ValueError, KeyError, TypeError, LtOnnxError):
        return None


def _summary(
    name: str,
    target: Path,
    ticket: Path,
    document: dict[str, Any] | None,
    failure: str,
    reused: bool,
) -> dict[str, Any]:
    """An entry of the report: of several outputs the worst."""
    entry: dict[str, Any] = {
        "name": name,
        "target": str(target),
        "ticket": None,
        "verdict": "error",
        "message": failure,
        "agreement": None,
        "accuracy": None,
        "target_accuracy": None,
        "sqnr_db": None,
        "kept": None,
        "density": None,
        "per_target_weight": None,
        "bytes": None,
        "seconds": 0.0,
        "reused": reused,
    }
    if document is None:
        return entry
    outputs = document["validate"]["outputs"]
    failed = [check["message"] for check in document["checks"] if not check["passed"]]
    data = ticket.with_name(f"{ticket.name}.data")

    def worst(key: str) -> float | None:
        return min((out[key] for out in outputs if out[key] is not None), default=None)

    return {
        **entry,
        "ticket": str(ticket),
        "verdict": document["verdict"],
        "message": "; ".join(failed) or f"{len(document['checks'])} checks hold",
        "agreement": worst("agreement"),
        "accuracy": worst("ticket_accuracy"),
        "target_accuracy": worst("target_accuracy"),
        "sqnr_db": worst("sqnr_db"),
        "kept": document["ticket"]["kept"],
        "density": document["ticket"]["density"],
        "per_target_weight": document["ticket"]["per_target_weight"],
        "bytes": ticket.stat().st_size + (data.stat().st_size if data.is_file() else 0),
        "seconds": sum(document["seconds"].values()),
    }
