"""A layer of many weights and few positions, learnt from few inputs, is as true on others."""

from pathlib import Path

import numpy as np
import pytest
from graphs import Builder, save
from paths import MODELS, long_but

from lt_onnx import convert
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.samples import load_samples
from lt_onnx.validation.per_layer import trace

WIDTH, CLASSES, INPUTS = 1024, 100, 256


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet for digits, nine tenths of its weights in a Gemm of decaying spectrum."""
    b = Builder()
    x = b("Relu", b.conv("image", 1, 16, pads=[1] * 4))
    for _ in range(2):
        inner = b("Relu", b.conv(x, 16, 16, pads=[1] * 4))
        x = b("Relu", b("Add", x, b.conv(inner, 16, 16, pads=[1] * 4)))
    left, right = (np.linalg.qr(b.rng.normal(size=(n, CLASSES)))[0] for n in (CLASSES, WIDTH))
    weight = (left / np.arange(1, CLASSES + 1)) @ right.T
    rest = sum(int(np.prod(tensor.dims)) for tensor in b.initializers)
    assert weight.size > 9 * rest
    bias = b.constant(b.rng.normal(size=CLASSES) * 0.1)
    scores = b("Gemm", b("Flatten", x), b.constant(weight), bias, transB=1)
    model = b.model(scores, ("N", 1, 8, 8))
    model.graph.input[0].name = "image"
    return save(model, tmp_path_factory.mktemp("target"))


@pytest.mark.parametrize("mode", long_but(["2l"], ["l+1", "2l"]))
def test_a_large_dense_layer_is_as_true_on_fresh_inputs(
    target: Path, mode: str, tmp_path: Path
) -> None:
    seen, fresh = (MODELS / f"digits.{name}.npz" for name in ("calibration", "samples"))
    ticket = tmp_path / "ticket.onnx"
    convert(target, ticket, mode=mode, calibration=seen, validate=False)
    own = []
    for inputs in (seen, fresh):
        samples = load_samples(inputs, read_target(target).inputs).first(INPUTS)
        assert samples.count == INPUTS
        last = trace(target, ticket, samples)[-1]
        assert last.own_sqnr_db is not None
        own.append(last.own_sqnr_db)

    assert own[1] > 20
    assert own[0] - own[1] < 3
