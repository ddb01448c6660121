"""Biases and constants of a layer: subset sums over the constants that reach it.

The source has biases in the layers that open a path alone (Assumption 2.1); everywhere else a bias
is what a row makes of the constants before it, and the row of a constant hands one on.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lt_onnx.construct import moments
from lt_onnx.construct.constants import SIZES, Reserve, Response, constant_values
from lt_onnx.construct.layer_state import Block, Frame
from lt_onnx.construct.tally import Tally
from lt_onnx.errors import LostConstantsError
from lt_onnx.layout import CONSTANT
from lt_onnx.ops.conv_padding import admissible_taps
from lt_onnx.options import Select, Sigma
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import draw_at
from lt_onnx.subset_sum import solve
from lt_onnx.target import Array, Floats

REACH = 0.5  # share of a row's full reach in one direction that a bias may use
LOWEST_PRICE = 1e-7  # of a weight in a bias: it must pay by (3·10⁻⁴ λ)² of squared error at least


class Biases:
    """The constants that a layer finds, those it hands on, and the biases it builds.

    `x` are the layer's inputs as the ticket delivers them, `y` the target's outputs; `response` is
    that of the activation which the layer's constants meet next.
    """

    def __init__(
        self, frame: Frame, x: list[Array], y: list[Array], response: Response, tally: Tally
    ) -> None:
        self.frame, self.response, self.tally = frame, response, tally
        self.reserves = _reserves(frame, x)
        self.wanted = (  # per target channel: the mean to reach, or the bias itself
            moments.channel_mean(y, frame.axis)
            if frame.calibrated
            else frame.linear.bias.astype(np.float64)
        )
        self.constants: dict[int, tuple[int, np.float32]] = {}  # row: (column, unit weight)
        if frame.step.builds_constants:
            self._choose_constants()

    def floor(self, g: int, mine: NDArray[np.int64]) -> NDArray[np.float64]:
        """The least λ of the rows `mine` of group `g`: |b_i| over the row's reach."""
        frame, reserve = self.frame, self.reserves[g]
        bias = frame.linear.bias[frame.step.out_layout.channel[mine]].astype(np.float64)
        if not bias.any() or not len(reserve.level):
            return np.zeros(len(mine))
        drawn = draw_at(frame.options.seed, frame.source, mine, reserve.column)
        pull = drawn * reserve.level
        reach = np.where(bias[:, None] > 0, pull, -pull).clip(0).sum(1) * REACH
        return np.asarray(np.abs(bias) / np.maximum(reach, 1e-30))

    def add(
        self, block: Block, weight: Floats, raw: list[Array], price: Callable[[int], float]
    ) -> NDArray[np.float64]:
        """Add the biases of the block's data rows, and its constant rows, to `weight`.

        `raw` is what the rows make of the calibration inputs so far, `price` what a weight costs in
        a group, in units of λ². Returns what biases and constants add to each row's sum, before
        the scale.
        """
        frame = self.frame
        offset = np.zeros(len(weight))
        if not self.constants and not frame.linear.bias.any():
            return offset  # nothing was planned to carry constants here
        channel = frame.step.out_layout.channel
        reached = moments.channel_mean(raw, frame.axis) if frame.calibrated else None
        for g in block.group_numbers:
            reserve = self.reserves[g]
            self._need(reserve)
            mine = frame.data_rows(g, block.start, block.stop)
            missing = self.wanted[channel[mine]]
            if reached is not None:
                missing = missing - reached[mine - block.start] * frame.scale[mine]
            goal = missing / frame.lam[mine]
            self._solve(mine, reserve, goal, weight, block.start, price(g))
            low, high = g * frame.rows, (g + 1) * frame.rows
            rows = np.arange(max(block.start, low), min(block.stop, high))
            for row in (int(r) for r in rows if int(r) in self.constants):
                column, unit = self.constants[row]
                weight[row - block.start, column] = unit
            kept = weight[np.ix_(rows - block.start, reserve.column)]
            offset[rows - block.start] = kept @ reserve.value
        return offset

    def _solve(
        self,
        mine: NDArray[np.int64],
        reserve: Reserve,
        goal: NDArray[np.float64],
        weight: Floats,
        start: int,
        price: float,
    ) -> None:
        """Biases as subset sums over the constants."""
        frame, options, column = self.frame, self.frame.options, reserve.column
        if not len(mine):
            return
        if frame.exact:
            weight[mine - start, column[0]] = goal / reserve.level[0]
            return
        unit = draw_at(options.seed, frame.source, mine, column)
        base = (unit * reserve.level).astype(np.float32)
        z = goal.astype(np.float32)
        if options.select is Select.SMALLEST:
            answer = solve(base, z, tolerance=options.tolerance)
        else:
            answer = solve(base, z, weight=1.0, penalty=max(price, LOWEST_PRICE))
        keep = (answer.mask[:, None] >> np.arange(len(column), dtype=np.uint32)) & 1 == 1
        keep[z == 0] = False
        self.tally.add(z, answer.mask, answer.residual, options.tolerance)
        weight[np.ix_(mine - start, column)] = np.where(keep, unit, 0)

    def _choose_constants(self) -> None:
        """Each constant row listens to one constant before it; its scale gives it its size."""
        frame = self.frame
        fresh = np.flatnonzero(frame.step.out_layout.channel == CONSTANT)
        for g, reserve in enumerate(self.reserves):
            new = fresh[(fresh >= g * frame.rows) & (fresh < (g + 1) * frame.rows)]
            if not len(new):
                continue
            self._need(reserve)
            unit = draw_at(frame.options.seed, frame.source, new, reserve.column)
            pull = unit * reserve.value
            size = SIZES[np.arange(len(new)) % RESERVE]
            best = (self.response.side(size) * pull).argmax(1)
            every = np.arange(len(new))
            drive = pull[every, best]
            for row, column, weight in zip(
                new, reserve.column[best], unit[every, best], strict=True
            ):
                self.constants[int(row)] = (int(column), weight)
            frame.scale[new] = self.response.drive(size, drive) / drive
            if frame.options.sigma is Sigma.LAYER:
                frame.scale[new] = np.median(frame.scale[new])

    def _need(self, reserve: Reserve) -> None:
        if not len(reserve.level):
            raise LostConstantsError(self.frame.linear.name, self.frame.linear.input)


def _reserves(frame: Frame, x: list[Array]) -> list[Reserve]:
    """What every group's biases are built from."""
    linear, features, step = frame.linear, frame.features, frame.step
    width, count = features.width, features.taps
    places, values = constant_values(step.in_layout, x, step.in_layout.axis)
    taps = admissible_taps(linear, step.pads)
    reserves = []
    for g in range(linear.group):
        inside = (places >= g * width) & (places < (g + 1) * width)
        local, value = places[inside] - g * width, values[inside]
        if len(local) > RESERVE:
            some = np.linspace(0, len(local) - 1, RESERVE).round().astype(np.int64)
            local, value = local[some], value[some]
        # one tap of every constant; more taps only where constants are few
        pairs = [(p, v, t) for t in taps for p, v in zip(local, value, strict=True)][:RESERVE]
        reserves.append(
            Reserve(
                np.array([p * count + t for p, _, t in pairs], np.int64),
                np.array([v for _, v, _ in pairs], np.float64),
                features.unit,
            )
        )
    return reserves
