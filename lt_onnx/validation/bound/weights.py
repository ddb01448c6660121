"""The float tensors of a ticket file, read one at a time."""

from pathlib import Path

import numpy as np

from lt_onnx.reading.stored_tensors import StoredTensors
from lt_onnx.source.layer import SourceLayer
from lt_onnx.validation.bound.ranges import Doubles


class TicketWeights:
    """What the file holds, in double precision."""

    def __init__(self, path: Path) -> None:
        self._tensors = StoredTensors(path)

    def tensor(self, name: str) -> Doubles:
        """One tensor, whole."""
        return self._tensors[name].astype(np.float64)

    def layer(self, spec: SourceLayer) -> Doubles:
        """The masked weight of a random layer, [R, I, *K]."""
        name = spec.name
        if f"{name}/mask" in self._tensors:
            value = self.tensor(f"{name}/source") * self.tensor(f"{name}/mask")
        else:
            value = self.tensor(name if name in self._tensors else f"{name}/half")
        return np.ascontiguousarray(value.T if spec.transposed else value)
