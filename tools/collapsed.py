"""Collapsed tickets of many networks: how exact, how small, how fast. Prints a table.

    python tools/collapsed.py TARGET... [--tickets FOLDER] [--json FILE]

Each target is converted in mode 2l, with NAME.calibration.npz (or that of the digits, of MNIST) if
it lies beside it, unless FOLDER has NAME.onnx; then it is deployed collapsed. `apart` is the form's
largest difference from its ticket, over the ticket's largest output; `ticket` and `form` those of
either from the ticket in float64, `levels` the ticket's own, with onnxruntime's optimisations and
without. Times are the form's over the target's for one input, with one
thread and two, medians of rounds by turns. `both` counts tensors of either sign, read twice.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import torch
import typer

import lt_onnx
from lt_onnx.reading.graph import read_graph
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import load_samples
from lt_onnx.target import Array

INPUTS = 16  # that outputs are compared on
SECONDS = 3.0  # spent on timing
CALIBRATIONS = {"paper-mnist": "mnist", "": "digits"}  # by how a name begins


def beside(target: Path, kind: str) -> Path | None:
    """The calibration or sample inputs of a target, if there are any."""
    shared = next(name for start, name in CALIBRATIONS.items() if target.stem.startswith(start))
    places = [target.with_name(f"{name}.{kind}.npz") for name in (target.stem, shared)]
    return next((place for place in places if place.is_file()), None)


def opened(path: Path, threads: int, *, plain: bool = False) -> onnxruntime.InferenceSession:
    """A session of so many threads; `plain`: without onnxruntime's optimisations."""
    options = onnxruntime.SessionOptions()
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def times(target: Path, form: Path, threads: int, feed: dict[str, Array]) -> tuple[float, float]:
    """Milliseconds of a target, and the form's over them: medians of rounds by turns."""
    sessions = [opened(path, threads) for path in (target, form)]
    taken: list[list[float]] = [[], []]
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS or len(taken[1]) < 3:
        for session, times in zip(sessions, taken, strict=True):
            begin = time.perf_counter()
            session.run(None, feed)
            times.append(1000 * (time.perf_counter() - begin))
    first, second = (float(np.median(times)) for times in taken)
    return first, second / first


def in_double(ticket: Path, feeds: list[dict[str, Array]]) -> list[list[Array]] | None:
    """A ticket's outputs in float64, by torch; None where it has no such operators."""
    try:
        module = lt_onnx.load(ticket).to_torch().double()
        names = [value.name for value in onnx.load(ticket, load_external_data=False).graph.input]
        found = []
        with torch.no_grad():
            for feed in feeds:
                outputs = module(*(torch.from_numpy(feed[name]).double() for name in names))
                outputs = outputs if isinstance(outputs, tuple) else (outputs,)
                found.append([np.asarray(output) for output in outputs])
        return found
    except (lt_onnx.LtOnnxError, RuntimeError) as error:
        print(f"{ticket.name}: not in float64: {str(error)[:200]}")
        return None


def apart(wanted: list[list[Array]], made: list[list[Array]]) -> float:
    """The largest difference of one kind of output over its largest number."""
    worst = 0.0
    for first, second in zip(zip(*wanted, strict=True), zip(*made, strict=True), strict=True):
        scale = max(float(np.abs(value).max()) for value in first) or 1.0
        pairs = zip(first, second, strict=True)
        worst = max(worst, max(float(np.abs(a - b).max()) for a, b in pairs) / scale)
    return worst


def is_positive(node: onnx.NodeProto) -> bool:
    """Whether a node makes max(x, 0) for a layer that reads it beside x."""
    return node.op_type == "Relu" and node.output[0] == f"{node.input[0]}/positive"


def line(target: Path, folder: Path, tickets: Path | None) -> dict[str, Any]:
    """What the table says of one target."""
    ticket, form = folder / f"{target.stem}.onnx", folder / f"{target.stem}.collapsed.onnx"
    if tickets is not None and (tickets / ticket.name).is_file():
        ticket = tickets / ticket.name
    else:
        calibration = beside(target, "calibration")
        lt_onnx.convert(target, ticket, mode="2l", calibration=calibration, validate=False)
    found: dict[str, Any] = {"network": target.stem}
    try:
        lt_onnx.deploy(ticket, form, collapse=True, target=target)
    except lt_onnx.InputError as error:
        return {**found, "refused": str(error)}
    found["bytes"] = form.stat().st_size
    ports = read_graph(target).inputs
    samples = beside(target, "samples")
    given = random_samples(ports, INPUTS, 0) if samples is None else load_samples(samples, ports)
    feeds = given.batches(ports, 1)[:INPUTS]
    runs = [[opened(path, 1).run(None, feed) for feed in feeds] for path in (ticket, form)]
    found["apart"] = apart(*runs)
    found["levels"] = apart(
        runs[0], [opened(ticket, 1, plain=True).run(None, feed) for feed in feeds]
    )
    exact = in_double(ticket, feeds[:4])
    if exact is not None:
        found["ticket"], found["form"] = (apart(exact, made[:4]) for made in runs)
    for threads in (1, 2):
        ms, found[f"times_{threads}"] = times(target, form, threads, feeds[0])
        found.setdefault("target_ms", ms)
    model = onnx.load(form)
    found["both"] = len({n.output[0] for n in model.graph.node if is_positive(n)})
    return found


def main(
    targets: list[Path],
    tickets: Annotated[Path | None, typer.Option(help="Folder of tickets that exist.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Print the table."""
    patterns = {
        "bytes": "{:,.0f}",
        "apart": "{:.0e}",
        "levels": "{:.0e}",
        "ticket": "{:.0e}",
        "form": "{:.0e}",
        "target_ms": "{:.2f}",
        "times_1": "{:.2f}",
        "times_2": "{:.2f}",
        "both": "{}",
    }
    print(f"{'network':26}" + "".join(f"{key:>11}" for key in patterns))
    lines = []
    for target in targets:
        with tempfile.TemporaryDirectory() as folder:
            found = line(target, Path(folder), tickets)
        lines.append(found)
        cells = [pattern.format(found[k]) if k in found else "–" for k, pattern in patterns.items()]
        print(f"{target.stem:26}" + "".join(f"{cell:>11}" for cell in cells), flush=True)
        if "refused" in found:
            print(f"    {found['refused']}")
    if json_file is not None:
        json_file.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
