"""Operators without random weights: what comes out holds for every point of what goes in."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from graphs import Builder, save

from lt_onnx.blueprint import Blueprint
from lt_onnx.options import Options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.runtime import evaluate
from lt_onnx.target import Array, Node
from lt_onnx.validation.bound.ranges import Range, UnboundedError
from lt_onnx.validation.bound.rules import apply

SHAPE = (1, 4, 6, 6)
CONSTANTS = {
    "shape": np.array([1, 2, 2, 6, 6]),
    "axes": np.array([2]),
    "scale": np.array([[[[0.5]], [[-1.5]], [[2.0]], [[3.0]]]], np.float32),
    "slope": np.array([[[0.1]], [[0.5]], [[2.0]], [[0.0]]], np.float32),
    "pads": np.array([0, 0, 1, 0, 0, 0, 1, 2]),
    "places": np.array([3, 0, 0]),
    "row": np.full((1, 4, 1, 6), -7, np.float32),
    "matrix": np.linspace(-1, 2, 36, dtype=np.float32).reshape(6, 6),
    "gains": np.linspace(-1, 2, 6, dtype=np.float32),
    "shifts": np.linspace(3, -2, 6, dtype=np.float32),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "zero": np.array(0, np.float32),
    "one": np.array(1, np.float32),
}
NODES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "Reshape": (("x", "shape"), {}),
    "Flatten": (("x",), {}),
    "Transpose": (("x",), {"perm": [0, 2, 3, 1]}),
    "Gather": (("x", "places"), {"axis": 1}),
    "Concat": (("x", "y"), {"axis": 1}),
    "Concat with constants": (("x", "row", "y"), {"axis": 2}),
    "SpaceToDepth": (("x",), {"blocksize": 2}),
    "Pad": (("x", "pads"), {}),
    "MaxPool": (("x",), {"kernel_shape": [2, 2]}),
    "GlobalMaxPool": (("x",), {}),
    "AveragePool": (("x",), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "GlobalAveragePool": (("x",), {}),
    "ReduceMean": (("x",), {"axes": [2]}),
    "Resize": (("x", "", "scales"), {"mode": "linear"}),
    "Add": (("x", "y"), {}),
    "Sub": (("x", "y"), {}),
    "Mul": (("x", "y"), {}),
    "Div": (("x", "scale"), {}),
    "PRelu": (("x", "slope"), {}),
    "Softmax": (("x",), {"axis": 1}),
    "Tanh": (("x",), {}),
    "MatMul": (("x", "y"), {}),
    "MatMul by constants": (("x", "matrix"), {}),
    "LayerNormalization": (("x", "gains", "shifts"), {"axis": -1, "epsilon": 0.5}),
    "LayerNormalization of little": (("x", "gains"), {"axis": -1}),
    "LayerNormalization over two axes": (("x", "matrix"), {"axis": 2, "epsilon": 0.1}),
}


@pytest.fixture(scope="module")
def blueprint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `apply` asks of a blueprint, with `CONSTANTS`."""
    b = Builder(0)
    path = save(b.model(b.conv("x", 3, 4)), Path(tmp_path_factory.mktemp("rules")))
    real: Blueprint = plan(read_target(path), Options())
    return SimpleNamespace(target=real.target, constants=CONSTANTS)


def ranges(seed: int = 0) -> dict[str, Range]:
    rng = np.random.default_rng(seed)
    low = {name: rng.uniform(-3, 3, SHAPE) for name in ("x", "y")}
    return {
        name: Range(v, v + rng.uniform(0, 2, SHAPE), rng.uniform(0, 0.3, SHAPE))
        for name, v in low.items()
    }


