"""Biases and constants of a layer: subset sums over the constants that reach it.

The source has biases in the layers that open a path alone (Assumption 2.1); everywhere else a bias
is what a row makes of the constants before it, and the row of a constant hands one on.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.constants import SIZES
from lt_onnx.construct.layer_task import Block, LayerTask, RowChoice
from lt_onnx.construct.results import Tally
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.errors import LostConstantsError
from lt_onnx.layout import CONSTANT
from lt_onnx.ops.conv_padding import admissible_taps
from lt_onnx.options import Select, Sigma
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import draw_at
from lt_onnx.subset_sum import Rows, Rule, solve_rows
from lt_onnx.target import Array, Doubles, Floats, Indices

REACH = 0.5  # share of a row's full reach in one direction that a bias may use
MIN_PRICE = 1e-7  # of a weight in a bias: it must pay by (3·10⁻⁴ λ)² of squared error at least
BIAS_SHARE = 0.05  # of a row's error, by which a weight in its bias must pay


@dataclass(frozen=True)
class Reserve:
    """The constants that the rows of each group build their biases from, C at most."""

    count: Indices  # [G]  how many there are; what is beyond is 0
    column: Indices  # [G, C]  their places in a row of weights
    value: Doubles  # [G, C]  what stands there
    level: Doubles  # [G, C]  the same as a row with λ = 1 sees it

    @staticmethod
    def of(task: LayerTask) -> "Reserve":
        """Those that are constant over the inputs of the layer, RESERVE in every group at most."""
        width, groups = task.features.width, task.linear.group
        places, values = task.constants
        taps = np.array(admissible_taps(task.linear, task.step.pads), np.int64)[:, None]
        edges = np.searchsorted(places, np.arange(groups + 1) * width)
        count = np.minimum(np.diff(edges) * len(taps), RESERVE)
        column = np.zeros((groups, int(count.max())), np.int64)
        value = np.zeros(column.shape)
        for g, (low, high) in enumerate(itertools.pairwise(edges)):
            chosen = np.arange(low, high)
            if len(chosen) > RESERVE:
                chosen = low + np.linspace(0, high - low - 1, RESERVE).round().astype(np.int64)
            # one tap of every constant; more taps only where constants are few
            columns = (places[chosen] - g * width) * task.features.taps + taps
            column[g, : count[g]] = columns.reshape(-1)[: count[g]]
            value[g, : count[g]] = np.tile(values[chosen], len(taps))[: count[g]]
        return Reserve(count, column, value, value / task.features.unit)

    def alike(self, rows: Indices, group_rows: int) -> Iterator[tuple[int, Indices, Indices]]:
        """Rows by how many constants their groups have: C', the rows and the group of each.

        The number of terms decides how sums are rounded.
        """
        group = rows // group_rows
        count = self.count[group]
        for most in np.unique(count).tolist():
            yield most, rows[count == most], group[count == most]


@dataclass(frozen=True)
class Biases:
    """What a layer's biases are built from, and the constants that its rows hand on."""

    task: LayerTask
    reserve: Reserve
    wanted: Doubles  # [O]  mean of the outputs, or the bias itself without calibration
    choice: Indices  # [R]  which constant of the reserve a row hands on; -1: none
    unit: Floats  # [R]  its weight in a source of σ = 1
    scale: Doubles  # [R]  the scale that gives it its size
    allowed: Doubles | None = None  # [O]  error power that biases may leave; None: as weights may

    @staticmethod
    def of(task: LayerTask) -> "Biases":
        """Each constant row listens to one constant before it; its scale gives it its size.

        Raises LostConstantsError where there is none.
        """
        reserve, response, count = Reserve.of(task), task.response, len(task.channel)
        choice, unit, scale = np.full(count, -1), np.zeros(count, np.float32), np.zeros(count)
        constant = np.flatnonzero(task.step.builds_constants & (task.channel == CONSTANT))
        # sizes in turn over all groups: who reads constants of many groups needs large ones too
        sizes = SIZES[np.arange(len(constant)) % RESERVE]
        side = response.side(sizes) if len(constant) else 1.0
        for most, rows, group in reserve.alike(constant, task.group_rows):
            if not most:
                raise LostConstantsError(task.linear.name, task.linear.input)
            columns, every = reserve.column[group, :most], np.arange(len(rows))
            drawn = draw_at(task.options.seed, task.step.source, rows=rows, columns=columns)
            pull = drawn * reserve.value[group, :most]
            choice[rows] = (side * pull).argmax(1)
            unit[rows], drive = drawn[every, choice[rows]], pull[every, choice[rows]]
            size = sizes[np.searchsorted(constant, rows)]
            scale[rows] = response.drive(size, drive) / drive
        if task.options.sigma is Sigma.LAYER and len(constant):
            scale[constant] = np.median(scale[constant])
        wanted = task.linear.bias.astype(np.float64)
        if task.calibrated:
            wanted = moments.channel_mean(task.y, task.axis)
        return Biases(task, reserve, wanted, choice, unit, scale)

    def within(self, error: float) -> "Biases":
        """The same, but so near that little is added to the `error` of weights (relative power).

        What is missing in a bias is felt as much where outputs hardly vary.
        """
        variance = moments.channel_variance(self.task.y, self.task.axis)
        return replace(self, allowed=BIAS_SHARE * error * variance)

    def least_lambdas(self) -> Doubles:
        """The least |λ| with which a row reaches its bias b: |b| over its reach, [R, 2].

        For λ > 0 and for λ < 0; 0 where no constant pulls the bias's way, so that no λ helps.
        """
        task, reserve = self.task, self.reserve
        least = np.zeros((len(task.channel), 2))
        bias = np.where(task.channel >= 0, task.linear.bias[task.channel], 0).astype(np.float64)
        for most, rows, group in reserve.alike(np.flatnonzero(bias), task.group_rows):
            columns = reserve.column[group, :most]
            drawn = draw_at(task.options.seed, task.step.source, rows=rows, columns=columns)
            pull = drawn * reserve.level[group, :most] * np.sign(bias[rows, None])
            reach = np.stack([pull.clip(0).sum(1), (-pull).clip(0).sum(1)], 1) * REACH
            least[rows] = np.abs(bias[rows, None]) / np.where(reach > 0, reach, np.inf)
        return least

    def added(
        self, rows: RowChoice, block: Block, *, raw: Sequence[Array], shared: SharedProblems
    ) -> RowChoice:
        """The block's rows with their biases, or the constants that they hand on.

        `raw` [N, …, R', …] is what the rows make of the calibration inputs so far, `shared` holds
        the price of a weight. Raises LostConstantsError when biases were planned here and no
        constant reaches the layer.
        """
        task, reserve, start = self.task, self.reserve, block.rows.start
        if not task.biased:
            return rows  # nothing was planned to carry constants here
        scale = np.where(task.channel[block.rows] >= 0, rows.scale, self.scale[block.rows])
        mean = moments.channel_mean(raw, task.axis) if task.calibrated else None
        weight, offset, tallies = rows.weight.copy(), rows.offset.copy(), []
        every = np.arange(start, block.rows.stop)
        for most, own, group in reserve.alike(every, task.group_rows):
            if not most:
                raise LostConstantsError(task.linear.name, task.linear.input)
            holds = task.channel[own] >= 0
            data, at = own[holds], own[holds] - start
            missing = self.wanted[task.channel[data]]
            if mean is not None:
                missing = missing - mean[at] * scale[at]
            kept = np.zeros((len(own), most), np.float32)
            if self.allowed is None:
                price = shared.groups[block.groups].price[group[holds] - block.groups.start]
                price = price * np.float32(task.price)
            else:
                price = (self.allowed[task.channel[data]] / rows.lam[at] ** 2).astype(np.float32)
            kept[holds], tally = self._solve(data, missing / rows.lam[at], most, price=price)
            handed = np.flatnonzero(self.choice[own] >= 0)
            kept[handed, self.choice[own[handed]]] = self.unit[own[handed]]
            value = reserve.value[np.unique(group), :most, None]
            offset[own - start] = (kept.reshape(len(value), -1, most) @ value).reshape(-1)
            weight[(own - start)[:, None], reserve.column[group, :most]] = kept
            tallies.append(tally)
        return RowChoice(weight, rows.lam, scale, offset, tallies)

    def _solve(
        self, rows: Indices, goal: Doubles, most: int, *, price: Floats
    ) -> tuple[Floats, Tally]:
        """Subset sums over C' constants that come to `goal` [n]: the weights [n, C']."""
        options, group = self.task.options, rows // self.task.group_rows
        level = self.reserve.level[group, :most]
        if not len(rows) or options.select is Select.EXACT:
            exact = np.zeros(level.shape, np.float32)
            exact[:, 0] = goal / level[:, 0]
            return exact, Tally()
        columns = self.reserve.column[group, :most]
        unit = draw_at(options.seed, self.task.step.source, rows=rows, columns=columns)
        base, z = (unit * level).astype(np.float32), goal.astype(np.float32)
        place = np.tile(np.arange(most, dtype=np.int32), (len(z), 1, 1))
        alone = Rows.plain(place, np.ones(place.shape, np.float32))  # one problem in every row
        prices = np.maximum(price, np.float32(MIN_PRICE))[:, None]
        masks, residuals = solve_rows(
            base,
            z[:, None],
            rows=replace(alone, price=prices, group=np.arange(len(z))),
            rule=Rule.SMALLEST if options.select is Select.SMALLEST else Rule.NOISE,
            tolerance=options.tolerance,
        )
        keep = (masks >> np.arange(most, dtype=np.uint32)) & 1 == 1
        tally = Tally.of(z, masks[:, 0], residuals[:, 0], tolerance=options.tolerance)
        return np.where(keep, unit, np.float32(0)), tally
