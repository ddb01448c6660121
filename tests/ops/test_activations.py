"""The activations of a network: found in its graph, told apart, and chosen for blocks."""

import math

import numpy as np
import pytest
from copies import draft_of

from lt_onnx.ops.activation_fit import Use
from lt_onnx.ops.activations import after, block_activation, next_one, response
from lt_onnx.target import Array, Linear, Node, Target

HALF, ONE = np.float32(0.5), np.float32(1)


def op(kind: str, *inputs: str, to: str, **attributes: float) -> Node:
    return Node(kind, f"{kind}-{to}", inputs, (to,), attributes)


def target(*steps: Node | Linear, **constants: Array) -> Target:
    return draft_of({}, {name: np.asarray(v) for name, v in constants.items()}, steps=steps).target


SILU = (op("Sigmoid", "x", to="s"), op("Mul", "x", "s", to="y"))
GELU = (
    op("Mul", "x", "scale", to="a"),
    op("Erf", "a", to="b"),
    op("Add", "b", "one", to="c"),
    op("Mul", "x", "c", to="d"),
)


@pytest.mark.parametrize(
    ("steps", "title", "value"),
    [
        ((op("Relu", "x", to="y"),), "Relu", lambda x: max(x, 0)),
        (SILU, "Sigmoid·Mul", lambda x: x / (1 + math.exp(-x))),
        (GELU, "Mul·Erf·Add·Mul", lambda x: x * (1 + math.erf(x / math.sqrt(2)))),
        (
            (op("Softplus", "x", to="a"), op("Tanh", "a", to="b"), op("Mul", "x", "b", to="y")),
            "Softplus·Tanh·Mul",
            lambda x: x * math.tanh(math.log1p(math.exp(x))),
        ),
    ],
)
def test_the_few_operators_of_one_function_are_one_activation(steps, title, value) -> None:
    network = target(*steps, scale=np.float32(1 / math.sqrt(2)), one=ONE)
    found = after("x", network)

    assert found is not None
    assert found.title == title
    x = np.array([-1.5, 0.25, 2], np.float32)
    np.testing.assert_allclose(found.function(network)(x), [value(v) for v in x], rtol=1e-5)


@pytest.mark.parametrize(
    "steps",
    [
        (op("LRN", "x", to="y"),),
        (op("Mul", "x", "other", to="y"),),  # of two tensors
        (op("Neg", "x", to="y"), op("Add", "x", "y", to="z")),  # affine
        (Node("Relu", "r", ("x",), ("y",), domain="com.they"),),
    ],
)
def test_other_readers_are_no_activation(steps: tuple[Node, ...]) -> None:
    assert after("x", target(*steps)) is None


def test_activations_of_other_numbers_are_told_apart() -> None:
    steps = [op("LeakyRelu", "x", to="a", alpha=0.1), op("LeakyRelu", "u", to="b", alpha=0.1)]
    steps.append(op("LeakyRelu", "v", to="c", alpha=0.2))
    network = target(*steps)
    first, same, other = (after(name, network).kind(network) for name in "xuv")

    assert first == same != other


def test_an_activation_of_another_tensor_has_its_own_names() -> None:
    network = target(*SILU)
    nodes = after("x", network).at("n", "u", "v")

    assert [(node.name, node.inputs, node.outputs) for node in nodes] == [
        ("n/Sigmoid", ("u",), ("n/Sigmoid",)),
        ("n/Mul", ("u", "n/Sigmoid"), ("v",)),
    ]


def test_the_commonest_activation_opens_blocks() -> None:
    steps = [op("Tanh", "a", to="b"), op("Tanh", "c", to="d"), op("Sigmoid", "e", to="f")]
    activation, model = block_activation(target(*steps))

    assert activation.title == "Tanh"
    assert model.use is Use.ODD


def test_an_exact_one_goes_before_a_commoner_one() -> None:
    steps = [op("Sigmoid", "a", to="b"), op("Sigmoid", "c", to="d"), op("Relu", "e", to="f")]

    assert block_activation(target(*steps))[0].title == "Relu"


def test_one_with_an_error_of_its_own_gives_way_to_a_relu() -> None:
    """Hard-swish is linear in pairs only, however often it occurs."""
    steps = [op("HardSwish", "a", to="b"), op("HardSwish", "c", to="d"), op("Relu", "e", to="f")]

    assert block_activation(target(*steps))[0].title == "Relu"


def test_the_sigmoid_inside_a_silu_is_none_of_its_own() -> None:
    activation, _ = block_activation(target(*SILU, op("Tanh", "y", to="z")))

    assert activation.title in ("Sigmoid·Mul", "Tanh")


def test_without_any_a_relu_opens_blocks() -> None:
    activation, model = block_activation(target(op("Abs", "x", to="y")))

    assert (activation.title, model.use) == ("Relu", Use.SPLIT)


def test_what_keeps_a_divisor_from_zero_is_no_activation() -> None:
    """As where an embedding is brought to length 1."""
    guard, relu6 = op("Clip", "a", "least", to="b"), op("Clip", "c", "zero", "six", to="d")
    constants = {"least": np.float32(1e-12), "zero": np.float32(0), "six": np.float32(6)}

    assert block_activation(target(guard, **constants))[0].title == "Relu"
    assert block_activation(target(guard, relu6, **constants))[0].nodes[0].name == "Clip-d"


@pytest.mark.parametrize(
    ("steps", "title"),
    [
        ([op("MaxPool", "x", to="a"), op("Relu", "a", to="b")], "Relu"),
        ([op("PRelu", "x", "s", to="a"), op("Relu", "a", to="b")], None),
        ([op("MaxPool", "x", to="a")], None),
    ],
)
def test_the_next_activation(steps: list[Node], title: str | None) -> None:
    found = next_one("x", target(*steps))

    assert (None if found is None else found.title) == title


def test_responses_are_the_function_s_over_many_sizes() -> None:
    network = target(op("Relu", "x", to="y"))
    h, values = response(after("x", network), network)

    assert (values == np.maximum(h, 0)).all()
    assert h.min() < -60
    assert 0 < h[h > 0].min() < 1e-7
    assert (response(None, network)[1] == h).all()
