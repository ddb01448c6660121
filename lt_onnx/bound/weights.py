"""The float tensors of a ticket file, read one at a time."""

from pathlib import Path

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from lt_onnx.bound.ranges import Doubles
from lt_onnx.source import SourceLayer


class TicketWeights:
    """What the file holds, in double precision."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path), load_external_data=False)
        self._folder = path.parent
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def tensor(self, name: str) -> Doubles:
        """One tensor, whole."""
        proto = onnx.TensorProto()
        proto.CopyFrom(self._tensors[name])
        if external_data_helper.uses_external_data(proto):
            external_data_helper.load_external_data_for_tensor(proto, str(self._folder))
        return np.asarray(numpy_helper.to_array(proto).astype(np.float64))

    def layer(self, spec: SourceLayer) -> Doubles:
        """The masked weight of a random layer, [R, I, *K]."""
        if spec.name in self._tensors:
            value = self.tensor(spec.name)
        else:
            value = self.tensor(f"{spec.name}/source") * self.tensor(f"{spec.name}/mask")
        return np.ascontiguousarray(value.T if spec.transposed else value)
