"""Tickets run anywhere: onnxruntime, the onnx reference evaluator, OpenVINO and tract agree."""

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
def test_four_runtimes_agree(tmp_path: Path, name: str, mode: str) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    tract = pytest.importorskip("tract", reason="tract is not installed")
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

    model = tract.onnx().load(str(ticket))
    model.set_input_fact(0, ",".join(map(str, shape)) + ",f32")
    rust = model.into_model().into_runnable().run([x])[0].to_numpy()

    for found in (reference, theirs, rust):
        assert np.abs(found - ours).max() < 1e-4 * scale


@pytest.mark.parametrize("form", ["masked", "fp16", "sparse"])
def test_every_form_runs_where_the_docs_say(tmp_path: Path, form: str) -> None:
    tract = pytest.importorskip("tract", reason="tract is not installed")
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    ticket = tmp_path / "t.onnx"
    words = {"fp16": True} if form == "fp16" else {"weights": form}
    convert(MODELS / "residual.onnx", ticket, mode="2l", validate=False, **words)  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(str(ticket), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    ours = session.run(None, {session.get_inputs()[0].name: x})[0]
    if form == "sparse":
        return  # only onnxruntime reads it, and it did
    model = tract.onnx().load(str(ticket))
    model.set_input_fact(0, "2,1,8,8,f32")
    compiled = openvino.Core().compile_model(
        str(ticket), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for found in (
        ReferenceEvaluator(onnx.load(str(ticket))).run(None, {"image": x})[0],
        model.into_model().into_runnable().run([x])[0].to_numpy(),
        compiled([x])[0],
    ):
        assert np.abs(found - ours).max() < 1e-4 * np.abs(ours).max()
