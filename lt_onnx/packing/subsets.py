"""Masks as bytes: subsets of a block's base sets by the goals they stand for, all else bit by bit.

In: a layer's random numbers and which of them are kept, some rows [R, I·K] at a time. Out: the
bytes of all layers; and back.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from lt_onnx.manifest import BlockRecord, LayerRecord
from lt_onnx.packing import goals, range_coder, subset_code
from lt_onnx.packing.cells import MAX_MEMBERS, UNIT, members
from lt_onnx.packing.prices import MAX_LEVEL, fit_level
from lt_onnx.packing.subset_code import Plan
from lt_onnx.target import Array, Doubles, Floats, Indices

MAX_SUBSETS = 1 << 15  # with a cell, of one base set
MAX_SUBSETS_PER_BYTE = 1 << 16  # that are searched: several times what a real pack needs
WITH_CELLS = 0.995  # of the subsets, where sizes are chosen
MIN_ROWS = 6  # of a group whose positions have prices of their own
SAMPLED, SAMPLED_ROWS = 512, 48  # that prices are found on
SPARSE = 0.7  # empty subsets from which they are told without a search
MAGNITUDES = 17  # kinds of numbers, by sixteenths
PROBLEM_BYTES = 32  # that a problem takes at most

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grouping:
    """Where the base sets of a constructed layer lie in a row of its weights [width, places].

    Columns are slots, m members of each base set one behind the other, mirror images of them if
    there are any, and then constants.
    """

    members: int  # m
    slots: int
    width: int
    places: int  # inner channels and taps of every column
    kernel_width: int = 1
    twins: bool = False  # base sets alternate, for inputs of either sign
    images: int = 0  # columns behind the slots that mirror them
    groups: int = 1

    @staticmethod
    def of(layer: LayerRecord, block: BlockRecord, order: int) -> "Grouping | None":
        """That of a layer behind a block whose order has so many places; None if it has none."""
        width, slots = order // block.group, block.slots // block.group
        if block.group * width != order or width < slots or layer.shape[1] % width:
            return None
        places = int(np.prod(layer.shape[1:])) // width
        if not slots or layer.shape[0] % block.group:
            return None
        return Grouping(
            block.neurons,
            slots,
            width,
            places,
            kernel_width=layer.shape[-1] if len(layer.shape) > 3 else 1,
            twins=block.parts == (1, -1),
            images=slots if layer.mirror_columns == slots <= width - slots else 0,
            groups=block.group,
        )

    def sets(self, rows: Array) -> Array:
        """The members of every problem of some rows [R, I·K]: [R, problems, m]."""
        slots = rows.reshape(len(rows), self.width, self.places)[:, : self.slots]
        members = slots.reshape(len(rows), -1, self.members, self.places).swapaxes(2, 3)
        return np.ascontiguousarray(members).reshape(len(rows), -1, self.members)

    def whole(self, sets: Mask, others: Mask) -> Mask:
        """Rows [R, I·K] of the members' bits and those of all other columns."""
        count = len(sets)
        members = sets.reshape(count, -1, self.places, self.members).swapaxes(2, 3)
        return np.hstack(
            [
                members.reshape(count, self.slots, self.places),
                others.reshape(count, -1, self.places),
            ]
        ).reshape(count, -1)


class Masks:
    """The masks of a ticket's layers, one behind the other, as they are written or read."""

    def __init__(self, content: bytes | None = None) -> None:
        self.reading = content is not None
        self._written = bytearray()
        self._coder = range_coder.encoder(0) if content is None else range_coder.decoder(content)
        self._known = range_coder.fresh_bits(subset_code.KINDS), goals.fresh_shape()
        self._left = MAX_SUBSETS_PER_BYTE * len(content or b"")

    def content(self) -> bytes:
        """The bytes, when all has been written."""
        return bytes(self._written) + range_coder.last_bytes(self._coder)

    @property
    def is_over(self) -> bool:
        """Whether all has been read."""
        return int(self._coder.place[0]) == self._coder.data.size

    def layer(self, grouping: Grouping | None, rows: int) -> "LayerMasks":
        """The next layer, of so many rows."""
        return LayerMasks(self, grouping, rows)

    def bits(self, known: Doubles, kinds: Array, values: Mask | None) -> Mask:
        """Bits of some kinds, of which is known [kinds + 1, 2]; `values` where they are written."""
        bits = np.zeros(kinds.shape, bool) if values is None else values.copy()
        self._open(2 * bits.size * range_coder.MAX_BIT_BYTES)
        range_coder.code_bits(self._coder, known, kinds.reshape(-1), bits.reshape(-1))
        self._close()
        return bits

    def number(self, number: int, total: int) -> int:
        """A number below `total`."""
        self._open(range_coder.WORD)
        number = int(range_coder.code_number(self._coder, number, total))
        self._close()
        return number

    def subsets(
        self, layer: "LayerMasks", x: Floats, masks: Indices, *, levels: Indices, start: int
    ) -> None:
        """Masks [R, problems] of base sets; they are written to where they are read."""
        plan, own = layer.plan, members(x.shape[2])
        assert plan is not None
        each = subsets_of(x.shape[2], plan.most)
        allowed = self._left // each if self.reading else masks.size
        self._open(PROBLEM_BYTES * (masks.size + levels.size + len(masks) + 1))
        rows = (x, masks, levels, start, allowed)
        searched = subset_code.code_rows(self._coder, self._known, layer.positions, plan, own, rows)
        if searched < 0:
            raise ValueError("subsets that no encoder writes")
        self._left -= searched * each
        self._close()

    def _open(self, room: int) -> None:
        """Make room for what is written."""
        if not self.reading:
            self._coder = self._coder._replace(data=np.empty(room, np.uint8))
            self._coder.place[0] = 0

    def _close(self) -> None:
        """Keep what was written; raise ValueError where what was read has ended."""
        if not self.reading:
            self._written += self._coder.data[: self._coder.place[0]].tobytes()
        elif self._coder.place[1]:
            raise ValueError("masks that are truncated")


