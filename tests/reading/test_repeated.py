"""What is the same for every input becomes a constant that is repeated, and stays what it was."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from rewritten import model_of

from lt_onnx.reading.constant_folding import fold
from lt_onnx.reading.protobuf import operator_sets

PATH = Path("n.onnx")
RNG = np.random.default_rng(0)
# [N] and [N, 4, 8], and sizes for them
HEAD = """(float[N,4,8] x) => (float y) {
    shape = Shape(x)
    n = Slice(shape, zero, one)
"""
COUNTS = {"zero": np.int64([0]), "one": np.int64([1]), "two": np.int64([2]), "four": np.int64([4])}
COUNTS |= {"eight": np.int64([8]), "end": np.int64([2**31]), "last": np.int64([-1])}
TABLE = RNG.normal(size=(5, 8)).astype(np.float32)
SQUARE = RNG.normal(size=(8, 8)).astype(np.float32)
QUERIES = RNG.normal(size=(1, 4, 8)).astype(np.float32)

PASSED: dict[str, tuple[str, dict[str, Any]]] = {
    "tokens that are looked up": (
        """sizes = Concat<axis=0>(n, four)
        ids = Expand(id, sizes)
        tokens = Gather<axis=0>(table, ids)
        y = Add(x, tokens)""",
        {"id": np.int64([[3, 1, 2, 1]]), "table": TABLE},
    ),
    "torch's expand": (
        """given = Concat<axis=0>(n, last)
        sizes = Reshape(given, last)
        count = Shape(sizes)
        ones = ConstantOfShape<value = int64[1] {1}>(count)
        minus = Mul(ones, last)
        same = Equal(sizes, minus)
        whole = Where(same, ones, sizes)
        ids = Expand(id, whole)
        tokens = Gather<axis=0>(table, ids)
        y = Add(x, tokens)""",
        {"id": np.int64([[3, 1, 2, 1]]), "table": TABLE},
    ),
    "positions that are counted": (
        """sizes = Concat<axis=0>(n, four)
        mask = ConstantOfShape<value = float[1] {1}>(sizes)
        counted = CumSum(mask, along)
        most = Slice(counted, last, end, one)
        share = Div(counted, most)
        places = Unsqueeze(share, two)
        angles = Div(places, frequencies)
        waves = Sin(angles)
        y = Add(x, waves)""",
        {"along": np.int64(1), "frequencies": np.arange(1, 9, dtype=np.float32)},
    ),
    "an axis before": (
        """sizes = Concat<axis=0>(one, n, four)
        mask = ConstantOfShape<value = float[1] {1}>(sizes)
        twice = Concat<axis=0>(mask, mask)
        first = Gather<axis=0>(twice, at)
        places = Unsqueeze(first, two)
        y = Add(x, places)""",
        {"at": np.int64(0)},
    ),
    "a recurrent cell's first step": (
        """sizes = Concat<axis=0>(one, n, eight)
        zeros = ConstantOfShape(sizes)
        state = Squeeze(zeros, zero)
        moved = Gemm<transB=1>(state, square, bias)
        gate = Sigmoid(moved)
        places = Unsqueeze(gate, one)
        y = Add(x, places)""",
        {"square": SQUARE, "bias": TABLE[0]},
    ),
    "queries that attend to each other": (
        """often = Concat<axis=0>(n, one, one)
        queries = Tile(each, often)
        keys = MatMul(queries, square)
        turned = Transpose<perm=[0, 2, 1]>(keys)
        logits = MatMul(queries, turned)
        shares = Softmax<axis=2>(logits)
        values = MatMul(shares, queries)
        known = LayerNormalization<axis=-1>(values, gain)
        y = Add(x, known)""",
        {"each": QUERIES, "square": SQUARE, "gain": np.float32(range(8))},
    ),
    "what is split and bounded": (
        """often = Concat<axis=0>(n, one, one)
        queries = Tile(each, often)
        low = Clip(queries, least)
        left, right = Split<axis=2>(low)
        flat = Flatten<axis=1>(left)
        sizes = Concat<axis=0>(n, four, four)
        again = Reshape(flat, sizes)
        whole = Concat<axis=-1>(again, right)
        y = Add(x, whole)""",
        {"each": QUERIES, "least": np.float32(0)},
    ),
    "a shape that keeps it": (
        """sizes = Concat<axis=0>(n, two, four, four)
        pairs = Expand(each, sizes)
        given = Concat<axis=0>(n, eight, four)
        rows = Reshape(pairs, given)
        turned = Transpose<perm=[0, 2, 1]>(rows)
        y = Add(x, turned)""",
        {"each": RNG.normal(size=(2, 4, 1)).astype(np.float32)},
    ),
    "a convolution": (
        """sizes = Concat<axis=0>(n, four, eight)
        map = Expand(each, sizes)
        made = Conv<pads=[1, 1]>(map, kernel)
        y = Add(x, made)""",
        {"each": QUERIES, "kernel": RNG.normal(size=(4, 4, 3)).astype(np.float32)},
    ),
}
SIMPLE = frozenset("Shape Slice Gather Concat Expand Tile Add".split())
OF_SIZES = {"torch's expand": frozenset(["Reshape", "Equal", "Where"])}


def ran(model: onnx.ModelProto, count: int) -> np.ndarray:
    x = np.random.default_rng(count).normal(size=(count, 4, 8)).astype(np.float32)
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def operators(model: onnx.ModelProto) -> Counter[str]:
    """Of a model when it is folded, which computes what it did for one input, two and three."""
    model.graph.output[0].type.tensor_type.ClearField("shape")
    before = [ran(model, count) for count in (1, 2, 3)]
    fold(PATH, model, operator_sets(model))

    for count, value in enumerate(before, 1):
        np.testing.assert_allclose(ran(model, count), value, rtol=1e-5, atol=1e-5)
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", PASSED)
def test_nothing_is_computed_but_how_often(name: str) -> None:
    text, constants = PASSED[name]

    counts = operators(model_of(HEAD + text + "}", **COUNTS, **constants))
    assert counts.keys() <= SIMPLE | OF_SIZES.get(name, frozenset())
    assert counts["Expand"] + counts["Tile"] == 1


@pytest.mark.parametrize(
    ("text", "op"),
    [
        ("c = CumSum(r, along)", "CumSum"),
        ("c = Slice(r, zero, one, zero)", "Sin"),
        ("c = Gather<axis=0>(r, zero)", "Sin"),
        ("c = Concat<axis=0>(r, r)", "Sin"),
        ("c = ReduceSum(r, zero)", "ReduceSum"),
        ("c = Softmax<axis=0>(r)", "Softmax"),
        ("c = Reshape(r, last)", "Sin"),
        ("a = Reshape(r, columns) b = Transpose(a) c = MatMul(b, a)", "MatMul"),
        ("c = LayerNormalization<axis=0>(r, gain)", "LayerNormalization"),
    ],
)
def test_what_goes_along_the_inputs_is_left(text: str, op: str) -> None:
    body = f"""sizes = Concat<axis=0>(n, four, eight)
        r = Expand(each, sizes)
        {text}
        d = Sin(c)
        e = ReduceMax<keepdims=0>(d)
        y = Add(x, e)"""
    constants = {
        "each": QUERIES,
        "along": np.int64(0),
        "gain": np.float32(1),
        "columns": np.int64([-1, 32]),
    }

    assert operators(model_of(HEAD + body + "}", **COUNTS, **constants))[op]


def test_an_old_softmax_goes_along_all_axes_behind() -> None:
    text = """sizes = Concat<axis=0>(two, n, four)
        r = Expand(each, sizes)
        c = Softmax(r)
        d = ReduceMax<axes=[0, 2], keepdims=0>(c)
        e = Reshape(d, column)
        y = Add(x, e)"""
    each = RNG.normal(size=(2, 1, 4))
    column = np.int64([-1, 1, 1])
    model = model_of(HEAD + text + "}", opset=11, **COUNTS, each=each, column=column)

    assert operators(model)["Softmax"]


def test_what_makes_no_floats_stays_where_others_read_it() -> None:
    text = """sizes = Concat<axis=0>(n, four)
        ids = Expand(id, sizes)
        odd = Mod(ids, two)
        yes = Equal(odd, one)
        whole = Unsqueeze(yes, two)
        y = Where(whole, x, x)"""
    counts = operators(model_of(HEAD + text + "}", **COUNTS, id=np.int64([[3, 1, 2, 1]])))

    assert counts == Counter("Shape Slice Concat Expand Mod Equal Unsqueeze Where".split())


def test_a_name_that_is_taken_is_left() -> None:
    text, constants = PASSED["tokens that are looked up"]
    text = text.replace("Add(x, tokens)", "Sum(x, tokens, a)").replace(
        "tokens =", "a = Relu(x)\n tokens ="
    )
    model = model_of(HEAD + text + "}", **COUNTS, **constants)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["tokens/once" if name == "a" else name for name in names]

    assert operators(model)["Gather"] == 1


class Chain:
    """A random chain of operators on a constant that is repeated."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors = [numpy_helper.from_array(np.int64([0]), "zero")]
        self.shape: list[int] = [3, 4, 8]  # of three inputs
        self.add("Shape", ["x"])
        n = self.add("Gather", ["0", "zero"])
        axis = int(self.rng.integers(3))
        sizes = [2, 4]
        self.shape = [*sizes[:axis], 3, *sizes[axis:]]
        parts = [self.constant(np.int64([size])) for size in sizes]
        parts.insert(axis, n)
        vector = self.add("Concat", parts, axis=0)
        value = self.constant(self.rng.normal(size=[*sizes[:axis], 1, *sizes[axis:]]))
        self.last = self.add("Expand", [value, vector])

    def constant(self, value: Any) -> str:
        value = np.asarray(value)
        value = value.astype(np.float32) if value.dtype.kind == "f" else value
        self.tensors.append(numpy_helper.from_array(value, f"c{len(self.tensors)}"))
        return self.tensors[-1].name

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [str(len(self.nodes))], **attributes))
        return self.nodes[-1].output[0]

    def grow(self) -> None:
        """One more operator, along any axis."""
        rank, rng, last = len(self.shape), self.rng, self.last
        axis = int(rng.integers(rank))
        at = self.constant(np.int64([axis]))
        match rng.integers(9):
            case 0:
                self.last = self.add("Sin", [last])
            case 1:
                kept = rng.integers(2, size=rank)
                sizes = [s if k and s != 3 else 1 for s, k in zip(self.shape, kept, strict=True)]
                value = self.constant(rng.normal(size=sizes[int(rng.integers(rank)) :]))
                self.last = self.add("Add", [last, value][:: int(rng.choice([1, -1]))])
            case 2:
                perm = rng.permutation(rank).tolist()
                self.shape = [self.shape[i] for i in perm]
                self.last = self.add("Transpose", [last], perm=perm)
            case 3 if rank < 5:
                self.shape.insert(axis, 1)
                self.last = self.add("Unsqueeze", [last, at])
            case 4:
                self.shape[axis] = 1
                bounds = [self.constant(np.int64([0])), self.constant(np.int64([1]))]
                self.last = self.add("Slice", [last, *bounds, at])
            case 5:
                self.last = self.add("CumSum", [last, self.constant(np.int64(axis))])
            case 6:
                self.shape[axis] = 1
                self.last = self.add("ReduceMean", [last, at], keepdims=1)
            case 7:
                self.last = self.add("Softmax", [last], axis=axis)
            case 8:
                width = self.shape[-1]
                if width != 3:
                    self.shape[-1] = 5
                    weight = self.constant(rng.normal(size=(width, 5)))
                    self.last = self.add("MatMul", [last, weight])

    def model(self) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 8])
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "chain", [x], [y], self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_random_chains_compute_what_they_did() -> None:
    """Of those that do nothing along the inputs nothing is left; these are more than a third."""
    whole = 0
    for seed in range(150):
        chain = Chain(seed)
        for _ in range(int(chain.rng.integers(1, 9))):
            chain.grow()
        whole += operators(chain.model()).keys() <= SIMPLE
    assert whole > 50
