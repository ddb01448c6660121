"""Two-for-one blocks: where they open, how many neurons they have, and what they are made of."""

from dataclasses import replace

import numpy as np
import pytest
from copies import draft_of, layout

from lt_onnx.blueprint import Expand
from lt_onnx.layout import CONSTANT
from lt_onnx.ops.activation_fit import LocalModel, Use
from lt_onnx.planning.blocks import open_block, product
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.emitted import Opening
from lt_onnx.planning.nodes import take_over
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Node

SHAPES = {"x": (2, 3, 4, 4), "y": (2, 48)}
CONV = Opening("x", 3, 1, 1, 4, constants=True)
GEMM = Opening("y", 48, 1, 1, 2, constants=True)


def draft(words: str | None = None, use: Use = Use.SPLIT, opset: int = 17) -> Draft:
    layouts = {"x": None if words is None else layout(words)}
    made = draft_of(SHAPES, layouts=layouts, opset=opset)
    made.request = replace(made.request, model=LocalModel(use, 1.0, 0.5, 0.0, 1.0, 0.0))
    return made


def expand(made: Draft, opening: Opening = CONV) -> Expand:
    step = open_block(made, opening).expand
    assert step is not None
    return step


def test_a_block_is_opened_once() -> None:
    made = draft()

    assert open_block(made, CONV) is open_block(made, CONV)
    assert len(made.emitted.steps) == 1


@pytest.mark.parametrize(
    "other",
    [replace(CONV, constants=False), replace(CONV, group=3), replace(CONV, axis=3, channels=4)],
)
def test_a_layer_that_asks_for_something_else_gets_another_block(other: Opening) -> None:
    made = draft()

    assert expand(made) is not expand(made, other)
    assert expand(made, other).out_layout.axis == other.axis


@pytest.mark.parametrize(
    ("use", "parts", "mirrored"),
    [(Use.SPLIT, {1, -1}, False), (Use.ODD, {0}, False), (Use.MIRROR, {0}, True)],
)
def test_neurons_are_used_as_the_activation_needs(
    use: Use, parts: set[int], mirrored: bool
) -> None:
    step = expand(draft(use=use))

    assert set(step.slots[:, 1].tolist()) == parts
    assert len(step.slots) == 3 * len(parts) * step.neurons
    assert step.out_layout.mirror == (len(step.slots) if mirrored else 0)
    assert step.source.mirror_rows == step.out_layout.mirror
    assert step.source.shape[0] >= step.out_layout.width


def test_what_is_never_negative_needs_one_sign() -> None:
    made = draft()
    made.request = replace(made.request, nonnegative=frozenset("x"))

    assert set(expand(made).slots[:, 1].tolist()) == {1}


@pytest.mark.parametrize("wanted", [True, False])
def test_constants_are_a_reserve_where_a_bias_is_built(wanted: bool) -> None:
    step = expand(draft(), replace(CONV, constants=wanted))

    assert step.out_layout.constants == (RESERVE if wanted else 0)
    assert step.source.bias is wanted


def test_a_tensor_that_carries_constants_needs_no_bias() -> None:
    step = expand(draft("0a 1a 2a c"))

    assert not step.source.bias
    assert step.source.shape[1] == 4


@pytest.mark.parametrize(
    ("words", "read"), [("0a 1a 2a c", "x/copies"), ("0a 1a 2a 0b 1b 2b", "x/collapsed")]
)
def test_of_several_copies_a_block_reads_the_first(words: str, read: str) -> None:
    assert expand(draft(words)).input == read


def test_where_constants_are_lost_a_block_has_biases_of_its_own() -> None:
    made = draft("0a 1a 2a c")
    made.request = replace(made.request, constants_lost=frozenset("x"))
    step = expand(made)

    assert (step.input, step.in_layout, step.source.bias) == ("x/collapsed", None, True)


