"""Layouts: which copy of which channel a physical channel holds, and what becomes of it."""

import numpy as np
import pytest
from copies import layout, words_of

from lt_onnx.layout import (
    CONSTANT,
    UNUSED,
    Layout,
    constructed_layout,
    plain_layout,
    univariate_layout,
    whole_channels,
)

TWO = layout("0a 1a 2a 0b 1b 2b c c .")


def test_a_layout_tells_its_sizes() -> None:
    assert (TWO.size, TWO.width, TWO.copies, TWO.constants) == (3, 9, 2, 2)
    assert (layout("c c").copies, layout("c c").constants) == (0, 2)


def test_find_tells_where_a_copy_is() -> None:
    assert TWO.find([(2, 1), (0, 0), (5, 0), (1, 2)]).tolist() == [5, 0, -1, -1]
    assert TWO.find([(CONSTANT, 1), (UNUSED, 0)]).tolist() == [7, 8]


def test_taken_channels_keep_their_meaning() -> None:
    assert words_of(TWO.take(np.array([5, 6, 0, 0]))) == "2b c 0a 0a"


def test_without_constants_nothing_else_changes() -> None:
    assert words_of(TWO.without_constants()) == "0a 1a 2a 0b 1b 2b . . ."


@pytest.mark.parametrize("outer", [1, 2])
@pytest.mark.parametrize("inner", [1, 3])
def test_spread_channels_follow_the_data(inner: int, outer: int) -> None:
    """The layout of a merged axis is that of the merged numbers themselves."""
    given = TWO.take(np.arange(8))
    meaning = np.where(given.channel >= 0, given.channel, CONSTANT)
    values = np.arange(outer * 3 * inner).reshape(outer, 3, inner)  # of the target, one a place
    spread = given.spread(inner, 2, outer=outer)
    wanted = np.take(values, np.maximum(meaning, 0), 1)
    wanted[:, meaning == CONSTANT] = CONSTANT

    assert (spread.axis, spread.size, spread.width) == (2, 3 * inner * outer, 8 * inner * outer)
    assert spread.channel.tolist() == wanted.reshape(-1).tolist()
    copies = np.repeat(given.copy, inner).tolist() * outer
    data = [q for q, c in zip(copies, spread.channel.tolist(), strict=True) if c >= 0]
    assert [q for q, c in zip(spread.copy.tolist(), spread.channel, strict=True) if c >= 0] == data
    constants = spread.copy[spread.channel == CONSTANT]
    assert len(set(constants.tolist())) == len(constants)  # each is one of its own


def test_spread_channels_keep_their_parts_and_mirrors() -> None:
    slots = np.array([[0, 1], [0, -1]])
    pairs = univariate_layout(1, 1, slots=slots, group=1, constants=0, mirrored=True)
    spread = pairs.spread(2, 1)

    assert spread.part.tolist() == [1, 1, -1, -1, 0, 0, 0, 0]
    assert spread.mirror == 4


@pytest.mark.parametrize(
    ("copies", "group", "constants", "words"),
    [
        (1, 1, 0, "0a 1a 2a 3a"),
        (2, 1, 1, "0a 1a 2a 3a 0b 1b 2b 3b c"),
        (2, 2, 3, "0a 1a 0b 1b c c 2a 3a 2b 3b c ."),
        (1, 4, 2, "0a c 1a c 2a . 3a ."),
    ],
)
def test_a_constructed_layer_puts_out_copies_group_by_group(
    copies: int, group: int, constants: int, words: str
) -> None:
    made = constructed_layout(4, 1, copies=copies, group=group, constants=constants)

    assert words_of(made) == words
    assert (made.size, made.axis, made.mirror) == (4, 1, 0)
    assert made.copy[made.channel == CONSTANT].tolist() == list(range(constants))


def test_a_univariate_layer_puts_out_slots_mirrors_and_constants_group_by_group() -> None:
    slots = np.array([[0, 1], [0, -1], [1, 1], [1, -1]])
    made = univariate_layout(2, 1, slots=slots, group=2, constants=1, mirrored=True)

    assert made.channel.tolist() == [0, 0, UNUSED, UNUSED, CONSTANT, 1, 1, UNUSED, UNUSED, CONSTANT]
    assert made.part.tolist() == [1, -1, 0, 0, 0, 1, -1, 0, 0, 0]
    assert made.copy[made.channel >= 0].tolist() == [0, 1, 2, 3]  # the slot
    assert made.mirror == 2


def test_a_univariate_layer_without_mirrors() -> None:
    slots = np.array([[0, 0], [1, 0]])
    made = univariate_layout(2, 3, slots=slots, group=1, constants=2, mirrored=False)

    assert made.channel.tolist() == [0, 1, CONSTANT, CONSTANT]
    assert (made.mirror, made.axis) == (0, 3)


def test_a_plain_tensor_s_layout_is_one_copy_in_order() -> None:
    assert words_of(plain_layout(3, 1)) == "0a 1a 2a"


def test_entries_come_in_arrays_of_any_shape() -> None:
    made = whole_channels(2, 1, channel=np.array([[0, 1], [0, 1]]), copy=[[0, 0], [1, 1]])

    assert words_of(made) == "0a 1a 0b 1b"
    assert isinstance(made, Layout)
    assert {made.channel.dtype, made.copy.dtype, made.part.dtype} == {np.dtype(np.int32)}
