"""What is affine per channel goes into the layer before it: exact weights, and what must not."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, normalization, ops_of, relative, target_of

RNG = np.random.default_rng(7)
W = RNG.normal(size=(4, 3, 3, 2))
CHANNEL = RNG.uniform(0.5, 2, (4, 1, 1)) * np.array([1, -1, 1, -1]).reshape(4, 1, 1)
CONV = "(float[N,3,6,7] x) => (float y) {{ h = Conv<pads=[1,0,2,1]>(x, w, b)\n {} }}"
# what follows the layer, and the constants of it
FUSED = {
    "BatchNormalization": (
        "y = BatchNormalization(h, scale, shift, mean, variance)",
        normalization(RNG, 4),
    ),
    "epsilon": (
        "y = BatchNormalization<epsilon = 0.5>(h, scale, shift, mean, variance)",
        normalization(RNG, 4),
    ),
    "Add": ("y = Add(h, c)", {"c": CHANNEL}),
    "Add, constant first": ("y = Add(c, h)", {"c": CHANNEL}),
    "Sub": ("y = Sub(h, c)", {"c": CHANNEL}),
    "Sub from a constant": ("y = Sub(c, h)", {"c": CHANNEL}),
    "Mul": ("y = Mul(h, c)", {"c": CHANNEL[None]}),
    "Div": ("y = Div(h, c)", {"c": CHANNEL}),
    "one number": ("y = Mul(h, c)", {"c": -1.75}),
    "one number of four axes": ("y = Sub(h, c)", {"c": np.full((1, 1, 1, 1), 0.3)}),
    "a chain": (
        "m = Mul(h, c)\n a = Add(k, m)\n y = BatchNormalization(a, scale, shift, mean, variance)",
        {"c": CHANNEL, "k": 0.25, **normalization(RNG, 4)},
    ),
    "behind an Identity": ("i = Identity(h)\n y = Mul(i, c)", {"c": CHANNEL}),
}


@pytest.mark.parametrize("case", FUSED)
def test_what_follows_a_convolution_is_in_its_weights(tmp_path: Path, case: str) -> None:
    text, constants = FUSED[case]
    model = model_of(CONV.format(text), w=W, b=RNG.normal(size=4), **constants)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["CONV"]
    assert target.steps[0].outputs == ("y",)
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_what_follows_a_matrix_is_in_its_weights(tmp_path: Path, op: str) -> None:
    model = model_of(
        f"(float[N,3] x) => (float y) {{ h = {op}(x, w)\n m = Mul(h, c)\n"
        " y = BatchNormalization(m, scale, shift, mean, variance) }",
        w=RNG.normal(size=(3, 4)),
        c=CHANNEL.reshape(1, 4),
        **normalization(RNG, 4),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["GEMM"]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_what_follows_a_product_over_the_last_axis_is_in_its_weights(tmp_path: Path) -> None:
    text = "(float[N,5,3] x) => (float y) { h = MatMul(x, w)\n y = Add(h, c) }"
    model = model_of(text, w=RNG.normal(size=(3, 4)), c=RNG.normal(size=4))
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["MATMUL"]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


# a network, and the operators that are left
KEPT = {
    "a layer that is read twice": (
        "(float[N,3,6,7] x) => (float y) { h = Conv(x, w)\n a = Mul(h, c)\n y = Sub(a, h) }",
        ["CONV", "CONV", "Sub"],
    ),
    "a layer that is an output": (
        "(float[N,3,6,7] x) => (float h, float y) { h = Conv(x, w)\n y = Mul(h, c) }",
        ["CONV", "CONV"],
    ),
    "an activation between": (
        "(float[N,3,6,7] x) => (float y) { h = Conv(x, w)\n r = Relu(h)\n y = Mul(r, c) }",
        ["CONV", "Relu", "CONV"],
    ),
    "a constant divided": (
        "(float[N,3,6,7] x) => (float y) { h = Conv(x, w)\n y = Div(c, h) }",
        ["CONV", "Div"],
    ),
    "a division by zero": (
        "(float[N,3,6,7] x) => (float y) { h = Conv(x, w)\n y = Div(h, zero) }",
        ["CONV", "Div"],
    ),
    "a constant along the rows": (
        "(float[N,3,6,7] x) => (float y) { h = Conv(x, w)\n y = Mul(h, rows) }",
        ["CONV", "Mul"],
    ),
    "a constant of more axes": (
        "(float[N,3,6,7] x) => (float y) { h = Conv(x, w)\n y = Mul(h, five) }",
        ["CONV", "Mul"],
    ),
    "a constant of more axes behind a matrix": (
        "(float[N,3] x) => (float y) { h = Gemm(x, matrix)\n y = Mul(h, three) }",
        ["GEMM", "Mul"],
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_does_not_belong_to_the_layer_stays(tmp_path: Path, case: str) -> None:
    text, ops = KEPT[case]
    constants = {
        "c": CHANNEL,
        "zero": np.zeros((4, 1, 1)),
        "rows": RNG.normal(size=(4, 1)),
        "five": RNG.uniform(1, 2, (1, 1, 1, 1, 1)),
        "matrix": RNG.normal(size=(3, 4)),
        "three": RNG.normal(size=(1, 1, 4)),
    }
    model = model_of(text, w=W, **constants)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ops
    if "zero" not in text:
        assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_a_normalization_over_another_axis_than_the_layers_stays(tmp_path: Path) -> None:
    model = model_of(
        "(float[N,4,5] x) => (float y) { h = MatMul(x, w)\n"
        " y = BatchNormalization(h, scale, shift, mean, variance) }",
        w=RNG.normal(size=(5, 4)),  # four channels on the last axis, four rows on that before it
        **normalization(RNG, 4),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["MATMUL", "CONV"]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_an_operator_of_another_domain_is_what_its_domain_makes_it(tmp_path: Path) -> None:
    text = "(float[N,3,6,7] x) => (float y) { h = Conv(x, w)\n y = com.they.Mul(h, c) }"
    target = target_of(model_of(text, w=W, c=CHANNEL), tmp_path)

    assert ops_of(target) == ["CONV", "Mul"]


@pytest.mark.parametrize("change", ["sign", "transposed", "bit"])
def test_the_comparison_sees_a_change(tmp_path: Path, change: str) -> None:
    square = RNG.normal(size=(4, 4, 3, 3)).astype(np.float32)
    text = "(float[N,4,6,7] x) => (float y) { y = Conv(x, w) }"
    other = square.copy()
    match change:
        case "sign":
            other[2, 1, 0, 2] *= -1
        case "transposed":
            other[1] = other[1].swapaxes(1, 2)
        case "bit":
            other.view(np.uint32)[3, 2, 1, 0] ^= 1 << 18
    model = model_of(text, w=square)
    feeds = inputs(model, RNG)

    assert error_of(target_of(model, tmp_path), model, feeds) < 1e-6
    assert error_of(target_of(model_of(text, w=other), tmp_path), model, feeds) > 1e-5
    assert relative(square, other) > 0
    assert relative(square, square[:, :1]) == np.inf


LAST = "t = Transpose<perm=[0,2,3,1]>(h)\n "


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        (LAST + "y = Add(t, c)", {"c": CHANNEL.reshape(4)}),
        (LAST + "m = Mul(t, c)\n y = Sub(k, m)", {"c": CHANNEL.reshape(1, 1, 4), "k": 0.5}),
        ("t = Transpose(h)\n y = Div(t, c)", {"c": CHANNEL.reshape(1, 4, 1)}),
    ],
)
def test_a_transpose_between_goes_behind(
    tmp_path: Path, text: str, constants: dict[str, np.ndarray]
) -> None:
    model = model_of(CONV.format(text), w=W, b=RNG.normal(size=4), **constants)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["CONV", "Transpose"]
    assert [step.outputs for step in target.steps] == [("h",), ("y",)]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


@pytest.mark.parametrize(
    "text",
    [
        LAST + "y = Add(t, c)",  # not along the channels
        "t = Transpose<perm=[0,2,3,1]>(h)\n u = Add(t, k)\n v = Relu(t)\n y = Add(u, v)",
    ],
)
def test_what_varies_otherwise_or_is_read_twice_stays_behind_it(tmp_path: Path, text: str) -> None:
    constants = {"c": RNG.normal(size=(7, 1)), "k": CHANNEL.reshape(4)}
    used = {name: value for name, value in constants.items() if f", {name})" in text}
    model = model_of(CONV.format(text), w=W, b=RNG.normal(size=4), **used)
    target = target_of(model, tmp_path)

    assert ops_of(target)[:2] == ["CONV", "Transpose"]
    assert "Add" in ops_of(target)
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


SQUEEZED = {  # shape of x, the axes that go, and what is left of the operators
    "its one place": ("N,3,1,1", [2, 3], ["CONV", "Squeeze"]),
    "its one input": ("1,3,4,1", [0, 3], ["CONV", "Squeeze", "Unsqueeze", "CONV", "Squeeze"]),
}


@pytest.mark.parametrize("case", SQUEEZED)
def test_what_follows_a_squeeze_is_fused_where_channels_stay_where_they_are(
    tmp_path: Path, case: str
) -> None:
    """Else one number per place may look like one per channel: both are four here."""
    shape, axes, ops = SQUEEZED[case]
    model = model_of(
        f"(float[{shape}] x) => (float y) {{ h = Conv(x, w)\n s = Squeeze(h, axes)\n"
        " y = Mul(s, c) }",
        w=RNG.normal(size=(4, 3, 1, 1)),
        axes=axes,
        c=RNG.uniform(0.5, 2, 4),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == ops
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


ARRANGED = {  # the input, what is between, the shape of one number per channel, operators
    "a convolution over sequences": (
        "N,3,1,9",
        "s = Squeeze(h, one)\n a = Add(s, c)\n y = Relu(a)",
        (1, 4, 1),
        "CONV Squeeze Relu",
    ),
    "the same, channels last": (
        "N,3,1,9",
        "s = Squeeze(h, one)\n t = Transpose<perm=[0,2,1]>(s)\n y = Add(t, c)",
        (4,),
        "CONV Squeeze Transpose",
    ),
    "places in a row": ("N,3,5,9", "r = Reshape(h, row)\n y = Mul(r, c)", (4, 1), "CONV Reshape"),
    "one place, flattened": ("N,3,1,1", "f = Flatten(h)\n y = Add(f, c)", (4,), "CONV Flatten"),
    "an axis more": (
        "N,3,5,9",
        "u = Unsqueeze(h, one)\n y = Div(u, c)",
        (4, 1, 1, 1),
        "CONV Unsqueeze",
    ),
    "an axis more before them": (
        "N,3,5,9",
        "u = Unsqueeze(h, zero)\n y = Sub(u, c)",
        (4, 1, 1),
        "CONV Unsqueeze",
    ),
    "channels and places in a row": (
        "N,3,2,2",
        "f = Flatten(h)\n y = Mul(f, c)",
        (16,),
        "CONV Flatten Unsqueeze CONV Squeeze",
    ),
}


@pytest.mark.parametrize("case", ARRANGED)
def test_what_only_arranges_goes_behind(tmp_path: Path, case: str) -> None:
    shape, text, channels, ops = ARRANGED[case]
    constants = {"one": [2], "zero": [0], "row": [0, 4, -1], "w": RNG.normal(size=(4, 3, 1, 1))}
    text = f"(float[{shape}] x) => (float y) {{ h = Conv(x, w)\n {text} }}"
    used = {name: value for name, value in constants.items() if f", {name})" in text}
    model = model_of(text, c=RNG.uniform(0.5, 2, channels), **used)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ops.split()
    assert error_of(target, model, inputs(model, RNG)) < 1e-5