@pytest.mark.parametrize(
    ("opening", "opset", "operators"),
    [
        (CONV, 17, ["Conv", "Mul", "Relu", "Gather"]),
        (GEMM, 17, ["Gemm", "Mul", "Relu", "Gather"]),
        (GEMM, 9, ["MatMul", "Add", "Mul", "Relu", "Gather"]),  # Gemm needs its addend there
        (replace(CONV, axis=3), 17, ["MatMul", "Add", "Mul", "Relu", "Gather"]),
    ],
)
def test_the_nodes_of_a_block(opening: Opening, opset: int, operators: list[str]) -> None:
    step = expand(draft(opset=opset), opening)

    assert [node.op for node in step.nodes] == operators
    for before, after in zip(step.nodes, step.nodes[1:], strict=False):
        assert before.outputs[0] in after.inputs
    assert step.source.transposed is ("MatMul" in operators)


def test_before_a_flatten_a_channel_is_still_one_channel() -> None:
    made = draft("0a 1a 2a")
    take_over(made, Node("Flatten", "f", ("x",), ("y",)))
    held = open_block(made, GEMM)

    assert held.expand is not None
    assert (held.expand.tensor, held.expand.channels) == ("x", 3)
    assert held.name == "f/expanded"
    assert held.layout.size == 48
    assert held.layout.width == held.expand.out_layout.width * 16
    assert held.layout.constants == RESERVE * 16


@pytest.mark.parametrize(("places", "before"), [(20, False), (40, True)])
def test_where_channels_lie_last_many_features_are_flattened_neurons(
    places: int, before: bool
) -> None:
    features, last = places**2 * 3, replace(layout("0a 1a 2a"), axis=3)
    made = draft_of({"x": (2, places, places, 3), "y": (2, features)}, layouts={"x": last})
    made.request = replace(made.request, model=LocalModel(Use.SPLIT, 1.0, 0.5, 0.0, 1.0, 0.0))
    take_over(made, Node("Flatten", "f", ("x",), ("y",)))
    held = open_block(made, replace(GEMM, channels=features))

    assert held.expand is not None
    assert (held.expand.tensor == "x") == before
    assert held.layout.size == features
    assert not before or held.expand.source.transposed


@pytest.mark.parametrize(
    "opening", [replace(GEMM, group=2), replace(GEMM, constants=False, tensor="x")]
)
def test_other_blocks_open_on_the_tensor_itself(opening: Opening) -> None:
    made = draft("0a 1a 2a")
    take_over(made, Node("Flatten", "f", ("x",), ("y",)))

    assert expand(made, opening).tensor == opening.tensor


def test_nothing_is_left_of_a_block_that_cannot_open_before_a_reshape() -> None:
    """With mirror images, channels that come behind positions would stand between each other."""
    made = draft_of({"x": (2, 3, 4), "y": (6, 4)}, {"goal": np.array([6, 4])}, layouts={"x": None})
    made.request = replace(made.request, model=LocalModel(Use.MIRROR, 1.0, 0.5, 0.1, 1.0, 0.0))
    take_over(made, Node("Reshape", "r", ("x", "goal"), ("y",)))
    step = expand(made, Opening("y", 4, 1, 1, 2, constants=False))

    assert step.tensor == "y"
    assert [type(step).__name__ for step in made.emitted.steps] == ["Run", "Expand"]
    assert [opening.tensor for opening in made.emitted.blocks] == ["y"]


@pytest.mark.parametrize(
    ("shape", "transposed", "op", "read"),
    [
        ((4, 3, 1), False, "Conv", 3),
        ((4, 3), False, "Gemm", 3),
        ((4, 3), True, "MatMul", 2),  # its bias is an Add of its own
    ],
)
def test_random_weights_are_multiplied_by_the_operator_that_fits(
    shape: tuple[int, ...], transposed: bool, op: str, read: int
) -> None:
    layer = SourceLayer("w", 0, shape, transposed=transposed)
    node = product("n", layer, inputs=("x", "w", "b"), output="y", conv={"pads": [0, 0]})

    assert (node.op, len(node.inputs)) == (op, read)
    assert ("pads" in node.attributes) is (op == "Conv")


def test_constants_come_last_in_a_block() -> None:
    channel = expand(draft()).out_layout.channel

    assert (np.flatnonzero(channel == CONSTANT) >= len(channel) - RESERVE).all()
