"""An Einsum of data and a constant is a layer: exact weights, and what is none."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, ops_of, target_of

RNG = np.random.default_rng(11)
LAYERS = {
    "a product": ("bnc,cd->bnd", [3, 4], (4, 5), "MATMUL"),
    "rows": ("nc,dc->nd", [3], (5, 3), "GEMM"),
    "heads": ("bnc,chd->bhnd", [3, 4], (4, 2, 5), "MATMUL Reshape Transpose"),
    "out of heads": ("bhnd,hdc->bnc", [2, 3, 4], (2, 4, 5), "Transpose Reshape MATMUL"),
    "channels first": ("bchw,dc->bdhw", [4, 3, 2], (5, 4), "Transpose MATMUL Transpose"),
    "the constant first": ("dc, bcn -> bnd", [4, 3], (5, 4), "Transpose MATMUL"),
    "summed to one": ("bnc,c->bn", [3, 4], (4,), "MATMUL Reshape"),
    "rows in front": ("bnc,cd->dnb", [3, 4], (4, 5), "MATMUL Transpose"),
}
OTHERS = {
    "a batch of matrices": ("bnc,bcd->bnd", [3, 4], (2, 4, 5)),
    "a diagonal": ("bnn,nd->bd", [3, 3], (3, 5)),
    "a letter of the data summed": ("bnc,cd->bd", [3, 4], (4, 5)),
    "a letter of the constant summed": ("bnc,cd->bn", [3, 4], (4, 5)),
    "a factor of each": ("bnc,c->bnc", [3, 4], (4,)),
    "any axes": ("...c,cd->...d", [3, 4], (4, 5)),
}


def model_for(equation: str, sizes: list[int], shape: tuple[int, ...]):
    first = equation.startswith("dc")
    operands, axes = "w, x" if first else "x, w", ",".join(["N", *map(str, sizes)])
    text = f'(float[{axes}] x) => (float y) {{ y = Einsum<equation="{equation}">({operands}) }}'
    return model_of(text, w=RNG.normal(size=shape))


@pytest.mark.parametrize("case", LAYERS)
def test_it_is_a_layer(tmp_path: Path, case: str) -> None:
    equation, sizes, shape, ops = LAYERS[case]
    model = model_for(equation, sizes, shape)
    target = target_of(model, tmp_path)

    assert ops_of(target) == ops.split()
    assert target.steps[-1].outputs == ("y",)
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_product_of_matrices_reads_a_constant_that_is_made(
    tmp_path: Path, case: str
) -> None:
    model = model_for(*OTHERS[case])
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["Einsum"]
    assert not any(name in target.constants for name in target.steps[-1].inputs)
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


@pytest.mark.parametrize(
    ("shape", "op"), [((1, 4, 5), "MATMUL"), ((1, 1, 4, 5), "MATMUL"), ((2, 4, 5), "MatMul")]
)
def test_a_matrix_with_axes_of_one_is_a_matrix(
    tmp_path: Path, shape: tuple[int, ...], op: str
) -> None:
    text = "(float[N,2,3,4] x) => (float y) { y = MatMul(x, w) }"
    model = model_of(text, w=RNG.normal(size=shape))
    target = target_of(model, tmp_path)

    assert ops_of(target) == [op]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5
