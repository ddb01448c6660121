"""Operators that move channels about: where each goes, and refusals that say why."""

from typing import Any

import numpy as np
import pytest
from copies import check, layout, refusal, words_of

from lt_onnx.layout import univariate_layout
from lt_onnx.target import Array, Node

SHAPE = (2, 4, 3, 3)
WORDS = "0a 1a 2a 3a 0b 1b 2b 3b c"
FOUR = {"x": (SHAPE, layout(WORDS))}
SHAPES, LAYOUTS = {"x": SHAPE}, {"x": layout(WORDS)}


def node(op: str, *inputs: str, outputs: tuple[str, ...] = ("y",), **attributes: Any) -> Node:
    return Node(op, "n", ("x", *inputs), outputs, attributes)


def vector(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(("axes", "axis"), [([0], 0), ([2], 1), ([0, 2], 0), (None, 0)])
def test_squeezed_axes_before_the_channels_move_them(axes: list[int] | None, axis: int) -> None:
    given = {"x": ((1, 4, 1, 3), layout(WORDS))}
    constants = {} if axes is None else {"axes": vector(*axes)}
    (made,) = check(node("Squeeze", *constants), given, constants)

    assert (words_of(made), made.axis) == (WORDS, axis)


@pytest.mark.parametrize(
    ("shape", "axes", "why"),
    [
        ((2, 1, 3), [1], "drops the channels"),
        ((2, None, 3), None, "its axes are not named"),
        ((2, 4, 1), None, "its axes are not named"),
    ],
)
def test_other_squeezes_are_refused(
    shape: tuple[int | None, ...], axes: list[int] | None, why: str
) -> None:
    constants = {} if axes is None else {"axes": vector(*axes)}
    given = {"x": layout("0a" if axes is None and shape[1] == 4 else "0a 0b")}

    assert why in refusal(node("Squeeze", *constants), {"x": shape}, given, constants)


@pytest.mark.parametrize(("axes", "axis"), [([0], 2), ([2], 1), ([0, -1], 2)])
def test_new_axes_before_the_channels_move_them(axes: list[int], axis: int) -> None:
    (made,) = check(node("Unsqueeze", "axes"), FOUR, {"axes": vector(*axes)})

    assert (words_of(made), made.axis) == (WORDS, axis)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_joins_the_copies_of_the_right_channels(mode: str) -> None:
    words = "0a 1a 2a 3a 4a 5a 6a 7a 0b 1b 2b 3b 4b 5b 6b 7b c c"
    given = {"x": ((2, 8, 2, 2), layout(words))}
    made = check(node("DepthToSpace", blocksize=2, mode=mode), given)

    assert words_of(*made) == "0a 1a 0b 1b c c"


def test_space_to_depth_repeats_copies_and_constants() -> None:
    given = {"x": ((2, 2, 4, 4), layout("0a 1a 0b 1b c"))}
    (made,) = check(node("SpaceToDepth", blocksize=2), given)

    assert words_of(made).startswith("0a 1a 0b 1b c 2a 3a 2b 3b c 4a")
    assert made.copy[made.channel == -1].tolist() == [0, 5, 10, 15]


@pytest.mark.parametrize("op", ["DepthToSpace", "SpaceToDepth"])
def test_blocks_of_another_axis_are_refused(op: str) -> None:
    given = {"x": layout(WORDS, axis=3)}

    assert "not on axis 1" in refusal(node(op, blocksize=2), SHAPES, given)


def test_gathered_channels_take_their_copies_along() -> None:
    made = check(node("Gather", "i", axis=1), FOUR, {"i": vector(3, 1, -1)})

    assert words_of(*made) == "0a 0b 1a 1b 2a 2b c"


@pytest.mark.parametrize(("index", "axis"), [(vector(1, 0), 1), (vector(1)[0], 0)])
def test_gathering_along_another_axis(index: Array, axis: int) -> None:
    (made,) = check(node("Gather", "i", axis=0), FOUR, {"i": index})

    assert (words_of(made), made.axis) == (WORDS, axis)


@pytest.mark.parametrize(
    ("constants", "why"),
    [({}, "indices are computed"), ({"i": vector(0, 1).reshape(1, 2)}, "takes the channels apart")],
)
def test_other_gathers_are_refused(constants: dict[str, Array], why: str) -> None:
    assert why in refusal(node("Gather", "i", axis=1), SHAPES, LAYOUTS, constants)


def test_split_channels_take_their_copies_along() -> None:
    parts = check(node("Split", "sizes", outputs=("y", "z"), axis=1), FOUR, {"sizes": vector(1, 3)})

    assert [words_of(part) for part in parts] == ["0a 0b c", "0a 0b 1a 1b 2a 2b c"]


def test_a_split_along_another_axis_keeps_the_layout() -> None:
    parts = check(node("Split", "sizes", outputs=("y", "z"), axis=2), FOUR, {"sizes": vector(1, 2)})

    assert [words_of(part) for part in parts] == [WORDS, WORDS]


def test_a_split_of_unknown_sizes_is_refused() -> None:
    shapes = {**SHAPES, "y": (2, None, 3, 3), "z": (2, 3, 3, 3)}

    assert "parts are unknown" in refusal(
        node("Split", outputs=("y", "z"), axis=1), shapes, LAYOUTS
    )


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((1, 3, 1, 1), "0a 0b 1a 1b c"),
        ((3, 0, 1, -2), "0a 0b 1a 1b c"),
        ((-1, 9, 1, 1), "0a 0b c"),
        ((1, 3, 2, 1), WORDS),
    ],
)
def test_sliced_channels_take_their_copies_along(
    bounds: tuple[int, int, int, int], words: str
) -> None:
    names = ("starts", "ends", "axes", "steps")
    constants = {name: vector(bound) for name, bound in zip(names, bounds, strict=True)}

    assert words_of(*check(node("Slice", *names), FOUR, constants)) == words


