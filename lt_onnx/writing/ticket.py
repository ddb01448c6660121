"""Write a ticket (or a source network) as an ONNX file, whole or not at all.

In: a Blueprint and its layers' rows as they come. Out: a `.onnx` file, and beside it `<name>.data`
once the weights pass `files.INLINE_LIMIT`, so that no more than some rows are ever held.

The metadata entry `lt_onnx` holds all that `verify` needs; `manifest` has its schema. The entry
`lt_onnx.sha256` seals the file: SHA-256 of the model without that entry, serialised
deterministically, followed by the bytes of its data file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import numpy_helper

from lt_onnx import files
from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.construct.results import MaskedRows
from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write, data_of
from lt_onnx.manifest import (
    FORMAT,
    GENERATOR,
    METADATA_KEY,
    SEAL_KEY,
    TICKET_TEXT,
    BlockRecord,
    LayerRecord,
    Manifest,
    OptionsRecord,
    doc_strings,
    parse_manifest,
)
from lt_onnx.options import Options, Weights
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.reading.protobuf import metadata_of, serialized_bytes
from lt_onnx.source.layer import SourceLayer, draw_rows
from lt_onnx.target import Array, Floats, Target
from lt_onnx.version import __version__
from lt_onnx.writing.assembly import assemble
from lt_onnx.writing.seeded import seeded
from lt_onnx.writing.storage import (
    MIN_EXTERNAL_BYTES,
    SOURCE_FIELDS,
    Form,
    Initializer,
    LayerTensors,
    name_of,
)

CHUNK_BYTES = 1 << 24  # hashed at a time
KEPT_BYTES = 12  # of a sparse initializer: a value and its place


def is_inline(blueprint: Blueprint, weights: Weights) -> bool:
    """Whether a ticket, or a source, is a single file."""
    twice = 2 if weights is Weights.MASKED else 1
    small = weights in (Weights.SPARSE, Weights.SEEDED)
    return blueprint.weight_bytes * twice <= files.INLINE_LIMIT or small


def files_of(path: Path, blueprint: Blueprint, *, source: bool) -> list[Path]:
    """The files that a ticket at `path`, or a source, will consist of."""
    weights = Weights.FOLDED if source else blueprint.options.weights
    return [path] if is_inline(blueprint, weights) else [path, data_of(path)]


def is_of(path: Path, target: Target, options: Options) -> bool:
    """Whether the file at `path` is a ticket of this target with these options."""
    try:
        manifest = read_manifest(path) if path.is_file() else None
    except InputError:
        return False
    wanted = (target.sha256, options.seed, OptionsRecord.of(options))
    return (
        manifest is not None and (manifest.target_sha256, manifest.seed, manifest.options) == wanted
    )


def put_doc_strings(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Let a ticket's graph, and the operators of its layers, say what they are."""
    texts = doc_strings(manifest)
    for node in model.graph.node:
        if len(node.input) > 1 and node.input[1] in texts:
            node.doc_string = texts[node.input[1]]
    model.graph.doc_string = model.graph.doc_string or TICKET_TEXT


def write_sealed(model: onnx.ModelProto, streams: Sequence[BinaryIO], path: Path) -> None:
    """Write a model to the first of the streams that become `path`; its data is in the others.

    It gets its doc strings and its seal. Raises ResourceError for one that is too large for a file.
    """
    manifest = parse_manifest(path, metadata_of(model))
    assert manifest is not None
    put_doc_strings(model, manifest)
    files.check_fits(path, serialized_bytes(model))
    seal = hashlib.sha256(model.SerializeToString(deterministic=True))
    for data in streams[1:]:
        data.seek(0)
        while piece := data.read(CHUNK_BYTES):
            seal.update(piece)
    model.metadata_props.add(key=SEAL_KEY, value=seal.hexdigest())
    streams[0].write(model.SerializeToString(deterministic=True))


