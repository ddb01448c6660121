"""Values of shape arithmetic, entry by entry, and the shapes that follow from them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.reading.shape_values import Value, constant_value, shape_by_values, value_of
from lt_onnx.target import Shape

SHAPES: dict[str, Shape] = {"x": ("n", 3, 8, "w"), "t": ("n", "t", 8), "token": (1, 1, 8)}
VALUES = {
    "nw": Value(("n", 3, "w")),
    "n": Value(("n",)),
    "n0": Value(("n",), scalar=True),
    "two": Value((2,)),
    "one": Value((1,)),
    "zero": Value((0,)),
    "minus": Value((-1,)),
    "sizes": Value((4, 6, 8)),
    "scalar": Value((2,), scalar=True),
    "half": Value((4,), whole=False),
    "truth": Value((1, 0, 1)),
    "none": Value(()),
}


def node(op: str, *inputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), ["y"], **attributes)


ENTRIES: dict[str, tuple[onnx.NodeProto, tuple[int | str | None, ...] | None]] = {
    "shape": (node("Shape", "x"), ("n", 3, 8, "w")),
    "part of a shape": (node("Shape", "x", start=1, end=-1), (3, 8)),
    "no shape": (node("Shape", "other"), None),
    "size": (node("Size", "token"), (8,)),
    "open size": (node("Size", "x"), (None,)),
    "gather": (node("Gather", "nw", "two"), ("w",)),
    "gather beyond": (node("Gather", "nw", "half"), None),
    "slice": (node("Slice", "nw", "one", "two"), (3,)),
    "slice back": (node("Slice", "nw", "minus", "zero", "zero", "minus"), ("w", 3)),
    "slice of attributes": (node("Slice", "nw", starts=[0], ends=[2]), ("n", 3)),
    "slice without axes": (node("Slice", "nw", "one", "two", "", "one"), None),
    "concat": (node("Concat", "n", "minus", axis=0), ("n", -1)),
    "cast": (node("Cast", "nw", to=TensorProto.INT32), ("n", 3, "w")),
    "vector": (node("Unsqueeze", "n0", "zero"), ("n",)),
    "scalar": (node("Squeeze", "n", "zero"), ("n",)),
    "product": (node("ReduceProd", "sizes"), (192,)),
    "open product": (node("ReduceProd", "nw"), (None,)),
    "flat": (node("Reshape", "nw", "minus"), ("n", 3, "w")),
    "flat to a scalar": (node("Reshape", "n", "none"), ("n",)),
    "not flat": (node("Reshape", "nw", "pair"), None),
    "times": (node("Mul", "nw", "two"), (None, 6, None)),
    "times one": (node("Mul", "nw", "one"), ("n", 3, "w")),
    "times zero": (node("Mul", "nw", "zero"), (0, 0, 0)),
    "over": (node("Div", "sizes", "minus"), (-4, -6, -8)),
    "over zero": (node("Div", "sizes", "zero"), (None, None, None)),
    "plus": (node("Add", "nw", "two"), (None, 5, None)),
    "minus": (node("Sub", "nw", "nw"), (0, 0, 0)),
    "minus one": (node("Sub", "sizes", "one"), (3, 5, 7)),
    "equal": (node("Equal", "nw", "minus"), (0, 0, 0)),
    "perhaps equal": (node("Equal", "nw", "two"), (None, 0, None)),
    "where": (node("Where", "truth", "sizes", "nw"), (4, 3, 8)),
    "arithmetic of floats": (node("Mul", "half", "two"), None),
    "of other lengths": (node("Add", "nw", "pair"), None),
    "a foreign operator": (node("Shape", "x", domain="com.they"), None),
}
FORMS: dict[str, tuple[onnx.NodeProto, Shape | None]] = {
    "reshape": (node("Reshape", "x", "goal"), ("n", 24, "w")),
    "reshape that copies": (node("Reshape", "t", "copied"), ("n", "t", 2, 4)),
    "reshape to the rest": (node("Reshape", "t", "rest"), ("n", None)),
    "reshape to all but the batch": (node("Reshape", "token", "flat"), (1, 8)),
    "expand": (node("Expand", "token", "nt"), ("n", 5, 8)),
    "tile": (node("Tile", "token", "nt"), ("n", 5, 64)),
    "resize": (node("Resize", "t", "", "", "sizes"), (4, 6, 8)),
    "slice": (node("Slice", "x", "n", "n", "two"), ("n", 3, None, "w")),
    "pad": (node("Pad", "t", "pads"), ("n", None, 11)),
    "filled": (node("ConstantOfShape", "nw"), None),
    "not known": (node("Reshape", "x", "other"), None),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_follow_what_is_known(name: str) -> None:
    made, entries = ENTRIES[name]
    value = value_of(made, SHAPES, VALUES)

    assert (None if value is None else value.entries) == entries


@pytest.mark.parametrize("name", FORMS)
def test_shapes_follow_values(name: str) -> None:
    values = {
        **VALUES,
        "goal": Value(("n", 24, "w")),
        "copied": Value((0, 0, 2, 4)),
        "rest": Value(("n", -1)),
        "flat": Value((1, -1)),
        "nt": Value(("n", 5, 8)),
        "pads": Value((0, 0, 1, 0, 1, 2)),
    }
    made, shape = FORMS[name]

    assert shape_by_values(made, SHAPES, values) == shape


def test_a_filled_vector_is_a_value() -> None:
    fill = numpy_helper.from_array(np.array([7]))
    made = node("ConstantOfShape", "two", value=fill)

    assert value_of(made, SHAPES, VALUES) == Value((7, 7))
    assert value_of(node("ConstantOfShape", "n", value=fill), SHAPES, VALUES) is None


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (np.array([2, 3]), Value((2, 3))),
        (np.array(5, np.int32), Value((5,), scalar=True)),
        (np.array([True]), Value((1,))),
        (np.array([0.5]), None),
        (np.ones((2, 2), int), None),
        (np.ones(65, int), None),
    ],
)
def test_small_constants_of_whole_numbers_are_values(array: np.ndarray, value: Value) -> None:
    assert constant_value(numpy_helper.from_array(array)) == value
