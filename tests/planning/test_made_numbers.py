"""What numbers are that a network makes in its graph, and whether it may compute with them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from rewritten import model_of

from lt_onnx import convert
from lt_onnx.errors import UnsupportedError
from lt_onnx.options import Mode, Options
from lt_onnx.planning.made_numbers import Content, content_of, joins
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.target import Node

# positions from 1 to 4, as masks that are nowhere set count them, over the last of them
COUNTED = """
    (float[{batch},3,4,4] x) => (float y) {{
        a = Conv<pads=[1,1,1,1]>(x, w)
        r = Relu(a)
        s = Shape(r)
        n = Slice(s, zero, one)
        m = Concat<axis=0>(n, one, four, four)
        o = ConstantOfShape<value=float[1] {{1.0}}>(m)
        c = CumSum(o, axis)
        last = Slice(c, {start}, far, axes)
        d = Div(c, last)
        q = Add(r, d)
        y = Conv(q, v)
    }}
"""
WHOLE = {
    "zero": np.int64([0]),
    "one": np.int64([1]),
    "four": np.int64([4]),
    "axis": np.int64(3),
    "far": np.int64([9]),
    "axes": np.int64([3]),
    "minus": np.int64([-1]),
}


def counted(folder: Path, batch: str) -> Path:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(6, 3, 3, 3)), "v": rng.normal(size=(2, 6, 1, 1))}
    model = model_of(COUNTED.format(batch=batch, start="minus"), **weights, **WHOLE)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path = folder / "counted.onnx"
    onnx.save(model, path)
    return path


def test_numbers_that_constants_pick_are_refused_where_data_meets_them(tmp_path: Path) -> None:
    target = read_target(counted(tmp_path, "N"))

    said = r"\(Add\) computes with numbers that constants pick out .* fixed sizes, the batch's too"
    for mode in (Mode.TWO_L, Mode.L_PLUS_1):
        with pytest.raises(UnsupportedError, match=said):
            plan(target, Options(mode))


def test_with_a_fixed_batch_they_are_constants_that_are_constructed(tmp_path: Path) -> None:
    ticket = convert(counted(tmp_path, "2"), tmp_path / "t.onnx", mode="2l", validate=False)

    assert ticket.report.proof.genuine
    assert sum(place.parameters for place in ticket.report.dense) == 0


def node(op: str, *inputs: str) -> Node:
    return Node(op, op.lower(), inputs, ("out",))


@pytest.mark.parametrize(
    ("made", "content"),
    [
        (node("Shape", "data"), Content.SIZES),
        (node("CumSum", "filled", "axis"), Content.MADE),
        (node("Slice", "filled", "from", "to"), Content.FILLED),
        (node("Slice", "made", "from", "to"), Content.PICKED),
        (node("Slice", "made", "sizes", "sizes"), Content.MADE),
        (node("Gather", "made", "from"), Content.PICKED),
        (node("Greater", "sizes", "made"), Content.SIZES),
        (node("Greater", "sizes", "picked"), Content.PICKED),
        (node("Sin", "picked"), Content.PICKED),
        (node("Shape", "picked"), Content.SIZES),
        (node("Reshape", "made", "picked"), Content.MADE),
    ],
)
def test_the_content_of_what_a_node_makes(made: Node, content: Content) -> None:
    known = {kind.name.lower(): kind for kind in Content}

    assert content_of(made, known, constants={"from", "to", "axis"}) is content


def test_what_joins_data() -> None:
    known = {kind.name.lower(): kind for kind in Content}

    assert joins(node("Add", "data", "picked"), known) is Content.PICKED
    assert joins(node("Add", "data", "made"), known) is Content.MADE
    assert joins(node("Where", "made", "data", "picked"), known) is Content.MADE
    assert joins(node("Add", "data", "filled"), known) is None
    assert joins(node("Gather", "data", "picked"), known) is None
