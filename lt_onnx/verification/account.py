"""The account: how many bits of a ticket its seed does not fix, and where they are.

In: the graph, its manifest and tensors. Out: an `Account`, upper bounds in bits: what the shortest
of some stated descriptions takes, so that whatever is trained in the file is at most that much.

- a layer's mask, of n weights of which k are kept: log2 of the number of such masks;
- scales: which are negative, exponent within the layer's span, 23 bits of fraction; a block's range
  and the values of its constants, 32 bits each. What `univariate` derives counts nothing;
- integers: each in the width of the largest, or as runs (first, step, length) where that is less;
- floats: 32 bits for every distinct one, and which one stands where;
- sizes of tensors that are no layer's: whole numbers; where no target fixes them, those of inputs,
  outputs and layers too, how many of their channels are mirrored, and how many neurons a block has
  for which inputs;
- a node: its operator among those that the graph has; its inputs, those apart that are a tensor
  made just before or the next initializer; its attributes. The nodes of a layer are its record's;
- texts: the different names, and what the manifest has for people, compressed; what is called
  after a layer, as its tensors are, counts with that one's name.

With the target given, names and texts are the target's and of the plan, and count nothing, but for
another name of its file, or of the ticket's external data. Not counted is in which order a file
lists its tensors and a node its attributes, or gives its names out: no result depends on it.
"""

import lzma
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import onnx
from msgspec import Meta, json, structs
from onnx import AttributeProto

from lt_onnx.files import data_of
from lt_onnx.manifest import (
    MAX_LEVEL,
    TICKET_TEXT,
    BlockRecord,
    ConstantNeurons,
    LayerRecord,
    Manifest,
    OptionsRecord,
    doc_strings,
)
from lt_onnx.options import MAX_BASE_SIZE, Options, Sigma
from lt_onnx.reading.protobuf import canonical_domain
from lt_onnx.target import Array, Floats
from lt_onnx.verification.allowed_fields import texts_of
from lt_onnx.verification.allowed_operators import OWN_DOMAINS
from lt_onnx.verification.graph_index import GraphIndex
from lt_onnx.verification.masked_weights import stored_tensors
from lt_onnx.verification.seeded import Restored
from lt_onnx.verification.tensors import Sparse, Tensors

Bits: TypeAlias = Annotated[int, Meta(ge=0)]
DOUBLING = 4  # levels that make twice as much
FLOAT, FRACTION = 32, 23  # bits of a float32, and of its fraction
# what is called after a layer, and after the tensor that a block opens on
LAYER_FORMS = (
    "sum sigma scaled biased neurons order weight weight/bias weight/half weight/source "
    "weight/mask weight/mask_cast weight/product weight/places weight/half/places".split()
)
BLOCK_FORMS = ["univariate", "neurons"]
TEXT = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 20, "lc": 4, "pb": 0}]  # no header
MAX_COMPRESSED = 1 << 20  # bytes of text; more is counted as it is
OPERATOR = 8  # bits that name one of ONNX's, or a type
SELECTING_OPS = frozenset(
    "Gather GatherElements GatherND Scatter ScatterElements ScatterND ArrayFeatureExtractor".split()
)


@dataclass(frozen=True)
class Account:
    """Bits, at most, that the seed does not fix."""

    masks: Bits = 0
    scales: Bits = 0
    indices: Bits = 0  # integers that select channels or positions of data
    attributes: Bits = 0  # of nodes; their operators and inputs too
    integers: Bits = 0  # others: shapes, axes, sizes, what a block's record says
    dense: Bits = 0  # float parameters of the target
    texts: Bits = 0

    @property
    def outside_masks(self) -> float:
        """Share of all bits that are not masks."""
        total = sum(asdict(self).values())
        return 1 - self.masks / total if total else 0.0


