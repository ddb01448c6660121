"""Where the base sets of a layer lie among its weights.

In: a layer's record and its block's, or what its columns are copies of. Out: the members of every
base set, row by row; and rows of them again.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_onnx.manifest import BlockRecord, LayerRecord
from lt_onnx.target import Array

MAX_PROBLEMS = 1 << 20  # of a row whose subsets are told as such

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grouping:
    """Where the base sets of a constructed layer lie in a row of its weights [width, places].

    Columns are slots, mirror images of them if there are any, and then constants. Members of a base
    set stand one behind the other, or `apart`: the first of each, then the second of each.
    """

    members: int  # m
    slots: int
    width: int
    places: int  # inner channels and taps of every column
    kernel_width: int = 1
    twins: bool = False  # base sets alternate, for inputs of either sign
    images: int = 0  # columns behind the slots that mirror them
    groups: int = 1
    apart: bool = False

    @staticmethod
    def of(layer: LayerRecord, block: BlockRecord, order: int) -> "Grouping | None":
        """That of a layer behind a block whose order has so many places; None if it has none."""
        width, slots = order // block.group, block.slots // block.group
        if block.group * width != order or width < slots or layer.shape[1] % width:
            return None
        places = math.prod(layer.shape[1:]) // width
        if not slots or layer.shape[0] % block.group:
            return None
        if slots // block.neurons * places > MAX_PROBLEMS:
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

    @staticmethod
    def apart_of(shape: tuple[int, ...], copies: int, stride: int) -> "Grouping":
        """That of a layer [O, I, *K] that reads copies of `stride` columns."""
        kernel_width = shape[-1] if len(shape) > 3 else 1
        places = math.prod(shape[2:])
        return Grouping(copies, copies * stride, shape[1], places, kernel_width, apart=True)

    @property
    def problems(self) -> int:
        """Base sets of a row, one for each place."""
        return self.slots // self.members * self.places

    def sets(self, rows: Array) -> Array:
        """The members of every problem of some rows [R, I·K]: [R, problems, m]."""
        slots = rows.reshape(len(rows), self.width, self.places)[:, : self.slots]
        if self.apart:
            members = slots.reshape(len(rows), self.members, -1, self.places).transpose(0, 2, 3, 1)
        else:
            members = slots.reshape(len(rows), -1, self.members, self.places).swapaxes(2, 3)
        return np.ascontiguousarray(members).reshape(len(rows), -1, self.members)

    def whole(self, sets: Mask, others: Mask) -> Mask:
        """Rows [R, I·K] of the members' bits and those of all other columns."""
        count = len(sets)
        members = sets.reshape(count, -1, self.places, self.members)
        members = members.transpose(0, 3, 1, 2) if self.apart else members.swapaxes(2, 3)
        return np.hstack(
            [
                members.reshape(count, self.slots, self.places),
                others.reshape(count, -1, self.places),
            ]
        ).reshape(count, -1)
