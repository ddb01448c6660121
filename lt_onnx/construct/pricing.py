"""The price μ at which one weight less costs a layer as much error as it may.

Subsets minimise their error and μ for every weight: a row with the scale λ that keeps one weight
less makes an error larger by μ·λ², in the power of what weights carry. How much of that counts is
measured on some of the layer's rows, on inputs that the feedback was not made from. Errors are
relative to the power of the outputs' variation. Of m copies the part that all have in common goes
on as it is. What each has apart, by its own subsets or by the copies that these read, is averaged
in the mean and counts 1/m; and once more what it costs the layers to come, which read some of the
copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.fed_target import loss
from lt_onnx.construct.layer_task import Block, LayerTask
from lt_onnx.construct.noise_budget import Share
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.subset_sum import write_masked
from lt_onnx.target import Doubles, Floats, Indices

MIN_PROBLEMS, MIN_ROWS, MAX_GROUPS, MAX_TRIED_COPIES = 4096, 24, 16, 4  # that a price is tried on
MIN_PRICE, FIRST_PRICE, MAX_PRICE = 1e-10, 1e-3, 0.3  # FIRST: where inputs say nothing
MAX_TRIALS = 4
ROUNDING = 1e-12  # of a constant's power
CLOSE = 0.04  # decades within which a price is what it should be
FIRST_SLOPE, SLOPES = 1.15, (0.8, 2.0)  # decades that one weight less costs more, for one of price


@dataclass(frozen=True)
class Trial:
    """What a price comes to on the rows that it was tried on."""

    price: float
    marginal: float  # relative power that one weight less adds to the error
    error: float  # of the mean of all copies, and what their own deviation counts
    inherited: float  # of the mean, by the deviation of the copies that are read
    apart: float  # of the copies' deviation from their mean
    kept: float  # weights per problem


def find_price(task: LayerTask, shared: SharedProblems, *, lam: Doubles, share: Share) -> Trial:
    """The μ at which one weight less costs what it may.

    `shared` is asked for the groups of the rows that are tried, `lam` [R, 2] are the layer's
    `first_lambdas`.
    """
    sample = _sample(task, lam)
    if sample is None:  # biases alone
        return Trial(MIN_PRICE, 0.0, 0.0, 0.0, 0.0, 0.0)
    shared.prepare([Block(slice(0, 0), groups) for groups, _ in sample.rows])
    price, trials = _first_price(task, shared, sample, lam=lam, share=share), list[Trial]()
    for left in reversed(range(MAX_TRIALS)):
        trial = _try(replace(task, price=price), shared, sample, lam=lam, apart=share.apart)
        if not (trial.error > 0 and 0 < trial.marginal < np.inf):  # the inputs known say nothing
            break
        trials.append(trial)
        decay = (trial.error - trial.inherited) / trial.marginal / share.problems
        wanted = price * (share.marginal(decay) / trial.marginal) ** (1 / _slope(trials))
        wanted = float(np.clip(wanted, MIN_PRICE, MAX_PRICE))
        if not left or abs(np.log10(wanted / price)) < CLOSE:
            break
        price = wanted
    return trial


def _first_price(
    task: LayerTask, shared: SharedProblems, sample: "_Sample", *, lam: Doubles, share: Share
) -> float:
    """The μ at which a weight costs what it may, if what it adds to an error is μ·λ² and no more.

    Of copies nearly all error is their own.
    """
    features, copies = task.features, task.step.out_layout.copies
    cost = signal = 0.0
    for groups, rows in sample.rows:
        problems, group = shared.groups[groups], rows // task.group_rows - groups.start
        goals = features.goals(task.linear, task.channel[rows].astype(np.int64))
        goals = goals.reshape(len(rows), -1).astype(np.float32)
        cost += float((problems.price[group] * lam[rows, 0] ** 2).sum())
        for g in np.unique(group):
            fresh = moments.about_mean(problems.fresh[g][None], biased=task.biased)[0]
            made = fresh @ goals[group == g].T
            signal += float(np.square(made, dtype=np.float64).mean(0).sum())
    if not 0 < signal < np.inf:
        return FIRST_PRICE
    felt = sample.typical * (1 / copies + share.apart if copies > 1 else 1.0)
    price = share.marginal(share.decay) * sample.count * signal / max(cost * felt, 1e-300)
    return float(np.clip(price, MIN_PRICE, MAX_PRICE))


def _slope(trials: Sequence[Trial]) -> float:
    """Decades of what a weight costs for a decade of price, between the last two trials."""
    if len(trials) < 2:
        return FIRST_SLOPE
    a, b = trials[-2:]
    return float(np.clip(np.log(b.marginal / a.marginal) / np.log(b.price / a.price), *SLOPES))


@dataclass(frozen=True)
class _Sample:
    """Rows to try prices on, of those with weights to choose: no pruned or constant channel's."""

    # by neighbouring groups: channels evenly spread, some copies of each, group by group
    rows: Sequence[tuple[range, Indices]]
    # λ² over the variation of outputs: of all rows of these groups, relative to that of `rows`.
    # Errors grow with λ², so that those of few rows tell by this what all come to
    typical: float
    count: int  # such rows of the layer


