"""One constructed layer: the masks of its rows, then their biases (Alg. 1, even layers; Alg. 2).

For output channel i the normalised target weights are z = w / λ_i. One row of the source serves
one physical output channel; each of its N = V·K problems (feature v, tap k) chooses among the
members of feature v: the copies of a channel, or the neurons of a channel and sign.

Rows are drawn, solved, run over the calibration inputs and put out a chunk at a time: of the layer
no more than a chunk is ever held.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.construct import moments
from lt_onnx.construct.constants import SIZES, Reserve, Response, constant_values
from lt_onnx.construct.features import Features
from lt_onnx.construct.pieces import Built, LayerStats, Masked
from lt_onnx.construct.tally import Tally, sqnr
from lt_onnx.demands import RESERVE
from lt_onnx.errors import LostConstantsError
from lt_onnx.layout import CONSTANT
from lt_onnx.options import Options, Select, Sigma
from lt_onnx.runtime import Program
from lt_onnx.source import draw_at
from lt_onnx.stopwatch import Stopwatch
from lt_onnx.subset_sum import Device, Drawn, Rows, Rule, solve, solve_rows, write_masked
from lt_onnx.taps import admissible_taps, pads_for
from lt_onnx.target import Array, Floats, Linear

REACH = 0.5  # share of a row's full reach in one direction that a bias may use
HEADROOM = 1.1  # λ over the largest |w|, so that few targets sit at |z| ≈ 1
WIDER = (1.2, 1.45, 1.75)  # factors of λ tried for rows with one outstanding miss
LONE = 0.25  # share of a row's error from which one problem's is outstanding
BIAS_PRICE = 1e-7  # price of a weight in a bias: it must pay by (3·10⁻⁴ λ)² of squared error
POSITIONS = 8192  # most output positions sampled for H
WEIGHTS_IN_FLIGHT = 1 << 23  # random weights held at a time, unless one row has more
GPU_WEIGHTS = 1 << 26  # the same where a GPU wants many rows at once

RULES = {Select.NOISE: Rule.NOISE, Select.SMALLEST: Rule.SMALLEST, Select.BEST: Rule.BEST}


@dataclass(frozen=True)
class _Chunk:
    """Some rows: of one group, or all rows of several."""

    start: int
    stop: int
    first: int  # group
    groups: int


class Layer:
    """The construction of one layer.

    `x` are the inputs as the ticket delivers them and `y` the target's own outputs, batch by batch;
    `response` is that of the activation which the layer's constants meet next.
    """

    def __init__(
        self, step: Build, options: Options, device: Device, x: list[Array], y: list[Array],
        gains: Mapping[str, Floats], response: Response, rng: np.random.Generator,
        opsets: Mapping[str, int], watch: Stopwatch,
    ) -> None:  # fmt: skip
        self.step, self.linear, self.source = step, step.linear, step.source
        self.options, self.device, self.x, self.y = options, device, x, y
        self.response, self.opsets, self.watch = response, opsets, watch
        self.calibrated = options.select is Select.NOISE
        self.exact = options.select is Select.EXACT
        self.axis = step.out_layout.axis
        self.sigma = self.source.sigma(options.init)
        self.per_group = len(self.linear.bias) // self.linear.group  # target channels
        self.rows = self.source.shape[0] // self.linear.group  # physical channels of a group
        self.tally = Tally()
        self.features = Features.of(step, gains)
        shapes = [_channels_second(self.linear, v.shape) for v in y]
        self.at = moments.positions(shapes, POSITIONS, rng)
        self.reserves = self._reserves()
        self.constants: dict[int, tuple[int, np.float32]] = {}  # row: (column, unit weight)
        self.lam = self._lambdas()
        self.scale = np.zeros(self.source.shape[0])
        self.wanted = self._wanted_means()
        if step.builds_constants:
            self._choose_constants()
        self.sums: list[Floats] = []  # the layer's own output before its scale, as rows come
        self._shared: dict[int, list[tuple[slice, Rows]]] | None = None
        self._program: tuple[int, Program] | None = None

    # the two entry points ---------------------------------------------------------------------

    def pieces(self) -> Iterator[Masked]:
        """The masked rows, in order. `sums` and `scale` are complete when they are all out."""
        for chunk in self._chunks():
            weight = self._exact(chunk) if self.exact else self._chosen(chunk)
            with self.watch("run"):
                raw = self._run(chunk, weight)
            with self.watch("biases"):
                offset = self._biases(chunk, weight, raw)
                self._collect(chunk, raw, offset)
            self.tally.kept += int(np.count_nonzero(weight))
            yield Masked(self.step, chunk.start, weight)

    def built(self, out: list[Array]) -> Built:
        """What is left to say once the ticket has run the layer to its output `out`."""
        step, tally, linear = self.step, self.tally, self.linear
        stats = LayerStats(
            name=step.name,
            kind="one-for-one" if step.one_for_one else "two-for-one",
            op=linear.op,
            target_weights=linear.count,
            kept=tally.kept,
            source_weights=self.source.size,
            scales=int(np.count_nonzero(self.scale)),
            problems=tally.problems,
            misses=tally.misses,
            mean_size=tally.elements / max(tally.problems, 1),
            mean_error=tally.error / max(tally.problems, 1),
            sqnr_db=sqnr(self.y, out, step),
            base_size=self.features.index.shape[1],
        )
        return Built(step, None, self.scales(), stats)

    def scales(self) -> dict[str, Array]:
        """The scale of every row, by its name in the ticket."""
        shape = (-1, *[1] * (self.y[0].ndim - self.axis - 1))
        return {self.step.scale: self.scale.astype(np.float32).reshape(shape)}

    # before any row ---------------------------------------------------------------------------

    def _reserves(self) -> list[Reserve]:
        """What every group's biases are built from."""
        linear, width = self.linear, self.features.width
        places, values = constant_values(self.step.in_layout, self.x, self.step.in_layout.axis)
        taps = admissible_taps(linear, self.step.pads)
        count = self.features.taps
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
                    self.features.unit,
                )
            )
        return reserves

    def _lambdas(self) -> NDArray[np.float64]:
        """λ of every row: the largest weight, but never less than |b_i| over the row's reach."""
        linear, out = self.linear, self.step.out_layout
        headroom = HEADROOM if self.options.select is Select.NOISE else 1.0
        lam = np.zeros(self.source.shape[0])
        for g, reserve in enumerate(self.reserves):
            top = self.features.top[self.features.of_group(g)]
            w = np.abs(self.features.goals(linear, g)) / top[None, :, None]
            largest = w.reshape(self.per_group, -1).max(1, initial=0.0) * headroom
            mine = self._data_rows(g, 0, len(lam))
            channel = out.channel[mine]
            bias = linear.bias[channel].astype(np.float64)
            lam[mine] = largest[channel - g * self.per_group]
            if bias.any() and len(reserve.level):
                pull = draw_at(self.options.seed, self.source, mine, reserve.column) * reserve.level
                reach = np.where(bias[:, None] > 0, pull, -pull).clip(0).sum(1) * REACH
                lam[mine] = np.maximum(lam[mine], np.abs(bias) / np.maximum(reach, 1e-30))
        if self.options.sigma is Sigma.LAYER:
            lam[:] = lam.max(initial=0.0)
        return np.where(lam > 0, lam, 1.0)

    def _wanted_means(self) -> NDArray[np.float64]:
        """Per target channel: the mean to reach (calibrated), or the bias itself."""
        if self.calibrated:
            return moments.channel_mean(self.y, self.axis)
        return self.linear.bias.astype(np.float64)

    def _choose_constants(self) -> None:
        """Each constant row listens to one constant before it; its scale gives it its size."""
        fresh = np.flatnonzero(self.step.out_layout.channel == CONSTANT)
        for g, reserve in enumerate(self.reserves):
            new = fresh[(fresh >= g * self.rows) & (fresh < (g + 1) * self.rows)]
            if not len(new):
                continue
            self._need(reserve)
            unit = draw_at(self.options.seed, self.source, new, reserve.column)
            pull = unit * reserve.value
            size = SIZES[np.arange(len(new)) % RESERVE]
            best = (self.response.side(size) * pull).argmax(1)
            every = np.arange(len(new))
            drive = pull[every, best]
            for row, column, weight in zip(
                new, reserve.column[best], unit[every, best], strict=True
            ):
                self.constants[int(row)] = (int(column), weight)
            self.scale[new] = self.response.drive(size, drive) / drive / self.sigma
            if self.options.sigma is Sigma.LAYER:
                self.scale[new] = np.median(self.scale[new])

    def _need(self, reserve: Reserve) -> None:
        if not len(reserve.level):
            raise LostConstantsError(self.linear.name, self.linear.input)

    # rows -------------------------------------------------------------------------------------

    def _chunks(self) -> Iterator[_Chunk]:
        """Pieces of the layer that hold about WEIGHTS_IN_FLIGHT weights."""
        weights = GPU_WEIGHTS if self.device is Device.CUDA else WEIGHTS_IN_FLIGHT
        step = max(1, weights // max(self.source.row_size, 1))
        groups = self.linear.group
        if step >= self.rows:
            together = step // self.rows
            for g in range(0, groups, together):
                count = min(together, groups - g)
                yield _Chunk(g * self.rows, (g + count) * self.rows, g, count)
            return
        for g in range(groups):
            for low in range(0, self.rows, step):
                stop = min(low + step, self.rows)
                yield _Chunk(g * self.rows + low, g * self.rows + stop, g, 1)

    def _data_rows(self, g: int, start: int, stop: int) -> NDArray[np.int64]:
        """Rows of group `g` between `start` and `stop` that hold a channel."""
        mine = np.arange(max(start, g * self.rows), min(stop, (g + 1) * self.rows))
        return mine[self.step.out_layout.channel[mine] >= 0]

    def _groups(self, chunk: _Chunk) -> Iterator[tuple[int, NDArray[np.int64], Array]]:
        """The chunk's groups, their data rows, and those rows' target weights by problem."""
        for g in range(chunk.first, chunk.first + chunk.groups):
            mine = self._data_rows(g, chunk.start, chunk.stop)
            local = self.step.out_layout.channel[mine] - g * self.per_group
            yield g, mine, self.features.goals(self.linear, g)[local].reshape(len(mine), -1)

    def _chosen(self, chunk: _Chunk) -> Floats:
        """The chunk's masked weights, scaled to σ, biases and constants apart."""
        features, source = self.features, self.source
        weight = np.zeros((chunk.stop - chunk.start, source.row_size), np.float32)
        with self.watch("moments"):
            shared = self._parts(chunk)
        for g, mine, goals in self._groups(chunk):
            rows = Drawn(self.options.seed, source.index, mine, source.row_size)
            with self.watch("solve"):
                masks, residuals = self._solve(shared[g], rows, goals)
                self.tally.add(goals, masks, residuals, self.options.tolerance)
            with self.watch("random numbers"):
                write_masked(
                    weight, mine - chunk.start, rows, masks,
                    features.problem_index(features.of_group(g)), self.sigma,
                    features.twin * features.taps,
                )  # fmt: skip
            self.scale[mine] = self.lam[mine] / (self.sigma * features.unit)
        return weight

    def _exact(self, chunk: _Chunk) -> Floats:
        """The oracle's rows: exact weights on the first member of every feature."""
        features = self.features
        weight = np.zeros((chunk.stop - chunk.start, self.source.row_size), np.float32)
        for g, mine, goals in self._groups(chunk):
            some = features.of_group(g)
            places = features.problem_index(some)[:, 0]
            good = places >= 0
            z = (goals / self.lam[mine, None]).astype(np.float32)[:, good]
            value = z / features.problem_gain(some)[good, 0] * self.sigma
            at = (mine - chunk.start)[:, None]
            weight[at, places[good]] = value
            if features.twin:
                weight[at, places[good] + features.twin * features.taps] = -value
            self.scale[mine] = self.lam[mine] / (self.sigma * features.unit)
        return weight

    def _solve(
        self, parts: list[tuple[slice, Rows]], rows: Drawn, goals: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint32], Floats]:
        """Solve some rows; where one miss outweighs a row's other errors, widen its λ.

        The base sets are what they are, but each row's λ is free, and with another λ another z is
        asked of them. λ is changed for rows that gain from it.
        """
        options = self.options

        def attempt(some: NDArray[np.int64], lam: NDArray[np.float64]) -> tuple[Array, Array]:
            z = (goals[some] / lam[:, None]).astype(np.float32)
            drawn = replace(rows, numbers=rows.numbers[some])
            answers = [
                solve_rows(drawn, np.ascontiguousarray(z[:, part]), shared, RULES[options.select],
                           options.tolerance, self.device)
                for part, shared in parts
            ]  # fmt: skip
            return (
                np.concatenate([mask for mask, _ in answers], 1),
                np.concatenate([residual for _, residual in answers], 1),
            )

        masks, residuals = attempt(np.arange(len(rows)), self.lam[rows.numbers])
        if not self.calibrated or options.sigma is Sigma.LAYER:
            return masks, residuals
        weight = np.concatenate([shared.weight for _, shared in parts]).astype(np.float64)
        first = self.lam[rows.numbers]
        for factor in WIDER:
            error = weight * np.square(residuals, dtype=np.float64)
            total = error.sum(1)
            some = np.flatnonzero(error.max(1, initial=0.0) > LONE * total)
            if not len(some):
                break
            wider = first[some] * factor
            new_masks, new_residuals = attempt(some, wider)
            new = (weight * np.square(new_residuals, dtype=np.float64)).sum(1) * wider**2
            better = new < total[some] * self.lam[rows.numbers[some]] ** 2 / 2
            chosen = some[better]
            masks[chosen], residuals[chosen] = new_masks[better], new_residuals[better]
            self.lam[rows.numbers[chosen]] = wider[better]
        return masks, residuals

    def _parts(self, chunk: _Chunk) -> dict[int, list[tuple[slice, Rows]]]:
        """What rows share, group by group, in blocks of problems with one H each."""
        if self._shared is None or chunk.first not in self._shared:
            self._shared = self._share(chunk.first, chunk.groups)
        return self._shared

    def _share(self, first: int, count: int) -> dict[int, list[tuple[slice, Rows]]]:
        features, taps = self.features, self.features.taps
        per_block = max(1, moments.LARGEST_BLOCK // taps)
        blocks = []
        for g in range(first, first + count):
            group = features.of_group(g)
            for low in range(group.start, group.stop, per_block):
                blocks.append((g, slice(low, min(low + per_block, group.stop))))
        parts: dict[int, list[tuple[slice, Rows]]] = {g: [] for g in range(first, first + count)}
        for batch in _batches(blocks, per_block):
            many = slice(batch[0][1].start, batch[-1][1].stop)
            if self.calibrated:
                seen, noise = features.observe(self.x, self.step.in_layout.axis, many)
                patches = self._patches(seen)
            for g, some in batch:
                rows = Rows.plain(features.problem_index(some), features.problem_gain(some))
                if self.calibrated:
                    inside = slice(some.start - many.start, some.stop - many.start)
                    rows = self._priced(rows, some, noise[inside], patches[:, inside])
                origin = features.of_group(g).start
                problems = slice((some.start - origin) * taps, (some.stop - origin) * taps)
                parts[g].append((problems, rows))
        return parts

    def _priced(self, rows: Rows, some: slice, noise: NDArray[np.float64], patches: Floats) -> Rows:
        """Problems with their prices and the feedback between them."""
        taps = self.features.taps
        H = moments.covariance(patches)
        order, upper, weight = moments.feedback(H)
        top = np.repeat(self.features.top[some], taps)
        return replace(
            rows,
            weight=weight,
            noise=np.repeat(noise, taps, 0).astype(np.float32),
            price=(self.options.mu * np.diagonal(H) * top**2).astype(np.float32),
            order=order,
            upper=upper,
        )

    def _patches(self, features: list[Floats]) -> Floats:
        """The features' patches at the sampled positions, [T, V', K]."""
        return np.concatenate(
            [
                moments.patches(value, where, self.linear, pads_for(self.linear, value.shape[2:]))
                for value, where in zip(features, self.at, strict=True)
            ]
        )

    def _run(self, chunk: _Chunk, weight: Floats) -> list[Array]:
        """What the chunk's rows make of the calibration inputs, before any bias or scale."""
        node, width = self.step.nodes[0], self.features.width
        shape = (len(weight), *self.source.shape[1:])
        given = np.ascontiguousarray(weight.T) if self.source.transposed else weight.reshape(shape)
        axis = self.step.in_layout.axis
        inputs = np.s_[chunk.first * width : (chunk.first + chunk.groups) * width]
        feeds = []
        for value in self.x:
            part = value
            if chunk.groups < self.linear.group:
                part = np.ascontiguousarray(value[(slice(None),) * axis + (inputs,)])
            feeds.append({node.inputs[0]: part, node.inputs[1]: given})
        if self._program is None or self._program[0] != chunk.groups:
            if node.op == "Conv":
                node = replace(node, attributes={**node.attributes, "group": chunk.groups})
            output = node.outputs[0]
            self._program = (
                chunk.groups, Program([node], feeds[0], {}, [output], self.opsets),
            )  # fmt: skip
        return [self._program[1](feed)[0] for feed in feeds]

    def _biases(self, chunk: _Chunk, weight: Floats, raw: list[Array]) -> NDArray[np.float64]:
        """Add biases to the chunk's data rows, and its constant rows.

        Returns what that adds to each row's sum, before the scale.
        """
        offset = np.zeros(len(weight))
        if not self.constants and not self.linear.bias.any():
            return offset  # nothing was planned to carry constants here
        channel = self.step.out_layout.channel
        reached = moments.channel_mean(raw, self.axis) if self.calibrated else None
        for g in range(chunk.first, chunk.first + chunk.groups):
            reserve = self.reserves[g]
            self._need(reserve)
            mine = self._data_rows(g, chunk.start, chunk.stop)
            missing = self.wanted[channel[mine]]
            if reached is not None:
                missing = missing - reached[mine - chunk.start] * self.scale[mine]
            self._bias_rows(mine, reserve, missing / self.lam[mine], weight, chunk.start)
            rows = np.arange(max(chunk.start, g * self.rows), min(chunk.stop, (g + 1) * self.rows))
            for row in (int(r) for r in rows if int(r) in self.constants):
                column, unit = self.constants[row]
                weight[row - chunk.start, column] = unit * self.sigma
            offset[rows - chunk.start] = (
                weight[np.ix_(rows - chunk.start, reserve.column)] @ reserve.value
            )
        return offset

    def _bias_rows(
        self, mine: NDArray[np.int64], reserve: Reserve, goal: NDArray[np.float64], weight: Floats,
        start: int,
    ) -> None:  # fmt: skip
        """Biases as subset sums over the constants."""
        options, column = self.options, reserve.column
        if not len(mine):
            return
        if self.exact:
            weight[mine - start, column[0]] = goal * self.sigma / reserve.level[0]
            return
        unit = draw_at(options.seed, self.source, mine, column)
        base = (unit * reserve.level).astype(np.float32)
        z = goal.astype(np.float32)
        if options.select is Select.SMALLEST:
            answer = solve(base, z, tolerance=options.tolerance)
        else:
            answer = solve(base, z, weight=1.0, penalty=BIAS_PRICE)
        keep = (answer.mask[:, None] >> np.arange(len(column), dtype=np.uint32)) & 1 == 1
        keep[z == 0] = False
        self.tally.add(z, answer.mask, answer.residual, options.tolerance)
        weight[np.ix_(mine - start, column)] = np.where(keep, unit * self.sigma, 0)

    def _collect(self, chunk: _Chunk, raw: list[Array], offset: NDArray[np.float64]) -> None:
        """Put the chunk's sums, biases added, beside those of the rows before it."""
        count = self.source.shape[0]
        at = (slice(None),) * self.axis + (slice(chunk.start, chunk.stop),)
        shape = (-1, *[1] * (raw[0].ndim - self.axis - 1))
        added = offset.astype(raw[0].dtype).reshape(shape)
        for b, value in enumerate(raw):
            if len(self.sums) == b:
                full = (*value.shape[: self.axis], count, *value.shape[self.axis + 1 :])
                self.sums.append(np.empty(full, value.dtype))
            # biases add the same number everywhere, so that the sums need not be run again
            np.add(value, added, out=self.sums[b][at])


def _batches(blocks: list[tuple[int, slice]], size: int) -> Iterator[list[tuple[int, slice]]]:
    """Neighbouring blocks that have at most `size` features together, or one that has more."""
    batch: list[tuple[int, slice]] = []
    for block in blocks:
        if batch and block[1].stop - batch[0][1].start > size:
            yield batch
            batch = []
        batch.append(block)
    if batch:
        yield batch


def _channels_second(linear: Linear, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with the channels on axis 1, for counting positions."""
    return shape if linear.op != "MatMul" else (shape[0], shape[-1], *shape[1:-1])