@pytest.mark.parametrize("case", NODES)
def test_no_point_of_the_inputs_leaves_the_range_or_exceeds_the_error(
    blueprint: Any, case: str
) -> None:
    inputs, attributes = NODES[case]
    node = Node(case.partition(" ")[0], case, inputs, ("out",), attributes)
    found = ranges()
    apply(node, found, {}, blueprint)
    rng = np.random.default_rng(1)

    def run(values: dict[str, Array]) -> Array:
        feeds = {name: value.astype(np.float32) for name, value in values.items()}
        opsets = blueprint.target.opsets
        (out,) = evaluate([node], feeds, constants=CONSTANTS, outputs=["out"], opsets=opsets)
        return out.astype(np.float64)

    given = {name: found[name] for name in ("x", "y") if name in inputs}
    for _ in range(20):
        true = {n: x.low + rng.integers(0, 2, SHAPE) * (x.high - x.low) for n, x in given.items()}
        off = {n: rng.choice([-1, 1], SHAPE) * x.error for n, x in given.items()}
        y = run(true)
        assert (found["out"].low <= y).all()
        assert (y <= found["out"].high).all()
        ticket = run({name: true[name] + off[name] for name in given})
        assert (np.abs(ticket - y) <= found["out"].error + 1e-6).all()


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "reason"),
    [
        ("Resize", ("x", "", "scales"), {"mode": "cubic"}, "cubic weights are negative"),
        ("Pad", ("x", "pads", "one"), {}, "it fills with a number"),
        ("Div", ("x", "y"), {}, "no bound through Div"),
        ("Div", ("x", "zero"), {}, "no bound through Div"),
        ("PRelu", ("x", "scale"), {}, "its slopes are negative"),
        ("PRelu", ("x", "y"), {}, "its slopes are negative"),
        ("LRN", ("x",), {"size": 3}, "no bound through LRN"),
        ("Add", ("x", "nowhere"), {}, "shapes are computed"),
        ("Relu", ("nowhere",), {}, "no bound through Relu"),
    ],
)
def test_what_has_no_rule_is_told(
    blueprint: Any, op: str, inputs: tuple[str, ...], attributes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnboundedError, match=reason):
        apply(Node(op, "n", inputs, ("out",), attributes), ranges(), {}, blueprint)


def test_an_interval_that_overflows_is_told(blueprint: Any) -> None:
    found = ranges()
    found["x"].high[0, 0] = np.inf
    node = Node("MaxPool", "n", ("x",), ("out",), {"kernel_shape": [2, 2]})
    with pytest.raises(UnboundedError, match="it overflows"):
        apply(node, found, {}, blueprint)


def test_what_shapes_decide_is_known(blueprint: Any) -> None:
    """As a target expands a token for every sample, and makes constants from nothing."""
    found, known = ranges(), dict[str, Array]()
    for node in (
        Node("Shape", "n", ("x",), ("sizes",), {}),
        Node("Expand", "n", ("y", "sizes"), ("again",), {}),
        Node("ConstantOfShape", "n", ("sizes",), ("ones",), {"value": np.ones(1, np.float32)}),
        Node("Add", "n", ("again", "ones"), ("sum",), {}),
    ):
        apply(node, found, known, blueprint)

    assert known["sizes"].tolist() == [*SHAPE]
    assert found["ones"].error.max() == 0
    assert found["sum"].low == pytest.approx(found["y"].low + 1, abs=1e-5)


def test_a_normalization_bounds_what_comes_after_it_whatever_came_before(blueprint: Any) -> None:
    found = ranges()
    found["x"] = replace(found["x"], error=np.full(SHAPE, 1e9))
    apply(Node("LayerNormalization", "n", ("x", "gains"), ("out",), {}), found, {}, blueprint)

    most = 2 * 6**0.5 * np.abs(CONSTANTS["gains"])
    assert (found["out"].error <= most * 1.001).all()
    nothing = Node("LayerNormalization", "n", ("x", "gains"), ("out",), {"epsilon": 0.0})
    with pytest.raises(UnboundedError, match="its epsilon is 0"):
        apply(nothing, found, {}, blueprint)
