"""Tickets run anywhere: onnxruntime, the onnx reference evaluator, OpenVINO and tract agree."""

import json
import os
import shutil
import subprocess
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
from lt_onnx.verification import generator_nodes
from lt_onnx.writing import generator

MODULES = [str(Path(__file__).parents[1] / "node_modules"), os.environ.get("NODE_PATH", "")]
NODE = {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, MODULES))}
COLLAPSED = {"mode": "2l", "weights": "seeded", "collapse": True}
RUN: list[tuple[str, dict[str, Any]]] = [
    ("residual", {"mode": "l+1"}),
    ("depthwise", {"mode": "2l"}),
    ("plain-leakyrelu", {"mode": "2l"}),
    ("tied weights", {"mode": "2l"}),
    ("residual", {"mode": "2l", "weights": "masked"}),
    ("residual", {"mode": "2l", "fp16": True}),
    ("plain-leakyrelu", {"mode": "l+1", "weights": "seeded"}),
    *((name, COLLAPSED) for name in ("depthwise", "residual", "plain-leakyrelu")),
]
SEVERAL = 100  # numbers of a draw, so that small tickets have several as large ones do
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


WEB = """
const ort = require("onnxruntime-web"), fs = require("fs");
const [model, input, name, shape] = process.argv.slice(2);
ort.env.wasm.numThreads = 1;
(async () => {
  const bytes = new Uint8Array(fs.readFileSync(model));
  const session = await ort.InferenceSession.create(bytes, {executionProviders: ["wasm"]});
  const x = Float32Array.from(JSON.parse(fs.readFileSync(input)));
  const feeds = {[name]: new ort.Tensor("float32", x, JSON.parse(shape))};
  const y = (await session.run(feeds))[session.outputNames[0]];
  console.log(JSON.stringify({dims: y.dims, data: Array.from(y.data)}));
})();
"""


def web_answer(ticket: Path, x: Array) -> Array:
    script, numbers = ticket.with_name("web.cjs"), ticket.with_name("x.json")
    script.write_text(WEB)
    numbers.write_text(json.dumps(x.reshape(-1).tolist()))
    name = onnx.load(str(ticket)).graph.input[0].name
    words = [str(ticket), str(numbers), name, json.dumps(x.shape)]
    made = subprocess.run(["node", str(script), *words], capture_output=True, text=True, env=NODE)
    assert made.returncode == 0, made.stderr[-1000:]
    y = json.loads(made.stdout.splitlines()[-1])
    return np.array(y["data"], np.float32).reshape(y["dims"])


def draw_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (generator, generator_nodes):
        monkeypatch.setattr(module, "MIN_DRAWN", SEVERAL)


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
def test_four_runtimes_agree(
    tmp_path: Path, name: str, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_parts(monkeypatch)
    ticket = tmp_path / "t.onnx"
    convert(EVERY[name].write(tmp_path), ticket, base_size=5, price=1e-3, validate=False, **words)
    x = input_of(ticket)
    ours = onnxruntime_answer(ticket, x)

    seeded = words.get("weights") == "seeded"  # OpenVINO computes with uint64 otherwise
    for answer in (reference_answer, tract_answer) if seeded else RUNTIMES:
        assert np.abs(answer(ticket, x) - ours).max() < 1e-4 * np.abs(ours).max(), answer


@pytest.mark.parametrize(
    ("name", "words"),
    [("residual", {}), *((n, COLLAPSED) for n in ("residual", "depthwise", "plain-leakyrelu"))],
    ids=str,
)
def test_the_browsers_runtime_agrees(
    tmp_path: Path, name: str, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_parts(monkeypatch)
    found = ["node", "-e", "require.resolve('onnxruntime-web')"]
    if (
        shutil.which("node") is None
        or subprocess.run(found, capture_output=True, env=NODE).returncode
    ):
        pytest.skip("Node finds no onnxruntime-web")
    ticket, target = tmp_path / "t.onnx", EVERY[name].write(tmp_path)
    base = {"mode": "2l", "weights": "seeded", "base_size": 6, "price": 1e-3, "validate": False}
    convert(target, ticket, **{**base, **words})
    x = input_of(ticket)
    ours = onnxruntime_answer(ticket, x)

    assert np.abs(web_answer(ticket, x) - ours).max() < 1e-4 * np.abs(ours).max()


def test_onnxruntime_runs_sparse_tickets(tmp_path: Path) -> None:
    """No other runtime here reads them."""
    plain, sparse = tmp_path / "plain.onnx", tmp_path / "sparse.onnx"
    target = EVERY["residual"].write(tmp_path)
    for path, weights in ((plain, "folded"), (sparse, "sparse")):
        convert(target, path, base_size=5, price=1e-3, mode="2l", validate=False, weights=weights)
    x = input_of(plain)
    ours = onnxruntime_answer(plain, x)

    assert np.abs(onnxruntime_answer(sparse, x) - ours).max() < 1e-4 * np.abs(ours).max()
