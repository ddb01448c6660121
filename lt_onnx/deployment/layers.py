"""A ticket's random layers as arrays: mask, source, scale.

In: a ticket in any form that is not collapsed. Out: a mapping of `Layer`s by name, each made when
it is asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.deployment.forms import plan_of
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.manifest import Manifest
from lt_onnx.packing.format import PackedLayer, layers_of
from lt_onnx.packing.pack import kept_rows
from lt_onnx.target import Array, Floats, Indices
from lt_onnx.units import counted
from lt_onnx.verification.masked_weights import check_masked_weights
from lt_onnx.verification.tensors import Sparse, data_bytes, locate_tensors

WEIGHT_SUFFIX = "/weight"  # of a random layer's tensor, after the name of the layer


@dataclass(frozen=True, repr=False)
class Layer:
    """One random layer. Letters: O output channels, I input channels per group, K kernel taps.

    In the ticket it computes scale · (weight * x + bias), and where it has an `order` takes its
    output channels in that order. A univariate layer opens a two-for-one block (Algorithm 1): its
    mask and scales follow from the seed, those of the others are what the construction chose.
    """

    name: str
    mask: NDArray[np.bool_]  # [O, I, *K]
    source: Floats  # [O, I, *K], the random numbers, σ included
    scale: Floats  # [O], one factor for each output channel
    bias: Floats | None  # [O], masked; None: the layer has no biases
    order: Indices | None  # [any], output channels; None: as they are
    target_weight: Floats | None  # [o, i, *K], of the target's layer that it stands for

    @property
    def weight(self) -> Floats:
        """The masked weight, [O, I, *K]: the source where the mask is True, else 0."""
        return np.where(self.mask, self.source, np.float32(0))

    @property
    def is_univariate(self) -> bool:
        """Whether it opens a two-for-one block."""
        return self.order is not None

    @property
    def kept(self) -> int:
        """Weights that the mask keeps, biases apart."""
        return int(np.count_nonzero(self.mask))

    def __repr__(self) -> str:
        shape = list(self.mask.shape)
        return f"<Layer {self.name} {shape}, {self.kept:,} of {self.mask.size:,} weights kept>"


class Layers(Mapping[str, Layer]):
    """The random layers of a ticket by name, in the order in which they run.

    A layer's arrays are made anew at each look-up: keep the layer while you need it.
    """

    def __init__(
        self, path: Path, model: onnx.ModelProto, manifest: Manifest, target: Path | None = None
    ) -> None:
        self._path, self._manifest = path, manifest
        self._tensors = locate_tensors(path, model)
        self._size = path.stat().st_size + data_bytes(self._tensors)
        self._layers = {name_of_layer(layer): layer for layer in layers_of(manifest)}
        self._target_weights = {} if target is None else _target_weights(manifest, target)

    def __getitem__(self, name: str) -> Layer:
        layer = self._layers[name]
        form, record, shape = layer.form, layer.record, layer.spec.shape
        alone = msgspec.structs.replace(self._manifest, layers=(record,))
        _, failures = check_masked_weights(alone, self._tensors, size=self._size)
        if failures:
            raise InputError(f"{self._path}: is not genuine: {failures[0]}: run verify")
        try:
            mask, source = np.zeros(shape, bool), np.empty(shape, np.float32)
        except MemoryError:
            raise ResourceError(f"{self._path}: layer '{name}' does not fit into memory") from None
        flat = mask.reshape(len(mask), -1), source.reshape(len(source), -1)
        rows = kept_rows(layer, self._manifest.seed, self._tensors, self._path)
        for start, drawn, kept in rows:
            here = slice(start, start + len(drawn))
            flat[0][here], flat[1][here] = kept, layer.scaled(drawn).astype(form.dtype)
        return Layer(
            name,
            mask,
            source,
            scale=self._array(record.scale).reshape(-1),
            bias=None if record.bias is None else self._array(record.bias),
            order=None if record.block is None else self._array(record.block.order),
            target_weight=self._target_weights.get(record.weight),
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """[O, I, *K] of a layer, without its arrays."""
        return self._layers[name].spec.shape

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'layer')}: {', '.join(self)}>"

    def _array(self, name: str) -> Array:
        """A tensor of the ticket's. Raises InputError where there is none."""
        tensor = self._tensors.get(name)
        if tensor is None or isinstance(tensor, Sparse):
            raise InputError(f"{self._path}: has no tensor '{name}': run verify")
        return tensor.array()


def name_of_layer(layer: PackedLayer) -> str:
    """What a layer is called: as its weight, without what all weights have at the end."""
    return layer.spec.name.removesuffix(WEIGHT_SUFFIX)


def _target_weights(manifest: Manifest, target: Path) -> dict[str, Floats]:
    """The weights of the target's layers, by the random weight that stands for each."""
    blueprint = plan_of(target, manifest)
    return {
        step.source.name: step.linear.weight for step in blueprint.steps if isinstance(step, Build)
    }
