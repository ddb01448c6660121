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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lt_onnx import moments
from lt_onnx.activations import Use
from lt_onnx.blueprint import RESERVE, Blueprint, Build, Expand, Run, admissible_taps, call
from lt_onnx.errors import InputError
from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.options import Select, Sigma
from lt_onnx.runtime import Program
from lt_onnx.samples import Samples
from lt_onnx.source import SourceLayer, draw_at, draw_bias, draw_rows
from lt_onnx.subset_sum import Rows, Rule, solve, solve_rows
from lt_onnx.target import Array, Floats, Linear, Node, Target

CONSTANT_SIZES = 2.5 * 2.0 ** (np.arange(RESERVE) % 4)  # wanted sizes of constants, in units of λ
REACH = 0.5  # share of a row's full reach in one direction that a bias may use
HEADROOM = 1.1  # λ over the largest |w|, so that few targets sit at |z| ≈ 1
WIDER = (1.2, 1.45, 1.75)  # factors of λ tried for rows with one outstanding miss
LONE = 0.25  # share of a row's error from which one problem's is outstanding
BIAS_PRICE = 1e-7  # price of a weight in a bias: it must pay by (3·10⁻⁴ λ)² of squared error
POSITIONS = 8192  # most output positions sampled for H
ROWS_IN_FLIGHT = 1 << 22  # source weights drawn at a time
CONSTANCY = 1e-4  # relative spread under which a channel counts as constant


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


@dataclass(frozen=True)
class _Reserve:
    """The constants that one group builds its biases from: flat columns, exact values."""

    column: NDArray[np.int64]
    value: NDArray[np.float64]
    unit: float  # gain in which the layer is measured

    @property
    def level(self) -> NDArray[np.float64]:
        """The values as a row with λ = 1 sees them."""
        return self.value / self.unit


