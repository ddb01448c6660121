"""Subsets of a block's base sets as numbers: sizes, and ranks among the subsets of a size.

In: which members of some base sets are kept, [P, m]. Out: a byte for every size, and the ranks in
as few bytes as they take; and back. A subset of k of m members is one of C(m, k); the ranks of many
are the digits of one number, each digit in its own base.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from lt_onnx.manifest import BlockRecord, LayerRecord
from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.target import Indices

DIGITS = 256  # of one number
CHOICES = np.array(  # C(n, k)
    [[comb(n, k) for k in range(MAX_BASE_SIZE + 1)] for n in range(MAX_BASE_SIZE + 1)], np.int64
)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grouping:
    """Where the base sets of a constructed layer lie in a row of its weights [width, places].

    Columns are slots, m members of each base set one behind the other, and then constants.
    """

    members: int  # m
    slots: int
    width: int
    places: int  # inner channels and taps of every column

    @staticmethod
    def of(layer: LayerRecord, block: BlockRecord, order: int) -> "Grouping | None":
        """That of a layer behind a block whose order has so many places; None if it has none."""
        width, slots = order // block.group, block.slots // block.group
        if block.group * width != order or width < slots or layer.shape[1] % width:
            return None
        places = int(np.prod(layer.shape[1:])) // width
        return Grouping(block.neurons, slots, width, places) if slots else None

    def encoded(self, kept: Mask) -> bytes:
        """Some rows of a mask, [R, I·K]: sizes, ranks, and the constants' bits."""
        rows = kept.reshape(len(kept), self.width, self.places)
        sets = rows[:, : self.slots].reshape(len(kept), -1, self.members, self.places)
        subsets = sets.swapaxes(2, 3).reshape(-1, self.members)
        sizes = subsets.sum(1)
        numbers = b"".join(_numbers(_ranks(subsets), CHOICES[self.members, sizes]))
        constants = np.packbits(rows[:, self.slots :]).tobytes()
        return bytes(sizes.astype(np.uint8).tobytes() + numbers + constants)

    def decoded(self, count: int, read: Callable[[int], bytes]) -> Mask:
        """So many rows of a mask, [R, I·K], of what `read` gives. Raises ValueError."""
        problems = count * self.slots // self.members * self.places
        sizes = np.frombuffer(read(problems), np.uint8).astype(np.int64)
        if len(sizes) != problems or (sizes > self.members).any():
            raise ValueError("subsets of more members than there are")
        ranks = _digits(CHOICES[self.members, sizes], read)
        subsets = _subsets(ranks, sizes, self.members)
        sets = subsets.reshape(count, -1, self.places, self.members).swapaxes(2, 3)
        others = count * (self.width - self.slots) * self.places
        packed = np.frombuffer(read(-(-others // 8)), np.uint8)
        constants = np.unpackbits(packed, count=others).reshape(count, -1, self.places)
        data = sets.reshape(count, self.slots, self.places)
        return np.hstack([data, constants.astype(bool)]).reshape(count, -1)


def _ranks(subsets: Mask) -> Indices:
    """The rank of each subset among those of its size: Σ C(place, how many up to there)."""
    counts = subsets.cumsum(1)
    place = np.arange(subsets.shape[1])
    ranks: Indices = np.where(subsets, CHOICES[place, counts], 0).sum(1)
    return ranks


def _subsets(ranks: Indices, sizes: Indices, members: int) -> Mask:
    """The subsets of these ranks and sizes."""
    left, size = ranks.copy(), sizes.copy()
    subsets = np.zeros((len(ranks), members), bool)
    for place in reversed(range(members)):
        below = CHOICES[place, size]
        here = (size > 0) & (left >= below)
        subsets[:, place] = here
        left -= np.where(here, below, 0)
        size -= here
    return subsets


def _numbers(ranks: Indices, bases: Indices) -> Iterator[bytes]:
    """The numbers whose digits the ranks are, each in as many bytes as the largest takes."""
    for start in range(0, len(ranks), DIGITS):
        number, largest = 0, 1
        chunk = slice(start, start + DIGITS)
        for rank, base in zip(ranks[chunk].tolist(), bases[chunk].tolist(), strict=True):
            number += rank * largest
            largest *= base
        yield number.to_bytes(_bytes(largest), "little")


def _digits(bases: Indices, read: Callable[[int], bytes]) -> Indices:
    """The digits of the numbers that `read` gives. Raises ValueError."""
    digits = []
    for start in range(0, len(bases), DIGITS):
        chunk, largest = bases[start : start + DIGITS].tolist(), 1
        for base in chunk:
            largest *= base
        number = int.from_bytes(read(_bytes(largest)), "little")
        if number >= largest:
            raise ValueError("a rank that no subset has")
        for base in chunk:
            number, digit = divmod(number, base)
            digits.append(digit)
    return np.array(digits, np.int64)


def _bytes(largest: int) -> int:
    """Bytes of a number below `largest`."""
    return ((largest - 1).bit_length() + 7) // 8