def _sample(task: LayerTask, lam: Doubles) -> _Sample | None:
    """Rows to try prices on; None where no row has a weight."""
    layout, channel, power = task.step.out_layout, task.channel, _variation(task)
    weighs = np.abs(task.linear.weight).reshape(len(power), -1).max(1, initial=0) > 0
    if (weighs & (power > 0)).any():  # of the others no error is told
        weighs &= power > 0
    data = np.flatnonzero(channel >= 0)
    data = data[weighs[channel[data]]]
    groups = np.unique(data // task.group_rows)
    if not len(groups):
        return None
    few = np.linspace(0, len(groups) - 1, min(len(groups), MAX_GROUPS)).round().astype(int)
    chosen = groups[few].tolist()
    problems = task.features.index.shape[1] * task.features.taps  # of a row
    copies = min(layout.copies, MAX_TRIED_COPIES)
    each = -(-max(MIN_ROWS, MIN_PROBLEMS // problems) // (len(chosen) * copies))
    every = [data[data // task.group_rows == group] for group in chosen]
    by_copy = [rows.reshape(layout.copies, -1) for rows in every]
    tried = [rows[:copies, _spread(rows.shape[1], each)].reshape(-1) for rows in by_copy]

    def ratio(some: Sequence[Indices]) -> float:
        rows = np.concatenate(some)
        return float(np.square(lam[rows, 0]).sum() / max(power[channel[rows]].sum(), 1e-300))

    blocks = {block.groups for block in task.blocks()}
    parts = [(range(group, group + 1), rows) for group, rows in zip(chosen, tried, strict=True)]
    if len(blocks) == 1:  # what all groups share is needed for their rows as well
        parts = [(blocks.pop(), np.concatenate(tried))]
    return _Sample(parts, ratio(every) / ratio(tried), len(data))


def _spread(count: int, most: int) -> Indices:
    """Evenly spread numbers below `count`, `most` of them or fewer."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _variation(task: LayerTask) -> Doubles:
    """Variation of every channel of the target's outputs over the inputs, [O]; 0 of a constant."""
    axes = tuple(i for i in range(task.y[0].ndim) if i != task.axis)
    count = sum(y.size // y.shape[task.axis] for y in task.y)
    mean = sum(y.sum(axes, dtype=np.float64) for y in task.y) / count
    square = sum(np.square(y, dtype=np.float64).sum(axes) for y in task.y) / count
    power = square - np.square(mean)
    return np.where(power > ROUNDING * square, power, 0.0)


def _try(
    task: LayerTask, shared: SharedProblems, sample: _Sample, *, lam: Doubles, apart: float
) -> Trial:
    """Solve the sampled rows with the task's price, and measure; deviations count `apart`."""
    features, source, copies = task.features, task.step.source, task.step.out_layout.copies
    kept = wanted = 0.0
    powers = {"fresh": np.zeros(3), "seen": np.zeros(3)}  # those of _powers
    inherited = weighed = 0.0
    for groups, rows in sample.rows:
        problems, group = shared.groups[groups].at(task.price), rows // task.group_rows
        group = group - groups.start
        goals = features.goals(task.linear, task.channel[rows].astype(np.int64))
        goals = goals.reshape(len(rows), -1)
        asked = task.row_problems(groups, rows, parts=problems.parts, goals=goals, lam=lam[rows])
        masks, _, own = task.solver.solve(asked)
        index, gain = features.problems(groups, slice(None))
        weight = np.zeros((len(rows), source.row_size), np.float32)
        of = (index, group)
        write_masked(weight, np.arange(len(rows)), drawn=asked.drawn, masks=masks, rows=of)
        for g in np.unique(group):
            at = np.flatnonzero(group == g)
            elements = weight[at][:, np.maximum(index[g], 0)] * gain[g]
            elements[:, index[g] < 0] = 0
            reached = elements.sum(2, dtype=np.float64) * own[at, None]  # [r, V·K]
            added = np.zeros(len(at))  # power of the deviation of the copies that are read
            for part, common in problems.parts:
                square = np.square(elements[:, part], dtype=np.float64) * common.noise[g]
                added += square.sum((1, 2)) * own[at] ** 2
            patches = {"fresh": problems.fresh[g], "seen": problems.seen[g]}
            for name, x in patches.items():
                found, more = _powers(
                    x, goals[at], reached, added=added, copies=copies, biased=task.biased
                )
                powers[name] += found
                inherited += more * (name == "fresh")
        weighed += float((problems.price[group] * own**2).sum())
        kept += float(np.bitwise_count(masks).sum())
        wanted += float(np.count_nonzero(goals))
    fresh, seen = (error[1:] / max(error[0], 1e-300) for error in powers.values())
    mean, own = (fresh * loss(float(fresh[0]), float(seen[0]))).tolist()
    signal = max(float(powers["fresh"][0]), 1e-300)
    inherited, typical = inherited / signal, sample.typical
    cost = (mean + apart * own) * typical
    solved = float(seen[0] + seen[1] * (1 - 1 / copies))  # the error that subsets are chosen for
    return Trial(
        task.price,
        marginal=weighed / signal / sample.count * cost / max(solved, 1e-300),
        error=cost + inherited / copies,
        inherited=inherited / copies,
        apart=(own * typical + inherited) * (copies > 1),
        kept=kept / max(wanted, 1),
    )


def _powers(
    x: Floats, goals: Doubles, reached: Doubles, *, added: Doubles, copies: int, biased: bool
) -> tuple[Doubles, float]:
    """What rows [r, n] make of patches x [T', n]: power that is asked for, error, deviation, [3].

    The error is that of the mean of all copies, the deviation what each has apart of its own. Also
    power of the deviation that rows inherit: `added` [r] from the copies that they read, unscaled.
    """
    x = moments.about_mean(x[None], biased=biased)[0]
    made = (x @ rows.astype(np.float32).T for rows in (goals, goals - reached))
    wanted, off = (values.astype(np.float64) for values in made)  # [T' + 1, r]
    found = wanted - off
    power, heard = (wanted**2).mean(0), (found**2).mean(0) + added
    fit = (wanted * found).mean(0) / np.maximum(heard, 1e-300)  # the scale is found later
    error = (wanted - fit * found).reshape(len(x), min(copies, MAX_TRIED_COPIES), -1)
    total, count = (error**2).mean(0).sum(), error.shape[1]
    alike = total  # the part that copies of a channel have in common, as their mean has it
    if count > 1:
        alike = (np.square(error.sum(1)).mean(0).sum() - total) / (count - 1)
        alike = min(max(alike, 0.0), total)
    own = total - alike
    inherited = float((fit**2 * added).sum())
    return np.array([power.sum(), alike + own / copies, own]), inherited
