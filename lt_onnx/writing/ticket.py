"""Write a ticket (or a source network) as an ONNX file, whole or not at all.

Comes in: a Blueprint and the tensors of its source layers, some rows at a time. Goes out: a
`.onnx` file, and beside it `<name>.data` once the weights pass `files.INLINE_LIMIT`, written as
they come so that no more than some rows are ever held. Both appear when they are complete (see
`files`).

The metadata entry `lt_onnx` holds all that `verify` needs; `manifest` has its schema. The entry
`lt_onnx.sha256` seals the file: SHA-256 of the model without that entry, serialised
deterministically, followed by the bytes of its data file.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from lt_onnx import files
from lt_onnx.blueprint import Blueprint, Expand, Run
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import Part, appear_together, cannot_write, remove_stale_parts
from lt_onnx.manifest import (
    FORMAT,
    GENERATOR,
    METADATA_KEY,
    SEAL_KEY,
    LayerRecord,
    Manifest,
    OptionsRecord,
)
from lt_onnx.options import Options, Weights
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.source.layer import SourceLayer, draw_rows
from lt_onnx.target import Array, Floats, Node, Target
from lt_onnx.version import __version__
from lt_onnx.writing.assembly import assemble
from lt_onnx.writing.storage import Form, RowTensor, SparseTensor

LARGEST_FILE = (1 << 31) - (1 << 24)  # bytes of a protobuf


def data_of(path: Path) -> Path:
    """Where the external data of the ticket at `path` lies, if it has any."""
    return path.with_name(f"{path.name}.data")


def is_inline(blueprint: Blueprint, weights: Weights) -> bool:
    """Whether a ticket, or a source, is a single file."""
    twice = 2 if weights is Weights.MASKED else 1
    return blueprint.weight_bytes * twice <= files.INLINE_LIMIT or weights is Weights.SPARSE


def files_of(path: Path, blueprint: Blueprint, *, source: bool) -> list[Path]:
    """The files that a ticket at `path`, or a source, will consist of."""
    weights = Weights.FOLDED if source else blueprint.options.weights
    return [path] if is_inline(blueprint, weights) else [path, data_of(path)]


def is_of(path: Path, target: Target, options: Options) -> bool:
    """Whether the file at `path` is a ticket of this target with these options."""
    try:
        known = read_manifest(path) if path.is_file() else None
    except InputError:
        return False
    return known is not None and (known.target_sha256, known.seed, known.options) == (
        target.sha256,
        options.seed,
        OptionsRecord.of(options),
    )


class TicketWriter:
    """Takes masked rows in the blueprint's order and leaves a finished file, or nothing.

    A context manager: leaving it by an exception removes what was written. Raises ResourceError
    when the disk is full and InputError when the folder cannot be written to.
    """

    def __init__(self, blueprint: Blueprint, path: Path, *, source: bool) -> None:
        self.blueprint = blueprint
        self.path = path
        self.stored = Weights.FOLDED if source else blueprint.options.weights
        self.half = blueprint.options.fp16 and not source
        self.is_source = source
        self.inline = is_inline(blueprint, self.stored)
        self.data_path = data_of(path)
        self.initializers: list[onnx.TensorProto] = []
        self.sparse: list[onnx.SparseTensorProto] = []
        self.records: list[LayerRecord] = []
        self._open: dict[str, RowTensor | SparseTensor] = {}  # of the layer under way
        self._kept = 0
        self._graph: Part | None = None
        self._data: Part | None = None

    def __enter__(self) -> "TicketWriter":
        remove_stale_parts(self.path)
        remove_stale_parts(self.data_path)
        return self

    def rows(self, spec: SourceLayer, start: int, weight: Floats) -> None:
        """Write some rows [R, I·K] of the layer under way, masked and scaled to σ."""
        form = self._form(spec)
        try:
            if self.stored is not Weights.MASKED:
                kept = (weight + np.float32(0)).astype(form.dtype)  # some round to 0; none is -0
                self._tensor(spec, form.numbers, form.dtype).write(start, kept)
            else:
                options = self.blueprint.options
                full = draw_rows(options.seed, spec, start, start + len(weight))
                full = full.reshape(weight.shape) * spec.sigma(options.init)
                self._tensor(spec, form.numbers, form.dtype).write(start, full)
                kept = (weight != 0).astype(np.uint8)
                self._tensor(spec, form.mask, np.dtype(np.uint8)).write(start, kept)
        except OSError as error:
            raise cannot_write(self.data_path, error) from None
        self._kept += int(np.count_nonzero(kept))

    def layer(
        self, spec: SourceLayer, bias: Floats | None, scale: str, tensors: Mapping[str, Array]
    ) -> None:
        """Close the layer under way: its bias, its scales and orders by name."""
        for tensor in self._open.values():
            if isinstance(tensor, SparseTensor):
                self.sparse.append(tensor.proto())
            else:
                self.initializers.append(tensor.proto(self.data_path.name))
        if bias is not None:
            self.initializers.append(numpy_helper.from_array(bias, f"{spec.name}/bias"))
        self.initializers += [numpy_helper.from_array(v, k) for k, v in tensors.items()]
        self.records.append(
            LayerRecord(
                weight=spec.name,
                index=spec.index,
                shape=spec.shape,
                sigma=float(spec.sigma(self.blueprint.options.init)),
                kept=self._kept,
                transposed=spec.transposed,
                mirror_rows=spec.mirror_rows,
                mirror_columns=spec.mirror_columns,
                bias=f"{spec.name}/bias" if bias is not None else None,
                kept_bias=0 if bias is None else int(np.count_nonzero(bias)),
                scale=scale,
                stored=self.stored,
                half=self.half,
            )
        )
        self._open, self._kept = {}, 0

    def _form(self, spec: SourceLayer) -> Form:
        return Form(spec.name, self.stored, self.half)

    def _tensor(
        self, spec: SourceLayer, name: str, dtype: np.dtype[Any]
    ) -> RowTensor | SparseTensor:
        if name not in self._open:
            if self.stored is Weights.SPARSE:
                self._open[name] = SparseTensor(name, dtype, spec.shape, spec.transposed)
                return self._open[name]
            small = self.inline or spec.size * dtype.itemsize < 1024
            if not small and self._data is None:
                self._data = Part(self.data_path)
            stream = None if small or self._data is None else self._data.stream
            self._open[name] = RowTensor(name, dtype, spec.shape, spec.transposed, stream)
        return self._open[name]

    def finish(self) -> None:
        """Write the graph and give the files their names."""
        model = self._model()
        if model.ByteSize() > LARGEST_FILE:
            raise ResourceError(
                f"{self.path}: {model.ByteSize() / 1e9:.1f} GB are more than one file can hold: "
                "use `weights=folded`"
            )
        data = [] if self._data is None else [self._data]
        try:
            seal = hashlib.sha256(model.SerializeToString(deterministic=True))
            for part in data:
                part.stream.seek(0)
                while piece := part.stream.read(1 << 24):
                    seal.update(piece)
            model.metadata_props.add(key=SEAL_KEY, value=seal.hexdigest())
            self._graph = Part(self.path)
            self._graph.stream.write(model.SerializeToString(deterministic=True))
            appear_together([self._graph, *data])
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for part in (self._graph, self._data):
            if part is not None:
                part.drop()

    def _model(self) -> onnx.ModelProto:
        blueprint, target = self.blueprint, self.blueprint.target
        nodes: list[Node] = []
        for step in blueprint.steps:
            if not isinstance(step, Run):
                nodes += self._form(step.source).nodes()
        nodes += [node for step in blueprint.steps for node in step.nodes]
        tensors = {tensor.name: tensor for tensor in self.initializers}
        tensors |= {
            k: numpy_helper.from_array(v, k) for k, v in sorted(blueprint.constants.items())
        }
        tensors |= {tensor.values.name: tensor for tensor in self.sparse}
        name = f"{target.name or 'network'}_{'source' if self.is_source else 'ticket'}"
        model = assemble(name, nodes, tensors, target)
        model.metadata_props.add(key=METADATA_KEY, value=self._manifest().to_json())
        return model

    def _manifest(self) -> Manifest:
        blueprint, target = self.blueprint, self.blueprint.target
        return Manifest(
            format=FORMAT,
            version=__version__,
            generator=GENERATOR,
            seed=blueprint.options.seed,
            target_sha256=target.sha256,
            target_name=target.path.name,
            options=OptionsRecord.of(blueprint.options),
            layers=tuple(self.records),
            order=tuple(step.order for step in blueprint.steps if isinstance(step, Expand)),
            dense=blueprint.dense,
            parameters=tuple(
                sorted(n for n, v in blueprint.constants.items() if v.dtype == np.float32)
            ),
            fresh=tuple(sorted(blueprint.constants_lost)),
        )
