"""The rewriting, apart from the approximation: exact weights must give the target's function."""

import subprocess
import sys
from pathlib import Path

import light
import numpy as np
import pytest
from conftest import EXAMPLES, MODELS
from double import oracle_error
from graphs import Builder, random_graph, save
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import ZOO, export

from lt_onnx import convert
from lt_onnx.options import Select
from lt_onnx.pipeline import Ticket

SHARED_NAMES = [
    "cifar-resnet20-relu",
    "cifar-resnet20-sigmoid-recalibrated",
    "espcn-x2-tanh",
    "paper-cifar-resnet20-sigmoid",
    "paper-mnist-leakyrelu",
    "paper-mnist-relu",
    "superres-relu",
    "ultraface-slim-depthwise",
]


def exact(path: Path, folder: Path, mode: str) -> Ticket:
    return convert(
        path, folder / "exact.onnx", mode=mode, select=Select.EXACT, base_size=4, force=True
    )


def error(ticket: Ticket) -> float:
    return max(out.relative for out in ticket.report.fidelity.outputs)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    mode=st.sampled_from(["l+1", "2l"]),
    opset=st.sampled_from([7, 9, 11, 13, 17, 21]),
)
def test_exact_weights_reproduce_random_graphs(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mode: str, opset: int
) -> None:
    folder = tmp_path_factory.mktemp("oracle")
    ticket = exact(save(random_graph(seed, opset=opset), folder), folder, mode)

    assert error(ticket) < 1e-5


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("opset", [7, 9, 11, 13, 21])
def test_exact_weights_hold_in_other_operator_sets(tmp_path: Path, opset: int, mode: str) -> None:
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        ticket = exact(save(random_graph(seed, opset=opset), folder), folder, mode)
        assert error(ticket) < 1e-5


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_border_pixels_of_a_padded_convolution_with_a_large_bias(tmp_path: Path, mode: str) -> None:
    b = Builder(3)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("Relu", b.conv(x, 6, 6, pads=[1] * 4, bias=20.0))
    path = save(b.model(b.conv(x, 6, 4, pads=[1] * 4, bias=20.0)), tmp_path)

    assert error(exact(path, tmp_path, mode)) < 1e-5


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("activation", ["Tanh", "Sigmoid", "Softplus", "Elu", "PRelu"])
def test_other_activations_within_their_local_model(
    tmp_path: Path, activation: str, mode: str
) -> None:
    b = Builder(1)
    x = b.conv("x", 3, 6, pads=[1] * 4)
    for _ in range(2):
        if activation == "PRelu":
            x = b("PRelu", x, b.constant(b.rng.uniform(0.1, 0.3, (6, 1, 1))))
        else:
            x = b(activation, x)
        x = b.conv(x, 6, 6, pads=[1] * 4)
    path = save(b.model(x), tmp_path)

    assert error(exact(path, tmp_path, mode)) < (5e-3 if activation == "Elu" else 5e-4)


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_operators_outside_the_table_run_dense_and_are_named(tmp_path: Path, mode: str) -> None:
    b = Builder(2)
    x = b("Relu", b.conv("x", 3, 4, pads=[1] * 4))
    x = b("LRN", x, size=3)
    x = b("Relu", b.conv(x, 4, 4, pads=[1] * 4))
    x = b("Einsum", x, b.constant(b.weight(4, 4)), equation="nchw,cd->ndhw")
    path = save(b.model(b.conv(b("Relu", x), 4, 2)), tmp_path)
    ticket = exact(path, tmp_path, mode)

    assert error(ticket) < 1e-5
    assert {place["op"] for place in ticket.report.dense} == {"LRN", "Einsum"}
    assert sum(place["parameters"] for place in ticket.report.dense) == 16


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.onnx")))
def test_shipped_models(tmp_path: Path, name: str, mode: str) -> None:
    assert error(exact(MODELS / f"{name}.onnx", tmp_path, mode)) < 5e-5


# what each network leaves dense: attention and its norms, and repeated parameters
DENSE = {
    "hybrid": {"LayerNormalization", "MatMul"},
    "odd": {"InstanceNormalization", "PRelu"},
    "convnext": {"LayerNormalization"},
}


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", ZOO)
def test_networks_as_torch_exports_them(tmp_path: Path, name: str, mode: str) -> None:
    path = export(name, tmp_path)
    ticket = exact(path, tmp_path, mode)

    assert error(ticket) < 1e-5
    assert {place["op"] for place in ticket.report.dense} == DENSE.get(name, set())
    if mode == "2l":
        ticket = convert(path, tmp_path / "t.onnx", mode=mode)
        assert ticket.report.proof.genuine
        assert min(out.sqnr_db for out in ticket.report.fidelity.outputs) > 25


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", ["shufflenet", "unet", "yolo", "conv1d", "hybrid"])
def test_networks_with_a_fixed_batch(tmp_path: Path, name: str, mode: str) -> None:
    assert error(exact(export(name, tmp_path, dynamic=False), tmp_path, mode)) < 1e-5


@pytest.mark.parametrize("name", light.NAMES)
def test_the_model_zoos_classics(tmp_path: Path, name: str) -> None:
    path = light.redrawn(name, tmp_path)
    for mode in ("l+1", "2l"):
        out = tmp_path / f"{mode}.onnx"
        ticket = convert(path, out, mode=mode, select=Select.EXACT, base_size=2)
        assert error(ticket) < 1e-5
        assert {place["op"] for place in ticket.report.dense} <= {"LRN"}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_model_zoos_classics_are_planned_in_little_memory() -> None:
    # in a process of its own, which tells its peak
    program = (
        "import re, sys; from lt_onnx.cli.app import run;"
        "codes = {run([word, path]) for word in ('inspect', 'plan') for path in sys.argv[1:]};"
        "print(codes, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    paths = [str(light.DATA / f"light_{name}.onnx") for name in light.NAMES]
    made = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True
    )
    codes, peak = made.stdout.splitlines()[-1].rsplit(" ", 1)

    assert codes == "{0}"
    assert int(peak) < 1_000_000


@pytest.mark.long
@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", SHARED_NAMES)
def test_real_targets(shared: Path, tmp_path: Path, name: str, mode: str) -> None:
    # float32 rounds what is linear about a Sigmoid or Tanh neuron: see `double`
    curved = "sigmoid" in name or "tanh" in name

    assert error(exact(shared / f"{name}.onnx", tmp_path, mode)) < (2e-4 if curved else 1e-5)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", [n for n in SHARED_NAMES if "sigmoid" in n or "tanh" in n])
def test_real_curved_targets_in_double_precision(
    shared: Path, tmp_path: Path, name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert oracle_error(shared / f"{name}.onnx", tmp_path, mode, monkeypatch) < 1e-5


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", ["plain-sigmoid", "plain-tanh"])
def test_curved_models_in_double_precision(
    tmp_path: Path, name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert oracle_error(MODELS / f"{name}.onnx", tmp_path, mode, monkeypatch) < 1e-5


def test_an_oracle_ticket_is_not_genuine(tmp_path: Path) -> None:
    ticket = exact(MODELS / "plain-relu.onnx", tmp_path, "l+1")

    assert not ticket.report.proof.genuine
    assert np.isfinite(error(ticket))
