"""The driver: names, the order of steps, and what is told about nodes that stay."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, ops_of, target_of

from lt_onnx import convert
from lt_onnx.errors import InputError

RNG = np.random.default_rng(17)


def test_every_step_has_a_name_of_its_own(tmp_path: Path) -> None:
    model = model_of(
        "(float[N,3] x) => (float y)"
        "{ a = Tanh(x)\n b = Identity(a)\n c = Relu(b)\n d = Abs(c)\n y = Exp(d) }"
    )
    for node, name in zip(model.graph.node, ["n", "n", "n", "n_3", "n"], strict=True):
        node.name = name
    target = target_of(model, tmp_path)

    assert [step.name for step in target.steps] == ["n", "n_3", "n_3_2", "n_4"]


def test_many_nodes_of_one_name_are_numbered_at_once(tmp_path: Path) -> None:
    lines = "\n".join(f"t{i + 1} = Relu(t{i})" for i in range(2000))
    model = model_of(f"(float[N,3] t0) => (float t2000) {{ {lines} }}")
    for node in model.graph.node:
        node.name = "relu"
    target = target_of(model, tmp_path)

    assert [target.steps[0].name, target.steps[-1].name] == ["relu", "relu_2000"]


def test_a_fused_layer_stands_where_its_last_operator_stood(tmp_path: Path) -> None:
    model = model_of(
        "(float[N,3] x) => (float y)"
        "{ h = Gemm(x, w)\n r = Relu(x)\n m = Mul(h, c)\n y = Add(r, m) }",
        w=np.diag([1.0, -2.0, 3.0]),
        c=RNG.normal(size=(1, 3)),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["Relu", "GEMM", "Add"]
    assert error_of(target, model, inputs(model, RNG)) < 1e-6


def test_a_node_that_stays_has_a_reason(tmp_path: Path) -> None:
    model = model_of("(float[N,3] x, float[3,3] w) => (float y) { y = Gemm(x, w) }")
    model.graph.node[0].name = "computed"

    assert target_of(model, tmp_path).refusals == {"computed": "its weight is computed"}


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("state = ConstantOfShape(shape)", None),  # which is the same for every input
        ("c = Cast<to=1>(n) state = Expand(c, shape)", "what it reads follows from shapes alone"),
    ],
    ids=["zeros", "sizes"],
)
def test_what_follows_from_shapes_alone_is_no_layer(
    tmp_path: Path, state: str, reason: str | None, mode: str
) -> None:
    """As the first state of a recurrent network: its ticket would read no data there."""
    text = f"""(float[N,3] x) => (float y) {{
        n = Shape<start=0, end=1>(x)
        size = Constant<value_ints=[4]>()
        shape = Concat<axis=0>(n, size)
        {state}
        h = MatMul(state, v)
        z = MatMul(x, w)
        g = Add(h, z)
        t = Tanh(g)
        j = MatMul(t, v)
        k = Tanh(j)
        y = MatMul(k, v)
    }}"""
    model = model_of(text, w=RNG.normal(size=(3, 4)), v=RNG.normal(size=(4, 4)))
    next(node for node in model.graph.node if "h" in node.output).name = "recurrent"
    del model.opset_import[1:]
    target = target_of(model, tmp_path)

    assert [layer.weight.shape for layer in target.linears] == [(4, 3), (4, 4), (4, 4)]
    assert target.refusals.get("recurrent") == reason
    ticket = convert(target.path, tmp_path / "t.onnx", mode=mode, validate=reason is None)
    assert ticket.report.proof.failures == []


def test_weights_that_leave_float32_are_refused(tmp_path: Path) -> None:
    model = model_of(
        "(float[N,1] x) => (float y) { h = Gemm(x, w)\n y = Mul(h, w) }", w=np.full((1, 1), 1e38)
    )
    model.graph.node[0].name = "huge"

    with pytest.raises(InputError, match=r"node 'huge' \(Gemm\): its weights, .* beyond float32"):
        target_of(model, tmp_path)


def test_a_name_that_a_rule_gives_is_not_given_twice(tmp_path: Path) -> None:
    model = model_of(
        "(float[3,5] x) => (float y) { h = Relu(x)\n y = Gemm<transA=1>(h, w) }", w=np.eye(3)
    )
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "g/turned"
    model.graph.node[1].name = "g"

    with pytest.raises(InputError, match="lt-onnx makes a tensor 'g/turned' too; rename it"):
        target_of(model, tmp_path)


def test_operator_sets_that_no_node_is_of_are_not_kept(tmp_path: Path) -> None:
    target = target_of(
        model_of("(float[N,3] x) => (float y) { y = MatMul(x, w) }", w=np.eye(3)), tmp_path
    )

    assert target.opsets == {"": 17}
