"""How much an error in a layer disturbs the outputs, measured on the target alone.

Comes in: a Target and inputs. Goes out: for every layer and output the relative error power there
per relative error power of the layer's own output.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.budget.deviation import Deviations
from lt_onnx.construct import moments
from lt_onnx.construct.fed_target import FedTarget, Layer
from lt_onnx.construct.masks import HEADROOM
from lt_onnx.construct.noise_budget import MAX_ERROR
from lt_onnx.construct.stepwise_run import StepwiseRun
from lt_onnx.errors import too_large
from lt_onnx.planning.prediction import felt_inputs
from lt_onnx.samples.choose import Calibration, whole_batches
from lt_onnx.subset_sum import Drawn, Rows, Rule, solve_rows, write_masked
from lt_onnx.target import Array, Doubles, Indices, Linear, Target, step_nodes

MAX_FELT_NUMBERS = 1 << 23  # that the disturbed network puts out for all its inputs
BATCH = 32
MAX_KEPT = 8  # layers whose errors at the outputs are kept
MAX_POSITIONS = 4096  # output positions that a layer's moments are made from
MAX_WEIGHTS = 1152  # of a row, with one H
NEAR = 0.5  # decades of its error by which S does not change
MEMBERS = 16  # of the base sets
MAX_TRIED_ROWS, TRIALS = 8, 3  # rows that a price is sought with, and prices that are tried
COPIES = (6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20)  # that one-for-one layers may read …
TRIED_COPIES = (6, 8, 11, 14, 20)  # … of which errors are measured, the others lie between
USUAL_COPIES = 11  # with which it is seen what a layer hands on
MAX_FLOOR_ROWS = 6  # of a group, that the least error with so many copies is sought with
MIN_PRICE, MIN_DEVIATION = 1e-9, 1e-6
STEEPNESS = 0.8  # errors fall about so with prices
FIRST_FELT, FIRST_RATIO = 0.1, 1e-2  # S of a layer; its price to its error's power of STEEPNESS
MAX_DRAWS = 8  # of a layer's errors, where few numbers at the outputs tell of them
FLAT = 0.03  # decades of error that a lower price must take away to be worth another
LAYER_NUMBER = 1 << 31  # of random numbers that no ticket has


@dataclass
class Sensitivity:
    """What errors of the layers come to at the outputs of `target`."""

    target: FedTarget
    layers: dict[str, Doubles]  # S [outputs], by layer
    errors: list[list[Doubles]]  # of every output, as some layers make them, of its power
    floors: dict[str, Doubles]  # least error power of a layer by COPIES that it reads, [COPIES]
    kept: dict[str, list[tuple[float, float]]]  # error powers that were tried, weights per problem
    deviations: Deviations  # of copies, by TRIED_COPIES

    def least(self, floors: Mapping[str, Doubles]) -> Doubles:
        """What the least errors [m] of some layers come to at the outputs, [outputs, m]."""
        errors = [self.layers[name][:, None] * least for name, least in floors.items()]
        return np.asarray(np.sum(errors, 0)) if errors else np.zeros((len(self.errors), 1))


def sensitivity(
    target: Target,
    calibration: Calibration,
    shares: Mapping[str, float],
    *,
    copied: Mapping[str, bool],
    bent: Collection[str],
    work: int,
    seed: int,
    quiet: bool = False,
) -> Sensitivity:
    """Build every layer of `target` alone, somewhat wrong, and see what comes of it.

    Of layers that are to read copies (one-for-one), also how little wrong they can be; `copied`
    names them and says whether they put out copies as well. `bent` are layers that will treat
    positive and negative inputs each in their own way. Least errors are sought for copies as noisy
    as those before make them, or for `quiet` ones: such as blocks put out.

    Errors are felt on inputs of the calibration, half of them, if there are enough, such as layers
    are not made from. `shares` are the error powers that each layer may cause at an output; `work`
    are the target's multiply-adds for one input. A layer is built as a ticket's are, of subset sums
    with error feedback and a price that makes it as wrong as it may be: weak weights are left out,
    others are a little off.

    Raises InputError for a layer of which nothing finite can be told.
    """
    layers, inputs = target.linears, calibration.inputs
    count = felt_inputs(target, work)
    feed = inputs.batches(target.inputs, 1)[0]
    felt_tensors = _felt_tensors(target, feed)
    together = len(next(iter(feed.values())))
    each = sum(felt_tensors.values()) / max(together, 1)
    count = min(count, max(int(MAX_FELT_NUMBERS / max(each, 1)), 2 * together))
    seen, fresh = inputs.split(target.inputs)
    spare = calibration.spare
    if spare is not None and spare.count > (fresh.count if fresh is not None else 0):
        fresh = spare
    feeds = seen.batches(target.inputs, BATCH)
    count, half = (whole_batches(target.inputs, n) for n in (count, -(-count // 2)))
    parts = [inputs.spread(count)] if fresh is None else [fresh.spread(half), seen.spread(half)]
    tried = [feed for part in parts for feed in part.batches(target.inputs, BATCH)]
    first = None if fresh is None else parts[0].count
    fed = FedTarget(
        target, tried, list(felt_tensors), bent=bent, fresh=first, drawn=inputs.is_random
    )
    values = {port.name: [f[port.name] for f in [*feeds, *tried]] for port in target.inputs}
    run = StepwiseRun(values, target.steps, opsets=target.opsets, constants=target.constants)
    deviations = Deviations(TRIED_COPIES)
    found = Sensitivity(fed, {}, [[] for _ in fed.outputs], {}, {}, deviations)
    kept = {layer.name for layer in layers[:: -(-len(layers) // MAX_KEPT)]}
    like = _Like(FIRST_FELT, FIRST_RATIO)
    for step in target.steps:
        output = run.run(*step_nodes(step), output=step.outputs[0])
        if isinstance(step, Linear):
            if copied:
                deviations.add_layer(step)
            x = run.values[step.input]
            disturbance = _Disturbance(step, x, output, seed, tried=len(tried))
            felt, layer = _felt(disturbance, fed, shares[step.name], like=like)
            found.layers[step.name], found.kept[step.name] = felt, disturbance.kept
            if layer is not None and step.name in kept:
                errors = fed.scaled_errors({step.name: layer})
                for known, error in zip(found.errors, errors, strict=True):
                    known += [error] if error is not None else []
            if step.name in copied and felt.max(initial=0) > 0:
                noise = np.maximum(deviations.of(step.input) * (not quiet), MIN_DEVIATION)
                pairs = zip(TRIED_COPIES, noise.tolist(), strict=True)
                own = np.array([disturbance.least(m, power)[0] for m, power in pairs])
                # of copies that are as noisy as what a layer may have makes them
                allowed = min(shares[step.name] / float(felt.max()), MAX_ERROR)
                usual = USUAL_COPIES * allowed
                usual = max(usual, float(np.interp(USUAL_COPIES, TRIED_COPIES, noise)))
                _, handed = disturbance.least(USUAL_COPIES, usual)
                floors = deviations.add_reading(
                    step, own=own, handed=handed, copied=copied[step.name]
                )
                decades = np.log10(np.maximum(floors, 1e-30))
                found.floors[step.name] = 10 ** np.interp(COPIES, TRIED_COPIES, decades)
        elif copied:
            deviations.add_node(step, run)
        run.drop([step])
    return found


def _felt_tensors(target: Target, feed: Mapping[str, Array]) -> dict[str, int]:
    """The outputs of floats, and for every other one the last tensors of floats before it.

    With the numbers that each has for the inputs in `feed`.

    A class map is as true as the scores that it is made of. Raises InputError naming the step that
    cannot be run on `feed`.
    """
    first = {name: [value] for name, value in feed.items()}
    run = StepwiseRun(first, target.steps, opsets=target.opsets, constants=target.constants)
    makers, floats = (
        {name: step for step in target.steps for name in step.outputs},
        dict[str, int](),
    )
    for step in target.steps:
        run.run(*step_nodes(step), output=step.outputs[0])
        made = [name for name in step.outputs if name in run.values]
        values = {name: run.values[name][0] for name in made}
        floats |= {name: value.size for name, value in values.items() if value.dtype.kind == "f"}
        run.drop([step])
    found, pending = dict[str, int](), [port.name for port in reversed(target.outputs)]
    while pending:
        name = pending.pop()
        if name in floats:
            found[name] = floats[name]
        elif name in makers:
            pending += makers.pop(name).inputs
    return found


@dataclass
class _Like:
    """What the last layer was like, as a first guess of the next one."""

    felt: float  # S at the output that feels it most
    ratio: float  # of its price to its error's power of STEEPNESS


def _felt(
    disturbance: "_Disturbance", fed: FedTarget, share: float, *, like: _Like
) -> tuple[Doubles, Layer | None]:
    """Output error per error of a layer, [outputs], where its output error is about `share`.

    And the layer with that error; None where it cannot have one.
    """
    felt, layer = np.zeros(len(fed.outputs)), None
    error = min(share / like.felt, MAX_ERROR)
    for _ in range(2):  # at an error that was guessed, and at one that follows from that
        drawn = disturbance.draw(error, like)
        if drawn is None:
            break
        change, power = drawn
        layer, name = disturbance.changed(change), disturbance.linear.name
        felt = fed.mean_errors({name: one} for one in disturbance.likely(change)) / power
        most = max(float(felt.max(initial=0)), 1e-9)
        like.felt, nearer = most, min(share / most, MAX_ERROR)
        if abs(np.log10(nearer / power)) < NEAR:
            break
        error = nearer
    return felt, layer


class _Disturbance:
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
        self.linear, self.seed = linear, seed
        w = linear.weight.astype(np.float64)
        self.goals = w.reshape(groups, len(w) // groups, -1)
        seen = patches[T:].reshape(len(patches) - T, groups, -1).swapaxes(0, 1)
        self.mean = seen.mean(1, dtype=np.float64)  # [G, n]
        self.seen = moments.about_mean(seen)  # [G, T' + 1, n]
        self.parts: list[tuple[slice, Rows]] = []
        channels, width = patches.shape[1] // groups, max(1, MAX_WEIGHTS // taps)
        for low in range(0, channels, width):
            own = np.arange(low, min(low + width, channels))
            every = (np.arange(groups)[:, None] * channels + own).reshape(-1)
            H = moments.covariance(patches[:T, every], groups, moments.sample_numbers(at))
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
        self.signal = self._power(self.goals)
        if not np.isfinite(self.signal):
            raise too_large(linear.name)
        self.kept: list[tuple[float, float]] = []  # error powers so far, weights per problem

    def draw(self, error: float, like: _Like) -> tuple[Doubles, float] | None:
        """A change of its rows [G, R, I·K] with relative error power about `error`, and what it is.

        None where there is none.
        """
        if not self.signal > 0:
            return None
        few = np.arange(0, self.goals.shape[1], -(-self.goals.shape[1] // MAX_TRIED_ROWS))
        goals = self.goals[:, few]
        signal = max(self._power(goals), 1e-300)
        price, slope = min(like.ratio * error**STEEPNESS, 0.5), STEEPNESS
        before: tuple[float, float] | None = None
        for _ in range(TRIALS):
            rows, _, kept = self._built(price, few)
            off = max(self._power(rows - goals) / signal, 1e-12)
            self.kept.append((off, kept))
            miss = float(np.log10(off / error))
            if abs(miss) < 0.15:
                like.ratio = price / off**STEEPNESS
                break
            if before is not None and abs(np.log10(price / before[0])) > 1e-3:
                rise = (miss - before[1]) / np.log10(price / before[0])
                slope = float(np.clip(rise, 0.3, 1.5))
                if miss > 0 and price < before[0] and before[1] - miss < FLAT:
                    break  # it cannot be less wrong
            before = price, miss
            price = float(np.clip(price * 10 ** (-miss / slope), 1e-10, 0.5))
        rows, *_ = self._built(price, np.arange(self.goals.shape[1]))
        change = rows - self.goals
        power = self._power(change) / self.signal
        if not power > 0:
            return None
        return change, power

    def changed(self, change: Doubles) -> Layer:
        """The layer with a change of its rows, and a bias that takes the mean of that away."""
        bias = self.linear.bias - np.einsum("gon,gn->go", change, self.mean).reshape(-1)
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
        few = np.arange(0, self.goals.shape[1], -(-self.goals.shape[1] // MAX_FLOOR_ROWS))
        rows, noise, _ = self._built(MIN_PRICE, few, members=m, noise=min(deviation, 1.0))
        goals = self.goals[:, few]
        signal = max(self._power(goals), 1e-300)
        return self._power(rows - goals) / signal, noise / signal / min(deviation, 1.0)

    def _power(self, rows: Doubles) -> float:
        """Power of what rows [G, R', I·K] make of the patches that errors are told of."""
        made = self.seen @ rows.swapaxes(1, 2).astype(np.float32)
        return float(np.square(made, dtype=np.float64).sum())

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
        z = (goals / scale).reshape(-1, n).astype(np.float32)
        built, more, kept = np.zeros(z.shape), 0.0, 0
        for number, (part, rows) in enumerate(self.parts):
            own = np.ascontiguousarray(z[:, part])
            index = np.arange(own.shape[1] * members, dtype=np.int32).reshape(-1, members)
            index = np.tile(index, (groups, 1, 1))
            carried = np.square(self.seen[:, :, part]).mean(1)  # [G, n]
            noises = np.repeat(carried[:, :, None] * np.float32(noise), members, 2)
            ones, price = np.ones(index.shape, np.float32), rows.price * np.float32(mu)
            rows = replace(rows, index=index, gain=ones, noise=noises, price=price, group=group)
            width = own.shape[1] * members
            drawn = Drawn(self.seed, LAYER_NUMBER + number, numbers, width)
            masks, _ = solve_rows(drawn, own, rows=rows, rule=Rule.NOISE, tolerance=1.0)
            kept += int(np.bitwise_count(masks).sum())
            weight = np.zeros((len(z), width), np.float32)
            write_masked(
                weight, np.arange(len(z)), drawn=drawn, masks=masks, rows=(rows.index, group)
            )
            elements = weight.reshape(*own.shape, members).astype(np.float64)
            built[:, part] = elements.sum(2)
            heard = (np.square(elements).sum(2) * noises[group, :, 0]).sum(1)
            more += float((heard * np.square(scale.reshape(-1))).sum()) * self.seen.shape[1]
        each = kept / max(int(np.count_nonzero(z)), 1)
        return np.asarray(built.reshape(goals.shape) * scale), more, each
