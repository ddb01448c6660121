"""The account: how many bits of a ticket its seed does not fix, and where they are.

In: the graph, its manifest and tensors. Out: an `Account`, upper bounds in bits: what the shortest
of some stated descriptions takes, so that whatever is trained in the file is at most that much.

- a layer's mask, of n weights of which k are kept: log2 of the number of such masks, and k;
- scales: which are negative, exponent within the layer's span, 23 bits of fraction; of a row of one
  weight, which hands a constant on, how far off it is one of few sizes that it may make, as for the
  values of a block's constants; a block's range. What `univariate` derives counts nothing;
- integers: each in the width of the largest, or as runs (first, step, length) where that is less;
- floats: 32 bits for every distinct one, and which one stands where;
- sizes of tensors that are no layer's: whole numbers; where no target fixes them, those of inputs,
  outputs and layers too, how many of their channels are mirrored, and how many neurons a block has
  for which inputs;
- a node: its operator among those that the graph has; its inputs and attributes, less where the
  last node of its operator has the same. The nodes of a layer are its record's;
- texts: the different names, and what the manifest has for people, compressed; what is called
  after a layer, as its tensors are, counts with that one's name; which nodes share a name.

With the target given, names and texts are the target's and of the plan, and count nothing, but for
another name of its file, or of the ticket's external data. Not counted is in which order a file
lists its tensors and a node its attributes, or gives its names out: no result depends on it.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import onnx
from msgspec import Meta, structs

from lt_onnx.manifest import (
    MAX_LEVEL,
    BlockRecord,
    ConstantNeurons,
    DenseReason,
    LayerRecord,
    Manifest,
    OptionsRecord,
)
from lt_onnx.options import MAX_BASE_SIZE, Options, Sigma
from lt_onnx.reading.protobuf import operator_sets
from lt_onnx.target import Array, Doubles
from lt_onnx.verification.code_lengths import (
    FLOAT,
    LEVELS_OF_TWO,
    float_bits,
    gamma_bits,
    integer_bits,
    kinds_bits,
    level_bits,
    scale_bits,
    subset_bits,
)
from lt_onnx.verification.generator import weights_at
from lt_onnx.verification.graph_bits import OPERATOR, graph_bits
from lt_onnx.verification.graph_index import GraphIndex
from lt_onnx.verification.masked_weights import kept_places, stored_tensors
from lt_onnx.verification.seeded import Restored
from lt_onnx.verification.tensors import Sparse, Tensors
from lt_onnx.verification.text_bits import data_name_bits, file_name_bits, text_bits

Bits: TypeAlias = Annotated[int, Meta(ge=0)]
TENSOR = 2  # bits that say of what type a tensor is
MAX_COUNTED = 1 << 24  # weights of a layer of which the rows are looked at one by one
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
    scales = _scales(manifest, tensors) + _ranges(blocks)
    indices = dense = 0.0
    integers = _numbers(manifest.options, layers=len(manifest.layers))
    integers += len(manifest.fresh) * math.log2(len(index.maker) + len(index.inputs))
    if target is None:
        integers += _interface(model)
        integers += len(index.outputs) * math.log2(len(index.maker) + len(index.inputs) + 1)
        integers += sum(_sizes(tensors[block.order].shape) for block in blocks)
        integers += sum(_layer_sizes(layer) for layer in manifest.layers)
        integers += sum(_sizes((e.block, e.outputs, e.inner)) for e in restored.collapsed)
        repeated = [p for p in manifest.dense if p.reason == DenseReason.REPEATED]
        integers += sum(gamma_bits(place.parameters) for place in repeated)
    for name, tensor in tensors.items():
        if name in stored or isinstance(tensor, Sparse):
            continue
        value = tensor.array().reshape(-1)
        integers += TENSOR + _sizes(tensor.shape)
        if value.dtype == np.float32:
            dense += float_bits(value)
        elif _selects(index, name):
            indices += integer_bits(value)
        else:
            integers += integer_bits(value)
    last: ConstantNeurons | None = None
    for layer in manifest.layers:
        if layer.block is not None:
            integers += _constants(layer.block.constants, last, inputs=layer.shape[1])
            integers += 0 if target is not None else _block(layer.block)
            last = layer.block.constants or last
    return Account(
        masks=_up(sum(_mask(layer) for layer in manifest.layers)),
        scales=_up(scales),
        indices=_up(indices),
        attributes=_up(
            graph_bits(index, linear, operator_sets(model)) + (2 * FLOAT if restored.slope else 0)
        ),
        integers=_up(integers),
        dense=_up(dense),
        texts=data_name_bits(tensors, path)
        + (
            _up(text_bits(manifest, restored.graph))
            if target is None
            else file_name_bits(manifest, target)
        ),
    )


def _up(bits: float) -> int:
    return math.ceil(bits - 1e-6)


def _mask(layer: LayerRecord) -> float:
    """Bits of a layer's mask, biases too; a block's follows from its record."""
    if layer.block is not None:
        return 0.0
    masks = [(math.prod(layer.shape), layer.kept)]
    if layer.bias is not None:
        masks.append((layer.shape[0], layer.kept_bias))
    return sum(math.log2(size + 1) + subset_bits(size, kept) for size, kept in masks)


def _scales(manifest: Manifest, tensors: Tensors) -> float:
    """Bits of the free scales of all layers."""
    free = [layer for layer in manifest.layers if layer.block is None]
    total = float(len(free))  # whether all are 1
    for layer in free:
        held = tensors[layer.scale].array().reshape(-1)
        if (held == 1).all():
            continue
        rows, lone = _rows_kept(manifest.seed, layer, tensors)
        used = held.view(np.uint32) != 0
        total += sum(_kinds(used[rows == kept]) for kept in (False, True))
        if manifest.options.sigma is Sigma.LAYER:
            distinct, counts = np.unique(held[used], return_counts=True)
            total += FLOAT * len(distinct) + subset_bits(counts.sum(), counts.max(initial=0))
            continue
        alone = used & (lone != 0)
        levels = level_bits(held[alone], lone[alone])
        total += len(levels) + levels[levels < FLOAT].sum()
        alone[alone] = levels < FLOAT
        total += scale_bits(held[used & ~alone])
    return total


def _rows_kept(seed: int, layer: LayerRecord, tensors: Tensors) -> tuple[Array, Doubles]:
    """Which rows of a layer keep any weight, and the weights of those that keep a single one.

    Of a row that keeps more, or of a layer too large to look at, 0.
    """
    size, lone = math.prod(layer.shape), np.zeros(layer.shape[0])
    if size > MAX_COUNTED:
        return np.ones(layer.shape[0], np.bool_), lone
    places = kept_places(layer, tensors)
    row = places // (size // layer.shape[0])
    counts = np.bincount(row, minlength=layer.shape[0])
    single = counts[row] == 1
    lone[row[single]] = weights_at(seed, layer, places[single])
    return counts > 0, lone


def _kinds(truths: Array) -> float:
    """Bits of truth values."""
    return kinds_bits([int(truths.sum()), int((~truths).sum())])


def _ranges(blocks: list[BlockRecord]) -> float:
    """Bits of the blocks' ranges, and of the values of their constants."""
    gains = [block.gain for block in blocks if block.gain != 1]
    constants = [block.constants.values for block in blocks if block.constants is not None]
    values = np.array([value for held in constants for _, value in held], np.float32)
    levels = level_bits(values, np.ones(len(values)))
    return (
        len(blocks)
        + scale_bits(np.array(gains, np.float32))
        + len(values)
        + float(np.minimum(levels, FLOAT).sum())
    )