ALL = 2**31 - 1


@pytest.mark.parametrize("steps", [(), (1, 1, 2)])
def test_a_slice_of_all_axes_keeps_the_layout_where_it_takes_all_channels(
    steps: tuple[int, ...],
) -> None:
    bounds = {"starts": (1, 0, 0), "ends": (ALL, ALL, -1), "axes": (2, -3, 3), "steps": steps}
    constants = {name: vector(*values) for name, values in bounds.items() if values}

    assert words_of(*check(node("Slice", *constants), FOUR, constants)) == WORDS


def test_a_slice_of_all_axes_by_attributes() -> None:
    made = check(node("Slice", starts=[0, 0, 1], ends=[ALL] * 3), FOUR, opset=9)

    assert words_of(*made) == WORDS


def test_slices_by_attributes() -> None:
    made = check(node("Slice", starts=[1], ends=[3], axes=[1]), FOUR, opset=9)

    assert words_of(*made) == "0a 0b 1a 1b c"


@pytest.mark.parametrize(
    ("constants", "why"),
    [
        ({"starts": vector(1)}, "bounds are computed"),
        ({"starts": vector(1, 1), "ends": vector(2, 2), "axes": vector(1, 2)}, "at once"),
    ],
)
def test_other_slices_are_refused(constants: dict[str, Array], why: str) -> None:
    assert why in refusal(node("Slice", "starts", "ends", "axes"), SHAPES, LAYOUTS, constants)


@pytest.mark.parametrize(
    ("pads", "words"),
    [
        ((0, 0, 1, 1, 0, 0, 1, 1), "0a 1a 2a 3a 0b 1b 2b 3b ."),
        ((0, 0, 0, 0, 0, 0, 0, 0), WORDS),
        ((0, 1, 0, 0, 0, 2, 0, 0), "1a 2a 3a 4a 1b 2b 3b 4b c"),  # channels of zeros around
    ],
)
def test_padding_with_zeros(pads: tuple[int, ...], words: str) -> None:
    made = check(node("Pad", "pads"), FOUR, {"pads": vector(*pads)})

    assert words_of(*made) == words
    assert words_of(*check(node("Pad", pads=list(pads)), FOUR, opset=9)) == words


def test_padding_of_named_axes() -> None:
    constants = {"pads": vector(1, 2), "axes": vector(-1)}
    made = check(node("Pad", "pads", "", "axes", mode="edge"), FOUR, constants, opset=18)

    assert words_of(*made) == WORDS  # an edge repeats what a constant has


@pytest.mark.parametrize(
    ("pads", "mode", "value", "why"),
    [
        (None, "constant", None, "pads are computed"),
        ((0, 1, 0, 0, 0, 0, 0, 0), "edge", None, "something else than zeros"),
        ((0, 1, 0, 0, 0, 0, 0, 0), "constant", 2.0, "something else than zeros"),
        ((0, -1, 0, 0, 0, 0, 0, 0), "constant", None, "negative pads"),
    ],
)
def test_other_pads_are_refused(
    pads: tuple[int, ...] | None, mode: str, value: float | None, why: str
) -> None:
    constants = {} if pads is None else {"pads": vector(*pads)}
    names = ("pads",)
    if value is not None:
        constants["v"], names = np.float32(value), ("pads", "v")

    assert why in refusal(node("Pad", *names, mode=mode), SHAPES, LAYOUTS, constants)


@pytest.mark.parametrize(
    "cut", [node("Gather", "i", axis=1), node("Slice", starts=[0], ends=[1], axes=[1])]
)
def test_mirror_images_are_not_cut_apart(cut: Node) -> None:
    slots = np.array([[0, 0], [1, 0], [2, 0], [3, 0]])
    pairs = univariate_layout(4, 1, slots=slots, group=1, constants=0, mirrored=True)

    assert "come apart" in refusal(cut, SHAPES, {"x": pairs}, {"i": vector(0, 1)})
