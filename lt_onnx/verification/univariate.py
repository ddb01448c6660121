"""Univariate layers again, from their seed and their record: nothing in them is chosen freely.

In: a layer that has a `BlockRecord`, and the file's tensors. Out: a `Flaw` where mask, biases,
scales or order are not, bit for bit, what follows. Algorithm 1 as this package reads it:

- a block whose channels have neurons of either sign, or positive ones alone, is assigned: neurons
  choose in the order of their largest weight, each the open (channel, sign) where its weight is
  largest; elsewhere slot i is neuron i, and mirror images stand behind;
- a neuron of weight w = σu that listens to its channel has the scale gain / |u| / σ, with one scale
  for the layer gain / σ, so that it computes φ(±gain · x);
- neurons that are left over become constants, as `ConstantNeurons` says.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np

from lt_onnx.cores import core_count
from lt_onnx.manifest import BlockRecord, LayerRecord, Manifest
from lt_onnx.options import Sigma
from lt_onnx.target import Doubles, Floats, Indices
from lt_onnx.verification.flaw import Flaw
from lt_onnx.verification.generator import CHUNK, biases, weights, weights_at
from lt_onnx.verification.tensors import Sparse, Tensor, Tensors

MAX_CONSTANTS = 1 << 10  # neurons of a block
MAX_SPARE = 4  # neurons for each that is needed
MAX_HELD = 1 << 24  # random weights of a block that are drawn once and held
# random weights of blocks that are drawn to derive them, and more for every byte of a file: what a
# classifier of 5,000 channels takes that is alone in its file, minutes
MAX_DRAWN, MAX_DRAWN_PER_BYTE = 1 << 31, 1 << 12


@dataclass(frozen=True)
class Neurons:
    """All that follows from a block's record: kept weights, kept biases, scales and order."""

    rows: Indices  # [N]  of the kept weights, and their columns
    columns: Indices
    biased: Indices  # rows that keep their bias
    scale: Floats  # [R]
    order: Indices


