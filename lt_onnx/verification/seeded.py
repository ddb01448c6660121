"""A seeded ticket turned back into the plain one that it stands for.

In: a model whose weights are made in its own graph, from codes of masks. Out: the same ticket with
sparse layers, for everything else to be proved of, and what is wrong with the generator.

What the graph makes is known from its nodes: they are compared one by one with `generator_nodes`,
and the tensors that they read with what those must hold. Free are the codes and nothing else. Kept
are weights drawn by `generator`; that the graph draws the same follows from the comparison.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.manifest import (
    DEPLOYED_KEY,
    METADATA_KEY,
    TICKET_TEXT,
    CollapsedLayer,
    Deployed,
    LayerRecord,
    Manifest,
    digest,
    parse_deployed,
)
from lt_onnx.options import Weights
from lt_onnx.reading.operator_sets import SEEDED, changed_nodes, lowered_nodes
from lt_onnx.reading.protobuf import metadata_of
from lt_onnx.target import Array, Indices, is_standard_domain
from lt_onnx.verification.collapsed import check_entries, put_back_blocks
from lt_onnx.verification.flaw import Flaw
from lt_onnx.verification.generator import biases, weights_at
from lt_onnx.verification.generator_nodes import Mask, generator_nodes
from lt_onnx.verification.tensors import is_external
from lt_onnx.verification.ticket_file import manifest_of, read_model
from lt_onnx.verification.univariate import check_drawn

MAX_SEEDED_WEIGHTS = 1 << 31  # of a layer: positions are int32
MAX_CODE_BITS = 24
SEEDED_IR = 8
GRAPH_TEXT = (
    "The weights are not in this file: it makes them. For each layer, <weight>/codes say which "
    "weights of the random source are kept (<weight>/mask), a generator makes their values from "
    "the seed (<weight>/draw), and they are scattered into zeros (<weight>)."
)


@dataclass(frozen=True)
class Restored:
    """What a file stands for: a ticket without a generator.

    `ticket` is None where nothing can be made of the codes. `graph` has what stands in the file
    itself behind its generator; of a collapsed ticket, the target's steps, else the same.
    """

    ticket: onnx.ModelProto | None
    manifest: Manifest
    failures: list[str]
    graph: onnx.ModelProto
    collapsed: tuple[CollapsedLayer, ...] = ()
    slope: float = 0.0  # of a collapsed ticket's activation for x < 0


def plain_ticket(model: onnx.ModelProto, manifest: Manifest, deployed: Deployed | None) -> Restored:
    """The sparse ticket that a seeded one stands for; of a ticket in another form, itself."""
    if deployed is None and all(layer.stored != Weights.SEEDED for layer in manifest.layers):
        return Restored(model, manifest, [], model)
    try:
        if deployed is None or any(layer.stored != Weights.SEEDED for layer in manifest.layers):
            raise Flaw(f"its layers are not all seeded, or '{DEPLOYED_KEY}' is missing")
        return _restored(model, manifest, deployed)
    except Flaw as flaw:
        return Restored(None, manifest, [str(flaw)], model)


def _restored(model: onnx.ModelProto, manifest: Manifest, deployed: Deployed) -> Restored:
    """The ticket of a seeded file. Raises Flaw where nothing can be made of its codes."""
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    collapsed, layers = deployed.collapsed, manifest.layers
    if not collapsed and deployed.slope:
        raise Flaw(f"'{DEPLOYED_KEY}' has a slope, though nothing is collapsed")
    if collapsed:
        check_entries(collapsed, manifest)
        check_drawn(manifest, model.ByteSize())
        layers = tuple(manifest.layers[entry.layer] for entry in collapsed)
    if len(deployed.digests) != len(layers):
        raise Flaw(f"'{DEPLOYED_KEY}' does not have a digest for every layer")
    makers = {node.output[0]: node for node in model.graph.node if node.output}
    masks = [mask for layer in layers for mask in _masks(layer, makers, arrays)]
    nodes, constants = generator_nodes(masks, manifest, deployed)
    failures = list(_differences(model, masks, nodes, constants))
    failures += _broken(masks, layers, deployed, arrays)
    stored = tuple(replace(layer, stored=Weights.SPARSE) for layer in manifest.layers)
    plain = replace(manifest, layers=stored)
    made = {*constants, *(f"{mask.name}/codes" for mask in masks)}
    graph = _without(model, count=len(nodes), tensors=made)
    failures += _restore(graph, model, plain, deployed)
    ticket = graph
    if collapsed:
        ticket = onnx.ModelProto()
        ticket.CopyFrom(graph)
        masks += put_back_blocks(ticket, plain, collapsed, masks)
    _put_weights(ticket, plain, masks)
    return Restored(ticket, plain, failures, graph, collapsed, deployed.slope)


def open_ticket(path: Path) -> tuple[onnx.ModelProto, Manifest]:
    """The plain ticket in a file, and its manifest.

    Raises InputError where there is none, and for a collapsed one: its graph is the target's.
    """
    model, _ = read_model(path)
    manifest = manifest_of(path, model)
    deployed = parse_deployed(path, metadata_of(model))
    restored = plain_ticket(model, manifest, deployed)
    if restored.ticket is None or restored.failures:
        raise InputError(f"{path}: is not genuine: {restored.failures[0]}")
    if restored.collapsed:
        raise InputError(f"{path}: is collapsed: give the ticket that it was made from")
    return restored.ticket, restored.manifest


def _masks(
    layer: LayerRecord, makers: Mapping[str, onnx.NodeProto], arrays: Mapping[str, TensorProto]
) -> Iterator[Mask]:
    """The masks of a layer's weight, and of its bias if it has one. Raises Flaw."""
    if _array(arrays, layer.scale).size != layer.shape[0]:  # nothing larger is made of its record
        raise Flaw(f"tensor '{layer.scale}' is not one scale per channel")
    for stream, name in enumerate([layer.weight, *([layer.bias] if layer.bias else [])]):
        words, count = _array(arrays, f"{name}/codes"), _array(arrays, f"{name}/count")
        reader = makers.get(f"{name}/mask/words")
        shifts = reader.input[1] if reader is not None and len(reader.input) == 2 else ""
        match = re.fullmatch(r"draw(?:_\d+)?/shifts_(\d{1,2})", shifts)
        if match is None or not 1 <= int(match[1]) <= MAX_CODE_BITS:
            raise Flaw(f"tensor '{name}' is not made of codes")
        if count.dtype != np.int64 or count.shape != (1,):
            raise Flaw(f"tensor '{name}/count' is not the number of its codes")
        bits, codes = int(match[1]), int(count[0])
        size = math.prod(layer.shape) if stream == 0 else layer.shape[0]
        if size >= MAX_SEEDED_WEIGHTS:
            raise Flaw(f"tensor '{name}' has more numbers than a generator makes")
        places = _decoded(words, bits, codes)
        if places is None or (len(places) and places[-1] >= size):
            raise Flaw(f"tensor '{name}/codes' does not decode to a mask of {size:,} numbers")
        if bits != _shortest(places):
            raise Flaw(f"tensor '{name}/codes' has codes of another width than takes least room")
        yield Mask(name, layer, stream, bits, codes, places)


