"""Reshapes to computed shapes."""

from pathlib import Path

import numpy as np
import pytest

from lt_onnx.reading.constant_reshape import constant_reshape
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite
from lt_onnx.target import Node, Shape

NODE = Node("Reshape", "n", ("x", "shape"), ("y",))


def network(shape: Shape | None) -> Network:
    shapes = {} if shape is None else {"y": shape}
    return Network(Path("n.onnx"), 17, frozenset(), {}, {}, shapes)


@pytest.mark.parametrize(
    ("shape", "sizes"), [((2, 3), [2, 3]), (("N", 3, 4), [-1, 3, 4]), ((2, None), [2, -1])]
)
def test_a_shape_known_up_to_one_axis_is_a_constant(shape: Shape, sizes: list[int]) -> None:
    result = constant_reshape(NODE, network(shape))

    assert isinstance(result, Rewrite)
    assert result.steps[0].inputs == ("x", "n/shape")
    assert result.constants["n/shape"].tolist() == sizes
    assert result.constants["n/shape"].dtype == np.int64


@pytest.mark.parametrize("shape", [None, ("N", 3, "H")])
def test_others_stay(shape: Shape | None) -> None:
    assert isinstance(constant_reshape(NODE, network(shape)), Refusal)
