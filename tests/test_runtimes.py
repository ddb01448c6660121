"""Tickets run anywhere: onnxruntime, the onnx reference evaluator, OpenVINO and tract agree."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from cases import EVERY
from onnx.reference import ReferenceEvaluator
from paths import MODES

from lt_onnx import convert
from lt_onnx.target import Array

RUN: list[tuple[str, dict[str, Any]]] = [
    ("residual", {"mode": "l+1"}),
    ("depthwise", {"mode": "2l"}),
    ("plain-leakyrelu", {"mode": "2l"}),
    ("tied weights", {"mode": "2l"}),
    ("residual", {"mode": "2l", "weights": "masked"}),
    ("residual", {"mode": "2l", "fp16": True}),
    ("plain-leakyrelu", {"mode": "l+1", "weights": "seeded"}),
]
MORE = [
    (name, {"mode": mode})
    for name in ("residual", "depthwise", "plain-leakyrelu", "perceptron", "large biases")
    for mode in MODES
    if (name, {"mode": mode}) not in RUN
]


def onnxruntime_answer(ticket: Path, x: Array) -> Array:
    session = onnxruntime.InferenceSession(str(ticket), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def reference_answer(ticket: Path, x: Array) -> Array:
    model = onnx.load(str(ticket))
    return ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x})[0]


def openvino_answer(ticket: Path, x: Array) -> Array:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(str(ticket), "CPU", hint)([x])[0]


def tract_answer(ticket: Path, x: Array) -> Array:
    tract = pytest.importorskip("tract", reason="tract is not installed")
    model = tract.onnx().load(str(ticket))
    model.set_input_fact(0, ",".join(map(str, x.shape)) + ",f32")
    return model.into_model().into_runnable().run([x])[0].to_numpy()


RUNTIMES = (reference_answer, openvino_answer, tract_answer)


def input_of(ticket: Path, batch: int = 3) -> Array:
    """Normal numbers of the ticket's input's shape."""
    dims = onnx.load(str(ticket)).graph.input[0].type.tensor_type.shape.dim
    shape = [dim.dim_value or batch for dim in dims]
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "words"),
    [*RUN, *(pytest.param(*case, marks=pytest.mark.long) for case in MORE)],
    ids=str,
)
def test_four_runtimes_agree(tmp_path: Path, name: str, words: dict[str, Any]) -> None:
    ticket = tmp_path / "t.onnx"
    convert(EVERY[name].write(tmp_path), ticket, base_size=5, validate=False, **words)
    x = input_of(ticket)
    ours = onnxruntime_answer(ticket, x)

    seeded = words.get("weights") == "seeded"  # OpenVINO computes with uint64 otherwise
    for answer in (reference_answer, tract_answer) if seeded else RUNTIMES:
        assert np.abs(answer(ticket, x) - ours).max() < 1e-4 * np.abs(ours).max(), answer


def test_onnxruntime_runs_sparse_tickets(tmp_path: Path) -> None:
    """No other runtime here reads them."""
    plain, sparse = tmp_path / "plain.onnx", tmp_path / "sparse.onnx"
    target = EVERY["residual"].write(tmp_path)
    for path, weights in ((plain, "folded"), (sparse, "sparse")):
        convert(target, path, base_size=5, mode="2l", validate=False, weights=weights)
    x = input_of(plain)
    ours = onnxruntime_answer(plain, x)

    assert np.abs(onnxruntime_answer(sparse, x) - ours).max() < 1e-4 * np.abs(ours).max()