class LayerMasks:
    """The masks of one layer, row by row."""

    def __init__(self, masks: Masks, grouping: Grouping | None, rows: int) -> None:
        self._masks, self._grouping, self._rows = masks, grouping, rows
        self._magnitudes = range_coder.fresh_bits(MAGNITUDES + 1)
        self._biases = range_coder.fresh_bits(2)
        self.plan: Plan | None = None
        if grouping is not None:
            self._others = range_coder.fresh_bits(grouping.places + 3)
            problems = grouping.slots // grouping.members
            self.positions = goals.fresh_positions(problems, grouping.places)

    def coded(self, start: int, drawn: Floats, kept: Mask | None) -> Mask:
        """Which numbers of some rows are kept, [R, I·K] as `drawn`; `kept` where it is written.

        Rows follow one another from `start` on. Raises ValueError for what no encoder writes.
        """
        if self._grouping is None:
            kinds = (np.abs(drawn) * np.float32(MAGNITUDES - 1)).astype(np.uint8)
            return self._masks.bits(self._magnitudes, kinds, kept)
        grouping, count = self._grouping, drawn.shape[0]
        x = grouping.sets(drawn * np.float32(UNIT))
        bits = np.int64(1) << np.arange(grouping.members)
        masks, others = np.zeros(x.shape[:2], np.int64), None
        if kept is not None:
            masks = grouping.sets(kept) @ bits
            others = kept.reshape(count, grouping.width, -1)[:, grouping.slots :]
        if self.plan is None:
            self.plan = self._planned(x, masks)
        levels = self._levels(x, masks, start)
        self._masks.subsets(self, x, masks, levels=levels, start=start)
        sets = (masks[:, :, None] & bits) != 0
        alone = grouping.width - grouping.slots - grouping.images
        kinds = np.tile(np.arange(grouping.places, dtype=np.int64), (count, alone, 1))
        if grouping.images:
            slots = grouping.whole(sets, np.zeros((count, 0), bool))
            slots = slots.reshape(count, -1, grouping.places)
            kinds = np.concatenate([grouping.places + slots, kinds], 1)
        return grouping.whole(sets, self._masks.bits(self._others, kinds, others))

    def biases(self, count: int, kept: Mask | None) -> Mask:
        """Which of so many biases are kept."""
        return self._masks.bits(self._biases, np.zeros(count, np.int64), kept)

    def _planned(self, x: Floats, masks: Indices) -> Plan:
        """How subsets are told, found on the first rows where it is written."""
        grouping, numbers = self._grouping, self._masks
        assert grouping is not None
        rows, most, base, sparse = self._rows // grouping.groups, 1, 0, 0
        full = masks != 0
        if full.any():
            chosen = np.flatnonzero(full)
            chosen = chosen[:: -(-len(chosen) // SAMPLED)]
            base_sets, subsets = x.reshape(-1, grouping.members)[chosen], masks.reshape(-1)[chosen]
            sizes = np.sort(np.bitwise_count(subsets))
            wanted = int(sizes[int(WITH_CELLS * (len(sizes) - 1))])
            while most < min(wanted, MAX_MEMBERS) and self._fits(most + 1):
                most += 1
            own = members(grouping.members)
            base = int(fit_level(own, base_sets, subsets, most, -1))
            of_rows = full[full.any(1)]
            sparse = int(of_rows.mean() < 1 - SPARSE)
        most = numbers.number(most - 1, MAX_MEMBERS) + 1
        if not self._fits(most):
            raise ValueError("subsets of more members than are searched")
        base, sparse = numbers.number(base, MAX_LEVEL + 1), numbers.number(sparse, 2)
        kernel_width, twins = grouping.kernel_width, grouping.twins
        return Plan(most, base, rows >= MIN_ROWS, kernel_width, twins, bool(sparse), rows)

    def _fits(self, most: int) -> bool:
        """Whether all subsets of so many members may be searched."""
        assert self._grouping is not None
        return subsets_of(self._grouping.members, most) <= MAX_SUBSETS

    def _levels(self, x: Floats, masks: Indices, start: int) -> Indices:
        """Levels [G, problems] of the groups in these rows; those begun before have none."""
        assert self.plan is not None
        rows, (count, problems) = self.plan.rows, masks.shape
        groups = range(start // rows, (start + count - 1) // rows + 1)
        levels = np.full((len(groups), problems), self.plan.base)
        if self._masks.reading or not self.plan.own_levels:
            return levels
        own = members(x.shape[2])
        for row, group in enumerate(groups):
            if group * rows < start:
                continue
            some = slice(group * rows - start, min((group + 1) * rows - start, count))
            sets, subsets = x[some][:SAMPLED_ROWS], masks[some][:SAMPLED_ROWS]
            for p in range(problems):
                given = np.ascontiguousarray(sets[:, p]), np.ascontiguousarray(subsets[:, p])
                levels[row, p] = fit_level(own, *given, self.plan.most, self.plan.base)
        return levels


def subsets_of(count: int, most: int) -> int:
    """Subsets of `most` members or fewer."""
    return sum(comb(count, size) for size in range(most + 1))
