"""Masks as bytes: subsets of a block's base sets by the goals they stand for, all else bit by bit.

In: a layer's random numbers and which of them are kept, some rows [R, I·K] at a time. Out: the
bytes of all layers; and back.
"""

import math
from copy import deepcopy

import numpy as np

from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.packing import goals, range_coder, subset_code
from lt_onnx.packing.cells import MAX_MEMBERS, UNIT, members
from lt_onnx.packing.copies import MAX_ECHO, Copies
from lt_onnx.packing.grouping import MAX_PROBLEMS, Grouping, Mask
from lt_onnx.packing.prices import MAX_LEVEL, fit_level
from lt_onnx.packing.subset_code import Plan
from lt_onnx.subset_sum.grid import SQUARE
from lt_onnx.target import Array, Doubles, Floats, Indices

MAX_SUBSETS = 1 << 15  # with a cell, of one base set
MAX_SUBSETS_PER_BYTE = 1 << 16  # that are searched: several times what a real pack needs
WITH_CELLS = 0.995  # of the subsets, where sizes are chosen
MIN_ROWS = 6  # of a group whose positions may have prices of their own
LEVEL_BITS = 0.7  # of such a price
SAMPLED, SAMPLED_ROWS = 512, 48  # that prices are found on
SPARSE = 0.7  # empty subsets from which they are told without a search
MAGNITUDES = 17  # kinds of numbers, by sixteenths
PROBLEM_BYTES = 32  # that a problem takes at most


class Masks:
    """The masks of a ticket's layers, one behind the other, as they are written or read."""

    def __init__(self, content: bytes | None = None, *, price_bits: float = 0.0) -> None:
        self.reading, self.square = content is not None, SQUARE * price_bits
        self._written = bytearray()
        self._coder = range_coder.encoder(0) if content is None else range_coder.decoder(content)
        self._known = range_coder.fresh_bits(subset_code.BIT_KINDS), goals.fresh_shape()
        self._left = MAX_SUBSETS_PER_BYTE * len(content or b"")

    def content(self) -> bytes:
        """The bytes, when all has been written."""
        return bytes(self._written) + range_coder.last_bytes(self._coder)

    @property
    def is_over(self) -> bool:
        """Whether all has been read, and ends as it is written."""
        low, _, code = self._coder.words
        return int(self._coder.place[0]) == self._coder.data.size and bool(low == code)

    def layer(
        self, grouping: Grouping | None, shape: tuple[int, ...], copies: Copies | None = None
    ) -> "LayerMasks":
        """The next layer, [O, I, *K], and what it has copies of, where it is written.

        Raises ValueError for what no encoder writes.
        """
        known, columns = copies or Copies(), shape[1]
        count = self.number(known.members, MAX_BASE_SIZE + 1) if grouping is None else 0
        if count:
            stride = self.number(known.stride, columns + 1)
            grouping = Grouping.apart_of(shape, count, stride)
        lag = self.number(known.lag, shape[0] + 1) if grouping is not None else 0
        if grouping is not None:
            fits = 0 < grouping.slots <= grouping.width
            fits &= count != 1 and grouping.problems <= MAX_PROBLEMS
            if not fits or lag * grouping.problems > MAX_ECHO:
                raise ValueError("copies that a layer cannot have")
        return LayerMasks(self, grouping, shape[0], lag)

    def trial(self, shape: tuple[int, ...], copies: Copies, drawn: Floats, kept: Mask) -> int:
        """Bytes that the first rows of the next layer would take."""
        after = deepcopy(self)
        after.layer(None, shape, copies).coded(0, drawn, kept)
        return len(after._written) - len(self._written)

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

    def __init__(self, masks: Masks, grouping: Grouping | None, rows: int, lag: int) -> None:
        self._masks, self._grouping, self._rows, self._lag = masks, grouping, rows, lag
        self._magnitudes = range_coder.fresh_bits(MAGNITUDES + 1)
        self._biases = range_coder.fresh_bits(2)
        self.plan: Plan | None = None
        if grouping is not None:
            self._others = range_coder.fresh_bits(grouping.places + 3)
            features = grouping.slots // grouping.members
            self.positions = goals.fresh_positions(features, grouping.places, lag)

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
        rows, most, base, sparse, own = self._rows // grouping.groups, 1, 0, 0, 0
        full = masks != 0
        if full.any():
            chosen = np.flatnonzero(full)
            chosen = chosen[:: -(-len(chosen) // SAMPLED)]
            base_sets, subsets = x.reshape(-1, grouping.members)[chosen], masks.reshape(-1)[chosen]
            sizes = np.sort(np.bitwise_count(subsets))
            wanted = int(sizes[int(WITH_CELLS * (len(sizes) - 1))])
            while most < min(wanted, MAX_MEMBERS) and self._fits(most + 1):
                most += 1
            base = int(
                fit_level(members(grouping.members), base_sets, subsets, most, -1, numbers.square)[
                    0
                ]
            )
            if rows >= MIN_ROWS:
                own = int(self._saved(x[:rows], masks[:rows], most, base) * rows > LEVEL_BITS)
            of_rows = full[full.any(1)]
            sparse = int(of_rows.mean() < 1 - SPARSE)
        most = numbers.number(most - 1, MAX_MEMBERS) + 1
        if not self._fits(most):
            raise ValueError("subsets of more members than are searched")
        base, sparse = numbers.number(base, MAX_LEVEL + 1), numbers.number(sparse, 2)
        own = numbers.number(own, 2)
        kernel_width, twins = grouping.kernel_width, grouping.twins
        own_levels, is_sparse = bool(own), bool(sparse)
        return Plan(
            most, base, own_levels, kernel_width, twins, is_sparse, rows, self._lag, numbers.square
        )

    def _saved(self, x: Floats, masks: Indices, most: int, base: int) -> float:
        """Bits for each row that a position's own price saves, on some of the positions."""
        positions = range(0, masks.shape[1], -(-masks.shape[1] // SAMPLED_ROWS))
        own, saved = members(x.shape[2]), 0.0
        for p in positions:
            sets, chosen = (np.ascontiguousarray(a[:SAMPLED_ROWS, p]) for a in (x, masks))
            saved += fit_level(own, sets, chosen, most, base, self._masks.square)[1]
        return saved / len(positions) / min(len(x), SAMPLED_ROWS)

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
        own, near = members(x.shape[2]), (self.plan.most, self.plan.base, self.plan.square)
        for row, group in enumerate(groups):
            if group * rows < start:
                continue
            some = slice(group * rows - start, min((group + 1) * rows - start, count))
            sets, subsets = x[some][:SAMPLED_ROWS], masks[some][:SAMPLED_ROWS]
            for p in range(problems):
                given = np.ascontiguousarray(sets[:, p]), np.ascontiguousarray(subsets[:, p])
                levels[row, p] = fit_level(own, *given, *near)[0]
        return levels


def subsets_of(count: int, most: int) -> int:
    """Subsets of `most` members or fewer."""
    return sum(math.comb(count, size) for size in range(most + 1))