def account_of(
    restored: Restored, *, index: GraphIndex, tensors: Tensors, path: Path, target: Path | None
) -> Account:
    """The account of the genuine ticket at `path`, which `restored` has as a plain one.

    Its graph is what `target`, where there is one, is planned to.
    """
    model, manifest = (
        restored.graph if restored.ticket is None else restored.ticket,
        restored.manifest,
    )
    blocks = [layer.block for layer in manifest.layers if layer.block is not None]
    stored = {layer.scale for layer in manifest.layers} | {block.order for block in blocks}
    stored.update(name for layer in manifest.layers for name in stored_tensors(layer))
    linear = {index.readers[layer.weight][0][0] for layer in manifest.layers}
    others = [n for n in range(len(index.nodes)) if n not in index.layers]
    scales = _scales(manifest, tensors) + _ranges(blocks)
    indices = dense = 0.0
    integers = _numbers(manifest.options)
    integers += len(manifest.fresh) * math.log2(len(index.maker) + len(index.inputs))
    if target is None:
        integers += _interface(model)
        integers += sum(_layer_sizes(layer) for layer in manifest.layers)
        integers += sum(_sizes((e.block, e.outputs, e.inner)) for e in restored.collapsed)
    for name, tensor in tensors.items():
        if name in stored or isinstance(tensor, Sparse):
            continue
        value = tensor.array().reshape(-1)
        integers += _sizes(tensor.shape)
        if value.dtype == np.float32:
            dense += float_bits(value)
        elif _selects(index, name):
            indices += integer_bits(value)
        else:
            integers += integer_bits(value)
    for layer in manifest.layers:
        if layer.block is not None:
            integers += _constants(layer.block.constants, layer.shape[1])
            integers += 0 if target is not None else _block(layer.block)
    return Account(
        masks=_up(sum(_mask(layer) for layer in manifest.layers)),
        scales=_up(scales),
        indices=_up(indices),
        attributes=_up(
            _operators(index, others)
            + sum(_node(index, n) for n in [*others, *linear])
            + (2 * FLOAT if restored.slope else 0)
        ),
        integers=_up(integers),
        dense=_up(dense),
        texts=_data_name(tensors, path)
        + (_texts(manifest, model) if target is None else _file_name(manifest, target)),
    )


def _up(bits: float) -> int:
    return math.ceil(bits - 1e-6)


def subset_bits(n: int, k: int) -> float:
    """log2 of the number of ways to choose k of n."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def gamma_bits(number: int) -> float:
    """Bits of a whole number on its own, by Elias' code, and its sign."""
    return 1.0 if number == 0 else 2 * abs(number).bit_length() + 1


def integer_bits(values: Array) -> float:
    """Bits of integers or truth values: each in the width of the largest, or as runs."""
    if not len(values):
        return 0.0
    values = values.astype(np.int64)
    least, most = int(values.min()), int(values.max())
    width = (most - least).bit_length()
    plain = gamma_bits(least) + gamma_bits(width) + len(values) * width
    steps = np.diff(values)
    runs = 1 + int(np.count_nonzero(np.diff(steps))) if len(steps) else 1
    run = width + gamma_bits(int(np.abs(steps).max(initial=0))) + gamma_bits(len(values))
    return 1 + min(plain, gamma_bits(least) + gamma_bits(width) + runs * run)


def float_bits(values: Floats) -> float:
    """Bits of float parameters: the distinct ones, -0 and 0 too, and which stands where."""
    distinct = len(np.unique(values.view(np.uint32)))
    places = 0.0 if distinct == len(values) else len(values) * math.log2(max(distinct, 1))
    return min(FLOAT * distinct + places, FLOAT * len(values))


def _mask(layer: LayerRecord) -> float:
    """Bits of a layer's mask, biases too; a block's follows from its record."""
    if layer.block is not None:
        return 0.0
    biases = subset_bits(layer.shape[0], layer.kept_bias) if layer.bias is not None else 0.0
    return subset_bits(math.prod(layer.shape), layer.kept) + biases


