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
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from lt_onnx.cores import core_count
from lt_onnx.errors import InputError, LtOnnxError
from lt_onnx.files import finished, resumable
from lt_onnx.options import Options, Output, Pictures
from lt_onnx.pipeline import Job
from lt_onnx.reading.model_file import load, read_manifest
from lt_onnx.report.schema import Model
from lt_onnx.samples.samples import AS_THEY_ARE
from lt_onnx.validation.limits import Limits
from lt_onnx.zoo.parent_watch import WATCH_PARENT

SIZES = ("kept", "density", "per_target_weight")  # of an entry and of a ticket's report
Tell = Callable[[Model], None]


@dataclass(frozen=True)
class FolderJob:
    """What to convert, where to, and how; `processes` at a time.

    `<name>.calibration.npz` and `<name>.samples.npz` beside a model are used for it, or folders of
    images without the suffix.
    """

    folder: Path
    output: Path
    options: Options
    limits: Limits
    pictures: Pictures = AS_THEY_ARE
    processes: int = 1
    force: bool = False

    def targets(self) -> list[Path]:
        """The networks under the folder, tickets and what lies in the output folder apart."""
        output, files = self.output.resolve(), sorted(self.folder.rglob("*.onnx"))
        targets = [f for f in files if f.is_file() and output not in f.resolve().parents]
        targets = [file for file in targets if not _is_ticket(file)]
        if not targets:
            raise InputError(f"{self.folder}: there is no ONNX file under it")
        return targets

    def job(self, target: Path, ticket: Path) -> Job:
        """The conversion of one of them."""

        def beside(kind: str) -> Path | None:
            file = target.with_name(f"{target.stem}.{kind}.npz")
            folder = file.with_suffix("")
            return file if file.is_file() else folder if folder.is_dir() else None

        job = Job(target, self.options, Output(ticket), self.limits, per_layer=True)
        calibration, samples = beside("calibration"), beside("samples")
        images = any(path is not None and path.is_dir() for path in (calibration, samples))
        pictures = self.pictures if images else AS_THEY_ARE
        return replace(job, calibration=calibration, samples=samples, pictures=pictures)


def convert_folder(job: FolderJob, tell: Tell) -> list[Model]:
    """Convert all networks; `tell` is called with each entry of the report as it comes.

    Raises InputError when there is nothing to convert or nowhere to write. An interrupt ends the
    conversions under way, and is told what stays of all.
    """
    targets, ended = job.targets(), threading.Event()
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{job.output}: cannot be made: {error.strerror}") from None
    running: set[subprocess.Popen[str]] = set()

    def one(target: Path) -> Model:
        entry = _entry(job, target, running, ended)
        tell(entry)
        return entry

    pool = ThreadPoolExecutor(job.processes)
    try:
        return list(pool.map(one, targets))
    except BaseException:
        ended.set()
        for process in list(running):
            process.terminate()
        pool.shutdown(cancel_futures=True)
        finished.extend(sorted(job.output.rglob("*.ticket.onnx")))
        resumable.extend(sorted(job.output.rglob(".*.resume")))
        raise
    finally:
        pool.shutdown()


def _entry(
    job: FolderJob, target: Path, running: set["subprocess.Popen[str]"], ended: threading.Event
) -> Model:
    """Convert one network, unless it is finished, and sum it up."""
    name = target.relative_to(job.folder).with_suffix("").as_posix()
    ticket = job.output / f"{name}.ticket.onnx"
    report = job.output / f"{name}.report.json"
    command = job.job(target, ticket).command
    document, failure = _document(report, command), ""
    reused = document is not None and _is_of(ticket, target, document)
    if not reused:
        ticket.parent.mkdir(parents=True, exist_ok=True)
        document, failure = _convert(job, command, report, running=running, ended=ended)
    model = Model(name, str(target), message=failure, reused=reused)
    if document is None:
        return model
    page = report.with_suffix(".html")
    model = _measured(model, ticket, document)
    return msgspec.structs.replace(model, page=str(page) if page.is_file() else None)


def _convert(
    job: FolderJob,
    command: str,
    report: Path,
    *,
    running: set["subprocess.Popen[str]"],
    ended: threading.Event,
) -> tuple[dict[str, Any] | None, str]:
    """Run one conversion: its document, or the line that says why there is no ticket.

    It is among the `running`, and ends when all are `ended`.
    """
    threads = str(max(core_count() // job.processes, 1))
    settings = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads, WATCH_PARENT: "1"}
    settings["PYTHONUTF8"] = "1"
    words = [*shlex.split(command)[1:], "--quiet", "--resume"]
    words += ["--report", str(report), "--report", str(report.with_suffix(".html"))]
    process = subprocess.Popen(
        [sys.executable, "-m", "lt_onnx", *words, *(["--force"] if job.force else [])],
        stdin=subprocess.PIPE,  # stays open: its end tells that we are gone
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **settings},
    )
    running.add(process)
    if ended.is_set():
        process.terminate()
    assert process.stderr is not None
    with process:
        said = process.stderr.read()
    running.discard(process)
    code = process.returncode
    document = _document(report, command) if code in (0, 1) else None
    if document is not None:
        return document, ""
    lines = said.strip().splitlines() or [f"exit code {code}"]
    last = lines[-1].removeprefix("lt-onnx: error: ")
    return None, last if code >= 0 else f"killed by signal {-code}"


def _document(report: Path, command: str) -> dict[str, Any] | None:
    """The report of a conversion, if it is of this command."""
    try:
        document: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return document if document["command"] == command else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_ticket(path: Path) -> bool:
    try:
        return read_manifest(path) is not None
    except InputError:
        return False  # unreadable: a conversion will say why


def _is_of(ticket: Path, target: Path, document: dict[str, Any]) -> bool:
    """Whether ticket and report of an earlier run are of the target as it is now."""
    try:
        manifest, (_, sha256) = read_manifest(ticket), load(target)
        known = (manifest.target_sha256 if manifest else "", document["target"]["sha256"])
    except (OSError, KeyError, TypeError, LtOnnxError):
        return False
    return known == (sha256, sha256)


def _measured(model: Model, ticket: Path, document: dict[str, Any]) -> Model:
    """The entry with the figures of its ticket: of several outputs the worst."""
    outputs, checks = document["validate"]["outputs"], document["checks"]
    failed = [check["message"] for check in checks if not check["passed"]]
    files = [ticket, ticket.with_name(f"{ticket.name}.data")]

    def worst(figure: str) -> float | None:
        return min((out[figure] for out in outputs if out[figure] is not None), default=None)

    return msgspec.structs.replace(
        model,
        ticket=str(ticket),
        verdict=document["verdict"],
        message="; ".join(failed) or f"{len(checks)} checks hold",
        bytes=sum(file.stat().st_size for file in files if file.is_file()),
        seconds=sum(document["seconds"].values()),
        agreement=worst("agreement"),
        accuracy=worst("ticket_accuracy"),
        target_accuracy=worst("target_accuracy"),
        sqnr_db=worst("variation_db"),
        **{size: document["ticket"][size] for size in SIZES},
    )
