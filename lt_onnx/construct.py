"""Fill a Blueprint with masks: the construction of Algorithms 1 and 2.

Comes in: a Blueprint and calibration inputs. Goes out, layer by layer: the masked weights and the
scales. Nothing is written here and nothing is read but the target.

Target and ticket run side by side over the calibration inputs, one step at a time, so that every
layer is built against the inputs that the ticket really delivers: the noise of each copy, the value
of each constant, the mean that each row still misses.

For output channel i the normalised target weights are z = w / λ_i. One row of the source serves
one physical output channel; each of its N = V·K problems (feature v, tap k) chooses among the
members of feature v: the copies of a channel, or the neurons of a channel and sign.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lt_onnx import moments
from lt_onnx.activations import Use
from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.errors import InputError
from lt_onnx.features import Block, Reserve, constant_values
from lt_onnx.lane import Lane, linear_nodes
from lt_onnx.layout import CONSTANT
from lt_onnx.neurons import assign, first_places, order, peaks
from lt_onnx.options import Select, Sigma
from lt_onnx.planner import RESERVE, call
from lt_onnx.samples import Samples
from lt_onnx.source import SourceLayer, draw_at, draw_bias, draw_rows
from lt_onnx.subset_sum import Rows, Rule, solve, solve_rows
from lt_onnx.taps import admissible_taps, pads_for
from lt_onnx.target import Array, Floats, Linear, Node

CONSTANT_SIZES = 2.5 * 2.0 ** (np.arange(RESERVE) % 4)  # wanted sizes of constants, in units of λ
REACH = 0.5  # share of a row's full reach in one direction that a bias may use
HEADROOM = 1.1  # λ over the largest |w|, so that few targets sit at |z| ≈ 1
WIDER = (1.2, 1.45, 1.75)  # factors of λ tried for rows with one outstanding miss
LONE = 0.25  # share of a row's error from which one problem's is outstanding
BIAS_PRICE = 1e-7  # price of a weight in a bias: it must pay by (3·10⁻⁴ λ)² of squared error
POSITIONS = 8192  # most output positions sampled for H
ROWS_IN_FLIGHT = 1 << 22  # source weights drawn at a time


@dataclass(frozen=True)
class LayerStats:
    """What the construction of one layer came to."""

    name: str
    kind: str  # one-for-one, two-for-one, univariate
    op: str
    target_weights: int
    kept: int
    source_weights: int
    scales: int
    problems: int = 0
    misses: int = 0
    mean_size: float = 0.0
    mean_error: float = 0.0
    sqnr_db: float | None = None
    base_size: int = 0


@dataclass(frozen=True)
class Constructed:
    """The tensors of one source layer: `weight` masked and scaled to σ, `bias` likewise."""

    step: Expand | Build
    weight: Floats  # [O, I, *K]
    bias: Floats | None
    tensors: Mapping[str, Array]  # scales and orders by name
    stats: LayerStats


def construct(blueprint: Blueprint, calibration: Samples, batch: int = 64) -> Iterator[Constructed]:
    """Build every source layer of `blueprint`, in order.

    Raises InputError when the target cannot be run on the calibration inputs.
    """
    worker = _Construction(blueprint, calibration.batches(blueprint.target.inputs, batch))
    for step in blueprint.steps:
        if isinstance(step, Run):
            worker.run(step.node)
        elif isinstance(step, Expand):
            yield worker.expand(step)
        else:
            yield worker.build(step)
        worker.forget(step)


@dataclass
class _Construction:
    blueprint: Blueprint
    feeds: list[dict[str, Array]]
    gains: dict[str, Floats] = field(default_factory=dict)  # per Expand: gain of every slot

    def __post_init__(self) -> None:
        target = self.blueprint.target
        inputs = {p.name: [feed[p.name] for feed in self.feeds] for p in target.inputs}
        uses: dict[str, int] = {}
        for step in target.steps:
            for name in step.inputs:
                uses[name] = uses.get(name, 0) + 1
        self.target = Lane(dict(inputs), uses, target.opsets, target.constants)
        uses = {}
        for planned in self.blueprint.steps:
            for node in planned.nodes:
                for name in node.inputs:
                    uses[name] = uses.get(name, 0) + 1
        self.ticket = Lane(dict(inputs), uses, target.opsets, self.blueprint.constants)
        self.position = 0
        options = self.blueprint.options
        self.seed = options.seed
        self.calibrated = options.select is Select.NOISE
        self.rng = np.random.default_rng([options.seed & 0xFFFFFFFF, 0x6C74])
        self.responses: dict[str | None, tuple[Floats, Floats]] = {}

    # running ------------------------------------------------------------------------------

    def run(self, node: Node) -> None:
        """A node of the ticket that holds no random weight."""
        self.ticket.run([node], {}, node.outputs[0])

    def truth(self, linear: Linear) -> list[Array]:
        """The target's own output of `linear`, on every batch."""
        steps = self.blueprint.target.steps
        while linear.output not in self.target.values:
            step = steps[self.position]
            if isinstance(step, Linear):
                nodes, extra = linear_nodes(step)
                self.target.run(nodes, extra, step.output)
            else:
                self.target.run([step], {}, step.outputs[0])
            self.target.drop([name for name in step.inputs if name])
            self.position += 1
        return self.target.values[linear.output]

    def forget(self, step: Run | Expand | Build) -> None:
        """Free the tensors of the ticket that `step` was the last to read."""
        self.ticket.drop([name for node in step.nodes for name in node.inputs if name])

    def response(self, node_name: str | None) -> tuple[Floats, Floats]:
        """(pre-activations h, values φ(h)) of the activation that a constant meets next."""
        if node_name not in self.responses:
            powers = 2.0 ** np.arange(-24, 6.25, 0.25)
            h: Floats = np.concatenate([powers, -powers]).astype(np.float32)
            target = self.blueprint.target
            node = next((s for s in target.steps if s.name == node_name), None)
            value = h
            if isinstance(node, Node) and node.op != "PRelu":
                value = call(node, h, target)
            self.responses[node_name] = (h, value)
        return self.responses[node_name]

    def drive(
        self, response: tuple[Floats, Floats], size: Array, sign: Array
    ) -> NDArray[np.float64]:
        """Pre-activations of the given signs after which constants come closest to ±`size`."""
        h, value = response
        out = np.empty(len(sign))
        for i, wanted in enumerate(size):
            side = (h > 0) == (sign[i] >= 0)
            out[i] = h[side][np.abs(np.abs(value[side]) - wanted).argmin()]
        return out

    def side(self, response: tuple[Floats, Floats], size: Array) -> float:
        """The sign of pre-activations, 1 or -1, by which constants come closer to `size`."""
        h, value = response
        off = []
        for sign in (1.0, -1.0):
            reached = np.abs(value[np.sign(h) == sign])[:, None]
            ratio = np.log(np.maximum(reached, 1e-30) / size)
            off.append(float(np.abs(ratio).min(0).sum()))
        return 1.0 if off[0] <= off[1] * 1.001 else -1.0

    # univariate layers ----------------------------------------------------------------------

    def expand(self, step: Expand) -> Constructed:
        """Prune a layer to neurons that listen to one channel each, and set their scales."""
        source, layout = step.source, step.in_layout
        x = self.ticket.values[step.input]
        axis = step.out_layout.axis
        sigma = source.sigma(self.blueprint.options.init)
        unit = draw_rows(self.seed, source, 0, source.shape[0]).reshape(source.shape[0], -1)
        width = unit.shape[1]
        place = np.arange(step.channels) if layout is None else first_places(layout)
        present = place >= 0
        peak = peaks(x, axis)
        rows = assign(step, unit, place)
        keep = np.zeros(unit.shape, bool)
        scale = np.zeros(len(unit), np.float64)
        gains = np.zeros(len(step.slots), np.float64)

        channel = np.array([c for c, _ in step.slots])
        filled = (rows >= 0) & present[channel]
        slot_rows, slot_places = rows[filled], place[channel[filled]]
        weight = unit[slot_rows, slot_places].astype(np.float64)
        keep[slot_rows, slot_places] = True
        model = step.model
        largest = np.maximum(peak[slot_places], 1e-6) * 1.25
        allowed = model.reach / largest if math.isfinite(model.reach) else np.ones(len(largest))
        if model.use is Use.SPLIT:
            allowed = np.minimum(allowed, 1.0)
        if self.blueprint.options.sigma is Sigma.CHANNEL:
            scale[slot_rows] = allowed / np.abs(weight)
        else:
            scale[slot_rows] = allowed.min(initial=np.inf) if len(allowed) else 1.0
        scale = (scale / sigma).astype(np.float32).astype(np.float64)
        gain = model.slope * scale[slot_rows] * sigma * weight
        gains[filled] = np.abs(gain) if model.use is Use.SPLIT else gain
        half = source.mirror_rows
        if half:
            keep[half : 2 * half] = keep[:half]
            scale[half : 2 * half] = scale[:half]

        bias = None
        chosen = np.zeros(0, np.int64)
        if step.constants:
            response = self.response(self.blueprint.activation.name)
            size = CONSTANT_SIZES[: step.constants] * float(np.abs(gains).max(initial=1e-6))
            sign = self.side(response, size)
            chosen, bias, columns, drive = self._constants(step, unit, rows, x, axis, sign)
            keep[chosen, columns] = columns >= 0
            wanted = self.drive(response, size[: len(chosen)], drive)
            scale[chosen] = wanted / drive / sigma
            if self.blueprint.options.sigma is Sigma.LAYER:
                scale[chosen] = np.abs(np.median(scale[chosen]))
        placed = order(step, rows, chosen, half)
        stored = (sigma * np.where(keep, unit, 0)).astype(np.float32).reshape(source.shape)
        kept_bias = None if bias is None else (sigma * bias).astype(np.float32)
        rank = x[0].ndim
        tensors: dict[str, Array] = {
            step.scale: scale.astype(np.float32).reshape(-1, *[1] * (rank - axis - 1)),
            step.order: placed,
        }
        extra = {source.name: _stored(stored, source), **tensors}
        if kept_bias is not None:
            extra[f"{source.name}/bias"] = kept_bias
        self.ticket.run(step.nodes, extra, step.output)
        self.gains[step.name] = gains.astype(np.float32)
        kept = int(np.count_nonzero(stored))
        if kept_bias is not None:
            kept += int(np.count_nonzero(kept_bias))
        stats = LayerStats(
            name=step.name, kind="univariate", op=step.nodes[0].op, target_weights=0, kept=kept,
            source_weights=len(unit) * width, scales=int(np.count_nonzero(scale)),
            base_size=self.blueprint.options.neurons,
        )  # fmt: skip
        return Constructed(step, stored, kept_bias, tensors, stats)

    def _constants(
        self,
        step: Expand,
        unit: Floats,
        rows: NDArray[np.int64],
        x: list[Array],
        axis: int,
        sign: float,
    ) -> tuple[NDArray[np.int64], Floats | None, NDArray[np.int64], Floats]:
        """Constant neurons: rows, masked biases, the column each listens to (-1), unit drive."""
        free = np.setdiff1d(np.arange(2 * step.source.mirror_rows, len(unit)), rows)
        if step.source.bias:
            drawn = draw_bias(self.seed, step.source)
            chosen = free[np.argsort(-sign * drawn[free], kind="stable")][: step.constants]
            bias = np.zeros_like(drawn)
            bias[chosen] = drawn[chosen]
            return chosen, bias, np.full(len(chosen), -1), drawn[chosen]
        assert step.in_layout is not None
        places, values = constant_values(step.in_layout, x, axis)
        if not len(places):
            raise InputError(
                f"layer '{step.name}': no constant reaches it; its biases cannot be built"
            )
        pull = unit[np.ix_(free, places)] * values
        best = (sign * pull).argmax(1)
        drive = pull[np.arange(len(free)), best]
        first = np.argsort(-sign * drive, kind="stable")[: step.constants]
        return free[first], None, places[best[first]], drive[first]

    # constructed layers ----------------------------------------------------------------------

    def build(self, step: Build) -> Constructed:
        """Choose the mask of one layer, row by row, then its biases and constants."""
        linear, source, options = step.linear, step.source, self.blueprint.options
        y = self.truth(linear)
        x = self.ticket.values[step.input]
        sigma = source.sigma(options.init)
        group = linear.group
        width = step.in_layout.width // group
        stored = np.zeros((source.shape[0], source.row_size), np.float32)
        unit = 1.0 if step.expand is None else float(np.abs(self.gains[step.expand]).max())
        unit = unit if unit > 0 else 1.0
        reserves = self._reserves(step, x, unit)
        at = self._positions(linear, y)
        tally = _Tally()
        blocks = [Block.of(step, g, width, self.gains, unit) for g in range(group)]
        scale = self._scales(step, blocks, reserves)
        for g, block in enumerate(blocks):
            self._group(step, g, block, x, at, scale, stored, tally)
        scale[step.out_layout.channel < 0] = 0
        scale /= sigma * unit
        stored *= sigma
        # what the data alone gives, to know each row's missing mean and its bias
        raw = self.ticket.run(
            step.nodes[:1],
            {source.name: _stored(stored.reshape(source.shape), source)},
            step.nodes[0].outputs[0],
        )
        offset = self._biases(step, reserves, raw, y, scale, stored, sigma, tally)
        shape = (-1, *[1] * (raw[0].ndim - step.out_layout.axis - 1))
        tensors = {step.scale: scale.astype(np.float32).reshape(shape)}
        weight = stored.reshape(source.shape)
        # biases add the same number everywhere, so that the sums need not be run again
        for value in raw:
            value += offset.astype(np.float32).reshape(shape)
        out = self.ticket.run(step.nodes[1:], tensors, step.output)
        self.ticket.values.pop(step.nodes[0].outputs[0])
        stats = LayerStats(
            name=step.name,
            kind="one-for-one" if step.one_for_one else "two-for-one",
            op=linear.op,
            target_weights=int(np.count_nonzero(linear.weight) + np.count_nonzero(linear.bias)),
            kept=int(np.count_nonzero(weight)),
            source_weights=source.size,
            scales=int(np.count_nonzero(scale)),
            problems=tally.problems,
            misses=tally.misses,
            mean_size=tally.elements / max(tally.problems, 1),
            mean_error=tally.error / max(tally.problems, 1),
            sqnr_db=_sqnr(y, out, step),
            base_size=max((block.index.shape[1] for block in blocks), default=0),
        )
        return Constructed(step, weight, None, tensors, stats)

    def _positions(self, linear: Linear, y: list[Array]) -> list[NDArray[np.int64]]:
        """Output positions at which H is sampled."""
        shapes = [_channels_second(linear, v.shape) for v in y]
        return moments.positions(shapes, POSITIONS, self.rng)

    def _reserves(self, step: Build, x: list[Array], unit: float) -> list[Reserve]:
        """What every group's biases are built from."""
        linear, group = step.linear, step.linear.group
        width = step.in_layout.width // group
        places, values = constant_values(step.in_layout, x, step.in_layout.axis)
        taps = admissible_taps(linear, step.pads)
        count = math.prod(linear.kernel)
        reserves = []
        for g in range(group):
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
                    unit,
                )
            )
        return reserves

    def _scales(
        self, step: Build, blocks: list["Block"], reserves: list[Reserve]
    ) -> NDArray[np.float64]:
        """λ of every row: the largest weight, but never less than |b_i| over the row's reach."""
        linear, options, out = step.linear, self.blueprint.options, step.out_layout
        per_group = len(linear.bias) // linear.group
        rows = step.source.shape[0] // linear.group
        headroom = HEADROOM if options.select is Select.NOISE else 1.0
        scale = np.zeros(step.source.shape[0])
        for g, (block, reserve) in enumerate(zip(blocks, reserves, strict=True)):
            w = np.abs(block.goals(linear, g)) / block.top[None, :, None]
            largest = w.reshape(per_group, -1).max(1, initial=0.0) * headroom
            mine = np.arange(g * rows, (g + 1) * rows)
            mine = mine[out.channel[mine] >= 0]
            channel = out.channel[mine]
            bias = linear.bias[channel].astype(np.float64)
            scale[mine] = largest[channel - g * per_group]
            if bias.any() and len(reserve.level):
                pull = draw_at(self.seed, step.source, mine, reserve.column) * reserve.level
                reach = np.where(bias[:, None] > 0, pull, -pull).clip(0).sum(1) * REACH
                scale[mine] = np.maximum(scale[mine], np.abs(bias) / np.maximum(reach, 1e-30))
        if options.sigma is Sigma.LAYER:
            scale[:] = scale.max(initial=0.0)
        return np.where(scale > 0, scale, 1.0)

    def _group(
        self, step: Build, g: int, block: "Block", x: list[Array], at: list[NDArray[np.int64]],
        scale: NDArray[np.float64], stored: Floats, tally: "_Tally",
    ) -> None:  # fmt: skip
        """All rows of one group."""
        linear, options = step.linear, self.blueprint.options
        source, out = step.source, step.out_layout
        rows = source.shape[0] // linear.group
        mine = np.arange(g * rows, (g + 1) * rows)
        mine = mine[out.channel[mine] >= 0]
        goals = block.goals(linear, g)  # [O/g, V, K]
        local = out.channel[mine] - g * (len(linear.bias) // linear.group)
        if options.select is Select.EXACT:
            z = (goals[local] / scale[mine, None, None]).astype(np.float32)
            z = z.reshape(len(mine), -1)
            for r, row in enumerate(mine):
                first = block.index[:, 0]
                good = np.repeat(first >= 0, block.taps)
                places = block.problem_index[:, 0][good]
                stored[row, places] = (z[r] / np.repeat(block.gain[:, 0], block.taps))[good]
                if block.twin:
                    stored[row, places + block.twin * block.taps] = -stored[row, places]
            return
        parts = self._parts(step, g, block, x, at)
        step_rows = max(1, ROWS_IN_FLIGHT // max(source.row_size, 1))
        for low in range(0, len(mine), step_rows):
            picked = mine[low : low + step_rows]
            base = draw_rows(self.seed, source, int(picked[0]), int(picked[-1]) + 1)
            base = base.reshape(len(base), -1)[picked - picked[0]]
            wanted = goals[local[low : low + step_rows]].reshape(len(picked), -1)
            masks, residuals = self._solve(parts, base, wanted, scale, picked)
            tally.add(wanted, masks, residuals, options.tolerance)
            keep = np.zeros(base.shape, bool)
            for problems, shared in parts:
                for s in range(shared.index.shape[1]):
                    valid = shared.index[:, s] >= 0
                    bits = (masks[:, problems][:, valid] >> np.uint32(s)) & 1 == 1
                    keep[:, shared.index[valid, s]] |= bits
            if block.twin:
                half = block.twin * block.taps
                keep[:, half : 2 * half] = keep[:, :half]
            stored[picked] = np.where(keep, base, 0)

    def _solve(
        self, parts: list[tuple[slice, Rows]], base: Floats, wanted: NDArray[np.float64],
        scale: NDArray[np.float64], rows: NDArray[np.int64],
    ) -> tuple[NDArray[np.uint32], Floats]:  # fmt: skip
        """Solve some rows; where one miss outweighs a row's other errors, widen its λ.

        The base sets are what they are, but each row's λ is free, and with another λ another z is
        asked of them. `scale` is changed for rows that gain from it.
        """
        options = self.blueprint.options

        def attempt(some: NDArray[np.int64], lam: NDArray[np.float64]) -> tuple[Array, Array]:
            z = (wanted[some] / lam[:, None]).astype(np.float32)
            rule = _RULES[options.select]
            answers = [
                solve_rows(base[some], np.ascontiguousarray(z[:, part]), shared, rule,
                           options.tolerance)
                for part, shared in parts
            ]  # fmt: skip
            return (
                np.concatenate([mask for mask, _ in answers], 1),
                np.concatenate([residual for _, residual in answers], 1),
            )

        masks, residuals = attempt(np.arange(len(rows)), scale[rows])
        if not self.calibrated or options.sigma is Sigma.LAYER:
            return masks, residuals
        weight = np.concatenate([shared.weight for _, shared in parts]).astype(np.float64)
        first = scale[rows].copy()
        for factor in WIDER:
            error = weight * np.square(residuals, dtype=np.float64)
            total = error.sum(1)
            some = np.flatnonzero(error.max(1, initial=0.0) > LONE * total)
            if not len(some):
                break
            wider = first[some] * factor
            new_masks, new_residuals = attempt(some, wider)
            new = (weight * np.square(new_residuals, dtype=np.float64)).sum(1) * wider**2
            better = new < total[some] * scale[rows[some]] ** 2 / 2
            chosen = some[better]
            masks[chosen], residuals[chosen] = new_masks[better], new_residuals[better]
            scale[rows[chosen]] = wider[better]
        return masks, residuals

    def _parts(
        self, step: Build, g: int, block: "Block", x: list[Array], at: list[NDArray[np.int64]]
    ) -> list[tuple[slice, Rows]]:
        """The group's problems in blocks that share one H, with what all rows share."""
        options = self.blueprint.options
        taps, v = block.taps, len(block.index)
        per_block = max(1, moments.LARGEST_BLOCK // taps)
        parts = []
        for low in range(0, v, per_block):
            some = slice(low, min(low + per_block, v))
            problems = slice(some.start * taps, some.stop * taps)
            index = block.problem_index[problems]
            gain = np.repeat(block.gain[some], taps, 0)
            n = len(index)
            ones, zeros = np.ones(n, np.float32), np.zeros(n, np.float32)
            if not self.calibrated:
                shared = Rows(index, gain, ones, np.zeros_like(gain), zeros, np.arange(n), None)
                parts.append((problems, shared))
                continue
            features, noise = block.observe(x, some, step, g)
            top = np.repeat(block.top[some], taps)
            H = self._second_moments(features, at, step.linear)
            order, upper, weight = moments.feedback(H)
            parts.append(
                (
                    problems,
                    Rows(
                        index=index,
                        gain=gain,
                        weight=weight,
                        noise=np.repeat(noise, taps, 0).astype(np.float32),
                        price=(options.mu * np.diagonal(H) * top**2).astype(np.float32),
                        order=order,
                        upper=upper,
                    ),
                )
            )
        return parts

    def _second_moments(
        self, features: list[Floats], at: list[NDArray[np.int64]], linear: Linear
    ) -> NDArray[np.float64]:
        """Covariance of the features' patches (their mean is the bias correction's business)."""
        total = sum(len(a) for a in at)
        rows = []
        for value, where in zip(features, at, strict=True):
            pads = pads_for(linear, value.shape[2:])
            rows.append(moments.patches(value, where, linear, pads, slice(None)))
        a = np.concatenate(rows).reshape(total, -1)
        a -= a.mean(0)
        return np.asarray((a.T @ a) / np.float32(total), np.float64)

    # biases and constants --------------------------------------------------------------------

    def _biases(
        self, step: Build, reserves: list[Reserve], raw: list[Array],
        y: list[Array], scale: NDArray[np.float64], stored: Floats, sigma: np.float32,
        tally: "_Tally",
    ) -> NDArray[np.float64]:  # fmt: skip
        """Add biases to data rows and build the constant rows, from the constants at hand.

        Returns what that adds to each row's sum, before the scale.
        """
        offset = np.zeros(len(stored))
        linear, source, out = step.linear, step.source, step.out_layout
        data = np.flatnonzero(out.channel >= 0)
        wanted = linear.bias[out.channel[data]].astype(np.float64)
        if self.calibrated:
            missing = moments.channel_mean(y, _out_axis(step))[out.channel[data]]
            wanted = missing - moments.channel_mean(raw, _out_axis(step))[data] * scale[data]
        fresh = np.flatnonzero(out.channel == CONSTANT)
        builds = len(fresh) > 0 and step.builds_constants
        if not builds and not linear.bias.any():
            return offset  # nothing was planned to carry constants here
        rows = source.shape[0] // linear.group
        for g, reserve in enumerate(reserves):
            column, level = reserve.column, reserve.level
            if not len(level):
                raise InputError(
                    f"layer '{linear.name}': no constant reaches it; its biases cannot be built"
                )
            mine = data[(data >= g * rows) & (data < (g + 1) * rows)]
            goal = wanted[np.searchsorted(data, mine)] / (scale[mine] * sigma * reserve.unit)
            new = fresh[(fresh >= g * rows) & (fresh < (g + 1) * rows)] if builds else fresh[:0]
            self._bias_rows(source, mine, column, level, goal, stored, sigma, tally)
            self._constant_rows(step, new, column, reserve.value, scale, stored, sigma)
            both = np.concatenate([mine, new])
            offset[both] = stored[np.ix_(both, column)] @ reserve.value
        return offset

    def _bias_rows(
        self, source: SourceLayer, mine: NDArray[np.int64], column: NDArray[np.int64],
        level: NDArray[np.float64], goal: NDArray[np.float64], stored: Floats, sigma: np.float32,
        tally: "_Tally",
    ) -> None:  # fmt: skip
        options = self.blueprint.options
        if not len(mine):
            return
        if options.select is Select.EXACT:
            stored[mine, column[0]] = goal * sigma / level[0]
            return
        unit = draw_at(self.seed, source, mine, column)
        base = (unit * level).astype(np.float32)
        z = goal.astype(np.float32)
        if options.select is Select.SMALLEST:
            answer = solve(base, z, tolerance=options.tolerance)
        else:
            answer = solve(base, z, weight=1.0, penalty=BIAS_PRICE)
        keep = (answer.mask[:, None] >> np.arange(len(column), dtype=np.uint32)) & 1 == 1
        keep[z == 0] = False
        tally.add(z, answer.mask, answer.residual, options.tolerance)
        stored[np.ix_(mine, column)] = np.where(keep, unit * sigma, 0)

    def _constant_rows(
        self, step: Build, new: NDArray[np.int64], column: NDArray[np.int64],
        level: NDArray[np.float64], scale: NDArray[np.float64], stored: Floats, sigma: np.float32,
    ) -> None:  # fmt: skip
        """Each constant listens to one constant before it; its scale gives it its size."""
        if not len(new):
            return
        unit = draw_at(self.seed, step.source, new, column)
        pull = unit * level
        response = self.response(step.follows)
        size = CONSTANT_SIZES[np.arange(len(new)) % RESERVE]
        best = (self.side(response, size) * pull).argmax(1)
        drive = pull[np.arange(len(new)), best]
        stored[new, column[best]] = unit[np.arange(len(new)), best] * sigma
        scale[new] = self.drive(response, size, drive) / drive / sigma
        if self.blueprint.options.sigma is Sigma.LAYER:
            scale[new] = np.median(scale[new])


_RULES = {Select.NOISE: Rule.NOISE, Select.SMALLEST: Rule.SMALLEST, Select.BEST: Rule.BEST,
          Select.EXACT: Rule.BEST}  # fmt: skip


@dataclass
class _Tally:
    """Running counts over a layer's problems."""

    problems: int = 0
    misses: int = 0
    elements: int = 0
    error: float = 0.0

    def add(self, z: Array, masks: Array, residuals: Array, tolerance: float) -> None:
        asked = z != 0
        self.problems += int(asked.sum())
        self.misses += int((np.abs(residuals[asked]) > tolerance).sum())
        self.elements += int(np.bitwise_count(masks[asked]).sum())
        self.error += float(np.abs(residuals[asked]).sum(dtype=np.float64))


def _stored(weight: Floats, source: SourceLayer) -> Floats:
    """The initializer: as drawn, or transposed for MatMul."""
    return np.ascontiguousarray(weight.T) if source.transposed else weight


def _channels_second(linear: Linear, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with the channels on axis 1, for counting positions."""
    return shape if linear.op != "MatMul" else (shape[0], shape[-1], *shape[1:-1])


def _out_axis(step: Build) -> int:
    return step.out_layout.axis


def _sqnr(y: list[Array], out: list[Array], step: Build) -> float:
    """Signal to noise of the layer's first copies against the target, in dB."""
    layout = step.out_layout
    places = layout.find((c, 0) for c in range(layout.size))
    signal = noise = 0.0
    for true, made in zip(y, out, strict=True):
        taken = np.take(made, places, layout.axis) if layout.width > layout.size else made
        signal += float(np.square(true, dtype=np.float64).sum())
        noise += float(np.square(true.astype(np.float64) - taken).sum())
    return 10 * math.log10(max(signal, 1e-300) / max(noise, 1e-300))
