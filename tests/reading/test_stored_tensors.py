"""Tensors of a file, dense and sparse, inside it and beside it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from rewritten import model_of

from lt_onnx.reading.stored_tensors import StoredTensors

W = np.random.default_rng(8).normal(size=(30, 40)).astype(np.float32)


@pytest.mark.parametrize("beside", [False, True])
def test_a_tensor_is_read_in_its_type(tmp_path: Path, beside: bool) -> None:
    model = model_of("(float[N,30] x) => (float y) { y = MatMul(x, w) }", w=W)
    model.graph.initializer.append(numpy_helper.from_array(W.astype(np.float16), "half"))
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=beside, size_threshold=0)
    tensors = StoredTensors(path)

    assert np.array_equal(tensors["w"], W)
    assert tensors["half"].dtype == np.float16
    assert ("w" in tensors, "v" in tensors) == (True, False)


def test_a_sparse_tensor_is_made_dense(tmp_path: Path) -> None:
    model = model_of("(float[N,30] x) => (float y) { y = Relu(x) }")
    values = numpy_helper.from_array(np.array([1.5, -2.5], np.float16), "s")
    places = numpy_helper.from_array(np.array([1, 5], np.int64))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2, 3]))
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    tensors = StoredTensors(path)

    assert "s" in tensors
    assert tensors["s"].tolist() == [[0, 1.5, 0], [0, 0, -2.5]]
    assert tensors["s"].dtype == np.float16