def _block(block: BlockRecord) -> float:
    """Bits of what a block's record says that follows from the plan of its target."""
    m, parts, counts = math.log2(MAX_BASE_SIZE), 2, (block.channels, block.group)
    return m + parts + sum(map(gamma_bits, counts)) + integer_bits(block.columns)


def _constants(
    record: ConstantNeurons | None, last: ConstantNeurons | None, *, inputs: int
) -> float:
    """Bits of the whole numbers that say what the constants of a block of so many inputs are.

    `last` are those of the last block that has any.
    """
    if record is None:
        return 1.0
    counts, others = (
        (of.count, len(of.values), len(of.levels)) if of is not None else ()
        for of in (record, last)
    )
    steps, level, place = np.diff(record.levels), math.log2(MAX_LEVEL + 1), math.log2(inputs + 1)
    bits = 1 + 1 + 1 + (0.0 if counts == others else sum(map(gamma_bits, counts)))
    bits += level if last is None else gamma_bits(record.levels[0] - last.levels[0])
    bits += 1 if bool((steps == LEVELS_OF_TWO).all()) else 1 + level * len(steps)
    return bits + place * len(record.values)


def _numbers(options: OptionsRecord, *, layers: int) -> float:
    """Bits of the options: one for each that is as it is without being given.

    Of one that names some of the `layers`, which those are.
    """
    given = OptionsRecord.of(Options())
    bits = 0.0
    for name, value in structs.asdict(options).items():
        bits += 1
        if value != getattr(given, name):
            named = value if isinstance(value, tuple) else ()
            numbers = [number for _, number in named] if named else [value]
            bits += sum(64 if isinstance(number, float) else 8 for number in numbers)
            bits += len(named) * math.log2(layers) if named else 0.0
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
    every = [port.type for port in (*model.graph.input, *model.graph.output)]
    types = [kind.tensor_type for kind in every]
    versions = [model.ir_version, *(operators.version for operators in model.opset_import)]
    ports = (OPERATOR + _sizes(size.dim_value for size in kind.shape.dim) for kind in types)
    said = Counter(
        (size.WhichOneof("value"), size.dim_param, size.denotation)
        for kind in types
        for size in kind.shape.dim
    )
    stand_for = Counter(kind.denotation for kind in every)
    bits = kinds_bits(said.values()) + kinds_bits(stand_for.values())
    return sum(map(gamma_bits, versions)) + sum(ports) + bits


def _selects(index: GraphIndex, name: str) -> bool:
    """Whether integers are places of data that a node picks or fills."""
    reads = index.readers.get(name, [])
    return any(index.nodes[n].op_type in SELECTING_OPS and at == 1 for n, at in reads)
