"""Conv, Gemm and MatMul with constant weights become layers; others stay."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, ops_of, relative, target_of

from lt_onnx.errors import InputError
from lt_onnx.reading.linear_layers import conv, gemm, matmul
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite
from lt_onnx.target import Array, Node

RNG = np.random.default_rng(3)
MATRIX, ROW = RNG.normal(size=(3, 4)), RNG.normal(size=4)
LAYERS = {
    "Conv": (
        "(float[N,4,6,7] x) => (float y) { y = Conv<group=2, strides=[2,1]>(x, kernel, bias) }",
        "CONV",
    ),
    "Conv without bias": (
        "(float[N,4,6,7] x) => (float y) { y = Conv<group=2>(x, kernel) }",
        "CONV",
    ),
    "Gemm": ("(float[N,3] x) => (float y) { y = Gemm(x, w, c) }", "GEMM"),
    "Gemm, scaled": (
        "(float[N,3] x) => (float y) { y = Gemm<alpha=-0.5, beta=3.0>(x, w, c) }",
        "GEMM",
    ),
    "Gemm, one bias": ("(float[N,3] x) => (float y) { y = Gemm<beta=2.0>(x, w, one) }", "GEMM"),
    "Gemm, a row": ("(float[N,3] x) => (float y) { y = Gemm(x, w, row) }", "GEMM"),
    "Gemm, transposed weight": ("(float[N,4] x) => (float y) { y = Gemm<transB=1>(x, w) }", "GEMM"),
    "MatMul": ("(float[N,3] x) => (float y) { y = MatMul(x, w) }", "GEMM"),
    "MatMul of more axes": ("(float[N,2,5,3] x) => (float y) { y = MatMul(x, w) }", "MATMUL"),
}
CONSTANTS = {
    "kernel": RNG.normal(size=(6, 2, 3, 2)),
    "bias": RNG.normal(size=6),
    "w": MATRIX,
    "c": ROW,
    "row": ROW[None],
    "one": -1.5,
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_computes_what_its_operator_does(tmp_path: Path, case: str) -> None:
    text, op = LAYERS[case]
    model = model_of(text, **CONSTANTS)
    target = target_of(model, tmp_path)

    assert ops_of(target) == [op]
    assert error_of(target, model, inputs(model, RNG)) < 1e-6


def test_a_transposed_input_is_transposed_first(tmp_path: Path) -> None:
    text = "(float[3,5] x) => (float y) { y = Gemm<transA=1, alpha=0.5, beta=2.0>(x, w, c) }"
    model = model_of(text, **CONSTANTS)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["Transpose", "GEMM"]
    assert target.shapes[target.linears[0].input] == (5, 3)
    assert error_of(target, model, inputs(model, RNG)) < 1e-6


def network(**constants: Array) -> Network:
    """A network with nothing in it but constants."""
    return Network(Path("n.onnx"), 17, frozenset(), {}, constants, {})


F32 = np.ones((2, 2), np.float32)
REFUSED = {
    "computed weight": (conv, Node("Conv", "n", ("x", "w"), ("y",)), {}, "weight is computed"),
    "computed bias": (
        gemm,
        Node("Gemm", "n", ("x", "w", "c"), ("y",)),
        {"w": F32},
        "bias is computed",
    ),
    "a bias per sample": (
        gemm,
        Node("Gemm", "n", ("x", "w", "c"), ("y",)),
        {"w": F32, "c": np.ones((5, 2), np.float32)},
        "not the same for every sample",
    ),
    "a product of two inputs": (
        matmul,
        Node("MatMul", "n", ("x", "w"), ("y",)),
        {},
        "no constant matrix",
    ),
    "a product of unknown shape": (
        matmul,
        Node("MatMul", "n", ("x", "w"), ("y",)),
        {"w": F32},
        "unknown shape",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_tells_its_reason(case: str) -> None:
    rule, node, constants, reason = REFUSED[case]
    result = rule(node, network(**constants))

    assert isinstance(result, Refusal)
    assert reason in result.reason


@pytest.mark.parametrize("rule", [conv, gemm, matmul])
def test_a_rule_is_silent_on_other_operators(rule: object) -> None:
    assert rule(Node("Relu", "n", ("x",), ("y",)), network()) is None  # type: ignore[operator]
    for op in ("Conv", "Gemm", "MatMul"):
        other = Node(op, "n", ("x", "w"), ("y",), domain="com.they")
        assert rule(other, network(w=F32)) is None  # type: ignore[operator]


def test_a_rule_changes_nothing() -> None:
    state = network(w=F32)
    result = gemm(Node("Gemm", "n", ("x", "w"), ("y",), {"alpha": 2.0}), state)

    assert isinstance(result, Rewrite)
    assert relative(F32, np.ones((2, 2), np.float32)) == 0
    assert (state.steps, list(state.constants)) == ({}, ["w"])


WRONG = {
    "integers": (Node("Conv", "n", ("x", "w"), ("y",)), {"w": np.ones((1, 1, 1), np.int8)}, "int8"),
    "groups": (
        Node("Conv", "n", ("x", "w"), ("y",), {"group": 2}),
        {"w": np.ones((3, 1, 1), np.float32)},
        r"\[3, 1, 1\] does not fit 2 groups",
    ),
    "a bias of another length": (
        Node("Conv", "n", ("x", "w", "b"), ("y",)),
        {"w": np.ones((3, 1, 1), np.float32), "b": np.ones(2, np.float32)},
        r"bias of shape \[2\] for 3 channels",
    ),
    "another kernel": (
        Node("Conv", "n", ("x", "w"), ("y",), {"kernel_shape": [2]}),
        {"w": np.ones((3, 1, 1), np.float32)},
        r"kernel_shape is \[2\], its weight's \[1\]",
    ),
    "pads of one side": (
        Node("Conv", "n", ("x", "w"), ("y",), {"pads": [2]}),
        {"w": np.ones((3, 1, 1), np.float32)},
        "1 pads for 1 spatial axes; there must be 2",
    ),
    "no stride": (
        Node("Conv", "n", ("x", "w"), ("y",), {"strides": [0]}),
        {"w": np.ones((3, 1, 1), np.float32)},
        r"strides \[0\] are not possible; give 1 to 1,048,576",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_itself_names_the_node(case: str) -> None:
    node, constants, said = WRONG[case]

    with pytest.raises(InputError, match=rf"^n.onnx: node 'n' \(Conv\): .*{said}"):
        conv(node, network(**constants))


def test_channels_that_do_not_fit_are_told_with_the_inputs_shape() -> None:
    state = network(w=np.ones((3, 4, 1), np.float32))
    state.shapes["x"] = ("N", 5, 7)

    with pytest.raises(
        InputError, match=r"wants 4 channels and 1 spatial axes, its input is \['N'"
    ):
        conv(Node("Conv", "n", ("x", "w"), ("y",)), state)
