"""Constants that operators read beside data are made by layers: exact weights, and what is left."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, ops_of, target_of

from lt_onnx.target import Linear, Node, Target

RNG = np.random.default_rng(3)
X = "(float[N,6,4] x) => (float y) {{ {} }}"
MADE = {  # and how many weights the layers have
    "position": ("y = Add(x, c)", {"c": RNG.normal(size=(1, 6, 4))}, 24),
    "padded": ("y = PRelu(x, c)", {"c": RNG.uniform(0.1, 0.4, (6, 1))}, 6),
    "token": (
        "s = Shape(x)\n n = Gather<axis=0>(s, zero)\n o = Concat<axis=0>(n, one)\n"
        " e = Expand(c, o)\n y = Concat<axis=1>(e, x)",
        {"c": RNG.normal(size=(1, 1, 4)), "zero": np.array([0]), "one": np.array([1, 1])},
        4,
    ),
    "before data": ("y = Div(c, x)", {"c": RNG.normal(size=(6, 4))}, 24),
    "a matrix in front": ("y = MatMul(c, x)", {"c": RNG.normal(size=(5, 6))}, 30),
    "slopes": ("y = PRelu(x, c)", {"c": RNG.uniform(0.1, 0.4, (1, 4))}, 4),
    "repeated": ("y = Add(x, c)", {"c": np.repeat(RNG.normal(size=(6, 1)), 4, 1)}, 6),
    "zeros beside": ("y = Concat<axis=1>(x, c)", {"c": np.zeros((2, 3, 4))}, 0),
    "twice": ("h = Add(x, c)\n t = Tanh(h)\n y = Add(c, t)", {"c": RNG.normal(size=(6, 4))}, 24),
}


def made(target: Target) -> int:
    """Weights of the layers that make constants; that nothing else reads one is checked."""
    for step in target.steps:
        read = [target.constants[n] for n in step.inputs if n in target.constants]
        assert not any(value.dtype == np.float32 and value.size > 1 for value in read), step
    layers = [step for step in target.steps if isinstance(step, Linear)]
    assert all(layer.output in target.unvarying for layer in layers)
    return sum(layer.count for layer in layers)


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("case", MADE)
def test_a_constant_is_made_by_a_layer(tmp_path: Path, case: str, opset: int) -> None:
    text, constants, count = MADE[case]
    model = model_of(X.format(text), opset=opset, **constants)
    target = target_of(model, tmp_path)

    assert made(target) == count
    assert error_of(target, model, inputs(model, RNG)) < 1e-6


SIZES = "s = Shape(x)\n n = Gather<axis=0>(s, one)\n "


@pytest.mark.parametrize(
    "picked",
    [
        "p = Slice(c, zero, n, zero)",
        "o = Squeeze(n, zero)\n r = Range(nothing, o, step)\n p = Gather<axis=0>(c, r)",
    ],
)
def test_a_table_of_positions_that_sizes_pick_from_is_made(tmp_path: Path, picked: str) -> None:
    whole = {"one": [1], "zero": [0], "nothing": np.array(0), "step": np.array(1)}
    text = f"(float[N,T,4] x) => (float y) {{ {SIZES}{picked}\n y = Add(x, p) }}"
    used = {
        name: value for name, value in whole.items() if f"{name}," in text or f"{name})" in text
    }
    model = model_of(text, c=RNG.normal(size=(9, 4)), **used)
    target = target_of(model, tmp_path)

    assert made(target) == 36
    assert error_of(target, model, inputs(model, RNG)) < 1e-6


def test_a_table_that_data_pick_from_is_left(tmp_path: Path) -> None:
    model = model_of("(int64[N,5] x) => (float y) { y = Gather(c, x) }", c=RNG.normal(size=(9, 4)))

    assert not target_of(model, tmp_path).linears


def test_the_one_hot_input_grows_with_what_is_made(tmp_path: Path) -> None:
    for rows, size in ((6, 4), (400, 32), (2000, 64)):
        model = model_of(
            f"(float[N,{rows},4] x) => (float y) {{ y = Add(x, c) }}", c=RNG.normal(size=(rows, 4))
        )
        (layer,) = target_of(model, tmp_path).linears
        assert layer.weight.shape == (rows * 4 // size, size)
        assert layer.input == f"made/one_hot/{size}"


@pytest.mark.parametrize("masked", [-np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize(
    "added", ["h = Add(x, c)", "n = Shape(x) e = Expand(c, n) h = Add(x, e)"], ids=["", "expanded"]
)
def test_what_masks_before_a_softmax_is_finite(tmp_path: Path, masked: float, added: str) -> None:
    mask = np.triu(np.full((6, 6), masked), 1)
    text = f"(float[N,6,6] x) => (float y) {{{{ {added}\n y = {{}} }}}}"
    model = model_of(text.format("Softmax<axis=-1>(h)"), c=mask)
    target = target_of(model, tmp_path)
    assert made(target) == 1
    assert max(np.abs(layer.weight).max() for layer in target.linears) < 1e5
    assert error_of(target, model, inputs(model, RNG)) < 1e-7

    target = target_of(model_of(text.format("Exp(h)"), c=mask), tmp_path)
    assert ops_of(target)[-2:] == ["Add", "Exp"]
    assert not target.linears


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("y = Add(x, c)", {"c": 0.5}),
        ("y = com.they.Add(x, c)", {"c": RNG.normal(size=4)}),
        ("y = Pow(x, c)", {"c": np.array([1.0, 2, 3, 2])}),  # as x² is a number, x^1.999 is none
        (
            "s = Shape(x)\n f = Cast<to=1>(s)\n m = Mul(f, c)\n i = Cast<to=7>(m)\n"
            " y = Expand(x, i)",
            {"c": np.ones(3) * 1.5},
        ),
    ],
    ids=["one number", "another domain", "exponents", "of shapes"],
)
def test_what_is_none_is_left(tmp_path: Path, text: str, constants: dict[str, np.ndarray]) -> None:
    target = target_of(model_of(X.format(text), **constants), tmp_path)

    assert not target.linears


def test_it_is_left_before_there_are_operators_to_make_it(tmp_path: Path) -> None:
    model = model_of(X.format("y = Add(x, c)"), opset=8, c=RNG.normal(size=(6, 4)))

    assert [step.op for step in target_of(model, tmp_path).steps] == ["Add"]


def test_a_name_that_is_taken_is_told(tmp_path: Path) -> None:
    text = "(float[N,6,4] x) => (float y) { h = Tanh(x)\n y = Add(h, c) }"
    model = model_of(text, c=RNG.normal(size=(6, 4)))
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "c/1x6x4/made"

    with pytest.raises(Exception, match="lt-onnx makes a tensor 'c/1x6x4/made' too; rename it"):
        target_of(model, tmp_path)


def test_nodes_stand_before_what_reads_them(tmp_path: Path) -> None:
    target = target_of(model_of(X.format("y = Add(x, c)"), c=RNG.normal(size=(6, 4))), tmp_path)
    known = {*target.constants, "x"}
    for step in target.steps:
        assert known.issuperset(step.inputs)
        known.update(step.outputs)
    assert all(isinstance(step, Node | Linear) for step in target.steps)


def test_a_network_without_inputs_has_no_data_to_read_constants_beside(tmp_path: Path) -> None:
    model = model_of("() => (float[4] y) { y = Add(c, c) }", c=RNG.normal(size=4))

    assert target_of(model, tmp_path).linears == ()
