"""What the parts of one layer's construction share: its rows, its features, its scales."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.construct.features import Features
from lt_onnx.options import Options, Select
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Linear

BLOCK = 1 << 23  # random weights that are run at a time, unless one row has more


@dataclass(frozen=True)
class Block:
    """Some rows: of one group, or all rows of several."""

    start: int
    stop: int
    first: int  # group
    groups: int

    @property
    def group_numbers(self) -> range:
        """The groups it has rows of."""
        return range(self.first, self.first + self.groups)


@dataclass(frozen=True)
class Frame:
    """One layer under construction. `lam` and `scale` are filled as its rows are chosen."""

    step: Build
    options: Options
    features: Features
    price: float  # μ of this layer
    lam: NDArray[np.float64]  # [R]  λ of every row
    scale: NDArray[np.float64]  # [R]  scale of every row: λ / unit of the features

    @staticmethod
    def of(step: Build, options: Options, features: Features, price: float) -> "Frame":
        """Nothing chosen yet."""
        rows = step.source.shape[0]
        return Frame(step, options, features, price, np.ones(rows), np.zeros(rows))

    @property
    def linear(self) -> Linear:
        """The target's layer."""
        return self.step.linear

    @property
    def source(self) -> SourceLayer:
        """The random layer."""
        return self.step.source

    @property
    def calibrated(self) -> bool:
        """Whether subsets are chosen for what they do to the calibration inputs."""
        return self.options.select is Select.NOISE

    @property
    def exact(self) -> bool:
        """Whether this is the oracle."""
        return self.options.select is Select.EXACT

    @property
    def axis(self) -> int:
        """Axis of the output's channels."""
        return self.step.out_layout.axis

    @property
    def per_group(self) -> int:
        """Target channels of a group."""
        return len(self.linear.bias) // self.linear.group

    @property
    def rows(self) -> int:
        """Physical channels of a group."""
        return self.source.shape[0] // self.linear.group

    def data_rows(self, g: int, start: int, stop: int) -> NDArray[np.int64]:
        """Rows of group `g` between `start` and `stop` that hold a channel."""
        mine = np.arange(max(start, g * self.rows), min(stop, (g + 1) * self.rows))
        return mine[self.step.out_layout.channel[mine] >= 0]

    def chunks(self, weights: int) -> Iterator[list[Block]]:
        """Blocks of the layer, in order, as many at a time as hold about `weights` weights."""
        together: list[Block] = []
        for block in self.blocks():
            if together and (block.stop - together[0].start) * self.source.row_size > weights:
                yield together
                together = []
            together.append(block)
        yield together

    def blocks(self) -> Iterator[Block]:
        """The layer in pieces of about BLOCK random weights.

        What is computed in floating point is computed a block at a time: how sums are rounded may
        depend on how many rows there are, and blocks are the same whatever is held at a time.
        """
        step = max(1, BLOCK // max(self.source.row_size, 1))
        groups = self.linear.group
        if step >= self.rows:
            together = step // self.rows
            for g in range(0, groups, together):
                count = min(together, groups - g)
                yield Block(g * self.rows, (g + count) * self.rows, g, count)
            return
        for g in range(groups):
            for low in range(0, self.rows, step):
                stop = min(low + step, self.rows)
                yield Block(g * self.rows + low, g * self.rows + stop, g, 1)