@dataclass
class _Lane:
    """A network being run step by step over the calibration batches."""

    values: dict[str, list[Array]]
    uses: dict[str, int]
    opsets: Mapping[str, int]
    constants: Mapping[str, Array]

    def run(self, nodes: Sequence[Node], extra: Mapping[str, Array], output: str) -> list[Array]:
        """Run `nodes` on every batch; `extra` are constants of this call."""
        names = {name for node in nodes for name in node.inputs if name in self.values}
        if not names:
            raise InputError(
                f"node '{nodes[0].name}' ({nodes[0].op}) reads no tensor that was computed before"
            )
        count = len(next(iter(self.values[name] for name in names)))
        feeds = [{name: self.values[name][b] for name in names} for b in range(count)]
        outputs = [name for name in nodes[-1].outputs if name]
        program = Program(nodes, feeds[0], {**self.constants, **extra}, outputs, self.opsets)
        results = [program(feed) for feed in feeds]
        for i, name in enumerate(outputs):
            self.values[name] = [result[i] for result in results]
        return self.values[output]

    def drop(self, names: Sequence[str]) -> None:
        """Count one reader off each tensor and free those that nobody reads any more."""
        for name in names:
            self.uses[name] = self.uses.get(name, 0) - 1
            if self.uses[name] <= 0:
                self.values.pop(name, None)


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
        self.target = _Lane(dict(inputs), uses, target.opsets, target.constants)
        uses = {}
        for planned in self.blueprint.steps:
            for node in planned.nodes:
                for name in node.inputs:
                    uses[name] = uses.get(name, 0) + 1
        self.ticket = _Lane(dict(inputs), uses, target.opsets, self.blueprint.constants)
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
        place = np.arange(step.channels) if layout is None else _first_places(layout)
        present = place >= 0
        peak = _peaks(x, axis)
        rows = _assign(step, unit, place)
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
        order = _order(step, rows, chosen, half)
        stored = (sigma * np.where(keep, unit, 0)).astype(np.float32).reshape(source.shape)
        kept_bias = None if bias is None else (sigma * bias).astype(np.float32)
        rank = x[0].ndim
        tensors: dict[str, Array] = {
            step.scale: scale.astype(np.float32).reshape(-1, *[1] * (rank - axis - 1)),
            step.order: order,
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
        places, values = _constant_values(step.in_layout, x, axis)
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
        blocks = [_Block.of(step, g, width, self.gains, unit) for g in range(group)]
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

    def _reserves(self, step: Build, x: list[Array], unit: float) -> list[_Reserve]:
        """What every group's biases are built from."""
        linear, group = step.linear, step.linear.group
        width = step.in_layout.width // group
        places, values = _constant_values(step.in_layout, x, step.in_layout.axis)
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
                _Reserve(
                    np.array([p * count + t for p, _, t in pairs], np.int64),
                    np.array([v for _, v, _ in pairs], np.float64),
                    unit,
                )
            )
        return reserves

    def _scales(
        self, step: Build, blocks: list["_Block"], reserves: list[_Reserve]
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
        self, step: Build, g: int, block: "_Block", x: list[Array], at: list[NDArray[np.int64]],
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
        self, step: Build, g: int, block: "_Block", x: list[Array], at: list[NDArray[np.int64]]
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
            pads = _explicit_pads(linear, value.shape[2:])
            rows.append(moments.patches(value, where, linear, pads, slice(None)))
        a = np.concatenate(rows).reshape(total, -1)
        a -= a.mean(0)
        return np.asarray((a.T @ a) / np.float32(total), np.float64)

    # biases and constants --------------------------------------------------------------------

    def _biases(
        self, step: Build, reserves: list[_Reserve], raw: list[Array],
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


@dataclass(frozen=True)
class _Block:
    """The features of one group: which physical channels are members of which feature."""

    channel: NDArray[np.int64]  # [V]  target channel within the group
    coefficient: Floats  # [V]  x_channel = Σ coefficient · feature
    index: NDArray[np.int32]  # [V, M]  member's physical channel within the group, or -1
    gain: Floats  # [V, M]  member = unit · gain · feature
    unit: float  # largest gain of the layer, so that gains are at most 1
    taps: int
    twin: int  # distance from a neuron to its mirror image, 0 without
    shared_input: bool  # members of a feature share their input, so none is noisier than another

    @property
    def top(self) -> NDArray[np.float64]:
        """Largest gain of every feature, [V]; λ_i is measured in it."""
        gain = np.abs(self.gain.astype(np.float64))
        return np.asarray(np.maximum(gain.max(1, initial=0.0), 1e-30), np.float64)

    @property
    def problem_index(self) -> NDArray[np.int32]:
        """Place of each member of each problem in its row of weights, [V·K, M]."""
        tap = np.arange(self.taps, dtype=np.int32)
        place = self.index[:, None, :] * self.taps + tap[None, :, None]
        place = np.where(self.index[:, None, :] >= 0, place, -1)
        return np.ascontiguousarray(place.reshape(-1, self.index.shape[1]), np.int32)

    @staticmethod
    def of(step: Build, g: int, width: int, gains: Mapping[str, Floats], unit: float) -> "_Block":
        layout = step.in_layout.take(np.arange(g * width, (g + 1) * width))
        per_group = step.linear.weight.shape[1]
        data = np.flatnonzero(layout.channel >= 0)
        key = layout.channel[data].astype(np.int64) * 3 + layout.part[data] + 1
        features, number = np.unique(key, return_inverse=True)
        counts = np.bincount(number, minlength=len(features))
        index = np.full((len(features), int(counts.max(initial=1))), -1, np.int32)
        gain = np.zeros(index.shape, np.float32)
        by_feature = np.argsort(number, kind="stable")
        column = np.arange(len(data)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = data[by_feature]
        index[number[by_feature], column] = places
        part = features % 3 - 1
        if step.expand is None:
            gain[number[by_feature], column] = 1.0
            coefficient = np.ones(len(features), np.float32)
        else:
            slots = gains[step.expand] / np.float32(unit)
            gain[number[by_feature], column] = slots[layout.copy[places]]
            coefficient = np.array([step.coefficients[int(p)] for p in part], np.float32)
        index[gain == 0] = -1
        return _Block(
            channel=features // 3 - g * per_group,
            coefficient=coefficient,
            index=index,
            gain=gain,
            unit=unit,
            taps=math.prod(step.linear.kernel),
            twin=layout.mirror,
            shared_input=step.expand is not None,
        )

    def goals(self, linear: Linear, g: int) -> NDArray[np.float64]:
        """Target weights of the features, [O/g, V, K]."""
        per_group = len(linear.bias) // linear.group
        w = linear.weight[g * per_group : (g + 1) * per_group].astype(np.float64)
        w = w.reshape(per_group, w.shape[1], -1)[:, self.channel]
        return np.asarray(w * self.coefficient[None, :, None])

    def observe(
        self, x: list[Array], some: slice, step: Build, g: int
    ) -> tuple[list[Floats], NDArray[np.float64]]:
        """The features as the ticket delivers them, and each member's variance around them."""
        index, gain = self.index[some], self.gain[some] * np.float32(self.unit)
        axis = step.in_layout.axis
        width = step.in_layout.width // step.linear.group
        valid = index >= 0
        count = np.maximum(valid.sum(1), 1)
        features: list[Floats] = []
        spread = np.zeros(index.shape)
        center = np.zeros(index.shape)
        total = 0
        for value in x:
            moved = np.moveaxis(value, axis, 1)
            rest = (1,) * (moved.ndim - 2)
            mean = np.zeros((len(moved), len(index), *moved.shape[2:]), np.float32)
            members = []
            for s in range(index.shape[1]):
                places = g * width + np.maximum(index[:, s], 0)
                member = moved[:, places]
                if self.twin:
                    member = member - moved[:, places + self.twin]
                inverse = np.where(valid[:, s], 1 / np.where(valid[:, s], gain[:, s], 1), 0)
                member = member * inverse.astype(np.float32).reshape(1, -1, *rest)
                mean += member
                if not self.shared_input:
                    members.append(member)
            mean /= count.astype(np.float32).reshape(1, -1, *rest)
            axes = tuple(i for i in range(mean.ndim) if i != 1)
            for s, member in enumerate(members):
                off = member - mean
                spread[:, s] += np.square(off, dtype=np.float32).sum(axis=axes, dtype=np.float64)
                center[:, s] += off.sum(axis=axes, dtype=np.float64)
            total += mean.size // mean.shape[1]
            features.append(np.ascontiguousarray(np.moveaxis(mean, 1, axis)))
        variance = spread / total - (center / total) ** 2
        return features, np.maximum(variance, 0)


def _first_places(layout: Layout) -> NDArray[np.int64]:
    return layout.find((c, 0) for c in range(layout.size))


def _peaks(x: list[Array], axis: int) -> NDArray[np.float64]:
    """Largest magnitude of every physical channel."""
    peaks = []
    for value in x:
        others = tuple(i for i in range(value.ndim) if i != axis)
        peaks.append(np.maximum(value.max(axis=others), -value.min(axis=others)))
    peak: NDArray[np.float64] = np.asarray(np.max(peaks, 0), np.float64)
    return peak


def _constant_values(layout: Layout, x: list[Array], axis: int) -> tuple[NDArray[np.int64], Floats]:
    """Places and values of the channels that really are constant and not zero."""
    places = np.flatnonzero(layout.channel == CONSTANT)
    if not len(places):
        return places, np.zeros(0, np.float32)
    low, high = [], []
    for value in x:
        some = np.take(value, places, axis)
        others = tuple(i for i in range(some.ndim) if i != axis)
        low.append(some.min(axis=others))
        high.append(some.max(axis=others))
    least, most = np.min(low, 0), np.max(high, 0)
    good = (most - least <= CONSTANCY * np.abs(most)) & (most != 0)
    return places[good], ((least + most) / 2)[good].astype(np.float32)


def _assign(step: Expand, unit: Floats, place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every slot a neuron: any neuron may serve any channel whose sign its weight has.

    The strongest neurons choose first, each the open (channel, sign) where its weight is largest.
    A slot that stays empty has -1.
    """
    if step.model.use is not Use.SPLIT:
        return np.arange(len(step.slots), dtype=np.int64)
    parts = sorted({part for _, part in step.slots}, reverse=True)
    m = len(step.slots) // (len(parts) * step.channels)
    rows = np.full(len(step.slots), -1, np.int64)
    need = np.full((2, step.channels), m)
    need[:, place < 0] = 0
    if -1 not in parts:
        need[1] = 0
    left = int(need.sum())
    candidates = unit[:, np.maximum(place, 0)]
    strongest = np.argsort(-np.abs(candidates).max(1), kind="stable")
    for row in strongest:
        weights = candidates[row]
        if not left:
            break
        negative = (weights < 0).astype(np.int64)
        open_ = need[negative, np.arange(step.channels)] > 0
        if not open_.any():
            continue
        channel = int(np.where(open_, np.abs(weights), -1).argmax())
        sign = int(negative[channel])
        number = m - int(need[sign, channel])
        rows[(channel * len(parts) + sign) * m + number] = row
        need[sign, channel] -= 1
        left -= 1
    return rows


def _order(
    step: Expand, rows: NDArray[np.int64], constants: NDArray[np.int64], half: int
) -> NDArray[np.int64]:
    """Which neuron stands at each physical channel of the expanded layout."""
    out = step.out_layout
    idle = 0  # a slot without a neuron shows some neuron; its gain of 0 keeps it unread
    order = np.full(out.width, idle, np.int64)
    data = out.channel >= 0
    order[data] = np.maximum(rows[out.copy[data]], 0)
    if half:
        twins = (out.channel < 0) & (out.channel != CONSTANT)
        order[twins] = rows[out.copy[twins]] + half
    constant = out.channel == CONSTANT
    if len(constants):
        order[constant] = constants[np.minimum(out.copy[constant], len(constants) - 1)]
    return order


def _stored(weight: Floats, source: SourceLayer) -> Floats:
    """The initializer: as drawn, or transposed for MatMul."""
    return np.ascontiguousarray(weight.T) if source.transposed else weight


def _channels_second(linear: Linear, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with the channels on axis 1, for counting positions."""
    return shape if linear.op != "MatMul" else (shape[0], shape[-1], *shape[1:-1])


def _out_axis(step: Build) -> int:
    return step.out_layout.axis


def _explicit_pads(linear: Linear, size: Sequence[int]) -> tuple[int, ...]:
    if linear.op != "Conv":
        return ()
    auto = linear.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return moments.resolved_pads(linear, size)
    if auto == "VALID":
        return (0,) * (2 * len(linear.kernel))
    return tuple(linear.attributes.get("pads") or (0,) * (2 * len(linear.kernel)))


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


def linear_nodes(linear: Linear) -> tuple[list[Node], dict[str, Array]]:
    """A target layer as ONNX nodes, with its constants."""
    w, b = f"{linear.name}/w", f"{linear.name}/b"
    if linear.op == "MatMul":
        middle = f"{linear.name}/product"
        return [
            Node("MatMul", linear.name, (linear.input, w), (middle,)),
            Node("Add", f"{linear.name}/add", (middle, b), (linear.output,)),
        ], {w: np.ascontiguousarray(linear.weight.T), b: linear.bias}
    attributes = dict(linear.attributes)
    if linear.op == "Conv":
        attributes |= {"group": linear.group, "kernel_shape": list(linear.kernel)}
    else:
        attributes["transB"] = 1
    node = Node(linear.op, linear.name, (linear.input, w, b), (linear.output,), attributes)
    return [node], {w: linear.weight, b: linear.bias}


def folded_target_nodes(target: Target) -> list[Node]:
    """The whole target as nodes (for tests and tools)."""
    nodes: list[Node] = []
    for step in target.steps:
        nodes += linear_nodes(step)[0] if isinstance(step, Linear) else [step]
    return nodes
