"""Scalers become operators of ONNX's own."""

import numpy as np
from onnx import helper, numpy_helper

from lt_onnx.reading.replace_scalers import replace_scalers


def test_a_scaler_subtracts_and_multiplies() -> None:
    keys = {"offset": [1.0, 2.0], "scale": [0.5, 4.0]}
    scaler = helper.make_node("Scaler", ["x"], ["s"], "first", domain="ai.onnx.ml", **keys)
    graph = helper.make_graph([scaler, helper.make_node("Relu", ["s"], ["y"])], "g", [], [])
    replace_scalers(graph)
    values = {t.name: numpy_helper.to_array(t).tolist() for t in graph.initializer}

    assert [(n.op_type, list(n.input), list(n.output)) for n in graph.node] == [
        ("Sub", ["x", "s/offset"], ["s/centred"]),
        ("Mul", ["s/centred", "s/scale"], ["s"]),
        ("Relu", ["s"], ["y"]),
    ]
    assert values == {"s/offset": [[1, 2]], "s/scale": [[0.5, 4]]}
    assert {numpy_helper.to_array(t).dtype for t in graph.initializer} == {np.dtype(np.float32)}


def test_a_scaler_of_the_standard_domain_stays() -> None:
    graph = helper.make_graph([helper.make_node("Scaler", ["x"], ["y"])], "g", [], [])
    replace_scalers(graph)

    assert [node.op_type for node in graph.node] == ["Scaler"]
