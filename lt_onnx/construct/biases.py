"""Biases and constants of a layer: subset sums over the constants that reach it.

The source has biases in the layers that open a path alone (Assumption 2.1); everywhere else a bias
is what a row makes of the constants before it, and the row of a constant hands one on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.constants import SIZES, constant_values
from lt_onnx.construct.layer_task import Block, LayerTask, RowChoice
from lt_onnx.construct.results import Tally
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.errors import LostConstantsError
from lt_onnx.layout import CONSTANT
from lt_onnx.ops.conv_padding import admissible_taps
from lt_onnx.options import Select, Sigma
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import draw_at
from lt_onnx.subset_sum import solve
from lt_onnx.target import Array, Doubles, Floats, Indices

REACH = 0.5  # share of a row's full reach in one direction that a bias may use
MIN_PRICE = 1e-7  # of a weight in a bias: it must pay by (3·10⁻⁴ λ)² of squared error at least


@dataclass(frozen=True)
class Reserve:
    """The C constants that one group builds its biases from."""

    column: Indices  # [C]  their places in a row of weights
    value: Doubles  # [C]  what stands there
    level: Doubles  # [C]  the same as a row with λ = 1 sees it


@dataclass(frozen=True)
class Biases:
    """What a layer's biases are built from, and the constants that its rows hand on."""

    task: LayerTask
    reserves: Sequence[Reserve]  # by group
    wanted: Doubles  # [O]  mean of the outputs, or the bias itself without calibration
    choice: Indices  # [R]  which constant of the reserve a row hands on; -1: none
    unit: Floats  # [R]  its weight in a source of σ = 1
    scale: Doubles  # [R]  the scale that gives it its size

    @staticmethod
    def of(task: LayerTask) -> "Biases":
        """Each constant row listens to one constant before it; its scale gives it its size.

        Raises LostConstantsError where there is none.
        """
        reserves, count = _reserves(task), len(task.channel)
        choice, unit, scale = np.full(count, -1), np.zeros(count, np.float32), np.zeros(count)
        for g, reserve in enumerate(reserves if task.step.builds_constants else ()):
            rows = task.rows_of(g, slice(None))
            rows = rows[task.channel[rows] == CONSTANT]
            if not len(rows):
                continue
            if not len(reserve.level):
                raise LostConstantsError(task.linear.name, task.linear.input)
            drawn = draw_at(task.options.seed, task.step.source, rows=rows, columns=reserve.column)
            every = np.arange(len(rows))
            pull = drawn * reserve.value
            size = SIZES[every % RESERVE]
            choice[rows] = (task.response.side(size) * pull).argmax(1)
            unit[rows], drive = drawn[every, choice[rows]], pull[every, choice[rows]]
            scale[rows] = task.response.drive(size, drive) / drive
            if task.options.sigma is Sigma.LAYER:
                scale[rows] = np.median(scale[rows])
        wanted = task.linear.bias.astype(np.float64)
        if task.calibrated:
            wanted = moments.channel_mean(task.y, task.axis)
        return Biases(task, reserves, wanted, choice, unit, scale)

    def least_lambdas(self) -> Doubles:
        """The λ below which a row cannot reach its bias b: |b| over the row's reach, [R]."""
        task, least = self.task, np.zeros(len(self.task.channel))
        for g, reserve in enumerate(self.reserves):
            rows = task.data_rows(g, slice(None))
            bias = task.linear.bias[task.channel[rows]].astype(np.float64)
            if bias.any() and len(reserve.level):
                columns = reserve.column
                drawn = draw_at(task.options.seed, task.step.source, rows=rows, columns=columns)
                pull = drawn * reserve.level
                reach = np.where(bias[:, None] > 0, pull, -pull).clip(0).sum(1) * REACH
                least[rows] = np.abs(bias) / np.maximum(reach, 1e-30)
        return least

    def added(
        self, rows: RowChoice, block: Block, *, raw: Sequence[Array], shared: SharedProblems
    ) -> RowChoice:
        """The block's rows with their biases, or the constants that they hand on.

        `raw` [N, …, R', …] is what the rows make of the calibration inputs so far, `shared` holds
        the price of a weight. Raises LostConstantsError when biases were planned here and no
        constant reaches the layer.
        """
        task, start = self.task, block.rows.start
        if not (self.choice >= 0).any() and not task.linear.bias.any():
            return rows  # nothing was planned to carry constants here
        scale = np.where(task.channel[block.rows] >= 0, rows.scale, self.scale[block.rows])
        mean = moments.channel_mean(raw, task.axis) if task.calibrated else None
        weight, offset, tallies = rows.weight.copy(), rows.offset.copy(), []
        for g in block.groups:
            reserve = self.reserves[g]
            if not len(reserve.level):
                raise LostConstantsError(task.linear.name, task.linear.input)
            own, data = task.rows_of(g, block.rows), task.data_rows(g, block.rows)
            missing, at = self.wanted[task.channel[data]], data - start
            if mean is not None:
                missing = missing - mean[at] * scale[at]
            kept = np.zeros((len(own), len(reserve.column)), np.float32)
            goal, price = missing / rows.lam[at], shared.groups[g].price
            kept[data - own[0]], tally = self._solve(reserve, data, goal, price)
            handed = np.flatnonzero(self.choice[own] >= 0)
            kept[handed, self.choice[own[handed]]] = self.unit[own[handed]]
            offset[own - start] = kept @ reserve.value
            weight[np.ix_(own - start, reserve.column)] = kept
            tallies.append(tally)
        return RowChoice(weight, rows.lam, scale, offset, tallies)

    def _solve(
        self, reserve: Reserve, rows: Indices, goal: Doubles, price: float
    ) -> tuple[Floats, Tally]:
        """Subset sums over the C constants that come to `goal` [n]: the weights [n, C]."""
        options = self.task.options
        if not len(rows) or options.select is Select.EXACT:
            exact = np.zeros((len(rows), len(reserve.column)), np.float32)
            exact[:, 0] = goal / reserve.level[0]
            return exact, Tally()
        unit = draw_at(options.seed, self.task.step.source, rows=rows, columns=reserve.column)
        base, z = (unit * reserve.level).astype(np.float32), goal.astype(np.float32)
        if options.select is Select.SMALLEST:
            answer = solve(base, z, tolerance=options.tolerance)
        else:
            answer = solve(base, z, weight=1.0, penalty=max(price, MIN_PRICE))
        bits = np.arange(len(reserve.column), dtype=np.uint32)
        keep = ((answer.mask[:, None] >> bits) & 1 == 1) & (z != 0)[:, None]
        tally = Tally.of(z, answer.mask, answer.residual, tolerance=options.tolerance)
        return np.where(keep, unit, np.float32(0)), tally


def _reserves(task: LayerTask) -> list[Reserve]:
    """What every group's biases are built from: RESERVE constants at most."""
    width, count = task.features.width, task.features.taps
    layout = task.step.in_layout
    places, values = constant_values(layout, task.x, layout.axis)
    taps = admissible_taps(task.linear, task.step.pads)
    reserves = []
    for g in range(task.linear.group):
        inside = (places >= g * width) & (places < (g + 1) * width)
        local, value = places[inside] - g * width, values[inside]
        if len(local) > RESERVE:
            spread = np.linspace(0, len(local) - 1, RESERVE).round().astype(np.int64)
            local, value = local[spread], value[spread]
        # one tap of every constant; more taps only where constants are few
        pairs = [(p, v, t) for t in taps for p, v in zip(local, value, strict=True)][:RESERVE]
        column = np.array([p * count + t for p, _, t in pairs], np.int64)
        exact = np.array([v for _, v, _ in pairs], np.float64)
        reserves.append(Reserve(column, exact, exact / task.features.unit))
    return reserves
