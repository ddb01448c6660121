"""The masks of a layer's rows: which subset stands for which target weight.

For output channel i the normalised target weights are z = w / λ_i. One row of the source serves
one physical output channel; each of its N = V·K problems (feature v, tap k) chooses among the
members of feature v: the copies of a channel, or the neurons of a channel and sign.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lt_onnx.construct import moments
from lt_onnx.construct.biases import Biases
from lt_onnx.construct.layer_state import Block, Frame
from lt_onnx.construct.tally import Tally
from lt_onnx.ops.conv_padding import pads_for
from lt_onnx.options import Select, Sigma
from lt_onnx.stopwatch import Stopwatch
from lt_onnx.subset_sum import Device, Drawn, Rows, Rule, solve_rows, write_masked
from lt_onnx.target import Array, Floats, Linear

HEADROOM = 0.75  # λ over the largest |w| of a row: larger weights take two elements or more
WIDER = (1.2, 1.45, 1.75)  # factors of λ tried for rows with one outstanding miss
LONE = 0.25  # share of a row's error from which one problem's is outstanding
RESCALED = 2.0  # λ moves by this factor at most when a row is fitted to the target's outputs
POSITIONS = 8192  # most output positions sampled for H

RULES = {Select.NOISE: Rule.NOISE, Select.SMALLEST: Rule.SMALLEST, Select.BEST: Rule.BEST}


class Masks:
    """Chooses subsets, some blocks of a layer at a time, and sets `lam` and `scale` of its rows."""

    def __init__(
        self,
        frame: Frame,
        biases: Biases,
        x: list[Array],
        y: list[Array],
        device: Device,
        watch: Stopwatch,
        tally: Tally,
    ) -> None:
        self.frame, self.features, self.x, self.y = frame, frame.features, x, y
        self.device, self.watch, self.tally = device, watch, tally
        shapes = [_channels_second(frame.linear, v.shape) for v in y]
        seed = [frame.options.seed & 0xFFFFFFFF, frame.options.seed >> 32, frame.source.index]
        self.at = moments.positions(shapes, POSITIONS, np.random.default_rng(seed))
        self._shared: dict[int, list[tuple[slice, Rows]]] = {}
        self._set_lambdas(biases)

    def _set_lambdas(self, biases: Biases) -> None:
        """λ of every row: near the largest weight, but never less than its bias needs."""
        frame, linear = self.frame, self.frame.linear
        headroom = HEADROOM if frame.calibrated else 1.0
        lam = np.zeros(len(frame.lam))
        for g in range(linear.group):
            top = self.features.top[self.features.of_group(g)]
            w = np.abs(self.features.goals(linear, g)) / top[None, :, None]
            largest = w.reshape(frame.per_group, -1).max(1, initial=0.0) * headroom
            mine = frame.data_rows(g, 0, len(lam))
            channel = frame.step.out_layout.channel[mine]
            lam[mine] = np.maximum(largest[channel - g * frame.per_group], biases.floor(g, mine))
        if frame.options.sigma is Sigma.LAYER:
            lam[:] = lam.max(initial=0.0)
        frame.lam[:] = np.where(lam > 0, lam, 1.0)

    # rows -------------------------------------------------------------------------------------

    def choose(self, blocks: Sequence[Block]) -> Floats:
        """The blocks' masked weights, biases and constants apart."""
        frame, features, source = self.frame, self.features, self.frame.source
        start, weight = self._nothing(blocks)
        with self.watch("moments"):
            self._share(blocks)
        for g, mine, goals in self._groups(blocks):
            rows = Drawn(frame.options.seed, source.index, mine, source.row_size)
            with self.watch("solve"):
                masks, residuals = self._solve(self._shared[g], rows, goals)
                self.tally.add(goals, masks, residuals, frame.options.tolerance)
            with self.watch("random numbers"):
                write_masked(
                    weight,
                    mine - start,
                    rows=rows,
                    masks=masks,
                    index=features.problem_index(features.of_group(g)),
                    twin=features.twin * features.taps,
                )
            frame.scale[mine] = frame.lam[mine] / features.unit
        return weight

    def exact(self, blocks: Sequence[Block]) -> Floats:
        """The oracle's rows: exact weights on the first member of every feature."""
        frame, features = self.frame, self.features
        start, weight = self._nothing(blocks)
        for g, mine, goals in self._groups(blocks):
            some = features.of_group(g)
            places = features.problem_index(some)[:, 0]
            good = places >= 0
            z = (goals / frame.lam[mine, None]).astype(np.float32)[:, good]
            value = z / features.problem_gain(some)[good, 0]
            at = (mine - start)[:, None]
            weight[at, places[good]] = value
            if features.twin:
                weight[at, places[good] + features.twin * features.taps] = -value
            frame.scale[mine] = frame.lam[mine] / features.unit
        return weight

    def rescale(self, block: Block, raw: Sequence[Array]) -> None:
        """Give each row the scale by which it comes closest to the target's output.

        `raw` is what the rows make of the calibration inputs. A rule that shuns noise makes rows
        that answer too weakly, and layer by layer that adds up.
        """
        frame = self.frame
        if not frame.calibrated or frame.options.sigma is Sigma.LAYER:
            return
        channel = frame.step.out_layout.channel
        mine = np.arange(block.start, block.stop)
        mine = mine[channel[mine] >= 0]
        if not len(mine):  # a block of constants alone
            return
        slope = moments.slopes(
            raw, mine - block.start, self.y, channel[mine].astype(np.int64), frame.axis
        )
        factor = np.clip(slope / frame.scale[mine], 1 / RESCALED, RESCALED)
        factor[~np.isfinite(factor)] = 1.0
        frame.scale[mine] *= factor
        frame.lam[mine] *= factor

    def price(self, g: int) -> float:
        """What a weight on a constant of 1 costs in units of λ²: as much as one on the inputs."""
        if not self.frame.calibrated:
            return 0.0
        parts = self._shared[g]
        return float(parts[0][1].price[0]) if parts else 0.0  # none: a group of zeros

    def _nothing(self, blocks: Sequence[Block]) -> tuple[int, Floats]:
        """First row and weights of some blocks, all masked."""
        start, stop = blocks[0].start, blocks[-1].stop
        return start, np.zeros((stop - start, self.frame.source.row_size), np.float32)

    def _groups(
        self, blocks: Sequence[Block]
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
        """The blocks' groups, their data rows, and those rows' target weights by problem."""
        frame = self.frame
        for g in range(blocks[0].first, blocks[-1].group_numbers.stop):
            mine = frame.data_rows(g, blocks[0].start, blocks[-1].stop)
            if not len(mine):  # constants alone
                continue
            local = frame.step.out_layout.channel[mine] - g * frame.per_group
            yield g, mine, self.features.goals(frame.linear, g)[local].reshape(len(mine), -1)

    def _solve(
        self, parts: list[tuple[slice, Rows]], rows: Drawn, goals: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint32], Floats]:
        """Solve some rows; where one miss outweighs a row's other errors, widen its λ.

        The base sets are what they are, but each row's λ is free, and with another λ another z is
        asked of them. λ is changed for rows that gain from it.
        """
        options, lam = self.frame.options, self.frame.lam

        def attempt(some: NDArray[np.int64], lam: NDArray[np.float64]) -> tuple[Array, Array]:
            z = (goals[some] / lam[:, None]).astype(np.float32)
            drawn = replace(rows, numbers=rows.numbers[some])
            answers = [
                solve_rows(
                    drawn,
                    np.ascontiguousarray(z[:, part]),
                    rows=shared,
                    rule=RULES[options.select],
                    tolerance=options.tolerance,
                    device=self.device,
                )
                for part, shared in parts
            ]
            return (
                np.concatenate([mask for mask, _ in answers], 1),
                np.concatenate([residual for _, residual in answers], 1),
            )

        masks, residuals = attempt(np.arange(len(rows)), lam[rows.numbers])
        if not self.frame.calibrated or options.sigma is Sigma.LAYER:
            return masks, residuals
        weight = np.concatenate([shared.weight for _, shared in parts]).astype(np.float64)
        first = lam[rows.numbers]
        for factor in WIDER:
            error = weight * np.square(residuals, dtype=np.float64)
            total = error.sum(1)
            some = np.flatnonzero(error.max(1, initial=0.0) > LONE * total)
            if not len(some):
                break
            wider = first[some] * factor
            new_masks, new_residuals = attempt(some, wider)
            new = (weight * np.square(new_residuals, dtype=np.float64)).sum(1) * wider**2
            better = new < total[some] * lam[rows.numbers[some]] ** 2 / 2
            chosen = some[better]
            masks[chosen], residuals[chosen] = new_masks[better], new_residuals[better]
            lam[rows.numbers[chosen]] = wider[better]
        return masks, residuals

    # what rows share --------------------------------------------------------------------------

    def _share(self, blocks: Sequence[Block]) -> None:
        """Find what rows share, for the groups of these blocks and no others."""
        numbers = [block.group_numbers for block in blocks]
        self._shared = {g: self._shared[g] for some in numbers for g in some if g in self._shared}
        for some in dict.fromkeys(numbers):
            if some[0] not in self._shared:
                self._share_groups(some)

    def _share_groups(self, groups: range) -> None:
        """What the rows of each group share, in parts of its problems with one H each."""
        features, taps = self.features, self.features.taps
        per_part = max(1, moments.LARGEST_BLOCK // taps)
        parts = []
        for g in groups:
            group = features.of_group(g)
            for low in range(group.start, group.stop, per_part):
                parts.append((g, slice(low, min(low + per_part, group.stop))))
        self._shared.update({g: [] for g in groups})
        for batch in _batches(parts, per_part):
            many = slice(batch[0][1].start, batch[-1][1].stop)
            if self.frame.calibrated:
                seen, noise = features.observe(self.x, self.frame.step.in_layout.axis, many)
                patches = self._patches(seen)
            for g, some in batch:
                rows = Rows.plain(features.problem_index(some), features.problem_gain(some))
                if self.frame.calibrated:
                    inside = slice(some.start - many.start, some.stop - many.start)
                    rows = self._priced(rows, some, noise[inside], patches[:, inside])
                origin = features.of_group(g).start
                problems = slice((some.start - origin) * taps, (some.stop - origin) * taps)
                self._shared[g].append((problems, rows))
        if self.frame.calibrated:
            self._price_groups(groups)

    def _priced(self, rows: Rows, some: slice, noise: NDArray[np.float64], patches: Floats) -> Rows:
        """Problems with what a weight on them carries, as a price, and the feedback between."""
        taps = self.features.taps
        H = moments.covariance(patches)
        order, upper, weight = moments.feedback(H)
        power = np.diagonal(H) * np.repeat(self.features.top[some], taps) ** 2
        return replace(
            rows,
            weight=weight,
            noise=np.repeat(noise, taps, 0).astype(np.float32),
            price=(self.frame.price * power).astype(np.float32),
            order=order,
            upper=upper,
        )

    def _price_groups(self, groups: range) -> None:
        """One price for all weights of a group, the mean of what they carry: the weak ones go."""
        for g in groups:
            parts = self._shared[g]
            if parts:
                mean = np.concatenate([rows.price for _, rows in parts]).mean(dtype=np.float64)
                self._shared[g] = [
                    (problems, replace(rows, price=np.full_like(rows.price, mean)))
                    for problems, rows in parts
                ]

    def _patches(self, features: list[Floats]) -> Floats:
        """The features' patches at the sampled positions, [T, V', K]."""
        linear = self.frame.linear
        return np.concatenate(
            [
                moments.patches(value, where, linear, pads_for(linear, value.shape[2:]))
                for value, where in zip(features, self.at, strict=True)
            ]
        )


def _batches(parts: list[tuple[int, slice]], size: int) -> Iterator[list[tuple[int, slice]]]:
    """Neighbouring parts that have at most `size` features together, or one that has more."""
    batch: list[tuple[int, slice]] = []
    for part in parts:
        if batch and part[1].stop - batch[0][1].start > size:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _channels_second(linear: Linear, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with the channels on axis 1, for counting positions."""
    return shape if linear.op != "MatMul" else (shape[0], shape[-1], *shape[1:-1])
