"""`lt-onnx convert`."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lt_onnx.cli.config import RunWords
from lt_onnx.cli.console import announce, print_json, print_report, print_verdict, progress, say
from lt_onnx.cli.options import (
    NO_WORDS,
    CalibrationFile,
    Config,
    Json,
    PerLayer,
    Quiet,
    Reports,
    SamplesFile,
)
from lt_onnx.errors import InputError
from lt_onnx.options import Device, Options, Output, Param, Pictures, Workers
from lt_onnx.progress import silent
from lt_onnx.units import counted
from lt_onnx.validation.limits import Limits

if TYPE_CHECKING:
    from lt_onnx.pipeline import Job


def convert_command(
    targets: Annotated[list[Path], Param("ONNX files to convert.")],
    *,
    options: Options,
    calibration: CalibrationFile = None,
    calibration_count: Annotated[
        int | None, Param("How many of them; more are better, slower.")
    ] = None,
    samples: SamplesFile = None,
    pictures: Pictures,
    device: Annotated[Device, Param("Where subset sums are solved.")] = Device.AUTO,
    workers: Workers,
    output: Output,
    validate: Annotated[
        bool, Param("Compare with the target.", flags=("--validate/--no-validate",))
    ] = True,
    all_samples: Annotated[
        bool, Param("Validate on all; else as long as constructing took.")
    ] = False,
    bound: Annotated[bool, Param("Certify the largest error over the inputs' box.")] = False,
    limits: Limits,
    per_layer: PerLayer = False,
    report: Reports = None,
    config: Config = NO_WORDS,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert networks to tickets, prove them and validate them."""
    from lt_onnx.files import check_file
    from lt_onnx.pipeline import Job, run
    from lt_onnx.report.figures import verdict_of
    from lt_onnx.report.formats import write_reports

    folder = _folder(output.path, targets)
    if len(targets) > 1 and (report or json):
        raise InputError("`report` and `json` are of one target; lt-onnx zoo reports on many")
    for target in targets:
        if target.is_dir():
            raise InputError(f"{target}: is a folder, not a file; lt-onnx zoo converts folders")
        check_file(target)
    quiet, reports = quiet or json, report or []
    _tell_compilation(quiet)
    passed = True
    for target in targets:
        if folder is not None:
            output = replace(output, path=folder / f"{target.stem}.ticket.onnx")
        with progress(quiet) as tell:
            job = Job(
                target,
                options,
                output,
                limits,
                calibration=calibration,
                calibration_count=calibration_count,
                samples=samples,
                pictures=pictures,
                device=device,
                workers=workers,
                validate=validate,
                all_samples=all_samples,
                per_layer=validate and (per_layer or bool(report)),
                bound=bound,
                progress=tell,
                announce=silent if quiet else announce,
            )
            how = _checked(job, reports, config)
            ticket = run(job)
        document = ticket.report.to_dict()
        write_reports(reports, document, **how)
        if json:
            print_json(document)
        elif not quiet:
            print_report(document)
            if ticket.source is not None:
                say(f"source    {ticket.source}")
            if ticket.resumed:
                say(f"resumed   {counted(ticket.resumed, 'layer')} had been finished before")
        print_verdict(verdict_of(document), quiet=quiet)
        passed &= ticket.passed
    raise typer.Exit(0 if passed else 1)


def _folder(path: Path | None, targets: Sequence[Path]) -> Path | None:
    """The folder that tickets go to, if `path` is one.

    Raises InputError where it has to be, and where two tickets would have one name.
    """
    folder = path if path is not None and path.is_dir() else None
    if len(targets) > 1 and path is not None and folder is None:
        raise InputError(f"{path}: with several targets `output` must be an existing folder")
    from lt_onnx.files import check_named

    for target in targets:
        check_named(target)
    places = [target.with_suffix("") if folder is None else target.stem for target in targets]
    for n, target in enumerate(targets):
        if places[n] in places[:n]:
            other = targets[places.index(places[n])]
            raise InputError(f"{target}: its ticket would have the name of that of {other}")
    return folder


def _tell_compilation(quiet: bool) -> None:
    """Say that the solver has yet to be compiled on this machine."""
    from lt_onnx.subset_sum.compilation import is_compiled

    if not (quiet or is_compiled()):
        say("compiling the solver, which takes seconds, once on a machine", err=True)


def _checked(job: "Job", reports: Sequence[Path], config: RunWords) -> dict[str, Any]:
    """How reports are to be written, once all places can be written to. Raises InputError."""
    from lt_onnx.files import check_distinct, check_places
    from lt_onnx.report.command import words_of
    from lt_onnx.report.formats import check_reports

    how: dict[str, Any] = {"force": job.output.force, "config": words_of(job.command, config.text)}
    how["again"] = job.command if job.output.resume else None
    check_distinct([*job.outputs, *reports])
    check_places(job.outputs, config.read, force=True)
    check_reports(reports, chain(job.inputs(), config.read), **how)
    return how
