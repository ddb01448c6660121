"""What is affine per channel goes into all layers behind it: exact weights, and what must not."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, ops_of, target_of

RNG = np.random.default_rng(9)
SHAPES = {
    "c": (4,),
    "k": (1, 1, 4),
    "rows": (6, 1),
    "w": (4, 5),
    "v": (4, 3),
    "conv": (5, 4, 1, 1),
    "wide": (5, 4, 3, 3),
    "g": (4, 5),
}
LAYERS = {  # of x [N,6,4] or [N,4,6,5]
    "a matrix": ("[N,6,4]", "a = Mul(r, c)\n y = MatMul(a, w)", "Relu MATMUL"),
    "scale and shift": (
        "[N,6,4]",
        "m = Mul(c, r)\n a = Sub(k, m)\n y = MatMul(a, w)",
        "Relu MATMUL",
    ),
    "several readers": (
        "[N,6,4]",
        "a = Div(r, c)\n p = MatMul(a, w)\n q = MatMul(a, v)\n y = Concat<axis=2>(p, q)",
        "Relu MATMUL MATMUL Concat",
    ),
    "a row alone": (
        "[N,6,4]",
        "a = Add(r, c)\n h = Gather<axis=1>(a, first)\n y = Gemm(h, g)",
        "Relu Gather GEMM",
    ),
    "the mean of rows": (
        "[N,6,4]",
        "a = Add(r, c)\n h = ReduceMean<axes=[1], keepdims=0>(a)\n y = Gemm(h, g)",
        "Relu ReduceMean GEMM",
    ),
    "windows that are rolled": (
        "[N,6,4]",
        """a = Add(r, c)
        f = Slice(a, two, six, one)\n l = Slice(a, zero, two, one)\n j = Concat<axis=1>(f, l)
        p = Reshape(j, windows)\n t = Transpose<perm=[0,2,1,3]>(p)\n y = MatMul(t, w)""",
        "Relu Slice Slice Concat Reshape Transpose MATMUL",
    ),
    "a normalization of vectors": (
        "[N,4]",
        "a = BatchNormalization(r, c, c, c, c)\n y = Gemm(a, g)",
        "Relu GEMM",
    ),
    "what a framework makes of it": (
        "[N,4]",
        "d = Sub(r, c)\n m = Mul(d, c)\n a = Add(m, c)\n y = Gemm(a, g)",
        "Relu GEMM",
    ),
    "a normalization before two convolutions": (
        "[N,4,6,5]",
        "a = BatchNormalization(r, c, c, c, c)\n p = Conv(a, conv)\n q = Conv(a, conv)"
        "\n y = Mul(p, q)",
        "Relu CONV CONV Mul",
    ),
    "a convolution": (
        "[N,4,6,5]",
        "a = Transpose<perm=[0,2,3,1]>(r)\n b = Add(a, c)\n"
        " t = Transpose<perm=[0,3,1,2]>(b)\n y = Conv(t, conv)",
        "Relu Transpose Transpose CONV",
    ),
    "a scale before padding": (
        "[N,6,5,4]",
        "m = Mul(r, c)\n t = Transpose<perm=[0,3,1,2]>(m)\n y = Conv<pads=[1,1,1,1]>(t, wide)",
        "Relu Transpose CONV",
    ),
}
STAYS = {
    "a shift before padding": (
        "[N,6,5,4]",
        "m = Add(r, c)\n t = Transpose<perm=[0,3,1,2]>(m)\n y = Conv<pads=[1,1,1,1]>(t, wide)",
        "Add",
    ),
    "another reader": (
        "[N,6,4]",
        "a = Add(r, c)\n p = MatMul(a, w)\n q = Tanh(a)\n y = Concat<axis=2>(p, q)",
        "Add",
    ),
    "channels on another axis": (
        "[N,4,4]",
        "a = Mul(r, c)\n t = Transpose<perm=[0,2,1]>(a)\n y = MatMul(t, w)",
        "Mul",
    ),
    "one number a row": ("[N,6,4]", "a = Mul(r, rows)\n y = MatMul(a, w)", "CONV"),
    "channels taken apart": (
        "[N,6,4]",
        "a = Mul(r, c)\n h = Reshape(a, halves)\n y = MatMul(h, w)",
        "Mul",
    ),
    "half of what is joined": (
        "[N,6,4]",
        "a = Mul(r, c)\n j = Concat<axis=1>(a, r)\n y = MatMul(j, w)",
        "Mul",
    ),
    "the first of what is picked": (
        "[N,6,4]",
        "a = Mul(r, c)\n h = Gather<axis=2>(a, first)\n y = MatMul(h, six4)",
        "Mul",
    ),
}


def model_for(shape: str, text: str):
    values = {key: RNG.uniform(0.5, 2, size) for key, size in SHAPES.items()}
    integers = {"first": 0, "zero": [0], "one": [1], "two": [2], "six": [6]}
    integers |= {"windows": [0, 3, 2, 4], "halves": [0, 12, 2], "six4": None}
    values["six4"] = RNG.normal(size=(6, 4))
    if "halves" in text:
        values["w"] = RNG.normal(size=(2, 5))
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {key: value for key, value in values.items() if key in words}
    used |= {k: np.array(v, np.int64) for k, v in integers.items() if k in words and v is not None}
    return model_of(f"(float{shape} x) => (float y) {{ r = Relu(x)\n {text} }}", **used)


@pytest.mark.parametrize("case", LAYERS)
def test_it_is_in_the_weights_of_all_that_read_it(tmp_path: Path, case: str) -> None:
    shape, text, ops = LAYERS[case]
    model = model_for(shape, text)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ops.split()
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


@pytest.mark.parametrize("case", STAYS)
def test_it_stays_where_anything_else_would_see_it(tmp_path: Path, case: str) -> None:
    shape, text, op = STAYS[case]
    model = model_for(shape, text)
    target = target_of(model, tmp_path)

    assert op in ops_of(target)
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_it_stays_where_it_is_given_out(tmp_path: Path) -> None:
    text = "(float[N,6,4] x) => (float a, float y) { a = Mul(x, c)\n y = MatMul(a, w) }"
    model = model_of(text, c=RNG.normal(size=4), w=RNG.normal(size=(4, 5)))
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["Mul", "MATMUL"]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5
