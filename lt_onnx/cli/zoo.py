"""The command that converts a whole folder."""

import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from lt_onnx.cli.app import app
from lt_onnx.cli.console import print_json, say
from lt_onnx.cli.options import (
    BaseSize,
    Dearness,
    Force,
    Fp16,
    Init,
    Json,
    MaxAbs,
    MaxDrop,
    MaxRel,
    MinAgreement,
    MinSqnr,
    ModeWord,
    Price,
    Quiet,
    Reports,
    Seed,
    SelectWord,
    SigmaWord,
    Tolerance,
    WeightsWord,
    allocation,
    limits,
)
from lt_onnx.errors import InputError


@app.command("zoo")
def zoo_command(
    folder: Annotated[Path, typer.Argument(help="Folder with ONNX files, at any depth.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tickets.")],
    mode: ModeWord = "l+1",
    base_size: BaseSize = None,
    tolerance: Tolerance = 0.01,
    select: SelectWord = "noise",
    sigma: SigmaWord = "channel",
    init: Init = "unit",
    seed: Seed = 0,
    price: Price = None,
    dearness: Dearness = 0.7,
    weights: WeightsWord = "folded",
    fp16: Fp16 = False,
    force: Force = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Conversions at a time.")] = 1,
    max_abs: MaxAbs = None,
    max_rel: MaxRel = None,
    min_sqnr: MinSqnr = None,
    min_agreement: MinAgreement = None,
    max_accuracy_drop: MaxDrop = None,
    report: Reports = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert every network of a folder.

    NAME.samples.npz and NAME.calibration.npz beside a model are used for it. One that fails does
    not stop the rest, and finished tickets are not made again. Without --report the summary goes to
    zoo.json, .md, .xml and .html in the output folder.
    """
    from lt_onnx.options import make_options
    from lt_onnx.report.command import command_of
    from lt_onnx.report.document import collection
    from lt_onnx.report.figures import decibels, percent
    from lt_onnx.report.formats import FORMATS, check_reports, write_reports
    from lt_onnx.zoo.folder import Zoo

    held = limits(
        max_abs=max_abs,
        max_rel=max_rel,
        min_sqnr=min_sqnr,
        min_agreement=min_agreement,
        max_accuracy_drop=max_accuracy_drop,
    )
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}; give 1 or more")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    options = make_options(
        mode=mode,
        tolerance=tolerance,
        select=select,
        sigma=sigma,
        init=init,
        seed=seed,
        dearness=dearness,
        weights=weights,
        fp16=fp16,
        **allocation(base_size, price),
    )
    check_reports(report or [])
    said = threading.Lock()

    def tell(entry: dict[str, Any]) -> None:
        if quiet or json:
            return
        line = f"{entry['verdict']:7} {entry['name']}"
        if entry["verdict"] != "error":
            line += f": {decibels(entry['sqnr_db'])} dB"
            if entry["agreement"] is not None:
                line += f", agreement {percent(entry['agreement'])}"
            line += f", {entry['per_target_weight']:.2f} per target weight"
            line += ", finished before" if entry["reused"] else f", {entry['seconds']:.0f} s"
        if entry["verdict"] != "passed":
            line += f": {entry['message']}"
        with said:
            say(line)

    models = Zoo(folder, output, options, held, jobs, force).run(tell)
    words: dict[str, object] = {"output": output, **held.words()}
    document = collection(command_of("zoo", [folder], options, words), models)
    paths = report or [output / f"zoo{suffix}" for suffix in FORMATS]
    write_reports(paths, document)
    if json:
        print_json(document)
    elif not quiet:
        counts = {
            word: sum(m["verdict"] == word for m in models)
            for word in ("passed", "failed", "error")
        }
        say(
            f"{counts['passed']} passed, {counts['failed']} failed, {counts['error']} could not be "
            f"converted; summary in {', '.join(str(path) for path in paths)}"
        )
    raise typer.Exit(0 if document["verdict"] == "passed" else 1)
