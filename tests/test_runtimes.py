"""Tickets run anywhere: onnxruntime, the onnx reference evaluator and OpenVINO agree."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import MODELS
from onnx.reference import ReferenceEvaluator

from lt_onnx import convert


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", ["residual", "depthwise", "plain-leakyrelu"])
def test_three_runtimes_agree(tmp_path: Path, name: str, mode: str) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    target, ticket = MODELS / f"{name}.onnx", tmp_path / "t.onnx"
    convert(target, ticket, mode=mode, base_size=5, validate=False)
    session = onnxruntime.InferenceSession(str(ticket), providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 3 for d in port.shape]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    ours = session.run(None, {port.name: x})[0]
    scale = np.abs(ours).max()
    reference = ReferenceEvaluator(onnx.load(str(ticket))).run(None, {port.name: x})[0]
    compiled = openvino.Core().compile_model(
        str(ticket), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    theirs = compiled([x])[0]

    assert np.abs(reference - ours).max() < 1e-4 * scale
    assert np.abs(theirs - ours).max() < 1e-4 * scale
