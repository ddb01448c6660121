"""What is not read: every unsupported part in one line, and what is broken."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rewritten import model_of, ops_of, target_of

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reading.protobuf import operator_sets
from lt_onnx.reading.refusals import is_finite, refuse_parts, refuse_values

HEAD = "(float[N,3,6,7] x) => (float y)"
PATH = Path("n.onnx")


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, its nodes named after their operator and place."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}{number}"
    return model


def test_unsupported_parts_of_every_kind_are_told_together() -> None:
    model = named(
        model_of(
            f"{HEAD} {{ q = QuantizeLinear(x, s)\n k = Konv(q)\n t = their.own.Op(k)\n"
            " i = If(t)\n y = Relu(i) }",
            s=0.1,
        )
    )
    model.graph.sparse_initializer.add().values.name = "few"
    with pytest.raises(UnsupportedError) as refusal:
        refuse_parts(PATH, model, operator_sets(model))

    assert str(refusal.value) == (
        "n.onnx: node 'quantizelinear0' (QuantizeLinear) is quantised: bring the float model; "
        "node 'konv1' (Konv): operator set 17 has no such operator; "
        "node 'op2' (Op) is of the domain 'their.own', which the model does not import; "
        "node 'if3' (If) is control flow; "
        "tensor 'few' is sparse: store it dense"
    )


@pytest.mark.parametrize("count", [5, 6, 1205])
def test_of_many_the_first_five_are_told_and_how_many_more(count: int) -> None:
    lines = "\n".join(f"a{i} = Konv(x)" for i in range(count))
    model = named(model_of(f"{HEAD} {{ {lines}\n y = Relu(a0) }}"))
    with pytest.raises(UnsupportedError) as refusal:
        refuse_parts(PATH, model, operator_sets(model))
    said = str(refusal.value)

    assert [f"'konv{i}'" in said for i in range(6)] == [True] * 5 + [False]
    assert ("more" in said) == (count > 5)
    assert len(said.splitlines()) == 1
    if count > 5:
        assert said.endswith(f"; and {count - 5:,} more")


def test_own_functions_and_small_floats_are_unsupported() -> None:
    model = model_of(f"{HEAD} {{ y = Relu(x) }}")
    model.functions.append(helper.make_function("own", "Mine", ["a"], ["b"], [], []))
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[2]))

    with pytest.raises(UnsupportedError, match=r"function 'Mine' .*; tensor 'w' is bfloat16"):
        refuse_parts(PATH, model, operator_sets(model))


def test_nodes_in_training_mode_are_told_together(tmp_path: Path) -> None:
    model = named(
        model_of(
            f"{HEAD} {{ n, m, v = BatchNormalization<training_mode=1>(x, one, one, one, one)\n"
            " d = Dropout(n, ratio, yes)\n y = Relu(d) }",
            one=np.ones(3),
            ratio=0.5,
            yes=np.array(True),
        )
    )

    with pytest.raises(UnsupportedError) as refusal:
        target_of(model, tmp_path)
    assert str(refusal.value).partition("model.onnx: ")[2] == (
        "node 'batchnormalization0' (BatchNormalization) is in training mode; export the network "
        "for inference; node 'dropout1' (Dropout) is in training mode; export the network for "
        "inference"
    )


def test_a_dropout_for_inference_is_read(tmp_path: Path) -> None:
    model = model_of(
        f"{HEAD} {{ d = Dropout(x, ratio, no)\n y = Relu(d) }}", ratio=0.5, no=np.array(False)
    )

    assert ops_of(target_of(model, tmp_path)) == ["Relu"]


@pytest.mark.parametrize(
    ("opset", "said"), [(6, "lt-onnx reads 7 and later"), (999, "newest known")]
)
def test_operator_sets_of_another_age_are_refused(opset: int, said: str) -> None:
    model = model_of(f"{HEAD} {{ y = Relu(x) }}")
    model.opset_import[0].version = opset

    with pytest.raises(UnsupportedError, match=f"operator set {opset}; .*{said}"):
        refuse_parts(PATH, model, operator_sets(model))


def test_names_that_no_ticket_could_have_are_refused() -> None:
    for size in (2048, 2049):
        model = model_of(f"{HEAD} {{ y = Relu(x) }}")
        model.graph.node[0].name = "n" * size
        if size == 2048:
            refuse_parts(PATH, model, operator_sets(model))
            continue
        with pytest.raises(InputError, match=r"'nn+…nn+' has 2,049 characters; rename it: at most"):
            refuse_parts(PATH, model, operator_sets(model))


BROKEN = {
    "division by zero": (
        "(float[N,3,6,7] x) => (int64 y) { s = Shape(x)\n y = Div(s, zero) }",
        {"zero": np.zeros(1, np.int64)},
        r"\(Div\) divides whole numbers by zero",
    ),
    "not a number": (
        f"{HEAD} {{ y = Add(x, w) }}",
        {"w": [1.0, 2.0, 3.0, 4.0, np.nan, 6.0, 7.0]},
        r"tensor 'w' holds nan at index \[4\]",
    ),
    "an input of nothing": (
        "(float[N,0,6,7] x) => (float y) { y = Relu(x) }",
        {},
        r"input 'x' of shape \['N', 0, 6, 7\] holds nothing",
    ),
    "not what onnx.checker wants": (f"{HEAD} {{ y = Relu(x, x) }}", {}, "not a valid ONNX model"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_told(tmp_path: Path, case: str) -> None:
    text, weights, said = BROKEN[case]

    with pytest.raises(InputError, match=said):
        target_of(model_of(text, **weights), tmp_path)


def test_an_output_without_shape_is_read(tmp_path: Path) -> None:
    model = model_of(f"{HEAD} {{ y = Relu(x) }}")
    model.graph.output[0].type.tensor_type.ClearField("shape")

    assert ops_of(target_of(model, tmp_path)) == ["Relu"]


def test_numbers_are_finite_or_not() -> None:
    assert is_finite(np.ones(3))
    assert is_finite(np.zeros((0, 3)))
    assert is_finite(np.broadcast_to(np.float32(2), (1 << 20, 1 << 20)))
    assert not is_finite(np.broadcast_to(np.float32(np.inf), (1 << 20, 1 << 20)))
    assert not is_finite(np.array([1, np.nan]))


def test_an_empty_constant_is_no_obstacle(tmp_path: Path) -> None:
    model = model_of(
        f'{HEAD} {{ y = Resize<mode="nearest">(x, roi, scales) }}',
        roi=np.zeros(0),
        scales=[1.0, 1.0, 2.0, 2.0],
    )
    target = target_of(model, tmp_path)
    refuse_values(target)

    assert ops_of(target) == ["Resize"]
