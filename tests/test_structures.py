"""Networks of unusual shape: what is kept of them, apart from the function they compute."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from cases import SMALL
from graphs import Builder, save
from onnx import TensorProto, numpy_helper
from paths import MODES

from lt_onnx import convert, deploy, verify
from lt_onnx.options import Select, Weights
from lt_onnx.packing.pack import pack
from lt_onnx.packing.unpack import unpack
from lt_onnx.report.ticket import Ticket

BOTH = pytest.mark.parametrize("mode", MODES)


def exact(name: str, folder: Path, mode: str, **words: bool) -> Ticket:
    path = SMALL[name].write(folder)
    return convert(path, folder / "t.onnx", mode=mode, select=Select.EXACT, base_size=4, **words)


@BOTH
def test_tied_weights_are_layers_of_their_own(tmp_path: Path, mode: str) -> None:
    ticket = exact("tied weights", tmp_path, mode, validate=False)
    weights = [layer.name for layer in ticket.report.layers]

    assert len(weights) == len(set(weights))


@BOTH
def test_a_layer_of_zeros_keeps_nothing_in_every_form(tmp_path: Path, mode: str) -> None:
    target, path = SMALL["zeros"].write(tmp_path), tmp_path / "t.onnx"
    ticket = convert(target, path, mode=mode)
    pack(path, tmp_path / "t.ltz")
    unpack(tmp_path / "t.ltz", tmp_path / "u.onnx")
    forms = [(form, False) for form in Weights] + [(Weights.SEEDED, True)] * (mode == "2l")

    assert 0 in [layer.kept for layer in ticket.report.layers]
    assert (tmp_path / "u.onnx").read_bytes() == path.read_bytes()
    for form, collapse in forms:
        out = tmp_path / f"{form}{collapse}.onnx"
        made = deploy(path, out, weights=form, collapse=collapse, target=target)

        assert made.comparison is not None
        assert made.comparison.difference < 1e-5
        assert verify(out, target=target).failures == []


@BOTH
def test_an_output_that_no_layer_touches_is_the_same(tmp_path: Path, mode: str) -> None:
    ticket = exact("an untouched output", tmp_path, mode)

    assert [out.relative for out in ticket.report.fidelity.outputs][1] == 0


@BOTH
def test_names_and_open_axes_are_kept(tmp_path: Path, mode: str) -> None:
    exact("open axes", tmp_path, mode, validate=False)
    made = onnx.load(str(tmp_path / "t.onnx"))
    target = onnx.load(str(tmp_path / "target.onnx"))
    shape = made.graph.input[0].type.tensor_type.shape.dim

    assert [d.dim_param for d in shape] == ["N", "", "H", "W"]
    assert made.opset_import == target.opset_import
    assert {n.name for n in target.graph.node} <= {n.name for n in made.graph.node}
    assert {n.domain for n in made.graph.node} == {""}
    assert np.isin([n.name for n in made.graph.output], [n.name for n in target.graph.output]).all()


@BOTH
@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_other_precisions_become_float32(tmp_path: Path, kind: str, mode: str) -> None:
    exact(kind, tmp_path, mode, validate=False)

    made = onnx.load(str(tmp_path / "t.onnx"))
    assert made.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


@BOTH
def test_parameters_of_operators_that_stay_dense_are_counted(tmp_path: Path, mode: str) -> None:
    b = Builder()
    steps = b.reshape(b("GlobalAveragePool", b.conv("x", 3, 4)), [1, -1, 4])
    recurrent = b(
        "RNN", steps, b.constant(b.weight(1, 2, 4)), b.constant(b.weight(1, 2, 2)), hidden_size=2
    )
    path = save(b.model(recurrent), tmp_path)
    ticket = convert(path, tmp_path / "t.onnx", mode=mode, select=Select.EXACT, validate=False)

    assert [(place.op, place.parameters) for place in ticket.report.dense] == [("RNN", 8 + 4)]


@BOTH
def test_a_channel_that_is_never_active_costs_no_more_than_others(
    tmp_path: Path, mode: str
) -> None:
    b = Builder(15)
    bias = np.zeros(8)
    bias[0] = -1e3
    silent = b("Conv", "x", b.constant(b.weight(8, 3, 3, 3)), b.constant(bias), pads=[1] * 4)
    x = b("Conv", b("Relu", silent), b.constant(b.weight(8, 1, 3, 3)), group=8, pads=[1] * 4)
    target = save(b.model(b.conv(b("Relu", x), 8, 4)), tmp_path)
    made = convert(target, tmp_path / "t.onnx", mode=mode, validate=False)
    (depthwise,) = (
        node
        for node in onnx.load(str(made.path)).graph.node
        if any(a.i == 8 for a in node.attribute)
    )
    tensors = {t.name: t for t in onnx.load(str(made.path)).graph.initializer}
    weight = numpy_helper.to_array(tensors[depthwise.input[1]])
    kept = np.count_nonzero(weight.reshape(8, -1), axis=1)

    assert kept[0] < 2 * kept[1:].mean()
