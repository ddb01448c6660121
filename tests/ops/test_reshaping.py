"""Reshape, Flatten, Transpose and their chains: what becomes of the channels' axis."""

from typing import Any

import numpy as np
import pytest
from copies import check, compare, draft_of, layout, physical, refusal, words_of

from lt_onnx.layout import Layout, univariate_layout
from lt_onnx.ops.reshaping import chain, reshape
from lt_onnx.ops.rule import RefusalError, UndecidedError
from lt_onnx.runtime import evaluate
from lt_onnx.target import Array, Node

SHAPE = (2, 4, 3, 5)
WORDS = "0a 1a 2a 3a 0b 1b 2b 3b c"
FOUR = {"x": (SHAPE, layout(WORDS))}


def node(op: str, *inputs: str, **attributes: Any) -> Node:
    return Node(op, "n", ("x", *inputs), ("y",), attributes)


def vector(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("goal", "axis", "inner"),
    [
        ((0, 4, 15), 1, 1),
        ((0, 4, -1), 1, 1),
        ((2, 1, 4, 3, 5), 2, 1),
        ((0, 60), 1, 15),
        ((-1, 12, 5), 1, 3),
        ((0, -1), 1, 15),
    ],
)
def test_channels_stay_whole_or_merge_with_what_follows(
    goal: tuple[int, ...], axis: int, inner: int
) -> None:
    (made,) = check(node("Reshape", "goal"), FOUR, {"goal": vector(*goal)})

    assert (made.axis, made.size, made.width) == (axis, 4 * inner, 9 * inner)
    assert made.constants == inner


@pytest.mark.parametrize(("axis", "at", "size"), [(1, 1, 60), (0, 1, 120), (-3, 1, 60)])
def test_flattened_channels(axis: int, at: int, size: int) -> None:
    (made,) = check(node("Flatten", axis=axis), FOUR)

    assert (made.axis, made.size) == (at, size)


def test_flattening_several_axes_beside_an_open_batch() -> None:
    """As a LeViT does for BatchNormalization: the first axis is as large as they are."""
    given = layout(WORDS, axis=2)
    draft = draft_of({"x": (None, 3, 4)}, layouts={"x": given})
    made = reshape(node("Flatten", axis=2), [given], draft)
    ((_, goal),) = draft.emitted.constants.items()

    assert (made.axis, made.size) == (1, 4)
    assert goal.tolist() == [-1, 9]


def test_flattening_into_a_column() -> None:
    (made,) = check(node("Flatten", axis=4), FOUR)

    assert (made.axis, made.size) == (0, 120)


def test_channels_on_the_last_axis_merge_with_what_stands_before() -> None:
    given = {"x": ((2, 3, 4), layout(WORDS, axis=2))}
    (made,) = check(node("Reshape", "goal"), given, {"goal": vector(0, 12)})

    assert (made.axis, made.size, made.width) == (1, 12, 27)


@pytest.mark.parametrize(
    ("shape", "goal", "axis", "merged"),
    [
        ((None, 2, 3, 4), (-1, 24), 3, (1, 24)),
        ((None, 2, 3, 4), (-1, 2, 12), 3, (2, 12)),
        ((None, 4, 2, 3), (-1, 24), 1, (1, 24)),
        ((None, 4, 2, 3), (-1, 8, 3), 1, (1, 8)),
    ],
)
def test_known_axes_merge_beside_an_open_batch(
    shape: tuple[int | None, ...], goal: tuple[int, ...], axis: int, merged: tuple[int, int]
) -> None:
    given = layout(WORDS, axis=axis)
    draft = draft_of({"x": shape}, {"goal": vector(*goal)}, layouts={"x": given})
    made = reshape(node("Reshape", "goal"), [given, None], draft)

    assert (made.axis, made.size) == merged


@pytest.mark.parametrize(
    ("shape", "goal", "why"),
    [
        ((2, 4, None, 5), (0, -1), "an axis of unknown size"),
        ((None, 4, 3, 5), (2, -1), "splits the channels"),
        ((None, 4) + (None,) * 8, (0, -1), "sizes are not known"),
        (SHAPE, (2, 2, 2, 15), "splits the channels"),
        (SHAPE, (7, -1), "fixes an axis that is open"),
        (SHAPE, (0, 4, 3, 5, 0), "does not fit"),
        (SHAPE, None, "its shape is computed"),
        (None, (0, -1), "its rank is unknown"),
    ],
)
def test_other_reshapes_are_refused(
    shape: tuple[int | None, ...] | None, goal: tuple[int, ...] | None, why: str
) -> None:
    shapes = {} if shape is None else {"x": shape}
    constants = {} if goal is None else {"goal": vector(*goal)}

    assert why in refusal(node("Reshape", "goal"), shapes, {"x": layout(WORDS)}, constants)


def test_an_empty_tensor_is_refused() -> None:
    empty = node("Reshape", "goal", allowzero=1)
    why = refusal(empty, {"x": SHAPE}, {"x": layout(WORDS)}, {"goal": vector(0, -1)})

    assert "empty tensor" in why


