"""Networks of unusual shape: what is read twice, read never, given twice or not there at all."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Builder, save
from onnx import TensorProto, helper

from lt_onnx import convert
from lt_onnx.options import Select
from lt_onnx.pipeline import Ticket

BOTH = pytest.mark.parametrize("mode", ["l+1", "2l"])


def exact(model: onnx.ModelProto, folder: Path, mode: str) -> Ticket:
    """Converted with exact weights, and checked; once more for real.

    How near a ticket comes in mode l+1 is the size's business, and these networks are tiny.
    """
    path = save(model, folder)
    ticket = convert(path, folder / "exact.onnx", mode=mode, select=Select.EXACT, base_size=4)
    assert max(out.relative for out in ticket.report.fidelity.outputs) < 1e-5
    real = convert(path, folder / "t.onnx", mode=mode)
    assert real.report.proof.genuine
    if mode == "2l":
        assert min(out.sqnr_db for out in real.report.fidelity.outputs) > 20
    return real


@BOTH
def test_several_inputs_of_different_size(tmp_path: Path, mode: str) -> None:
    b = Builder(1)
    image = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    vector = b("Relu", b.gemm("v", 5, 6))
    gate = b.reshape(vector, [-1, 6, 1, 1])
    both = b("Mul", image, gate)
    model = b.model(b.conv(b("Concat", both, image, axis=1), 12, 4))
    model.graph.input.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 5]))

    exact(model, tmp_path, mode)


@BOTH
def test_outputs_in_the_middle_and_a_layer_with_two_readers(tmp_path: Path, mode: str) -> None:
    b = Builder(2)
    x = b.conv("x", 3, 6, pads=[1] * 4)
    y = b("Relu", x)
    a, c = b.conv(y, 6, 4), b.conv(b("MaxPool", y, kernel_shape=[2, 2]), 6, 4)

    exact(b.model([a, x, y, c]), tmp_path, mode)


@BOTH
def test_what_is_learnt_is_taken_from_the_input(tmp_path: Path, mode: str) -> None:
    b = Builder(3)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    noise = b.conv(b("Relu", b.conv(x, 6, 6, pads=[1] * 4)), 6, 3, pads=[1] * 4)

    exact(b.model(b("Sub", "x", noise)), tmp_path, mode)


@BOTH
def test_tied_weights(tmp_path: Path, mode: str) -> None:
    b = Builder(4)
    w, bias = b.constant(b.weight(6, 6, 3, 3)), b.constant(0.2 * b.rng.standard_normal(6))
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    for _ in range(3):
        x = b("Relu", b("Add", x, b("Conv", x, w, bias, pads=[1] * 4)))

    ticket = exact(b.model(b.conv(x, 6, 2)), tmp_path, mode)
    weights = [layer.name for layer in ticket.report.layers]
    assert len(weights) == len(set(weights))


@BOTH
def test_no_activation_at_all(tmp_path: Path, mode: str) -> None:
    b = Builder(5)
    x = b.conv(b.conv("x", 3, 6, pads=[1] * 4), 6, 4, pads=[1] * 4)

    exact(b.model(b.conv(b("AveragePool", x, kernel_shape=[2, 2]), 4, 2)), tmp_path, mode)


@BOTH
def test_inputs_of_one_pixel_and_a_batch_that_is_fixed(tmp_path: Path, mode: str) -> None:
    b = Builder(6)
    x = b("Relu", b.conv("x", 3, 8, pads=[1] * 4))
    x = b("Relu", b.conv(x, 8, 8, pads=[1] * 4))
    x = b.gemm(b.reshape(x, [1, 8]), 8, 3)

    exact(b.model(x, (1, 3, 1, 1)), tmp_path, mode)


@BOTH
def test_a_single_layer(tmp_path: Path, mode: str) -> None:
    b = Builder(7)

    exact(b.model(b.conv("x", 3, 2)), tmp_path, mode)


@BOTH
def test_a_perceptron_with_norms_between(tmp_path: Path, mode: str) -> None:
    b = Builder(8)
    x = b("Relu", b.gemm("x", 6, 12))
    x = b.norm(x, 12)
    x = b("Tanh", b.gemm(b("Relu", x), 12, 12))
    model = b.model(b.gemm(b.norm(b("Relu", x), 12), 12, 4), ("N", 6))

    exact(model, tmp_path, mode)


@BOTH
def test_unordered_nodes_and_outputs_without_shape(tmp_path: Path, mode: str) -> None:
    b = Builder(9)
    model = b.model(b.conv(b("Relu", b.conv("x", 3, 6)), 6, 2))
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.output[0].type.tensor_type.ClearField("shape")

    exact(model, tmp_path, mode)


@BOTH
def test_an_output_that_no_layer_touches(tmp_path: Path, mode: str) -> None:
    b = Builder(10)
    half = b("Mul", "x", b.constant(0.5))
    ticket = exact(b.model([b.conv(b("Relu", "x"), 3, 4), half]), tmp_path, mode)

    assert [out.relative for out in ticket.report.fidelity.outputs][1] == 0


@BOTH
def test_names_and_open_axes_are_kept(tmp_path: Path, mode: str) -> None:
    b = Builder(11)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    exact(b.model(b.conv(x, 6, 2, pads=[1] * 4), ("N", 3, "H", "W")), tmp_path, mode)
    made = onnx.load(str(tmp_path / "t.onnx"))
    target = onnx.load(str(tmp_path / "target.onnx"))
    shape = made.graph.input[0].type.tensor_type.shape.dim

    assert [d.dim_param for d in shape] == ["N", "", "H", "W"]
    assert made.opset_import == target.opset_import
    assert {n.name for n in target.graph.node} <= {n.name for n in made.graph.node}
    assert {n.domain for n in made.graph.node} == {""}
    assert np.isin([n.name for n in made.graph.output], [n.name for n in target.graph.output]).all()


@BOTH
def test_constants_that_an_operator_swallows(tmp_path: Path, mode: str) -> None:
    b = Builder(12)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("Sub", x, b("ReduceMax", x, axes=[2, 3]))  # c - c
    x = b("Relu", b.conv(x, 6, 6, pads=[1] * 4))

    exact(b.model(b.conv(x, 6, 2)), tmp_path, mode)


@BOTH
@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_precisions_become_float32(tmp_path: Path, kind: type, mode: str) -> None:
    b = Builder(13)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    model = b.model(b.conv(b("Relu", b.conv(x, 6, 6)), 6, 2))
    code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor).astype(kind)
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = code
    del model.graph.value_info[:]
    path = save(model, tmp_path)
    ticket = convert(path, tmp_path / "t.onnx", mode=mode, select=Select.EXACT, base_size=4)

    assert ticket.report.fidelity.outputs[0].relative < (2e-3 if kind is np.float16 else 1e-5)
    made = onnx.load(str(tmp_path / "t.onnx"))
    assert made.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


@BOTH
def test_a_gemm_of_its_transposed_input(tmp_path: Path, mode: str) -> None:
    b = Builder(14)
    w, c = b.constant(b.weight(6, 5)), b.constant(b.rng.standard_normal((1, 5)))
    x = b("Gemm", b("Relu", b("Identity", "x")), w, c, transA=1, alpha=0.5, beta=2.0)
    x = b("Gemm", b("Relu", x), b.constant(b.weight(5, 3)), alpha=1.5)
    ticket = exact(b.model(x, (6, 4)), tmp_path, mode)

    assert not ticket.report.dense
    assert len([layer for layer in ticket.report.layers if layer.op == "Gemm"]) >= 2


@BOTH
@pytest.mark.parametrize("pads", ["SAME_UPPER", "SAME_LOWER", "VALID", "output_shape"])
@pytest.mark.parametrize("stride", [2, 3])
def test_transposed_convolutions_padded_by_a_word(
    tmp_path: Path, pads: str, stride: int, mode: str
) -> None:
    b = Builder(15)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    words = {"output_shape": [8 * stride - 1] * 2} if pads == "output_shape" else {"auto_pad": pads}
    x = b("ConvTranspose", x, b.constant(b.weight(6, 5, 4, 4)), strides=[stride] * 2, **words)
    ticket = exact(b.model(b.conv(b("Relu", x), 5, 2), (2, 3, 8, 8)), tmp_path, mode)

    assert not ticket.report.dense


@BOTH
@pytest.mark.parametrize("stride", [1, 2])
def test_a_norm_behind_a_transposed_convolution_is_no_layer(
    tmp_path: Path, stride: int, mode: str
) -> None:
    b = Builder(16)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("ConvTranspose", x, b.constant(b.weight(6, 5, 4, 4)), strides=[stride] * 2)
    x = b("Mul", b.norm(x, 5), b.constant(b.rng.uniform(0.5, 2, (5, 1, 1))))
    ticket = exact(b.model(b.conv(b("Relu", x), 5, 2), (2, 3, 8, 8)), tmp_path, mode)

    assert not ticket.report.dense
    assert len([layer for layer in ticket.report.layers if layer.kind != "univariate"]) == 3