def _scales(manifest: Manifest, tensors: Tensors) -> float:
    """Bits of the free scales of all layers."""
    total = 0.0
    for layer in manifest.layers:
        held = tensors[layer.scale].array().reshape(-1)
        if layer.block is not None or (held == 1).all():
            continue
        used = held[held.view(np.uint32) != 0]
        total += subset_bits(len(held), len(used))
        if manifest.options.sigma is Sigma.LAYER:
            distinct, counts = np.unique(used, return_counts=True)
            total += FLOAT * len(distinct) + subset_bits(len(used), int(counts.max(initial=0)))
        else:
            total += _spread(used)
    return total


def _spread(scales: Floats) -> float:
    """Bits of scales that are alike in size."""
    if not len(scales):
        return 0.0
    exponents = scales.view(np.uint32) >> np.uint32(FRACTION) & np.uint32(255)
    span = int(exponents.max() - exponents.min()) + 1
    signs = subset_bits(len(scales), int(np.signbit(scales).sum()))
    return 8 + gamma_bits(span) + signs + len(scales) * (FRACTION + math.log2(span))


def _ranges(blocks: list[BlockRecord]) -> float:
    """Bits of the blocks' ranges, and of the values of their constants."""
    values = [block.gain for block in blocks if block.gain != 1]
    for block in blocks:
        values += [value for _, value in block.constants.values] if block.constants else []
    return len(blocks) + _spread(np.array(values, np.float32))


def _block(block: BlockRecord) -> float:
    """Bits of what a block's record says that follows from the plan of its target."""
    m, group, parts = math.log2(MAX_BASE_SIZE), math.log2(block.channels), 2
    return m + group + parts + integer_bits(block.columns)


def _constants(record: ConstantNeurons | None, inputs: int) -> float:
    """Bits of the whole numbers that say what the constants of a block of so many inputs are."""
    if record is None:
        return 1.0
    steps, level, place = np.diff(record.levels), math.log2(MAX_LEVEL + 1), math.log2(inputs + 1)
    bits = 1 + gamma_bits(record.count) + 1 + place * len(record.values)
    return bits + 3 + level + (1 if bool((steps == DOUBLING).all()) else 1 + level * len(steps))


def _numbers(options: OptionsRecord) -> float:
    """Bits of the options: one for each that is as it is without being given."""
    given = OptionsRecord.of(Options())
    bits = 0.0
    for name, value in structs.asdict(options).items():
        bits += 1
        if value != getattr(given, name):
            pairs = value if isinstance(value, tuple) else [("", value)]
            bits += sum(64 if isinstance(number, float) else 8 for _, number in pairs)
    return bits


def _sizes(shape: Iterable[int]) -> float:
    """Bits of a tensor's sizes."""
    sizes = list(shape)
    return gamma_bits(len(sizes)) + sum(map(gamma_bits, sizes))


def _layer_sizes(layer: LayerRecord) -> float:
    """Bits of a layer's sizes, its operator and bias, and how many channels are mirrored."""
    mirrored = gamma_bits(layer.mirror_rows) + gamma_bits(layer.mirror_columns)
    return 2 + _sizes(layer.shape) + mirrored


def _interface(model: onnx.ModelProto) -> float:
    """Bits of the versions that a model names, and of its inputs' and outputs' types and sizes."""
    types = [port.type.tensor_type for port in (*model.graph.input, *model.graph.output)]
    versions = [model.ir_version, *(operators.version for operators in model.opset_import)]
    ports = (OPERATOR + _sizes(size.dim_value for size in kind.shape.dim) for kind in types)
    return sum(map(gamma_bits, versions)) + sum(ports)


def _selects(index: GraphIndex, name: str) -> bool:
    """Whether integers are places of data that a node picks or fills."""
    reads = index.readers.get(name, [])
    return any(index.nodes[n].op_type in SELECTING_OPS and at == 1 for n, at in reads)