def test_mirror_images_are_not_put_between_each_other() -> None:
    slots = np.array([[0, 0], [1, 0]])
    pairs = univariate_layout(2, 2, slots=slots, group=1, constants=0, mirrored=True)
    draft = draft_of({"x": (2, 3, 2)}, {"goal": vector(0, -1)}, layouts={"x": pairs})

    with pytest.raises(RefusalError, match="between each other"):
        reshape(node("Reshape", "goal"), [pairs, None], draft)


@pytest.mark.parametrize(("perm", "axis"), [([0, 2, 3, 1], 3), ([1, 0, 2, 3], 0), (None, 2)])
def test_transposed_channels_move_to_another_axis(perm: list[int] | None, axis: int) -> None:
    (made,) = check(node("Transpose", **({} if perm is None else {"perm": perm})), FOUR)

    assert (words_of(made), made.axis) == (WORDS, axis)


def test_a_perm_that_is_no_order_is_refused() -> None:
    why = refusal(node("Transpose", perm=[0, 1, 1, 3]), {"x": SHAPE}, {"x": layout(WORDS)})

    assert why == "its perm is no order of 4 axes"


def links(*steps: tuple[str, Any]) -> list[Node]:
    """A chain of Reshape (to a goal, a constant named by its place) and Transpose (by a perm)."""
    nodes, tensor = [], "x"
    for number, (op, _) in enumerate(steps):
        inputs = (tensor, f"goal{number}") if op == "Reshape" else (tensor,)
        keys = {"perm": steps[number][1]} if op == "Transpose" else {}
        tensor = f"y{number}"
        nodes.append(Node(op, f"n{number}", inputs, (tensor,), keys))
    return nodes


def run(given: Layout, shape: tuple[int, ...], *steps: tuple[str, Any]) -> Layout:
    """The layout behind a chain, checked against the chain run on every copy."""
    rng = np.random.default_rng(0)
    nodes = links(*steps)
    goals = {f"goal{i}": vector(*goal) for i, (op, goal) in enumerate(steps) if op == "Reshape"}
    copies = [rng.normal(size=shape).astype(np.float32) for _ in range(given.copies)]
    last, keys = nodes[-1].outputs[0], {"constants": goals, "opsets": {"": 17}}
    wanted = [evaluate(nodes, {"x": copy}, outputs=[last], **keys)[0] for copy in copies]
    draft = draft_of({"x": shape, last: wanted[0].shape}, goals, layouts={"x": given})
    made = chain(nodes, given, draft)
    emitted = [step.nodes[0] for step in draft.emitted.steps]
    keys["constants"] = goals | draft.emitted.constants
    feeds = {"x/copies": physical(given, copies, rng)}
    (value,) = evaluate(emitted, feeds, outputs=[draft.place(last)], **keys)
    compare(made, value, wanted)
    return made


SHUFFLE = (("Reshape", (0, 2, 2, 3, 5)), ("Transpose", [0, 2, 1, 3, 4]), ("Reshape", (0, 4, 3, 5)))
JOIN = (
    ("Reshape", (0, 2, 2, 2, 3, 5)),
    ("Transpose", [0, 1, 4, 2, 5, 3]),
    ("Reshape", (0, 2, 6, 10)),
)


def test_a_channel_shuffle_only_renames_channels() -> None:
    made = run(layout(WORDS), SHAPE, *SHUFFLE)

    assert words_of(made) == "0a 2a 1a 3a 0b 2b 1b 3b c"


def test_a_pixel_shuffle_by_hand_joins_the_right_copies() -> None:
    words = " ".join(f"{c}{q}" for q in "ab" for c in range(8)) + " c c c c"
    made = run(layout(words), (2, 8, 3, 5), *JOIN)

    assert words_of(made) == "0a 1a 0b 1b c c c c"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_chain_is_undecided_before_its_end(cut: int) -> None:
    nodes = links(*SHUFFLE[:cut])
    goals = {"goal0": vector(0, 2, 2, 3, 5)}

    with pytest.raises(UndecidedError):
        chain(nodes, layout(WORDS), draft_of({"x": SHAPE}, goals, layouts={"x": layout(WORDS)}))


def test_channels_that_are_joined_in_different_ways_stay_undecided() -> None:
    steps = (("Reshape", (0, 2, 2, 3, 5)), ("Reshape", (0, 2, 30)))
    goals = {f"goal{number}": vector(*goal) for number, (_, goal) in enumerate(steps)}
    draft = draft_of({"x": SHAPE}, goals, layouts={"x": layout(WORDS)})

    with pytest.raises(UndecidedError):
        chain(links(*steps), layout(WORDS), draft)


@pytest.mark.parametrize(
    ("shape", "nodes", "why"),
    [
        ((2, 4, 3000, 3000), links(*SHUFFLE), "very large"),
        (SHAPE, [node("Flatten"), *links(*SHUFFLE)], "splits the channels"),
    ],
)
def test_other_chains_are_refused(shape: tuple[int, ...], nodes: list[Node], why: str) -> None:
    goals = {"goal0": vector(0, 2, 2, 3, 5), "goal2": vector(0, 4, 3, 5)}
    draft = draft_of({"x": shape}, goals, layouts={"x": layout(WORDS)})

    with pytest.raises(RefusalError, match=why):
        chain(nodes, layout(WORDS), draft)
    assert not draft.emitted.steps