class TicketWriter:
    """Takes masked rows in the blueprint's order and leaves a finished file, or nothing.

    With `source` it is the unmasked network that is written; `force` lets it replace a file. A
    context manager: leaving it by an exception removes what was written. Raises ResourceError when
    the disk is full and InputError when the folder cannot be written to.
    """

    def __init__(self, blueprint: Blueprint, path: Path, *, source: bool, force: bool) -> None:
        self.blueprint = blueprint
        self.path, self.is_source = path, source
        weights = Weights.FOLDED if source else blueprint.options.weights
        self.is_seeded = weights is Weights.SEEDED  # made of the sparse form when it is finished
        self.stored = Weights.SPARSE if self.is_seeded else weights
        self._files = atomic_write(*files_of(path, blueprint, source=source), force=force)
        self._streams: list[BufferedRandom] = []  # of the graph, and of its data where it has any
        self._tensors: dict[str, Initializer] = {}
        self._records: list[LayerRecord] = []
        self._layer: LayerTensors | None = None  # under way

    def __enter__(self) -> "TicketWriter":
        self._streams = self._files.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._files.__exit__(*exception)

    def write_rows(self, rows: MaskedRows) -> None:
        """Write some rows of the layer under way, masked and scaled to σ."""
        spec, source, kept = rows.step.source, rows.weight, rows.weight != 0
        if self.stored is Weights.MASKED:
            options, stop = self.blueprint.options, rows.start + len(kept)
            drawn = draw_rows(options.seed, spec, start=rows.start, stop=stop)
            source = drawn.reshape(kept.shape) * spec.sigma(options.init)
        if self._layer is None:
            self._layer = LayerTensors(spec, self._form(spec), self._stream_of)
        self._layer.write(rows.start, source, kept)

    def close_layer(
        self,
        step: Expand | Build,
        *,
        bias: Floats | None,
        tensors: Mapping[str, Array],
        block: BlockRecord | None = None,
    ) -> None:
        """End the layer under way: its masked biases [O], its scales and orders by name.

        `block` is what a ticket says of a univariate layer.
        """
        assert self._layer is not None
        spec, bias_name = step.source, f"{step.source.name}/bias"
        protos = self._layer.protos(data_of(self.path).name)
        self._tensors |= {name_of(proto): proto for proto in protos}
        self._add_arrays(tensors if bias is None else {bias_name: bias, **tensors})
        self._records.append(
            LayerRecord(
                weight=spec.name,
                sigma=float(spec.sigma(self.blueprint.options.init)),
                kept=self._layer.kept,
                bias=None if bias is None else bias_name,
                kept_bias=0 if bias is None else int(np.count_nonzero(bias)),
                scale=step.scale,
                stored=self.stored,
                half=self._layer.form.half,
                block=block,
                **{name: getattr(spec, name) for name in SOURCE_FIELDS},
            )
        )
        self._layer = None
        if self.stored is Weights.SPARSE and not self.is_seeded:
            files.check_fits(self.path, KEPT_BYTES * sum(record.kept for record in self._records))

    def finish(self) -> None:
        """Write the graph and give the files their names."""
        model = self._model()
        write_sealed(model, self._streams, self.path)
        self.__exit__(None, None, None)

    def _form(self, spec: SourceLayer) -> Form:
        return Form(spec.name, self.stored, self.blueprint.options.fp16 and not self.is_source)

    def _stream_of(self, name: str, size: int) -> BufferedRandom | None:
        """The data file, for a tensor that is not to be held."""
        return self._streams[-1] if len(self._streams) > 1 and size >= MIN_EXTERNAL_BYTES else None

    def _add_arrays(self, arrays: Mapping[str, Array]) -> None:
        self._tensors |= {k: numpy_helper.from_array(v, k) for k, v in arrays.items()}

    def _model(self) -> onnx.ModelProto:
        blueprint, target = self.blueprint, self.blueprint.target
        nodes = [node for layer in blueprint.layers for node in self._form(layer).nodes()]
        nodes += [node for step in blueprint.steps for node in step.nodes]
        self._add_arrays(dict(sorted(blueprint.constants.items())))
        name = f"{target.name or 'network'}_{'source' if self.is_source else 'ticket'}"
        model = assemble(name, nodes, tensors=self._tensors, target=target)
        self._tensors = {}  # the model has a copy
        manifest = self._manifest()
        if self.is_seeded:
            return seeded(model, manifest, blueprint if blueprint.options.collapse else None)
        model.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
        return model

    def _manifest(self) -> Manifest:
        blueprint, target = self.blueprint, self.blueprint.target
        floats = [name for name, v in blueprint.constants.items() if v.dtype == np.float32]
        return Manifest(
            format=FORMAT,
            version=__version__,
            generator=GENERATOR,
            seed=blueprint.options.seed,
            target_sha256=target.sha256,
            target_name=target.path.name,
            options=OptionsRecord.of(blueprint.options),
            layers=tuple(self._records),
            dense=blueprint.dense,
            parameters=tuple(sorted(floats)),
            fresh=tuple(sorted(blueprint.constants_lost)),
        )
