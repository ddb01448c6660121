"""`tools/measure.py`, which shares no code with the validation, says the same of every ticket."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Builder, save
from measure import measure
from paths import MODELS, SHIPPED, long_but

from lt_onnx import convert
from lt_onnx.reading.graph import read_graph
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import Samples
from lt_onnx.validation.fidelity import Fidelity
from lt_onnx.validation.limits import Limits
from lt_onnx.validation.outputs import compare_outputs


def same(fidelity: Fidelity, found: dict) -> None:
    assert found["samples"] == fidelity.samples
    for out in fidelity.outputs:
        for figure in ("variation_db", "sqnr_db", "agreement"):
            value, other = getattr(out, figure), found["outputs"][out.name][figure]
            assert value == (None if other is None else pytest.approx(other, abs=0.01)), figure
    for figure in ("variation_db", "sqnr_db", "agreement"):
        assert fidelity.worst(figure) == (
            None if found[figure] is None else pytest.approx(found[figure], abs=0.01)
        )


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("name", long_but(["plain-relu", "depthwise"], SHIPPED))
def test_every_shipped_network_measures_the_same(tmp_path: Path, name: str, mode: str) -> None:
    target, ticket = MODELS / f"{name}.onnx", tmp_path / "t.onnx"
    words = {"base_size": 6, "price": 1e-3, "calibration_count": 8, "validate": False}
    convert(target, ticket, mode=mode, **words)
    ports = read_graph(target).inputs
    drawn = random_samples(ports, 50, 3)
    digits = np.load(MODELS / "digits.samples.npz")
    real = Samples({port.name: digits[port.name] for port in ports}, None, "digits")

    for samples in (drawn, real):
        fidelity = compare_outputs(target, ticket, samples, ports, Limits())
        same(fidelity, measure(target, ticket, samples.arrays))
        assert fidelity.outputs[0].variation_db != fidelity.outputs[0].sqnr_db
    same(fidelity, measure(target, ticket, MODELS / "digits.samples.npz"))


def test_constants_classes_and_few_inputs_measure_the_same(tmp_path: Path) -> None:
    def network(gain: float, name: str) -> Path:
        b = Builder(0)
        y = b("Mul", b.conv("x", 3, 4, 1), b.constant(np.float32(gain)))
        flat = b("ReduceMean", y, axes=[2, 3], keepdims=0)
        same_for_all = b(
            "Add", b("Mul", flat, b.constant(np.float32(0))), b.constant(np.float32(2))
        )
        model = b.model(flat, ("N", 3, 5, 5))
        for extra in (y, same_for_all):
            model.graph.output.add(name=extra).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        return save(model, tmp_path, name)

    target, ticket = network(1.0, "a.onnx"), network(1.01, "b.onnx")
    ports = read_graph(target).inputs
    for count in (1, 3, 9):
        samples = random_samples(ports, count, 0)
        fidelity = compare_outputs(target, ticket, samples, ports, Limits())
        same(fidelity, measure(target, ticket, samples.arrays))
        assert fidelity.outputs[2].variation_db is None
        assert fidelity.outputs[0].sqnr_db == pytest.approx(40, abs=0.01)
