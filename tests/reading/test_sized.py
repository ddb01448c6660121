"""Shapes that follow once the inputs' sizes are known."""

from pathlib import Path

import numpy as np
from graphs import Builder, save

from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.sized import with_sizes

OPEN = ("N", 3, "H", "W")


def test_open_axes_get_the_sizes_of_a_sample(tmp_path: Path) -> None:
    """Through strides, a Resize, and a Reshape to a computed shape."""
    b = Builder()
    x = b("Relu", b.conv("x", 3, 4, pads=[1] * 4, strides=[2, 2]))
    x = b("Resize", x, "", b.constant([1, 1, 3, 3]), mode="nearest")
    batch = b("Gather", b("Shape", x), b.constant([0], np.int64))
    x = b("Reshape", x, b("Concat", batch, b.constant([-1, 12], np.int64), axis=0))
    y = b("MatMul", x, b.constant(b.weight(12, 5)))
    target = read_target(save(b.model(y, OPEN), tmp_path))
    sized = with_sizes(target, {"x": (3, 16, 20)})

    conv, dense = (sized.shapes[layer.output] for layer in sized.linears)
    assert conv == (1, 4, 8, 10)
    assert dense == (1, 4 * 24 * 30 // 12, 5)
    assert target.shapes[target.linears[0].output][2:] != (8, 10)
    assert sized.steps is target.steps


def test_where_inference_fails_shapes_stay(tmp_path: Path) -> None:
    b = Builder()
    target = read_target(save(b.model(b.conv("x", 3, 4), OPEN), tmp_path))

    assert with_sizes(target, {"x": (3, 16)}) is target  # an axis too few for a convolution
