"""Activations in double precision: slopes and least values hold for every one that is known."""

from typing import Any

import numpy as np
import pytest

from lt_onnx.target import Node
from lt_onnx.validation.bound.functions import Function, function_of, function_of_all
from lt_onnx.validation.bound.ranges import Range, UnboundedError

KNOWN = (
    "Relu Identity LeakyRelu Clip Sigmoid Tanh Softplus Softsign HardSigmoid Elu Selu Celu "
    "HardSwish Mish Gelu Swish Erf"
).split()


def function(op: str, **attributes: float) -> Function:
    return function_of(Node(op, op.lower(), ("x",), ("y",), attributes), {})


CHAIN = [
    Node("Div", "d", ("x", "root"), ("d",), {}),
    Node("Erf", "e", ("d",), ("e",), {}),
    Node("Add", "a", ("e", "one"), ("a",), {}),
    Node("Mul", "m", ("x", "a"), ("m",), {}),
]


def chained(root: float = 2**0.5, one: float = 1.0, read: str = "x") -> Function | None:
    """x (1 + erf(x / √2)) as exports write it."""
    constants = {"root": np.array(root, np.float32), "one": np.array(one, np.float32)}
    last = Node("Mul", "m", (read, "a"), ("m",), {})
    return function_of_all([*CHAIN[:3], last], constants)


def test_several_operators_are_one_function_that_is_known() -> None:
    phi, x = chained(), np.linspace(-8, 8, 200_001)
    assert phi is not None
    y = phi.of(x)

    assert y == pytest.approx(2 * function("Gelu").of(x), abs=1e-6)
    assert np.abs(np.diff(y) / np.diff(x)).max() <= phi.steepest
    assert phi.least is not None
    assert y.min() >= phi.least
    assert function_of_all(CHAIN[1:2], {}) == function("Erf")


@pytest.mark.parametrize("other", [{"root": 1.5}, {"one": 0.9}, {"read": "z"}])
def test_other_operators_of_these_kinds_are_not(other: dict[str, Any]) -> None:
    assert chained(**other) is None
    assert function_of_all(CHAIN[:3], {}) is None


@pytest.mark.parametrize("op", KNOWN)
def test_slope_and_least_value_are_never_exceeded(op: str) -> None:
    phi = function(op)
    x = np.linspace(-8, 8, 200_001)
    y = phi.of(x)

    assert np.abs(np.diff(y) / np.diff(x)).max() <= phi.steepest * (1 + 1e-6)
    if phi.least is None:
        assert (np.diff(y) >= -1e-12).all()
    else:
        assert y.min() >= phi.least


@pytest.mark.parametrize("op", KNOWN)
def test_the_image_encloses_the_values_and_the_error(op: str) -> None:
    phi, rng = function(op), np.random.default_rng(0)
    low = rng.uniform(-4, 3, 100)
    x = Range(low, low + rng.uniform(0, 2, 100), rng.uniform(0, 0.5, 100))
    image = phi.image(x)
    for share in (0.0, 0.3, 1.0):
        true = x.low + share * (x.high - x.low)
        assert ((image.low <= phi.of(true)) & (phi.of(true) <= image.high)).all()
        for sign in (-1, 1):
            off = np.abs(phi.of(true + sign * x.error) - phi.of(true))
            assert (off <= image.error).all()


def test_the_remainder_is_the_distance_from_the_linear_model() -> None:
    reach = np.array([0.0, 0.5, 2.0])
    relu, tanh = function("Relu"), function("Tanh")

    assert relu.remainder(1.0, 0.0, 0.0, reach).tolist() == [0, 0, 0]
    wrong = relu.remainder(-1.0, 0.0, 0.0, reach)  # a flipped sign of the slope
    assert wrong == pytest.approx(2 * reach, rel=0.01, abs=1e-6)
    found = tanh.remainder(1.0, 1.0, 0.0, reach)
    assert (found >= reach - np.tanh(reach)).all()
    assert found == pytest.approx(reach - np.tanh(reach), abs=0.03)
    with pytest.raises(UnboundedError, match="not bounded"):
        relu.remainder(1.0, 0.0, 0.0, np.array([np.inf]))


def test_limits_and_slopes_are_read_from_the_node() -> None:
    limits = {"low": np.array(-1.0), "high": np.array([2.0])}
    clip = function_of(Node("Clip", "c", ("x", "low", "high"), ("y",)), limits)
    leaky = function("LeakyRelu", alpha=0.25)
    x = np.array([-4.0, 0.5, 4.0])

    assert clip.of(x).tolist() == [-1, 0.5, 2]
    assert leaky.of(x).tolist() == [-1, 0.5, 4]


@pytest.mark.parametrize(
    ("op", "attributes", "reason"),
    [
        ("LeakyRelu", {"alpha": -0.5}, "its slope is negative"),
        ("Gelu", {"approximate": "tanh"}, "no bound through Gelu 'gelu'"),
        ("Sin", {}, "no bound through Sin 'sin'"),
    ],
)
def test_what_is_not_known_is_told(op: str, attributes: dict[str, float], reason: str) -> None:
    with pytest.raises(UnboundedError, match=reason):
        function(op, **attributes)
    computed = Node("Clip", "c", ("x", "low"), ("y",))
    with pytest.raises(UnboundedError, match="its limit is computed"):
        function_of(computed, {})
