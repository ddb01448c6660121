"""The constant tensors of an ONNX file, each read when it is asked for."""

from pathlib import Path

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from lt_onnx.target import Array


class StoredTensors:
    """Initializers of the model at `path` by name, sparse ones made dense, in the file's types.

    For files that were verified: places of external data are not checked. Nothing is kept.
    """

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path), load_external_data=False).graph
        self._folder = path.parent
        self._sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        self._dense = {tensor.name: tensor for tensor in graph.initializer}

    def __contains__(self, name: str) -> bool:
        return name in self._sparse or name in self._dense

    def __getitem__(self, name: str) -> Array:
        if name in self._sparse:
            sparse = self._sparse[name]
            values = numpy_helper.to_array(sparse.values)
            whole = np.zeros(list(sparse.dims), values.dtype)
            whole.reshape(-1)[numpy_helper.to_array(sparse.indices)] = values
            return whole
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self._dense[name])
        if external_data_helper.uses_external_data(tensor):
            external_data_helper.load_external_data_for_tensor(tensor, str(self._folder))
        return np.asarray(numpy_helper.to_array(tensor))
