"""Which branch an If takes is found out where shapes tell it; of that branch the nodes are left."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from rewritten import model_of

from lt_onnx.errors import UnsupportedError
from lt_onnx.reading.constant_folding import fold
from lt_onnx.reading.graph import read_graph
from lt_onnx.reading.protobuf import all_graphs, names_read, operator_sets
from lt_onnx.target import Array

PATH = Path("n.onnx")
HEAD = "(float[N,3,6,1] x) => (float y)"
SQUEEZE = """
    shape = Shape(x)
    size = Gather<axis=0>(shape, last)
    yes = Equal(size, one)
    y = If(yes) <then_branch = a () => (float z) { z = Squeeze(r, axes) },
                else_branch = b () => (float z) { z = Identity(r) }>
"""
WHOLE = {"last": np.int64(3), "one": np.int64(1), "axes": np.int64([3])}


def shapeless(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, its outputs and those of branches without shapes, which its text cannot do."""
    for graph in all_graphs(model):
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    return model


def ran(model: onnx.ModelProto, x: Array) -> Array:
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def folded(model: onnx.ModelProto) -> list[str]:
    """Operators of a model when it is folded, which computes what it did."""
    shapeless(model)
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 1)).astype(np.float32)
    before = ran(model, x)
    fold(PATH, model, operator_sets(model))

    np.testing.assert_array_equal(ran(model, x), before)
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(("size", "op"), [(1, "Squeeze"), (2, "Identity")])
def test_a_size_tells_whether_an_axis_is_squeezed(size: int, op: str) -> None:
    model = model_of(f"{HEAD} {{ r = Relu(x) {SQUEEZE} }}", **{**WHOLE, "one": np.int64(size)})

    assert folded(model) == ["Relu", op]


def test_names_of_a_branch_that_are_taken_are_changed() -> None:
    lines = """
        sizes = Shape(x)
        rank = Size(sizes)
        yes = Greater(rank, last)
        r = If(yes) <then_branch = a () => (float out) { s = Mul(x, half) out = Relu(s) },
                    else_branch = b () => (float out) { out = Neg(x) }>
        t = If(yes) <then_branch = a () => (float out) { s = Add(r, half) out = Exp(s) },
                    else_branch = b () => (float out) { out = Neg(r) }>
        y = Sub(t, r)
    """
    model = model_of(f"{HEAD} {{ {lines} }}", last=np.int64(3), half=0.5)

    assert folded(model) == ["Mul", "Relu", "Add", "Exp", "Sub"]
    written = [name for node in model.graph.node for name in node.output]
    assert len(set(written)) == len(written)


def test_a_branch_hands_out_a_constant_and_one_tensor_twice() -> None:
    lines = """
        p, q, v = If(yes) <
            then_branch = a () => (float p, float q, float v) { p = Abs(x) },
            else_branch = b () => (float p, float q, float v) {
                p = Neg(x) q = Neg(x) v = Neg(x)
            }>
        pq = Add(p, q)
        y = Sub(pq, v)
    """
    model = model_of(f"{HEAD} {{ {lines} }}", yes=np.int64(1))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(True), "yes"))
    (branch,) = (a.g for a in model.graph.node[0].attribute if a.name == "then_branch")
    branch.initializer.append(numpy_helper.from_array(np.float32(3), "own"))
    branch.output[1].name, branch.output[2].name = "p", "own"

    assert folded(model) == ["Abs", "Identity", "Add", "Sub"]


def test_what_branches_take_from_outside_is_read() -> None:
    model = model_of(f"{HEAD} {{ r = Relu(x) {SQUEEZE} }}", **WHOLE)

    assert sorted({*names_read(model.graph.node[-1])}) == ["axes", "r", "yes"]


def test_nodes_are_sorted_by_what_branches_read(tmp_path: Path) -> None:
    model = model_of(f"{HEAD} {{ r = Relu(x) {SQUEEZE} }}", **WHOLE)
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    path = tmp_path / "n.onnx"
    onnx.save(shapeless(model), path)

    assert [step.op for step in read_graph(path).steps] == ["Relu", "Squeeze"]


def test_half_precision_in_a_branch_becomes_single(tmp_path: Path) -> None:
    lines = """
        h = Cast<to=10>(x)
        c = Conv(h, w)
        y = If(yes) <then_branch = a () => (float z) { z = Cast<to=1>(c) },
                    else_branch = b () => (float z) { d = Neg(c) z = Cast<to=1>(d) }>
    """
    model = model_of(f"{HEAD} {{ {lines} }}", yes=np.bool_(False))
    weight = np.ones((2, 3, 3, 1), np.float16)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    onnx.save(shapeless(model), tmp_path / "n.onnx")
    graph = read_graph(tmp_path / "n.onnx")

    assert graph.was_float32 is False
    assert "Neg" in [step.op for step in graph.steps]


def test_what_depends_on_the_data_is_refused(tmp_path: Path) -> None:
    lines = """
        m = ReduceMax<keepdims=0>(x)
        yes = Greater(m, last)
        y = If(yes) <then_branch = a () => (float z) { z = Relu(x) },
                    else_branch = b () => (float z) { z = Neg(x) }>
    """
    model = model_of(f"{HEAD} {{ {lines} }}", last=0.0)
    model.graph.node[-1].name = "whether"
    onnx.save(shapeless(model), tmp_path / "n.onnx")

    said = r"node 'whether' \(If\) is control flow, and no shape tells which branch is taken"
    with pytest.raises(UnsupportedError, match=said):
        read_graph(tmp_path / "n.onnx")


def test_what_the_branch_that_is_taken_has_is_refused(tmp_path: Path) -> None:
    lines = """
        y = If(yes) <then_branch = a () => (float z) { z = RandomNormalLike(x) },
                    else_branch = b () => (float z) { z = Relu(x) }>
    """
    for truth in (True, False):
        model = model_of(f"{HEAD} {{ {lines} }}", yes=np.bool_(truth))
        onnx.save(shapeless(model), tmp_path / "n.onnx")
        if truth:
            with pytest.raises(UnsupportedError, match="draws random numbers"):
                read_graph(tmp_path / "n.onnx")
        else:
            assert [step.op for step in read_graph(tmp_path / "n.onnx").steps] == ["Relu"]
