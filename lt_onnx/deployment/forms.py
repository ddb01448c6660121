"""A ticket's weights stored in another form; masks, scales and everything else stay as they are.

A ticket that comes back to the form that it was converted to is the same file, byte for byte.
"""

from dataclasses import dataclass
from io import BufferedRandom
from os import PathLike
from pathlib import Path

import onnx
from msgspec.structs import replace
from onnx import numpy_helper

from lt_onnx import files
from lt_onnx.blueprint import Blueprint
from lt_onnx.deployment.compare import Comparison, compare
from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write, check_file, check_named, check_places, check_suffix, data_of
from lt_onnx.manifest import METADATA_KEY, LayerRecord, Manifest
from lt_onnx.options import Weights, choose
from lt_onnx.packing.archive import SUFFIX
from lt_onnx.packing.format import PackedLayer, layers_of
from lt_onnx.packing.pack import kept_rows
from lt_onnx.packing.unpack import unpacked_if_packed
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.model_file import model_files
from lt_onnx.runtime import to_proto
from lt_onnx.verification.seeded import open_ticket
from lt_onnx.verification.tensors import Tensor, Tensors, locate_tensors
from lt_onnx.verification.verify import prove
from lt_onnx.writing.seeded import seeded
from lt_onnx.writing.storage import MIN_EXTERNAL_BYTES, Form, Initializer, LayerTensors
from lt_onnx.writing.ticket import write_sealed


@dataclass(frozen=True)
class Deployment:
    """A deployed form: its file, and the bytes of the ticket and of the form, data files too."""

    path: Path
    ticket_bytes: int
    bytes: int
    comparison: Comparison | None  # None: no target was given


def deploy(
    ticket: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    weights: Weights | str = Weights.SEEDED,
    collapse: bool = False,
    target: str | PathLike[str] | None = None,
    force: bool = False,
) -> Deployment:
    """Write a ticket that exists with its weights in another form.

    Args:
        ticket: path of the ticket, in any form that is not collapsed, or of a pack (.ltz) of it.
        output: path of the file; default: `<ticket>.<weights>.onnx` beside the ticket.
        weights: `seeded`: the file makes its numbers from the seed (operator set 18); `folded`,
            `masked` or `sparse`: it holds them.
        collapse: of a ticket in mode `2l`, in `seeded` form: each block becomes one layer of the
            target's own shape, whose weights are sums of the ticket's. Needs `target`.
        target: the network that the ticket was made from; ticket and form are then compared on
            random inputs, and all three are timed.
        force: overwrite a file that exists.

    Raises:
        InputError: the file is no genuine ticket, has no such form, or nothing can be written.
        ResourceError: not enough disk.
    """
    ticket, form = Path(ticket), choose(Weights, "weights", weights)
    check_named(ticket)
    kind = "collapsed" if collapse else form
    stem = ticket.name.removesuffix(SUFFIX).removesuffix(".onnx").removesuffix(".ticket")
    path = ticket.with_name(f"{stem}.{kind}.onnx") if output is None else Path(output)
    target = None if target is None else Path(target)
    if collapse and (target is None or form is not Weights.SEEDED):
        raise InputError("`collapse=True` needs the `target`, and goes with `weights=seeded`")
    check_suffix(path, ".onnx")
    check_file(ticket)
    with unpacked_if_packed(ticket) as unpacked:
        inputs = [ticket, *model_files(unpacked), *([] if target is None else model_files(target))]
        check_places([path, data_of(path)], inputs, force=force)
        return _deploy(unpacked, path, form=form, collapse=collapse, target=target, force=force)