def check_univariate(
    layer: LayerRecord, block: BlockRecord, *, kept: Indices, manifest: Manifest, tensors: Tensors
) -> None:
    """Raise Flaw unless the layer is what its seed and record make of it.

    `kept` are the flat positions of its kept weights, rising.
    """
    order, scale = tensors.get(block.order), tensors[layer.scale]
    if math.prod(scale.shape) != layer.shape[0]:  # nothing larger is made of its record
        raise Flaw(f"tensor '{layer.scale}' is not one scale per channel")
    if not isinstance(order, Tensor) or len(order.shape) != 1:
        raise Flaw(f"tensor '{block.order}' is not the order of a block's neurons")
    neurons = derived(layer, block, manifest, width=order.size, kept=len(kept))
    places = neurons.rows * layer.shape[1] + neurons.columns
    places.sort()
    if layer.stored != "masked":
        places = held_places(manifest.seed, layer, places)
    if not np.array_equal(places, kept):
        row = int(np.setxor1d(places, kept)[0] // layer.shape[1])
        raise Flaw(
            f"tensor '{layer.weight}' keeps other weights than its seed and block give, first in "
            f"row {row}"
        )
    held = tensors[layer.bias] if layer.bias is not None else None
    kept_biases = np.flatnonzero(held.array()) if held is not None else np.zeros(0, np.int64)
    if not np.array_equal(neurons.biased, kept_biases):
        raise Flaw(f"tensor '{layer.bias}' keeps other biases than its seed and block give")
    _check_same(layer.scale, scale, neurons.scale)
    _check_same(block.order, order, neurons.order)


def check_drawn(manifest: Manifest, size: int) -> None:
    """Raise Flaw where to derive all univariate layers takes too long for files of `size` bytes."""
    drawn = 0
    for layer in manifest.layers:
        if layer.block is not None:
            constants = layer.block.constants
            values = len(constants.values) if constants is not None else 0
            drawn += layer.shape[0] * max(layer.block.channels, values)
    if drawn > MAX_DRAWN + MAX_DRAWN_PER_BYTE * size:
        raise Flaw("its blocks are larger than those of any ticket in so small a file")


def _check_size(layer: LayerRecord, block: BlockRecord, *, kept: int) -> None:
    """Raise Flaw for a layer of more neurons than any plan has; nothing is drawn for it."""
    constants = 0 if block.constants is None else block.constants.count
    places = int((block.columns >= 0).sum()) * len(block.parts) * block.neurons
    most = MAX_SPARE * (block.slots + constants + 16) + layer.mirror_rows
    if constants > MAX_CONSTANTS or layer.shape[0] > most or 2 * kept < places:
        raise Flaw(f"layer '{layer.weight}' has more neurons than its block needs")


def _check_same(name: str, tensor: Tensor | Sparse, derived: Floats | Indices) -> None:
    """Raise Flaw unless the tensor has these bits."""
    held = tensor.array().reshape(-1)
    if held.dtype != derived.dtype or len(held) != len(derived):
        counts = f"{len(held)} numbers ({held.dtype}), its block has {len(derived)}"
        raise Flaw(f"tensor '{name}' has {counts} ({derived.dtype})")
    bits = np.uint32 if derived.dtype == np.float32 else np.int64
    same = held.view(bits) == derived.view(bits)
    if not same.all():
        at = int(np.argmin(same))
        raise Flaw(
            f"tensor '{name}' at [{at}] is {held[at]!r}; its seed and block give {derived[at]!r}"
        )


def derived(
    layer: LayerRecord, block: BlockRecord, manifest: Manifest, *, width: int, kept: int
) -> Neurons:
    """What follows, for an order of `width` channels. Raises Flaw where that cannot be.

    A layer that keeps only `kept` weights has no more neurons than follow from that.
    """
    _check_size(layer, block, kept=kept)
    seed, half = manifest.seed, layer.mirror_rows
    unit = msgspec.structs.replace(layer, sigma=1.0)
    column = block.columns
    slot_rows = np.arange(block.slots)
    if block.parts != (0,):
        slot_rows = _assigned(seed, unit, block, column)
    channel = np.arange(block.slots) // (len(block.parts) * block.neurons)
    filled = (slot_rows >= 0) & (column >= 0)[channel]
    rows, columns = slot_rows[filled], column[channel[filled]]
    scale = np.zeros(layer.shape[0])
    strength = np.abs(weights_at(seed, unit, rows * layer.shape[1] + columns).astype(np.float64))
    alone = manifest.options.sigma is Sigma.LAYER
    scale[rows] = block.gain / (1.0 if alone else strength)
    scale[half : 2 * half] = scale[:half]
    if half:
        rows, columns = np.append(rows, rows + half), np.append(columns, columns)
    constants = biased = np.zeros(0, np.int64)
    if block.constants is not None:
        free = np.setdiff1d(np.arange(2 * half, layer.shape[0]), slot_rows)
        constants, listens, drive = _constants(seed, unit, block, free)
        levels = np.array(block.constants.levels)[
            np.arange(len(drive)) % len(block.constants.levels)
        ]
        made = (2.0 ** (levels / 4 - 24)).astype(np.float32).astype(np.float64)
        scale[constants] = block.constants.sign * made / drive
        if alone:
            scale[constants] = np.median(np.abs(scale[constants]))
        if block.constants.values:
            rows, columns = np.append(rows, constants), np.append(columns, listens)
        else:
            biased = np.sort(constants)
    scaled = scale.astype(np.float32) / np.float64(np.float32(layer.sigma))
    order = _order(block, slot_rows, constants, half=half, width=width)
    return Neurons(rows, columns, biased, scaled.astype(np.float32), order)


def _assigned(seed: int, unit: LayerRecord, block: BlockRecord, column: Indices) -> Indices:
    """The neuron of every slot; -1 where none is left."""
    signs, m = len(block.parts), block.neurons
    need = np.full((2, block.channels), m)
    need[:, column < 0] = need[signs:] = 0
    columns, slot_rows = np.maximum(column, 0), np.full(block.slots, -1, np.int64)
    channels, left = np.arange(block.channels), int(need.sum())
    for row, strength in _strongest_first(seed, unit, columns):
        negative = (strength < 0).astype(np.int64)
        wanted = need[negative, channels] > 0
        if wanted.any():
            channel = int(np.where(wanted, np.abs(strength), -1).argmax())
            sign = int(negative[channel])
            slot_rows[(channel * signs + sign + 1) * m - need[sign, channel]] = row
            need[sign, channel] -= 1
            left -= 1
        if not left:
            break
    return slot_rows


def _strongest_first(
    seed: int, unit: LayerRecord, columns: Indices
) -> Iterator[tuple[int, Floats]]:
    """Rows by falling largest weight at `columns`, with these weights."""
    count, size = unit.shape[0], len(columns)
    step = max(1, CHUNK // size)
    whole = unit.shape[1] <= 2 * size  # rows are drawn faster than places

    def drawn(rows: Indices) -> Floats:
        places = rows[:, None] * unit.shape[1] + columns
        return weights_at(seed, unit, places.reshape(-1)).reshape(len(rows), size)

    def strengths(start: int) -> tuple[Floats | None, Floats]:
        rows = start, min(start + step, count)
        if whole:
            part = weights(seed, unit, rows).reshape(-1, unit.shape[1])[:, columns]
        else:
            part = drawn(np.arange(*rows))
        return part if count * size <= MAX_HELD else None, np.abs(part).max(1)

    with ThreadPoolExecutor(core_count()) as pool:
        parts = list(pool.map(strengths, range(0, count, step)))
    order = np.argsort(-np.concatenate([strength for _, strength in parts]), kind="stable")
    if count * size <= MAX_HELD:
        held = np.concatenate([part for part, _ in parts if part is not None])
        yield from ((int(row), held[row]) for row in order)
        return
    for start in range(0, count, step):
        rows = order[start : start + step]
        yield from zip(rows.tolist(), drawn(rows), strict=True)


def _constants(
    seed: int, unit: LayerRecord, block: BlockRecord, free: Indices
) -> tuple[Indices, Indices, Doubles]:
    """Neurons that become constants, the input that each listens to, and their drives."""
    record = block.constants
    assert record is not None
    if (unit.bias is None) == (not record.values):
        raise Flaw(
            f"layer '{unit.weight}': its constants come from biases or from inputs, not both"
        )
    if max((place for place, _ in record.values), default=0) >= unit.shape[1]:
        raise Flaw(f"layer '{unit.weight}': a constant listens to an input that is not there")
    if record.values:
        places = np.array([place for place, _ in record.values])
        if np.isin(places, block.columns).any():
            raise Flaw(f"layer '{unit.weight}': a constant listens to an input that is none")
        values = np.array([value for _, value in record.values], np.float32)
        drive, listens = np.zeros(len(free), np.float32), np.zeros(len(free), np.int64)
        step = max(1, CHUNK // len(places))
        for start in range(0, len(free), step):
            rows = free[start : start + step, None]
            pull = weights_at(seed, unit, (rows * unit.shape[1] + places).reshape(-1))
            pull = pull.reshape(len(rows), -1) * values
            best = (np.float32(record.sign) * pull).argmax(1)
            drive[start : start + step] = pull[np.arange(len(rows)), best]
            listens[start : start + step] = places[best]
    else:
        drive, listens = biases(seed, unit)[free], np.full(len(free), -1)
    first = np.argsort(-np.float32(record.sign) * drive, kind="stable")[: record.count]
    if len(first) < record.count or (drive[first] == 0).any():
        raise Flaw(f"layer '{unit.weight}' has fewer neurons for constants than its block says")
    return free[first], listens[first], drive[first].astype(np.float64)


def _order(
    block: BlockRecord, slot_rows: Indices, constants: Indices, *, half: int, width: int
) -> Indices:
    """Which neuron stands at each channel, group by group: slots, mirror images, constants."""
    by_group = np.maximum(slot_rows, 0).reshape(block.group, -1)
    images = by_group + half if half else by_group[:, :0]
    room = (width - by_group.size - images.size) // block.group
    common = np.zeros(max(room, 0), np.int64)
    if len(constants):
        common = constants[np.minimum(np.arange(len(common)), len(constants) - 1)]
    return np.hstack([by_group, images, np.tile(common, (block.group, 1))]).reshape(-1)


def held_places(seed: int, layer: LayerRecord, places: Indices) -> Indices:
    """The flat positions at which a file holds a weight: none that half precision rounds to 0."""
    return places[weights_at(seed, layer, places).astype(np.float16) != 0] if layer.half else places
