"""Tickets that are changed in one place and sealed again, as a forger would."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from lt_onnx import verify
from lt_onnx.manifest import SEAL_KEY
from lt_onnx.target import Array

Change = Callable[[onnx.ModelProto], None]


def flipped(name: str, bit: int = 0) -> Change:
    """A change of one bit of the numbers of an initializer whose name ends so."""

    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name.endswith(name))
        content = bytearray(tensor.raw_data)
        content[bit // 8] ^= 1 << bit % 8
        tensor.raw_data = bytes(content)

    return change


def node_of(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.output[0].endswith(output))


def failures_of(path: Path, folder: Path, change: Change) -> str:
    """What is told of a changed file, sealed again as a forger would."""
    model = onnx.load(str(path))
    change(model)
    del model.metadata_props[[e.key for e in model.metadata_props].index(SEAL_KEY)]
    seal = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    model.metadata_props.add(key=SEAL_KEY, value=seal)
    (folder / "t.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return "\n".join(verify(folder / "t.onnx").failures)


def drawn(path: Path) -> dict[str, Array]:
    """Some inputs of the model at `path`."""
    rng = np.random.default_rng(0)
    inputs = onnx.load(str(path)).graph.input
    sizes = {i.name: [d.dim_value or 3 for d in i.type.tensor_type.shape.dim] for i in inputs}
    return {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
