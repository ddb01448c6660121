"""Affine operators that follow no layer become depthwise layers, and go into the layer behind."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, normalization, ops_of, target_of

RNG = np.random.default_rng(13)
C = RNG.uniform(0.5, 2, (3, 1, 1)) * np.array([-1, 1, -1]).reshape(3, 1, 1)
NORM = "BatchNormalization(x, scale, shift, mean, variance)"
CONSTANTS = {"c": C, "flat": C.reshape(-1), "half": 0.5, **normalization(RNG, 3)}
ALONE = {
    "BatchNormalization": (f"(float[N,3,5,4] x) => (float y) {{ y = {NORM} }}", ["CONV"]),
    "of signals": (f"(float[N,3,5] x) => (float y) {{ y = {NORM} }}", ["CONV"]),
    "of volumes": (f"(float[N,3,2,3,4] x) => (float y) {{ y = {NORM} }}", ["CONV"]),
    "of vectors": (
        f"(float[N,3] x) => (float y) {{ y = {NORM} }}",
        ["Unsqueeze", "CONV", "Squeeze"],
    ),
    "of vectors, in parts": (
        "(float[N,3] x) => (float y) { a = Sub(x, flat)\n b = Mul(a, flat)\n y = Add(b, flat) }",
        ["Unsqueeze", "CONV", "Squeeze"],
    ),
    "Mul": ("(float[N,3,5,4] x) => (float y) { y = Mul(c, x) }", ["CONV"]),
    "Sub from a constant": ("(float[N,3,5,4] x) => (float y) { y = Sub(c, x) }", ["CONV"]),
    "a chain": (f"(float[N,3,5,4] x) => (float y) {{ n = {NORM}\n y = Mul(n, c) }}", ["CONV"]),
    "one number": ("(float[N,3,5,4] x) => (float y) { y = Mul(x, half) }", ["Mul"]),
    "open channels": ("(float[N,C,5,4] x) => (float y) { y = Mul(x, c) }", ["Mul"]),
    "more channels than before": ("(float[N,1,5,4] x) => (float y) { y = Mul(x, c) }", ["Mul"]),
    "no channels": ("(float[3] x) => (float y) { y = Mul(x, half) }", ["Mul"]),
}


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("case", ALONE)
def test_one_number_per_channel_is_a_layer(tmp_path: Path, case: str, opset: int) -> None:
    text, ops = ALONE[case]
    model = model_of(text, opset=opset, **CONSTANTS)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ops
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


BEFORE = {
    "a convolution": ("Conv(n, w, b)", NORM, ["CONV"]),
    "groups": ("Conv<group=3>(n, narrow)", NORM, ["CONV"]),
    "padding": ("Conv<pads=[1,0,1,2]>(n, w, b)", NORM, ["CONV", "CONV"]),
    "padding by a word": ('Conv<auto_pad="SAME_UPPER">(n, w, b)', NORM, ["CONV", "CONV"]),
    "padding of a pure scale": ("Conv<pads=[1,0,1,2]>(n, w, b)", "Mul(x, c)", ["CONV"]),
    "a product over the last axis": ("MatMul(n, square)", NORM, ["CONV", "MATMUL"]),
}


@pytest.mark.parametrize("case", BEFORE)
def test_it_goes_into_the_convolution_behind_it(tmp_path: Path, case: str) -> None:
    layer, affine, ops = BEFORE[case]
    model = model_of(
        f"(float[N,3,5,3] x) => (float y) {{ n = {affine}\n y = {layer} }}",
        **CONSTANTS,
        w=RNG.normal(size=(4, 3, 2, 3)),
        narrow=RNG.normal(size=(6, 1, 2, 3)),
        b=RNG.normal(size=4),
        square=RNG.normal(size=(3, 4)),  # three on the last axis too: channels are on another
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == ops
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_it_stays_where_it_is_read_twice_or_given_out(tmp_path: Path) -> None:
    texts = (
        f"(float[N,3,5,4] x) => (float y) {{ n = {NORM}\n h = Conv(n, w)\n y = Add(h, n) }}",
        f"(float[N,3,5,4] x) => (float n, float y) {{ n = {NORM}\n y = Conv(n, w) }}",
    )
    for text in texts:
        model = model_of(text, **CONSTANTS, w=RNG.normal(size=(3, 3, 1, 1)))
        target = target_of(model, tmp_path)
        assert ops_of(target)[:2] == ["CONV", "CONV"], text
        assert error_of(target, model, inputs(model, RNG)) < 1e-5
