"""Networks that are wrong in one place: what any comparison must notice."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from graphs import Builder, save
from onnx import numpy_helper

from lt_onnx.target import Array

LAYERS = ("first", "second", "scores")


def network(folder: Path) -> Path:
    """Two convolutions and a dense layer, [N, 3, 6, 6] → [N, 5], its layers named `LAYERS`."""
    b = Builder(3)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("Relu", b.conv(x, 6, 4, pads=[1] * 4))
    scores = b.gemm(b("Flatten", x, axis=1), 4 * 36, 5)
    layers = [node for node in b.nodes if node.op_type in ("Conv", "Gemm")]
    for node, name in zip(layers, LAYERS, strict=True):
        node.name = name
    return save(b.model(scores, ("N", 3, 6, 6)), folder)


def flipped_sign(weight: Array) -> Array:
    """The largest weight with the other sign."""
    out = weight.copy()
    out.flat[np.abs(weight).argmax()] *= -1
    return out


def transposed_kernel(weight: Array) -> Array:
    """Every kernel [K, K] with its two axes swapped."""
    return np.ascontiguousarray(np.swapaxes(weight, -1, -2))


def changed_bit(weight: Array) -> Array:
    """The largest weight with another last bit of its exponent: doubled or halved."""
    out = weight.copy()
    out.view(np.uint32).flat[np.abs(weight).argmax()] ^= 1 << 23
    return out


CHANGES: dict[str, Callable[[Array], Array]] = {
    "a flipped sign": flipped_sign,
    "a transposed kernel": transposed_kernel,
    "a changed bit": changed_bit,
}


def perturbed(path: Path, tensor: str, change: Callable[[Array], Array]) -> Path:
    """A copy of the model beside it in which one weight was changed."""
    model = onnx.load(str(path))
    weight = next(t for t in model.graph.initializer if t.name == tensor)
    before = numpy_helper.to_array(weight)
    after = change(before)
    assert after.shape == before.shape
    assert not np.array_equal(after, before)
    weight.CopyFrom(numpy_helper.from_array(after, tensor))
    return save(model, path.parent, f"{path.stem}.perturbed.onnx")


def weight_of(path: Path, layer: str) -> str:
    """The weight's name of a layer in a target."""
    nodes = onnx.load(str(path)).graph.node
    return str(next(node.input[1] for node in nodes if node.name == layer))