def _deploy(
    ticket: Path, path: Path, *, form: Weights, collapse: bool, target: Path | None, force: bool
) -> Deployment:
    """`deploy` a ticket of one file or two, arguments checked."""
    proof = prove(ticket, target=target)
    if not proof.genuine:
        wrong = "" if proof.of_other_target else "is not genuine: "
        raise InputError(f"{ticket}: {wrong}{proof.failures[0]}")
    model, manifest = open_ticket(ticket)
    planned = None if not collapse or target is None else plan_of(target, manifest)
    stored = Weights.SPARSE if form is Weights.SEEDED else form
    size = sum(4 * layer.spec.size for layer in layers_of(manifest))
    twice = 2 if stored is Weights.MASKED else 1
    external = stored is not Weights.SPARSE and size * twice > files.INLINE_LIMIT
    with atomic_write(path, *[data_of(path)] * external, force=force) as streams:
        tensors = locate_tensors(ticket, model)
        work = _Rewriting(ticket, manifest, tensors, stored, streams[1:], data_of(path).name)
        made, manifest = work.rewritten(model)
        if form is Weights.SEEDED:
            made = seeded(made, manifest, planned)
        else:
            made.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
        write_sealed(made, streams, path)
    comparison = None if target is None else compare(target, ticket, path)
    return Deployment(path, _bytes(ticket), _bytes(path), comparison)


def plan_of(target: Path, manifest: Manifest) -> Blueprint:
    """The plan that a ticket of `target` was made by."""
    lost = frozenset(manifest.fresh)
    return plan(read_target(target), manifest.construction(), constants_lost=lost)


def _bytes(path: Path) -> int:
    """Bytes of a model and of the data files that it names, not of one that it left behind."""
    return sum(file.stat().st_size for file in model_files(path) if file.is_file())


@dataclass(frozen=True)
class _Rewriting:
    """A ticket on its way to another form."""

    ticket: Path
    manifest: Manifest
    tensors: Tensors
    stored: Weights
    data: list[BufferedRandom]  # the data file, if it is to have one …
    location: str  # … of this name

    def rewritten(self, model: onnx.ModelProto) -> tuple[onnx.ModelProto, Manifest]:
        """The ticket in the form, without metadata, and its manifest."""
        made = onnx.ModelProto()
        made.CopyFrom(model)
        graph, records = made.graph, []
        del graph.node[:], graph.initializer[:], graph.sparse_initializer[:]
        del made.metadata_props[:]
        before: dict[str, list[Initializer]] = {}  # what stands before a tensor, in the file
        replaced = set()
        for layer in layers_of(self.manifest):
            record, protos = self._layer(layer)
            before[record.scale] = protos
            records.append(record)
            replaced |= {*layer.names}
        for tensor in model.graph.initializer:
            for proto in before.get(tensor.name, []):
                sparse = isinstance(proto, onnx.SparseTensorProto)
                (graph.sparse_initializer if sparse else graph.initializer).append(proto)
            if tensor.name not in replaced:
                graph.initializer.append(tensor)
        old = {node.name for layer in self.manifest.layers for node in Form.of(layer).nodes()}
        graph.node.extend(to_proto(n) for record in records for n in Form.of(record).nodes())
        graph.node.extend(node for node in model.graph.node if node.name not in old)
        return made, replace(self.manifest, layers=tuple(records))

    def _layer(self, layer: PackedLayer) -> tuple[LayerRecord, list[Initializer]]:
        """A layer's record, and its weight and biases."""

        def stream_of(_: str, size: int) -> BufferedRandom | None:
            return self.data[0] if self.data and size >= MIN_EXTERNAL_BYTES else None

        record = replace(layer.record, stored=self.stored)
        filled = LayerTensors(layer.spec, Form.of(record), stream_of)
        rows = kept_rows(layer, self.manifest.seed, self.tensors, self.ticket)
        for start, drawn, kept in rows:
            filled.write(start, layer.scaled(drawn), kept)
        protos = filled.protos(self.location)
        if record.bias is not None:
            biases = self.tensors[record.bias]
            assert isinstance(biases, Tensor)
            protos.append(numpy_helper.from_array(biases.array(), record.bias))
        return replace(record, kept=filled.kept), protos
