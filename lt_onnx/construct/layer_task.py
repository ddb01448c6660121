"""One layer that is to be built: what it is made of, and its rows in blocks.

Letters, here and in the files beside it: R rows (physical output channels), L weights of a row, O
target channels, V features, K taps, M members of a feature, T sampled positions, N batch, S spatial
axes; a prime (R') means some of them.

Of a row with λ the subset sum is asked for z = w / λ, w being a target weight. The row's scale is
what its sums are multiplied by in the ticket: λ over the features' `unit`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.construct.constants import Response
from lt_onnx.construct.features import Features
from lt_onnx.construct.results import Tally
from lt_onnx.construct.row_solver import HERE, RowProblems, RowSolver
from lt_onnx.layout import CONSTANT
from lt_onnx.options import Options, Select, Sigma
from lt_onnx.subset_sum import Drawn, Rows, Rule
from lt_onnx.target import Array, Doubles, Floats, Indices, Linear

BLOCK_WEIGHTS = 1 << 23  # random weights that are run at a time, unless one row has more

RULES = {Select.NOISE: Rule.NOISE, Select.SMALLEST: Rule.SMALLEST, Select.BEST: Rule.BEST}


@dataclass(frozen=True)
class Block:
    """Neighbouring rows: of one group, or all rows of several."""

    rows: slice
    groups: range

    def __len__(self) -> int:
        return int(self.rows.stop - self.rows.start)


@dataclass(frozen=True)
class RowChoice:
    """What is chosen for some rows; every step of the construction returns another."""

    weight: Floats  # [R', L]
    lam: Doubles  # [R']
    scale: Doubles  # [R']
    offset: Doubles  # [R']  what biases and constants add to each row's sum, before the scale
    tallies: Sequence[Tally]  # of the problems that the step solved

    def part(self, rows: slice) -> "RowChoice":
        """The choice for some of the rows."""
        return RowChoice(self.weight[rows], self.lam[rows], self.scale[rows], self.offset[rows], ())


@dataclass(frozen=True)
class LayerTask:
    """One layer to build, and the calibration inputs that it is built for, batch by batch."""

    step: Build
    options: Options
    features: Features
    price: float  # μ of this layer
    response: Response  # of the activation that the layer's constants meet next
    x: Sequence[Array]  # [N, …]  its inputs as the ticket delivers them; of a block, the features
    constants: tuple[Indices, Floats]  # the inputs that are constant, [C], and their values
    y: Sequence[Array]  # [N, …]  the target's own outputs
    fresh: int = 0  # batches, the last of them, that H is not made from
    solver: RowSolver = HERE  # of subset sums

    @property
    def linear(self) -> Linear:
        """The target's layer."""
        return self.step.linear

    @property
    def calibrated(self) -> bool:
        """Whether subsets are chosen for what they do to the calibration inputs."""
        return self.options.select is Select.NOISE

    @property
    def biased(self) -> bool:
        """Whether its rows have biases, which take away what their errors have for a mean."""
        constants = self.step.builds_constants and (self.channel == CONSTANT).any()
        return bool(constants or self.linear.bias.any())

    @property
    def axis(self) -> int:
        """Axis of the output's channels."""
        return self.step.out_layout.axis

    @property
    def channel(self) -> NDArray[np.int32]:
        """Target channel of every row, [R]; below 0 where it holds none."""
        return self.step.out_layout.channel

    @property
    def group_rows(self) -> int:
        """Rows of a group."""
        return len(self.channel) // self.linear.group

    def data_rows(self, groups: range, within: slice) -> Indices:
        """Rows of some groups among the rows `within` that hold a channel."""
        first, last = groups.start * self.group_rows, groups.stop * self.group_rows
        rows = np.arange(max(within.start, first), min(within.stop, last))
        return rows[self.channel[rows] >= 0]

    def row_problems(
        self,
        groups: range,
        rows: Indices,
        *,
        parts: Sequence[tuple[slice, Rows]],
        goals: Doubles,
        lam: Doubles,
    ) -> RowProblems:
        """The problems of some `rows` [r] of some `groups`, for the solver.

        `parts` are what the rows of each group share, `goals` [r, N] the rows' target weights,
        `lam` [r, 2] their λ > 0 and λ < 0 to begin with.
        """
        options, source = self.options, self.step.source
        group = rows // self.group_rows - groups.start
        return RowProblems(
            Drawn(options.seed, source.index, rows, source.row_size),
            group,
            goals,
            lam,
            parts,
            rule=RULES[options.select],
            tolerance=options.tolerance,
            free=self.calibrated and options.sigma is not Sigma.LAYER,
        )

    def chunks(self, weights: int) -> Iterator[list[Block]]:
        """Blocks of the layer, in order, as many at a time as hold about `weights` weights."""
        chunk: list[Block] = []
        for block in self.blocks():
            rows = block.rows.stop - chunk[0].rows.start if chunk else 0
            if rows * self.step.source.row_size > weights:
                yield chunk
                chunk = []
            chunk.append(block)
        yield chunk

    def blocks(self) -> Iterator[Block]:
        """The layer in pieces of about BLOCK_WEIGHTS random weights.

        What is computed in floating point is computed a block at a time: how sums are rounded may
        depend on how many rows there are, and blocks are the same whatever is held at a time.
        """
        step = max(1, BLOCK_WEIGHTS // max(self.step.source.row_size, 1))
        together = max(1, step // self.group_rows)  # groups
        for first in range(0, self.linear.group, together):
            groups = range(first, min(first + together, self.linear.group))
            stop = groups.stop * self.group_rows
            for low in range(first * self.group_rows, stop, step):
                yield Block(slice(low, min(low + step, stop)), groups)
