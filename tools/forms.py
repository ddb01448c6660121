"""The forms of a ticket side by side: bytes, time to open, time per input. Prints a table.

    python tools/forms.py TARGET [--calibration FILE] [--samples FILE] [--mode 2l] [--threads 1]

Converts the target once, makes every form of the ticket, and times them in one run, by turns with
the target. Yardsticks beside them: the target itself, and the target with rounded weights: as int8,
one scale per output channel (LZMA over them, too), and in steps that give the ticket's decibels of
its outputs' variation, one step for each layer, as bytes of an ideal entropy coder.
"""

import json
import lzma
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from onnx import numpy_helper

import lt_onnx
from lt_onnx import verify
from lt_onnx.files import data_of
from lt_onnx.packing.pack import pack
from lt_onnx.reading.graph import read_graph
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import load_samples
from lt_onnx.target import Array

INPUTS = 128  # that outputs are compared on
ROUNDS = 9  # of finding a step
SECONDS = 2.0  # spent on timing a form against the target
FORMS = ("folded", "masked", "sparse", "seeded", "collapsed")
LAYERS = frozenset("Conv ConvTranspose Gemm MatMul".split())


def opened(path: Path, threads: int) -> tuple[onnxruntime.InferenceSession, float]:
    """A session, and the seconds until it was there."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session, time.perf_counter() - start


def timed(sessions: list[onnxruntime.InferenceSession], feed: dict[str, Array]) -> list[float]:
    """Milliseconds of the fastest run of each, by turns."""
    best, start = [np.inf] * len(sessions), time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        for place, session in enumerate(sessions):
            begin = time.perf_counter()
            session.run(None, feed)
            best[place] = min(best[place], 1000 * (time.perf_counter() - begin))
    return best


def inputs(target: Path, samples: Path | None) -> list[dict[str, Array]]:
    """Samples of the target, or random inputs, one at a time."""
    ports = read_graph(target).inputs
    given = random_samples(ports, INPUTS, 0) if samples is None else load_samples(samples, ports)
    return given.batches(ports, 1)[:INPUTS]


def outputs(session: onnxruntime.InferenceSession, feeds: list[dict[str, Array]]) -> list[Array]:
    """The first output for every input."""
    return [session.run(None, feed)[0].astype(np.float64) for feed in feeds]


def weights_of(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, Array, int]]:
    """The weights of a model's layers, and the axis of their output channels."""
    read = {node.input[1]: node for node in model.graph.node if node.op_type in LAYERS}
    for tensor in model.graph.initializer:
        if tensor.name in read and tensor.data_type == onnx.TensorProto.FLOAT:
            axis = 1 if read[tensor.name].op_type == "MatMul" else 0
            yield tensor, numpy_helper.to_array(tensor), axis


def in_int8(target: Path, path: Path) -> tuple[int, int]:
    """Write the target with rounded weights; their bytes as int8 with scales, plain and by LZMA."""
    model, size, packed = onnx.load(str(target)), 0, b""
    for tensor, weight, axis in weights_of(model):
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.abs(weight).max(others, keepdims=True) / 127 + 1e-30
        rounded = np.round(weight / scale).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array((rounded * scale).astype(np.float32), tensor.name))
        size += rounded.size + 4 * scale.size
        packed += rounded.tobytes() + scale.tobytes()
    onnx.save(model, str(path))
    return size, len(lzma.compress(packed, preset=6))


def in_steps(target: Path, path: Path, step: float) -> int:
    """Write the target with weights rounded to steps, of a layer's deviation; bytes of entropy."""
    model, bits = onnx.load(str(target)), 0.0
    for tensor, weight, _ in weights_of(model):
        width = np.float32(step * weight.std() + 1e-30)
        rounded = np.round(weight / width)
        tensor.CopyFrom(numpy_helper.from_array((rounded * width).astype(np.float32), tensor.name))
        share = np.unique(rounded, return_counts=True)[1] / rounded.size
        bits -= float(np.log2(share) @ share) * rounded.size
    onnx.save(model, str(path))
    return int(bits / 8)


