"""What operators at a network's end tell of its outputs."""

from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import pytest
from graphs import Builder

from lt_onnx import InputError, Limits, convert, validate
from lt_onnx.reading.graph import read_graph

Rows = Callable[[Builder, str], str]


def squares(b: Builder, x: str, *, eps: float = 1e-12) -> str:
    """Σ x² along the last axis, [N, 1]."""
    return b("Add", b("ReduceSum", b("Mul", x, x), b.constant([1], np.int64)), b.constant(eps))


EMBEDDINGS: dict[str, Rows] = {
    "torch": lambda b, x: b(
        "Div",
        x,
        b(
            "Expand",
            b("Clip", b("ReduceL2", x, axes=[1], keepdims=1), b.constant(1e-12)),
            b("Shape", x),
        ),
    ),
    "by hand": lambda b, x: b("Div", x, b("Sqrt", squares(b, x))),
    "reciprocal": lambda b, x: b("Mul", b("Reciprocal", b("Sqrt", squares(b, x))), x),
    "power": lambda b, x: b(
        "Mul",
        x,
        b(
            "Pow",
            b("ReduceSum", b("Pow", x, b.constant(2)), b.constant([1], np.int64)),
            b.constant(-0.5),
        ),
    ),
    "operator": lambda b, x: b("LpNormalization", x),
    "arranged": lambda b, x: b(
        "Flatten", b("LpNormalization", b("Unsqueeze", x, b.constant([2], np.int64)), axis=1)
    ),
}
SCORES: dict[str, Rows] = {
    "logits": lambda _, x: x,
    "Softmax": lambda b, x: b("Softmax", x),
    "Softmax by hand": lambda b, x: b(
        "Div", b("Exp", x), b("ReduceSum", b("Exp", x), b.constant([1], np.int64))
    ),
    "scaled": lambda b, x: b("Div", x, b.constant(3.0)),
    "of another": lambda b, x: b("Div", x, b("ReduceL2", b("Sigmoid", x), axes=[1], keepdims=1)),
}


def network(tmp_path: Path, *ends: Rows) -> Path:
    """A layer of its own in front of every output, [N, 5]."""
    b = Builder()
    outputs = [end(b, b.gemm(b("Relu", "x"), 6, 5)) for end in ends]
    return graphs.save(b.model(outputs, shape=("N", 6)), tmp_path)


def scores(path: Path) -> list[bool]:
    return [port.scores for port in read_graph(path).outputs]


@pytest.mark.parametrize("form", EMBEDDINGS)
def test_an_embedding_tells_no_classes(tmp_path: Path, form: str) -> None:
    assert scores(network(tmp_path, EMBEDDINGS[form])) == [False]


@pytest.mark.parametrize("form", SCORES)
def test_other_outputs_may(tmp_path: Path, form: str) -> None:
    assert scores(network(tmp_path, SCORES[form])) == [True]


def test_boxes_beside_what_is_behind_a_softmax_tell_none(tmp_path: Path) -> None:
    logits, softmax = SCORES["logits"], SCORES["Softmax"]
    assert scores(network(tmp_path, logits, softmax)) == [False, True]
    assert scores(network(tmp_path, logits, logits)) == [True, True]


def test_what_a_softmax_reads_tells_as_much(tmp_path: Path) -> None:
    b = Builder()
    logits = b.gemm("x", 6, 5)
    flat = b.reshape(logits, [-1, 5])
    model = b.model([logits, b("Softmax", flat), b.gemm("x", 6, 4)], shape=("N", 6))
    assert scores(graphs.save(model, tmp_path)) == [True, True, False]


def test_of_what_tells_no_classes_no_agreement_is_promised_nor_told(tmp_path: Path) -> None:
    target, ticket = network(tmp_path, EMBEDDINGS["torch"]), tmp_path / "t.onnx"
    samples = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    made = convert(target, ticket, calibration=samples)

    assert made.passed
    fidelity = made.report.fidelity
    assert fidelity is not None
    assert [out.agreement for out in fidelity.outputs] == [None]
    assert not [check for check in fidelity.checks if "agreement" in check.name]
    assert validate(target, ticket, samples).outputs[0].agreement is None
    with pytest.raises(InputError, match="min_agreement"):
        convert(target, ticket, calibration=samples, limits=Limits(min_agreement=0.9), force=True)
    with pytest.raises(InputError, match="min_agreement"):
        validate(target, ticket, samples, min_agreement=0.9)
