"""Operators without random weights: what comes out holds for every point of what goes in."""

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


@pytest.mark.parametrize("op", NODES)
def test_no_point_of_the_inputs_leaves_the_range_or_exceeds_the_error(
    blueprint: Any, op: str
) -> None:
    inputs, attributes = NODES[op]
    node = Node(op, op.lower(), inputs, ("out",), attributes)
    found = ranges()
    apply(node, found, blueprint)
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
        apply(Node(op, "n", inputs, ("out",), attributes), ranges(), blueprint)


def test_an_interval_that_overflows_is_told(blueprint: Any) -> None:
    found = ranges()
    found["x"].high[0, 0] = np.inf
    with pytest.raises(UnboundedError, match="it overflows"):
        apply(Node("MaxPool", "n", ("x",), ("out",), {"kernel_shape": [2, 2]}), found, blueprint)
