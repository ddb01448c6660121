"""Networks of other precisions become float32 ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from lt_onnx.reading.float32 import in_float32

HALF, DOUBLE, FLOAT = TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT


def model_of(kind: int, *, matrix: bool = True) -> onnx.ModelProto:
    """A network whose weight, ports, cast and constant are of one type; beside it whole numbers."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["n"], ["c"], to=kind),
            helper.make_node("Constant", [], ["k"], value=helper.make_tensor("k", kind, [], [0.1])),
            helper.make_node("Mul", ["x", "w"], ["m"]),
            helper.make_node("Sum", ["m", "c", "k"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", kind, [2, 2])],
        [helper.make_tensor_value_info("y", kind, [2, 2])],
        [
            numpy_helper.from_array(np.full((2, 2) if matrix else (2,), 0.1, dtype), "w"),
            numpy_helper.from_array(np.array([3, -4]), "n"),
        ],
    )
    return helper.make_model(graph)


@pytest.mark.parametrize("kind", [HALF, DOUBLE])
def test_weights_constants_casts_and_ports_change_their_type(kind: int) -> None:
    model = model_of(kind)
    wanted = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float32)

    assert in_float32(model)
    graph = model.graph
    assert [t.data_type for t in graph.initializer] == [FLOAT, TensorProto.INT64]
    assert np.array_equal(numpy_helper.to_array(graph.initializer[0]), wanted)
    assert {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)} == {FLOAT}
    assert graph.node[0].attribute[0].i == FLOAT
    assert graph.node[1].attribute[0].t.data_type == FLOAT


@pytest.mark.parametrize(("kind", "matrix"), [(FLOAT, True), (DOUBLE, False)])
def test_what_has_no_weights_of_other_precision_is_left(kind: int, matrix: bool) -> None:
    model = model_of(kind, matrix=matrix)
    before = model.SerializeToString()

    assert not in_float32(model)
    assert model.SerializeToString() == before


def test_numbers_past_float32_become_infinite() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (double[1,2] x) => (double[1,2] y)'
        " { y = Add(x, w) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([[1e300, -2.0]]), "w"))

    assert in_float32(model)
    assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == [[np.inf, -2.0]]
