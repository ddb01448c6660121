"""Parameters of normalizations stand behind them: exact weights, and what needs no parameters."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, ops_of, target_of

from lt_onnx.target import Node, Target

RNG = np.random.default_rng(5)
PARAMETERS = {"g": RNG.uniform(0.5, 2, 4), "b": RNG.normal(size=4)}


def floats_read(target: Target) -> list[str]:
    """The constants of floats that operators read."""
    read = {n for step in target.steps for n in step.inputs if n in target.constants}
    return [name for name in read if target.constants[name].dtype == np.float32]


NORMS = {
    "LayerNormalization": ("[N,3,4]", "LayerNormalization<axis=-1>(x, g, b)", 17),
    "without shift": ("[N,3,4]", "LayerNormalization<axis=-1>(x, g)", 17),
    "RMSNormalization": ("[N,3,4]", "RMSNormalization<axis=-1>(x, g)", 23),
    "InstanceNormalization": ("[N,4,3,5]", "InstanceNormalization<epsilon=0.1>(x, g, b)", 13),
    "GroupNormalization": ("[N,4,3,5]", "GroupNormalization<num_groups=2>(x, g, b)", 21),
}


@pytest.mark.parametrize("case", NORMS)
def test_parameters_become_operators_behind(tmp_path: Path, case: str) -> None:
    shape, norm, opset = NORMS[case]
    used = {key: value for key, value in PARAMETERS.items() if f", {key}" in norm}
    text = f"(float{shape} x) => (float y) {{ n = {norm}\n y = Relu(n) }}"
    model = model_of(text, opset=opset, **used)
    target = target_of(model, tmp_path)
    op = norm.split("<")[0].split("(")[0]

    assert ops_of(target) == [op, "Mul", *["Add"] * ("b" in used), "Relu"]
    assert floats_read(target) == []
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


@pytest.mark.parametrize("op", ["LayerNormalization", "InstanceNormalization"])
def test_ones_and_zeros_need_no_operator(tmp_path: Path, op: str) -> None:
    model = model_of(
        f"(float[N,4,4] x) => (float y) {{ n = {op}(x, g, b)\n y = Relu(n) }}",
        g=np.ones(4),
        b=np.zeros(4),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == [op, "Relu"]
    assert floats_read(target) == []
    assert error_of(target, model, inputs(model, RNG)) < 1e-6


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("(float[N,4] x, float[4] g) => (float y) { y = LayerNormalization(x, g) }", {}),
        ("(float[N,4] x) => (float y) { y = com.they.LayerNormalization(x, g) }", {"g": [1, 2.0]}),
    ],
)
def test_parameters_that_are_computed_or_somebody_elses_stay(
    tmp_path: Path, text: str, weights: dict[str, list[float]]
) -> None:
    target = target_of(model_of(text, **weights), tmp_path)

    assert [step.op for step in target.steps] == ["LayerNormalization"]


def test_the_mean_and_the_deviation_are_as_before(tmp_path: Path) -> None:
    model = model_of(
        """(float[N,3,4] x) => (float y, float mean, float scale)
        { n, mean, scale = LayerNormalization<axis=-1>(x, g, b)\n y = Relu(n) }""",
        **PARAMETERS,
    )
    target = target_of(model, tmp_path)
    (norm,) = (step for step in target.steps if step.op == "LayerNormalization")

    assert isinstance(norm, Node)
    assert norm.outputs[1:] == ("mean", "scale")
    assert error_of(target, model, inputs(model, RNG)) < 1e-5
