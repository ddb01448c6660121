"""`lt-onnx zoo`."""

import threading
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lt_onnx.cli.console import print_json, say
from lt_onnx.cli.options import NO_WORDS, Config, Force, Json, Quiet, Reports
from lt_onnx.errors import InputError
from lt_onnx.options import Options, Param, Pictures, changed
from lt_onnx.validation.limits import Limits

if TYPE_CHECKING:
    from lt_onnx.report.schema import Model


def zoo_command(
    folder: Annotated[Path, Param("Folder with ONNX files, at any depth.")],
    *,
    output: Annotated[Path, Param("Folder for tickets.", flags=("--output", "-o"))],
    options: Options,
    pictures: Pictures,
    force: Force = False,
    jobs: Annotated[int, Param("Conversions at a time.", flags=("--jobs", "-j"))] = 1,
    limits: Limits,
    report: Reports = None,
    config: Config = NO_WORDS,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert every network of a folder.

    NAME.samples.npz and NAME.calibration.npz beside a model are used for it, or folders of images
    that are called NAME.samples and NAME.calibration. One that fails does not stop the rest, and
    finished tickets are not made again. Without --report the summary goes to
    zoo.json, .md, .xml and .html in the output folder.
    """
    from lt_onnx.reading.model_file import model_files
    from lt_onnx.report.command import command_of, words_of
    from lt_onnx.report.document import collection
    from lt_onnx.report.formats import FORMATS, check_reports, write_reports
    from lt_onnx.zoo.folder import FolderJob, convert_folder

    if jobs < 1:
        raise InputError(f"`jobs` is {jobs}; give 1 or more")
    if not folder.is_dir():
        wrong = "not a folder; lt-onnx convert takes files" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {wrong}")
    arguments = {"output": output, **changed(pictures), **limits.arguments()}
    command = command_of("zoo", [folder], options, arguments)
    words = words_of(command, config.text)
    paths = report or [output / f"zoo{suffix}" for suffix in FORMATS]
    job = FolderJob(folder, output, options, limits, pictures=pictures, processes=jobs, force=force)
    if output.is_dir() or report:
        read = (file for target in job.targets() for file in model_files(target))
        inputs = chain(read, config.read)
        check_reports(paths, inputs, force=force, again=command, config=words)
    printing = threading.Lock()

    def tell(model: "Model") -> None:
        if not (quiet or json):
            with printing:
                say(_line(model))

    models = convert_folder(job, tell)
    document = collection(command, models)
    write_reports(paths, document, force=force, again=command, config=words)
    if json:
        print_json(document)
    elif not quiet:
        counts = Counter(model.verdict for model in models)
        say(
            f"{counts['passed']} passed, {counts['failed']} failed, {counts['error']} could not be "
            f"converted; summary in {', '.join(str(path) for path in paths)}"
        )
    raise typer.Exit(0 if document["verdict"] == "passed" else 1)


def _line(model: "Model") -> str:
    """What is told of one network."""
    from lt_onnx.report.figures import decibels, percent

    line = f"{model.verdict:7} {model.name}"
    if model.verdict != "error":
        line += f": {decibels(model.sqnr_db)} dB"
        if model.agreement is not None:
            line += f", agreement {percent(model.agreement)}"
        line += f", {model.per_target_weight:.2f} per target weight"
        line += ", finished before" if model.reused else f", {model.seconds:.0f} s"
    return line if model.verdict == "passed" else f"{line}: {model.message}"
