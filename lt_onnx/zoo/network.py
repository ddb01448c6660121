"""One network of a folder: whether it is finished, what it takes, and its conversion.

Beside every ticket lies its JSON report, written last, that holds the target's hash and the
command; where both are the same, the ticket is kept. What was under way goes on from its last
finished layer.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from lt_onnx.errors import LtOnnxError
from lt_onnx.files import WAIT_SECONDS, check_distinct, reserved
from lt_onnx.pipeline import Job, predicted, run
from lt_onnx.progress import Progress
from lt_onnx.reading.model_file import load, read_manifest
from lt_onnx.report.command import words_of
from lt_onnx.report.document import plain
from lt_onnx.report.figures import on_random_inputs
from lt_onnx.report.formats import check_reports, write_reports
from lt_onnx.report.schema import Model

SIZES = ("kept", "density", "per_target_weight")  # of an entry and of a ticket's report


@dataclass(frozen=True)
class Network:
    """What is converted, under which name in the report of all, and where its own report goes.

    `words` are those of its conversion, for the file beside the report. All are plain values.
    """

    name: str
    job: Job
    report: Path
    words: str = ""

    @property
    def entry(self) -> Model:
        """The entry of a network that there is no ticket of."""
        return Model(self.name, str(self.job.target))

    def finished(self) -> Model | None:
        """The entry, if an earlier run has finished the ticket."""
        document = _document(self.report, self.job.command)
        if document is None or not _is_of(self.job.ticket, self.job.target, document):
            return None
        return msgspec.structs.replace(self._measured(document), reused=True)

    def needs(self) -> "Needs":
        """What the conversion takes. Raises InputError where there can be none."""
        entry = self.finished()
        if entry is not None:
            return Needs(entry)
        prediction = predicted(self.job)
        return Needs(None, prediction.memory_bytes, prediction.seconds)

    def convert(self, tell: Progress) -> Model:
        """Make the ticket and its reports, unless another process has by now.

        Raises BusyError while one does, else as `pipeline.run` and `write_reports`.
        """
        self.job.ticket.parent.mkdir(parents=True, exist_ok=True)
        with reserved(*self.job.outputs, wait=WAIT_SECONDS):
            return self.finished() or self._converted(tell)

    def _converted(self, tell: Progress) -> Model:
        job, command = replace(self.job, progress=tell), self.job.command
        reports = [self.report, self.report.with_suffix(".html")]
        how: dict[str, Any] = {"force": job.output.force, "again": command}
        how["config"] = words_of(command, self.words)
        check_distinct([*job.outputs, *reports])
        check_reports(reports, job.inputs(), **how)
        document = plain(run(job).report.to_dict())
        write_reports(reports, document, **how)
        return self._measured(document)

    def _measured(self, document: Mapping[str, Any]) -> Model:
        """The entry with the figures of its ticket: of several outputs the worst."""
        compared, checks = document["validate"], document["checks"]
        outputs = compared["outputs"] if compared else []
        failed = [check["message"] for check in checks if not check["passed"]]
        files, page = self.job.outputs[:2], self.report.with_suffix(".html")

        def worst(figure: str) -> float | None:
            return min((out[figure] for out in outputs if out[figure] is not None), default=None)

        return msgspec.structs.replace(
            self.entry,
            ticket=str(self.job.ticket),
            page=str(page) if page.is_file() else None,
            verdict=document["verdict"],
            message="; ".join(failed) or f"{len(checks)} checks hold",
            bytes=sum(file.stat().st_size for file in files if file.is_file()),
            seconds=sum(document["seconds"].values()),
            agreement=None if on_random_inputs(document) else worst("agreement"),
            accuracy=worst("ticket_accuracy"),
            target_accuracy=worst("target_accuracy"),
            sqnr_db=worst("variation_db"),
            **{size: document["ticket"][size] for size in SIZES},
        )


def _document(report: Path, command: str) -> dict[str, Any] | None:
    """The report of a conversion, if it is of this command."""
    try:
        document: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return document if document["command"] == command else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_of(ticket: Path, target: Path, document: dict[str, Any]) -> bool:
    """Whether ticket and report of an earlier run are of the target as it is now."""
    try:
        manifest, (_, sha256) = read_manifest(ticket), load(target)
        known = (manifest.target_sha256 if manifest else "", document["target"]["sha256"])
    except (OSError, KeyError, TypeError, LtOnnxError):
        return False
    return known == (sha256, sha256)


@dataclass(frozen=True)
class Needs:
    """What a network's conversion takes, or its entry if it is finished."""

    entry: Model | None = None
    memory: int = 0  # bytes
    seconds: float = 0.0


def look_at(network: Network, tell: Progress) -> Needs:
    """What a network needs. Raises InputError where it cannot be converted."""
    return network.needs()


def convert_network(network: Network, tell: Progress) -> Model:
    """The entry of a network, converted by now. Raises as `Network.convert`."""
    tell("plan", 0.0)
    return network.convert(tell)
