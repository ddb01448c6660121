"""The float tensors of a ticket file, read one at a time."""

from pathlib import Path

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from lt_onnx.source.layer import SourceLayer
from lt_onnx.validation.bound.ranges import Doubles


class TicketWeights:
    """What the file holds, in double precision."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path), load_external_data=False)
        self._folder = path.parent
        self._sparse = {tensor.values.name: tensor for tensor in model.graph.sparse_initializer}
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def tensor(self, name: str) -> Doubles:
        """One tensor, whole."""
        proto = onnx.TensorProto()
        proto.CopyFrom(self._tensors[name])
        if external_data_helper.uses_external_data(proto):
            external_data_helper.load_external_data_for_tensor(proto, str(self._folder))
        return np.asarray(numpy_helper.to_array(proto).astype(np.float64))

    def _dense(self, sparse: onnx.SparseTensorProto) -> Doubles:
        value = np.zeros(list(sparse.dims))
        places = numpy_helper.to_array(sparse.indices)
        value.reshape(-1)[places] = numpy_helper.to_array(sparse.values)
        return value

    def layer(self, spec: SourceLayer) -> Doubles:
        """The masked weight of a random layer, [R, I, *K]."""
        name = spec.name
        if name in self._sparse:
            value = self._dense(self._sparse[name])
        elif f"{name}/half" in self._sparse:
            value = self._dense(self._sparse[f"{name}/half"])
        elif f"{name}/mask" in self._tensors:
            value = self.tensor(f"{name}/source") * self.tensor(f"{name}/mask")
        else:
            value = self.tensor(name if name in self._tensors else f"{name}/half")
        return np.ascontiguousarray(value.T if spec.transposed else value)