def _operators(index: GraphIndex, others: list[int]) -> float:
    """Bits of which operators the nodes have."""
    kinds = {(index.nodes[n].domain, index.nodes[n].op_type) for n in others}
    return len(kinds) * OPERATOR + len(others) * math.log2(max(len(kinds), 1))


def _node(index: GraphIndex, number: int) -> float:
    """Bits of a node's inputs and attributes."""
    node, layer = index.nodes[number], number in index.layers
    before = {*index.nodes[number - 1].output} if number else index.inputs
    count = math.log2(len(index.maker) + len(index.inputs) + 1)
    bits = 0.0 if layer else gamma_bits(len(node.input)) + gamma_bits(len(node.output) - 1)
    for name in [node.input[0]] if layer else node.input:
        fresh = bool(name) and name not in index.maker and name not in index.inputs
        if name in before:
            bits += 1 + math.log2(len(before))
        elif fresh and index.readers[name][0][0] == number:
            bits += 1
        else:
            bits += 2 + count if name else 2
    for attribute in node.attribute:
        if not layer:
            bits += _attribute(attribute)
        elif attribute.name not in ("kernel_shape", "transB"):  # which follow from its record
            bits += sum(map(gamma_bits, attribute.ints)) or _attribute(attribute)
    return bits


def _attribute(attribute: AttributeProto) -> float:
    """Bits of an attribute's value."""
    match attribute.type:
        case AttributeProto.INT:
            return gamma_bits(attribute.i)
        case AttributeProto.INTS:
            return gamma_bits(len(attribute.ints)) + sum(map(gamma_bits, attribute.ints))
        case AttributeProto.FLOAT:
            return FLOAT
        case AttributeProto.FLOATS:
            return gamma_bits(len(attribute.floats)) + FLOAT * len(attribute.floats)
        case _:
            return 8.0 * int(attribute.ByteSize())


def _texts(manifest: Manifest, model: onnx.ModelProto) -> int:
    """Bits of all different names and texts, compressed together; what forms them counts once."""
    names = dict.fromkeys(name for node in model.graph.node for name in (node.name, *node.output))
    names |= dict.fromkeys(sorted({text for _, text in texts_of(model)}))
    layers = {layer.weight.removesuffix("/weight"): layer.block for layer in manifest.layers}
    opened = [name.removesuffix("/univariate") for name, block in layers.items() if block]
    forms = {o.op_type for o in model.graph.node if canonical_domain(o.domain) in OWN_DOMAINS}
    forms |= {f"{name}/{form}" for name in layers for form in (*LAYER_FORMS, *forms)}
    forms |= {f"{name}/{form}" for name in opened for form in BLOCK_FORMS}
    forms |= {TICKET_TEXT, *doc_strings(manifest).values()}
    names |= dict.fromkeys([*layers, *opened])
    said: list[Any] = [manifest.version, manifest.target_name, manifest.target_sha256]
    said += [*manifest.fresh, *manifest.parameters]
    said += [(place.name, place.reason) for place in manifest.dense]
    said += [name for name, _ in (*manifest.options.prices, *manifest.options.base_sizes)]
    held = "\n".join(name for name in names if name not in forms).encode() + json.encode(said)
    if len(held) > MAX_COMPRESSED:
        return 8 * len(held)
    return 8 * len(lzma.compress(held, lzma.FORMAT_RAW, filters=TEXT))


def _data_name(tensors: Tensors, path: Path) -> int:
    """Bits of the name of the external data, if it is not the ticket's own."""
    names = {t.file.name for t in tensors.values() if not isinstance(t, Sparse) and t.file}
    return sum(8 * len(name.encode()) for name in names - {data_of(path).name})


def _file_name(manifest: Manifest, target: Path) -> int:
    """Bits of the name that a target's file is said to have had, if that is another."""
    return 0 if target.name == manifest.target_name else 8 * len(manifest.target_name.encode())