def _shortest(places: Indices) -> int:
    """The width of the codes that tell these positions in the fewest words."""
    gaps, words = np.diff(places, prepend=-1), []
    for bits in range(1, MAX_CODE_BITS + 1):
        count = max(len(gaps) + int(((gaps - 1) // (2**bits - 1)).sum()), 1)
        words.append(-(-count // (64 // bits)))
    return int(np.argmin(words)) + 1


def _array(arrays: Mapping[str, TensorProto], name: str) -> Array:
    """The numbers of an initializer in the file itself. Raises Flaw."""
    if name not in arrays or is_external(arrays[name]):
        raise Flaw(f"tensor '{name}' is missing in the file")
    try:
        return np.asarray(numpy_helper.to_array(arrays[name]))
    except (ValueError, TypeError, KeyError, OSError):
        raise Flaw(f"tensor '{name}' cannot be read") from None


def _decoded(words: Array, bits: int, count: int) -> Indices | None:
    """The kept positions, rising; None where the words are not what an encoder makes."""
    per_word, largest = 64 // bits, 2**bits - 1
    if words.dtype != np.uint64 or words.shape != (-(-count // per_word), 1) or count < 1:
        return None
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    codes = ((words >> shifts) & np.uint64(largest)).astype(np.int64).reshape(-1)
    over = words >> np.uint64(bits * per_word) if bits * per_word < 64 else np.zeros_like(words)
    kept = codes[:count] < largest
    if codes[count:].any() or over.any() or (count > 1 and not kept[-1]):
        return None
    places: Indices = np.cumsum(codes[:count] + kept)[kept] - 1
    return places


def _differences(
    model: onnx.ModelProto,
    masks: Sequence[Mask],
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
) -> Iterator[str]:
    """Nodes and tensors that are not the generator's."""
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    counts = Counter(tensor.name for tensor in model.graph.initializer)
    if len(model.graph.node) < len(nodes):
        yield "its generator is not whole"
    for wanted, held in zip(nodes, model.graph.node, strict=False):
        first, second = (node.SerializeToString(deterministic=True) for node in (wanted, held))
        if first != second:
            yield f"what makes '{wanted.output[0]}' is not the generator's {wanted.op_type}"
    codes = {f"{mask.name}/codes": _array(arrays, f"{mask.name}/codes") for mask in masks}
    stored = {**constants, **codes}
    bodies = {v.name for node in nodes for a in node.attribute for v in (*a.g.input, *a.g.output)}
    made = Counter([*stored, *(name for node in nodes for name in node.output), *bodies])
    yield from (f"'{name}' is made twice by its generator" for name, n in made.items() if n > 1)
    others = {name for node in model.graph.node[len(nodes) :] for name in node.output}
    others |= {value.name for value in model.graph.input}
    others |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    others |= arrays.keys() - stored.keys()
    for name in sorted(others & made.keys()):
        yield f"'{name}' is made by the generator and once more"
    for name, value in stored.items():
        if counts[name] != 1 or arrays[name] != numpy_helper.from_array(value, name):
            yield f"tensor '{name}' of the generator holds other numbers, or more than these"


def _broken(
    masks: Sequence[Mask],
    layers: Sequence[LayerRecord],
    deployed: Deployed,
    arrays: Mapping[str, TensorProto],
) -> Iterator[str]:
    """Layers whose codes or scales are others than those that were sealed."""
    for layer, wanted in zip(layers, deployed.digests, strict=True):
        names = [f"{mask.name}/codes" for mask in masks if mask.layer is layer]
        held = [_array(arrays, name) for name in (*names, layer.scale) if name in arrays]
        if digest(*held) != wanted:
            yield f"layer '{layer.weight}': its mask or its scales were changed after it was made"


def _without(model: onnx.ModelProto, *, count: int, tensors: set[str]) -> onnx.ModelProto:
    """The model without its first `count` nodes and without `tensors`."""
    ticket = onnx.ModelProto()
    ticket.CopyFrom(model)
    del ticket.graph.node[:count]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in tensors]
    del ticket.graph.initializer[:]
    ticket.graph.initializer.extend(kept)
    return ticket


def _put_weights(ticket: onnx.ModelProto, manifest: Manifest, masks: Sequence[Mask]) -> None:
    """Give the ticket sparse weights and biases, drawn at the kept positions."""
    casts = []
    for mask in masks:
        layer, places = mask.layer, mask.places
        if mask.stream:
            values = np.zeros(layer.shape[0], np.float32)
            values[places] = biases(manifest.seed, layer)[places]
            ticket.graph.initializer.append(numpy_helper.from_array(values, mask.name))
            continue
        kept = weights_at(manifest.seed, layer, places)
        shape, name = layer.shape, layer.weight
        if layer.transposed:
            places = places % shape[1] * shape[0] + places // shape[1]
            order = np.argsort(places, kind="stable")
            places, kept, shape = places[order], kept[order], shape[::-1]
        if layer.half:
            name, kept = f"{name}/half", kept.astype(np.float16)
            casts.append(helper.make_node("Cast", [name], [layer.weight], layer.weight, to=1))
        values, indices = numpy_helper.from_array(kept, name), numpy_helper.from_array(places)
        indices.name = f"{name}/places"
        ticket.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, shape))
    nodes = [*casts, *ticket.graph.node]
    del ticket.graph.node[:]
    ticket.graph.node.extend(nodes)


def _restore(
    ticket: onnx.ModelProto, model: onnx.ModelProto, manifest: Manifest, deployed: Deployed
) -> Iterator[str]:
    """Give the ticket its own operator set, texts and manifest; what was wrong with the file's."""
    held = [o.version for o in model.opset_import if is_standard_domain(o.domain)]
    wanted = max(SEEDED, deployed.opset), max(SEEDED_IR, deployed.ir_version)
    if held != [wanted[0]] or model.ir_version != wanted[1]:
        yield f"its operator set or IR version is not what '{DEPLOYED_KEY}' says"
    for title in lowered_nodes(ticket, deployed.opset):
        yield f"{title} is not as operator set {deployed.opset} has it in {SEEDED}"
    for title in changed_nodes(ticket, deployed.opset):
        yield f"{title} of operator set {deployed.opset} is another in {SEEDED}"
    said = onnx.StringStringEntryProto(key=DEPLOYED_KEY, value=deployed.to_json())
    if [e for e in model.metadata_props if e.key == DEPLOYED_KEY] != [said]:
        yield f"metadata entry '{DEPLOYED_KEY}' is there twice, or holds more than it says"
    if [entry.key for entry in model.metadata_props[:2]] != [METADATA_KEY, DEPLOYED_KEY]:
        yield f"metadata entry '{DEPLOYED_KEY}' is not the second one"
    if model.graph.doc_string != GRAPH_TEXT:
        yield "its graph's doc string is not that of a seeded ticket"
    speaks = any(node.doc_string for node in ticket.graph.node)
    ticket.graph.doc_string = TICKET_TEXT if speaks else ""
    for opset in ticket.opset_import:
        if is_standard_domain(opset.domain):
            opset.version = deployed.opset
    ticket.ir_version = deployed.ir_version
    for entry in model.metadata_props:
        if entry.key == DEPLOYED_KEY:
            ticket.metadata_props.remove(entry)
    for entry in ticket.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = manifest.to_json()
