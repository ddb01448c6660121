"""One layer of the target as a ticket's are: of subset sums, and as wrong as it is asked to be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.fed_target import Layer
from lt_onnx.construct.masks import HEADROOM
from lt_onnx.construct.row_solver import mend_outliers
from lt_onnx.errors import too_large
from lt_onnx.subset_sum import Drawn, Masks, RangeError, Rows, Rule, solve_rows, write_masked
from lt_onnx.target import Array, Doubles, Floats, Indices, Linear

MAX_POSITIONS = 4096  # output positions that a layer's moments are made from
MAX_WEIGHTS = 1152  # of a row, with one H
MEMBERS = 16  # of the base sets
MAX_TRIED_ROWS, TRIALS = 8, 3  # rows that a price is sought with, and prices that are tried
# rows of a group that the least error with so many copies is sought with: in small layers as many
# as have so many problems, for few of them make most of it
MIN_FLOOR_ROWS, FLOOR_PROBLEMS = 6, 2048
MAX_BUILT = 1 << 17  # weights of a disturbed layer that are sought; its other rows are as wrong
NOTHING = 1e-6  # of what rows make in the mean: one that makes less tells nothing of the others
MIN_PRICE = 1e-9
STEEPNESS = 0.8  # errors fall about so with prices
MAX_DRAWS = 8  # of a layer's errors, where few numbers at the outputs tell of them
FLAT = 0.03  # decades of error that a lower price must take away to be worth another
LAYER_NUMBER = 1 << 31  # of random numbers that no ticket has


@dataclass
class Guess:
    """What the last layer was like, as a first guess of the next one."""

    felt: float  # S at the output that feels it most
    ratio: float  # of its price to its error's power of STEEPNESS


class Disturbance:
    """What the weights of one layer come to when they are subset sums."""

    def __init__(
        self, linear: Linear, x: Sequence[Array], y: Sequence[Array], seed: int, *, tried: int
    ) -> None:
        """`x` and `y` are its inputs and outputs by batch; of the last `tried` errors are told."""
        shapes = moments.output_shapes(y, linear)
        rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, len(linear.bias)])
        at = moments.positions(shapes[:-tried], MAX_POSITIONS, rng=rng)
        told = moments.positions(shapes[-tried:], MAX_POSITIONS, rng=rng)
        floats = [v.astype(np.float32) for v in x]
        patches = moments.patches(floats, [*at, *told], linear=linear)  # [T, C, K]
        T, groups, taps = sum(len(batch) for batch in at), linear.group, patches.shape[2]
        self.linear, self.seed, self.biased = linear, seed, bool(linear.bias.any())
        w = linear.weight.astype(np.float64)
        self.goals = w.reshape(groups, len(w) // groups, -1)
        seen = patches[T:].reshape(len(patches) - T, groups, -1).swapaxes(0, 1)
        self.mean = seen.mean(1, dtype=np.float64)  # [G, n]
        self.seen = moments.about_mean(seen, biased=self.biased)  # [G, T' + 1, n]
        self.parts: list[tuple[slice, Rows]] = []
        channels, width = patches.shape[1] // groups, max(1, MAX_WEIGHTS // taps)
        for low in range(0, channels, width):
            own = np.arange(low, min(low + width, channels))
            every = (np.arange(groups)[:, None] * channels + own).reshape(-1)
            samples = moments.sample_numbers(at)
            H = moments.covariance(patches[:T, every], groups, samples, biased=self.biased)
            order, upper, weight = moments.feedback(H)
            n = H.shape[1]
            nothing = np.zeros((groups, n, 0))
            rows = Rows.plain(nothing.astype(np.int32), nothing.astype(np.float32))
            power = np.diagonal(H, axis1=1, axis2=2).mean(1, keepdims=True).astype(np.float32)
            price = np.repeat(power, n, 1)
            rows = replace(rows, order=order, upper=upper, weight=weight, price=price)
            self.parts.append((slice(low * taps, low * taps + n), rows))
        top = np.abs(self.goals).max(2, keepdims=True, initial=0.0) * HEADROOM
        self.scale = np.where(top > 0, top, 1.0)
        powers = self._powers(self.goals).sum(0)
        self.signal = float(powers.sum())
        if not np.isfinite(self.signal):
            raise too_large(linear.name)
        self.telling = np.flatnonzero(powers > NOTHING * powers.mean())
        self.kept: list[tuple[float, float]] = []  # error powers so far, weights per problem

    def draw(self, error: float, guess: Guess) -> tuple[Doubles, float] | None:
        """A change of its rows [G, R, I·K] with relative error power about `error`, and what it is.

        None where there is none.
        """
        if not self.signal > 0:
            return None
        few = np.arange(0, self.goals.shape[1], -(-self.goals.shape[1] // MAX_TRIED_ROWS))
        if np.isin(few, self.telling, invert=True).all():
            few = self.telling[:: -(-len(self.telling) // MAX_TRIED_ROWS)]
        goals = self.goals[:, few]
        signal = self._power(goals)
        price, slope = min(guess.ratio * error**STEEPNESS, 0.5), STEEPNESS
        before: tuple[float, float] | None = None
        for _ in range(TRIALS):
            rows, _, kept = self._built(price, few)
            off = max(self._power(rows - goals) / signal, 1e-12)
            self.kept.append((off, kept))
            miss = float(np.log10(off / error))
            if abs(miss) < 0.15:
                guess.ratio = price / off**STEEPNESS
                break
            if before is not None and abs(np.log10(price / before[0])) > 1e-3:
                rise = (miss - before[1]) / np.log10(price / before[0])
                slope = float(np.clip(rise, 0.3, 1.5))
                if miss > 0 and price < before[0] and before[1] - miss < FLAT:
                    break  # it cannot be less wrong
            before = price, miss
            price = float(np.clip(price * 10 ** (-miss / slope), 1e-10, 0.5))
        change = self._change(price)
        power = self._power(change) / self.signal
        if not np.isfinite(power):
            raise too_large(self.linear.name)
        return (change, power) if power > 0 else None

    def changed(self, change: Doubles) -> Layer:
        """The layer with a change of its rows, and biases that take the mean of that away."""
        bias = self.linear.bias
        if self.biased:
            bias = bias - np.einsum("gon,gn->go", change, self.mean).reshape(-1)
        weight = (self.goals + change).reshape(self.linear.weight.shape)
        return Layer(weight.astype(np.float32), bias.astype(np.float32))

    def likely(self, change: Doubles) -> Iterator[Layer]:
        """Layers that are as likely as that with `change`: signs of rows are chance."""
        yield self.changed(change)
        rng = np.random.default_rng([self.seed & 0xFFFFFFFF, self.seed >> 32, LAYER_NUMBER])
        for _ in range(MAX_DRAWS - 1):
            yield self.changed(change * rng.choice((-1.0, 1.0), (*change.shape[:2], 1)))

    def least(self, m: int, deviation: float) -> tuple[float, float]:
        """Least relative error power of a row that reads m copies of its inputs.

        And relative power of what it makes of their relative `deviation`, over that.
        """
        count, n = self.goals.shape[1:]
        few = np.arange(0, count, -(-count // max(MIN_FLOOR_ROWS, FLOOR_PROBLEMS // n)))
        rows, noise, _ = self._built(MIN_PRICE, few, members=m, noise=min(deviation, 1.0))
        goals = self.goals[:, few]
        signal = max(self._power(goals), 1e-300)
        return self._power(rows - goals) / signal, noise / signal / min(deviation, 1.0)

    def _change(self, price: float) -> Doubles:
        """How wrong all rows are at a price, [G, R, I·K].

        Rows of large layers that are not sought are off as one that makes as much or a little more,
        relative to that: what makes nothing stands for no other.
        """
        step, count = -(-self.goals.size // MAX_BUILT), self.goals.shape[1]
        if step == 1:
            every = np.arange(count)
            return self._built(price, every)[0] - self.goals
        power, like = self._powers(self.goals), np.empty(count, np.int64)
        order = np.argsort(-power.sum(0), kind="stable")
        few, like[order] = order[::step], np.arange(count) // step
        change = self._built(price, few)[0] - self.goals[:, few]
        of = power[:, few[like]]
        share = np.divide(power, of, out=np.zeros_like(of), where=of > 0)
        factor = np.sqrt(np.minimum(share, 1.0))
        rng = np.random.default_rng(LAYER_NUMBER)
        factor[:, order[np.arange(count) % step > 0]] *= rng.choice((-1.0, 1.0), count - len(few))
        return np.asarray(change[:, like] * factor[..., None])

    def _power(self, rows: Doubles) -> float:
        """Power of what rows [G, R', I·K] make of the patches that errors are told of."""
        return float(self._powers(rows).sum())

    def _powers(self, rows: Doubles) -> Doubles:
        """The same by row, [G, R']."""
        made = self.seen @ rows.swapaxes(1, 2).astype(np.float32)
        return np.asarray(np.square(made, dtype=np.float64).sum(1))

    def _built(
        self, mu: float, which: Indices, *, members: int = MEMBERS, noise: float = 0.0
    ) -> tuple[Doubles, float, float]:
        """Some rows of every group as subset sums at the price μ, [G, R', I·K].

        `noise` is that of a base set's members over the power of what they carry. Also its power in
        the rows, over all patches as `_power`; and the weights that are kept per problem.
        """
        goals, scale = self.goals[:, which], self.scale[:, which]
        groups, count, n = goals.shape
        numbers = (np.arange(groups)[:, None] * self.goals.shape[1] + which).reshape(-1)
        group = np.repeat(np.arange(groups), count)
        carried = np.square(self.seen).mean(1)  # [G, n]
        noises = np.repeat(carried[:, :, None] * np.float32(noise), members, 2)
        parts = []
        for part, rows in self.parts:
            index = np.arange((part.stop - part.start) * members, dtype=np.int32)
            index = np.tile(index.reshape(-1, members), (groups, 1, 1))
            given = {"noise": noises[:, part], "price": rows.price * np.float32(mu)}
            ones = np.ones(index.shape, np.float32)
            parts.append(replace(rows, index=index, gain=ones, group=None, **given))

        def drawn(number: int, rows: Indices) -> Drawn:
            width = parts[number].index[0].size
            return Drawn(self.seed, LAYER_NUMBER + number, numbers[rows], width)

        def attempt(rows: Indices, lam: Doubles) -> tuple[Masks, Floats]:
            z = (goals.reshape(-1, n)[rows] / lam[:, None]).astype(np.float32)
            masks, residuals = np.empty(z.shape, np.uint32), np.empty(z.shape, np.float32)
            for number, (part, _) in enumerate(self.parts):
                masks[:, part], residuals[:, part] = solve_rows(
                    drawn(number, rows),
                    np.ascontiguousarray(z[:, part]),
                    rows=replace(parts[number], group=group[rows]),
                    rule=Rule.NOISE,
                    tolerance=1.0,
                )
            return masks, residuals

        first = scale.reshape(-1, 1) * (1.0, -1.0)
        weight = np.concatenate([rows.weight for rows in parts], 1)[group]
        try:
            masks, _, lam = mend_outliers(attempt, first, weight)
        except RangeError:
            raise too_large(self.linear.name) from None
        built, more, every = np.zeros(masks.shape), 0.0, np.arange(len(masks))
        for number, (part, _) in enumerate(self.parts):
            own = drawn(number, every)
            elements = np.zeros((len(masks), own.width), np.float32)
            chosen, of = np.ascontiguousarray(masks[:, part]), (parts[number].index, group)
            write_masked(elements, every, drawn=own, masks=chosen, rows=of)
            made = elements.reshape(len(masks), -1, members) * lam[:, None, None]
            built[:, part] = made.sum(2)
            heard = np.square(made).sum(2) * noises[group, part, 0]
            more += float(heard.sum()) * self.seen.shape[1]
        each = int(np.bitwise_count(masks).sum()) / max(int(np.count_nonzero(goals)), 1)
        return built.reshape(goals.shape), more, each