def variation_db(wanted: list[Array], made: list[Array]) -> float:
    """Decibels of the outputs' variation over their error."""
    first, second = np.stack(wanted), np.stack(made)
    signal = np.square(first - first.mean(0)).sum()
    return float(10 * np.log10(signal / max(np.square(first - second).sum(), 1e-300)))


def forms(
    target: Path, calibration: Path | None, samples: Path | None, *, mode: str, threads: int
) -> list[dict[str, Any]]:
    """A line for the target, for every form and for every yardstick."""
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, load = opened(target, threads)
        feeds = inputs(target, samples)
        wanted = outputs(base, feeds)
        lines.append({"form": "target", "bytes": target.stat().st_size, "open_s": load, "times": 1})
        lines[0]["ms"] = timed([base], feeds[0])[0]
        ticket = folder / "folded.onnx"
        lt_onnx.convert(target, ticket, mode=mode, calibration=calibration, validate=False)
        plain = outputs(opened(ticket, threads)[0], feeds)
        for form in FORMS:
            path = folder / f"{form}.onnx"
            try:
                if form == "collapsed":
                    lt_onnx.deploy(ticket, path, collapse=True, target=target)
                elif form != "folded":
                    lt_onnx.deploy(ticket, path, weights=form)
            except lt_onnx.InputError as error:
                print(f"{form}: {error}")
                continue
            start = time.perf_counter()
            assert verify(path, target=target).genuine
            proved = time.perf_counter() - start
            session, load = opened(path, threads)
            made = outputs(session, feeds)
            target_ms, ms = timed([base, session], feeds[0])
            lines.append(
                {
                    "form": form,
                    "bytes": path.stat().st_size
                    + (data_of(path).stat().st_size if data_of(path).is_file() else 0),
                    "open_s": load,
                    "ms": ms,
                    "times": ms / target_ms,
                    "verify_s": proved,
                    "apart": max(
                        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
                        for a, b in zip(plain, made, strict=True)
                    ),
                    "db": variation_db(wanted, made),
                }
            )
        small, _ = pack(ticket, folder / "ticket.ltz")
        lines.append({"form": "pack", "bytes": small, "db": variation_db(wanted, plain)})
        size, packed = in_int8(target, folder / "int8.onnx")
        db = variation_db(wanted, outputs(opened(folder / "int8.onnx", threads)[0], feeds))
        lines.append({"form": "int8 weights", "bytes": size, "db": db})
        lines.append({"form": "int8, LZMA", "bytes": packed, "db": db})
        low, high = 1e-3, 4.0
        for _ in range(ROUNDS):
            middle = (low * high) ** 0.5
            size = in_steps(target, folder / "steps.onnx", middle)
            rounded = outputs(opened(folder / "steps.onnx", threads)[0], feeds)
            db = variation_db(wanted, rounded)
            low, high = (middle, high) if db > lines[1]["db"] else (low, middle)
        lines.append({"form": "steps, entropy", "bytes": size, "db": db})
    return lines


def main(
    target: Path,
    calibration: Annotated[Path | None, typer.Option(help="Its calibration inputs.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Inputs to compare on.")] = None,
    mode: Annotated[str, typer.Option(help="l+1 or 2l.")] = "2l",
    threads: Annotated[int, typer.Option(help="Of onnxruntime.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Print the table of forms."""
    lines = forms(target, calibration, samples, mode=mode, threads=threads)
    patterns = {
        "bytes": "{:,.0f}",
        "open_s": "{:.2f}",
        "ms": "{:.2f}",
        "times": "{:.2f}",
        "verify_s": "{:.1f}",
        "apart": "{:.0e}",
        "db": "{:.1f}",
    }
    print(f"{target.name}, mode {mode}, {threads} thread{'s' * (threads > 1)}")
    print(f"{'form':14}" + "".join(f"{key:>12}" for key in patterns))
    for line in lines:
        cells = [pattern.format(line[k]) if k in line else "–" for k, pattern in patterns.items()]
        print(f"{line['form']:14}" + "".join(f"{cell:>12}" for cell in cells))
    if json_file is not None:
        json_file.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
