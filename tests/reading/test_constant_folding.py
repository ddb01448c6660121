"""Constants are computed within bounds, dead parts dropped, shapes told."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rewritten import model_of

from lt_onnx.errors import InputError
from lt_onnx.reading import constant_folding
from lt_onnx.reading.constant_folding import fold
from lt_onnx.reading.protobuf import operator_sets
from lt_onnx.target import Array, Shape

PATH = Path("n.onnx")
HEAD = "(float[N,3,6,7] x) => (float y)"


def folded(model: onnx.ModelProto) -> tuple[list[str], dict[str, Array], dict[str, Shape]]:
    """Operators, constants and shapes of a model when it is folded."""
    shapes, _ = fold(PATH, model, operator_sets(model))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [node.op_type for node in model.graph.node], constants, shapes


def test_constant_nodes_and_what_is_computed_of_them_are_constants() -> None:
    text = f"""{HEAD} {{
        a = Constant<value_floats=[1.0, -2.0, 4.0]>()
        b = Constant<value_int=3>()
        f = Cast<to=1>(b)
        s = Mul(a, f)
        c = Constant<value=float[1] {{0.5}}>()
        t = Add(s, c)
        axes = Constant<value_ints=[1, 2]>()
        u = Unsqueeze(t, axes)
        y = Mul(x, u)
    }}"""
    ops, constants, shapes = folded(model_of(text))

    assert ops == ["Mul"]
    assert list(constants) == ["u"]
    assert constants["u"].reshape(-1).tolist() == [3.5, -5.5, 12.5]
    assert shapes["y"] == ("N", 3, 6, 7)


def test_a_cast_to_what_a_tensor_is_hands_it_on() -> None:
    """As where a framework casts before every operator; other casts stay."""
    text = f"""{HEAD} {{
        a = Cast<saturate=1, to=1>(x)
        i = Cast<to=7>(a)
        f = Cast<to=1>(i)
        h = Cast<to=10>(f)
        s = Cast<to=1>(h)
        b = Cast<to=1>(s)
        y = Relu(b)
    }}"""
    ops, *_ = folded(model_of(text))

    assert ops == ["Identity", "Cast", "Cast", "Cast", "Cast", "Identity", "Relu"]


def test_sizes_that_are_known_are_folded_out_of_open_shapes() -> None:
    text = f"""{HEAD} {{
        s = Shape(x)
        at = Constant<value=int64[2] {{1, -1}}>()
        pair = Gather(s, at)
        one = Constant<value=int64 {{2}}>()
        rows = Gather(s, one)
        tail = Shape<start=1, end=3>(x)
        n = Size(tail)
        a = Add(rows, n)
        b = Add(pair, tail)
        c = Add(a, b)
        f = Cast<to=1>(c)
        k = ReduceSum(f)
        y = Mul(x, k)
    }}"""
    ops, constants, _ = folded(model_of(text))

    assert ops == ["Mul"]
    assert constants["k"].tolist() == [14 + 21]  # (3 + 3, 7 + 6) + 6 + 2


def test_a_shape_that_is_known_up_to_one_size_is_a_constant() -> None:
    text = f"""{HEAD} {{
        s = Shape(x)
        at = Constant<value=int64[1] {{0}}>()
        n = Gather(s, at)
        rest = Constant<value=int64[1] {{-1}}>()
        shape = Concat<axis=0>(n, rest)
        y = Reshape(x, shape)
    }}"""
    ops, constants, shapes = folded(model_of(text))

    assert ops == ["Reshape"]
    assert [value.tolist() for value in constants.values()] == [[-1, 126]]
    assert shapes["y"] == ("N", 126)


def test_a_size_that_is_the_data_s_own_is_copied() -> None:
    text = """(float[N,T,8] x) => (float y) {
        s = Shape(x)
        front = Slice(s, zero, two)
        shape = Concat<axis=0>(front, heads)
        y = Reshape(x, shape)
    }"""
    integers = {key: np.array([v], np.int64) for key, v in (("zero", 0), ("two", 2))}
    ops, constants, shapes = folded(model_of(text, **integers, heads=np.array([2, 4])))

    assert ops == ["Reshape"]
    assert [value.tolist() for value in constants.values()] == [[0, 0, 2, 4]]
    assert shapes["y"] == ("N", "T", 2, 4)


def test_names_that_a_model_gives_to_two_sizes_do_not_make_them_equal() -> None:
    text = """(float[N,N,8] x) => (float y) {
        s = Shape(x)
        swapped = Gather(s, places)
        shape = Concat<axis=0>(swapped, last)
        y = Reshape(x, shape)
    }"""
    ops, _, _ = folded(model_of(text, places=np.array([1, 0]), last=np.array([8])))

    assert ops == ["Shape", "Gather", "Concat", "Reshape"]


def test_sizes_are_scaled_as_onnx_does() -> None:
    model = model_of(
        """(float[2,3,6,7] x) => (float y, int64 sizes) {
            s = Shape(x)
            f = Cast<to=1>(s)
            g = Mul(f, halves)
            sizes = Cast<to=7>(g)
            y = Relu(x)
        }""",
        halves=[1, 1, 0.5, 0.5],
    )
    _, constants, _ = folded(model)

    assert constants["sizes"].tolist() == [2, 3, 3, 3]


def test_what_no_output_needs_is_dropped() -> None:
    model = model_of(f"{HEAD} {{ a = Relu(x)\n b = Mul(a, w)\n y = Tanh(x) }}", w=1.5, v=2.0)
    ops, constants, _ = folded(model)

    assert (ops, constants) == (["Tanh"], {})


@pytest.mark.parametrize("op", ["RandomNormal<shape=[7]>()", "RandomUniformLike(w)"])
def test_random_numbers_are_no_constants(op: str) -> None:
    ops, _, _ = folded(model_of(f"{HEAD} {{ r = {op}\n y = Add(x, r) }}", w=np.ones(7)))

    assert len(ops) == 2


def test_operators_of_other_domains_are_not_computed() -> None:
    ops, _, _ = folded(model_of(f"{HEAD} {{ r = com.they.Own(w)\n y = Add(x, r) }}", w=np.ones(7)))

    assert ops == ["Own", "Add"]


def test_sizes_that_follow_from_data_are_computed_once_known() -> None:
    text = f"{HEAD} {{ r = NonZero(w)\n s = Cast<to=1>(r)\n t = ReduceSum(s)\n y = Add(x, t) }}"
    ops, constants, _ = folded(model_of(text, w=[0.0, 2.0, 0.0, 3.0]))

    assert ops == ["Add"]
    assert float(constants["t"].reshape(())) == 4


def test_whole_numbers_are_told_apart() -> None:
    model = model_of("(float[N,3,6,7] x) => (float y, int64 s) { s = Shape(x)\n y = Relu(x) }")
    _, integers = fold(PATH, model, operator_sets(model))

    assert "s" in integers
    assert integers.isdisjoint({"x", "y"})


BOUNDS = {
    "MAX_FOLDED_NODES": (2, "more than 2 nodes compute constants"),
    "MAX_CONSTANT_BYTES": (-64, r"'n1' .* makes a constant 'b' of shape \[4, 4\]"),
    "MAX_MULTIPLY_ADDS": (63, r"'n1' \(MatMul\) computes a constant with more than 6e\+01"),
    "MAX_TENSOR_SIZE": (100, r"tensor 'x' would hold 1.3e\+02 numbers"),
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_constants_past_a_bound_are_refused(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    limit, said = BOUNDS[bound]
    model = model_of(
        "(float[N,3,6,7] x) => (float y)"
        "{ a = Sqrt(w)\n b = MatMul(a, a)\n c = ReduceMax(b)\n y = Add(x, c) }",
        w=np.ones((4, 4)),
    )
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    monkeypatch.setattr(constant_folding, bound, limit)
    monkeypatch.setattr(constant_folding, "MAX_GROWTH", 2)

    with pytest.raises(InputError, match=said):
        folded(model)


def test_contradicting_shapes_are_told_by_node() -> None:
    model = model_of(f"{HEAD} {{ y = Add(x, w) }}", w=np.ones(5))
    model.graph.node[0].name = "the_add"

    with pytest.raises(InputError, match="shapes cannot be inferred: Add 'the_add': "):
        folded(model)
