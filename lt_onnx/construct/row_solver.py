"""Who solves the subset sums of a layer's rows: this process, or the workers of a cluster.

Comes in: `RowProblems`. Goes out: masks, residuals and λ of the rows, the same bytes whoever solves
them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from lt_onnx.cluster.calls import Call, Executor
from lt_onnx.cluster.executor import check_installed, opened
from lt_onnx.errors import InputError
from lt_onnx.options import Device, Workers
from lt_onnx.progress import Progress, silent
from lt_onnx.subset_sum import (
    DeviceError,
    Drawn,
    Masks,
    RangeError,
    Rows,
    Rule,
    resolve,
    solve_rows,
)
from lt_onnx.target import Doubles, Floats, Indices

# random weights that are drawn and solved at a time: as many as a block, but a GPU wants more …
CHUNK_WEIGHTS = {Device.CPU: 1 << 23, Device.CUDA: 1 << 26}
# … and so do workers, each of which is given some of them: seconds of work, in some megabytes
SHARED_WEIGHTS, RANGE_WEIGHTS = 1 << 25, 1 << 21
MIN_SHARED_SECONDS = 60  # of one core, for all subset sums, that workers are worth
WORKER_BYTES = 400_000_000  # of a worker's process, beside twice what it is given
# factors of λ tried for rows in which one problem is an outlier: all of its base set may pull the
# wrong way, which is the right one with -λ
WIDER = (-1.0, 1.2, -1.2, 1.45, -1.45, 1.75, -1.75)
OUTLIER_SHARE = 0.25  # of a row's error, from which one problem counts as an outlier

Solved: TypeAlias = tuple[Masks, Floats, Doubles]  # masks and residuals [r, N], λ [r]


@dataclass(frozen=True)
class RowProblems:
    """Rows [r] of N problems each: plain values, which another process may be given.

    The base sets are fixed, but each row's λ is free, and another λ asks for other sums.
    """

    drawn: Drawn  # [r]
    group: Indices  # [r]  ascending, of the groups that `parts` hold
    goals: Doubles  # [r, N]  target weights
    lam: Doubles  # [r, 2]  λ > 0 and λ < 0 to begin with
    parts: Sequence[tuple[slice, Rows]]  # the N problems, those of one H at a time
    rule: Rule
    tolerance: float
    free: bool  # whether rows may take another λ than the first positive one

    def __len__(self) -> int:
        return len(self.group)

    @property
    def bytes(self) -> int:
        """Of all that another process is given."""
        shared = (v for _, common in self.parts for v in vars(common).values() if v is not None)
        return sum(values.nbytes for values in (*shared, self.goals, self.lam, self.group))

    def some(self, rows: slice) -> "RowProblems":
        """Some of the rows, with what is theirs alone."""
        group = self.group[rows]
        own = slice(int(group[0]), int(group[-1]) + 1)
        names = ("index", "gain", "weight", "noise", "price", "order", "upper", "step")

        def of_groups(common: Rows) -> Rows:
            held = {name: getattr(common, name) for name in names}
            return replace(common, **{n: v[own] for n, v in held.items() if v is not None})

        return replace(
            self,
            drawn=replace(self.drawn, numbers=self.drawn.numbers[rows]),
            group=group - own.start,
            goals=self.goals[rows],
            lam=self.lam[rows],
            parts=[(part, of_groups(common)) for part, common in self.parts],
        )

    def solved(self, device: Device = Device.CPU) -> Solved:
        """Solve them here. Of `lam`, rows take the positive one, or as `mend_outliers` says.

        Raises RangeError for numbers that are too large.
        """

        def attempt(rows: Indices, lam: Doubles) -> tuple[Masks, Floats]:
            base = replace(self.drawn, numbers=self.drawn.numbers[rows])
            z = (self.goals[rows] / lam[:, None]).astype(np.float32)
            masks, residuals = np.empty(z.shape, np.uint32), np.empty(z.shape, np.float32)
            for part, common in self.parts:
                masks[:, part], residuals[:, part] = solve_rows(
                    base,
                    np.ascontiguousarray(z[:, part]),
                    rows=replace(common, group=self.group[rows]),
                    rule=self.rule,
                    tolerance=self.tolerance,
                    device=device,
                )
            return masks, residuals

        if not self.free:
            positive = self.lam[:, 0].copy()
            return *attempt(np.arange(len(self)), positive), positive
        weight = np.concatenate([common.weight for _, common in self.parts], 1)[self.group]
        return mend_outliers(attempt, self.lam, weight)


def mend_outliers(
    attempt: Callable[[Indices, Doubles], tuple[Masks, Floats]], first: Doubles, weight: Floats
) -> Solved:
    """Masks and residuals [r, N] of rows, and their λ [r], of `first` [r, 2] or wider.

    `attempt` solves some rows with some λ; squares of residuals count by `weight` [r, N]. Rows take
    the positive λ; those in which one problem is an outlier take the negative or a wider one if
    that halves their squared error.
    """
    lam = first[:, 0].copy()
    masks, residuals = attempt(np.arange(len(lam)), lam)
    for factor in WIDER:
        error = weight * np.square(residuals, dtype=np.float64)
        total = error.sum(1)
        outlying = np.flatnonzero(error.max(1, initial=0.0) > OUTLIER_SHARE * total)
        if not len(outlying):
            break
        wider = first[outlying, int(factor < 0)] * abs(factor)
        new_masks, new_residuals = attempt(outlying, wider)
        new_total = (weight[outlying] * np.square(new_residuals, dtype=np.float64)).sum(1)
        better = new_total * wider**2 < total[outlying] * lam[outlying] ** 2 / 2
        chosen = outlying[better]
        masks[chosen], residuals[chosen] = new_masks[better], new_residuals[better]
        lam[chosen] = wider[better]
    return masks, residuals, lam


@dataclass(frozen=True)
class RowSolver:
    """Solves rows on a device of this process; those of large layers on `workers`, if there are."""

    device: Device = Device.CPU
    workers: Executor | None = None

    @property
    def chunk_weights(self) -> int:
        """Random weights whose problems are best given at a time."""
        return CHUNK_WEIGHTS[self.device] if self.workers is None else SHARED_WEIGHTS

    def solve(self, problems: RowProblems) -> Solved:
        """Masks, residuals and λ of the rows.

        Raises RangeError for numbers that are too large, ResourceError when the workers are lost.
        """
        count = max(1, RANGE_WEIGHTS // max(problems.drawn.width, 1))
        starts = range(0, len(problems), count)
        if self.workers is None or len(starts) < 2:
            return problems.solved(self.device)
        layer = problems.drawn.layer
        some = {low: problems.some(slice(low, low + count)) for low in starts}
        calls = [
            Call(
                f"layer {layer}, rows from {low}",
                (part,),
                memory=WORKER_BYTES + 2 * part.bytes,
                size=part.bytes,
            )
            for low, part in some.items()
        ]
        found: dict[str, Solved] = {}
        with closing(self.workers.outcomes(_solved, calls, silent)) as outcomes:
            for call, outcome in outcomes:
                if outcome.failure is not None and outcome.failure.kind == RangeError.__name__:
                    raise RangeError(outcome.failure.message)
                if outcome.failure is not None:
                    raise outcome.failure.as_error()
                found[call.name] = outcome.result
        masks, residuals, lam = zip(*(found[call.name] for call in calls), strict=True)
        return np.concatenate(masks), np.concatenate(residuals), np.concatenate(lam)


HERE = RowSolver()


def _solved(problems: RowProblems, tell: Progress) -> Solved:
    """A call of a worker."""
    tell("solve", 0.0)
    return problems.solved()


def check_solver(device: Device, workers: Workers) -> None:
    """Raises InputError for a device that there is not, or where workers cannot be had."""
    check_installed(workers)
    if workers.shared and device is Device.CUDA:
        raise InputError("`device=cuda` is of this process, `workers` solve on theirs: give one")
    try:
        resolve(device)
    except DeviceError as error:
        raise InputError(f"`device={device}`: {error}") from None


def check_worth(workers: Workers, seconds: float) -> None:
    """Raises InputError where subset sums of so many `seconds` of one core are shared for less."""
    if workers.shared and seconds < MIN_SHARED_SECONDS:
        raise InputError(
            f"the subset sums of this network take about {seconds:.0f} s of one core: below "
            f"{MIN_SHARED_SECONDS} s `workers` cost more than they bring; drop it"
        )


@contextmanager
def row_solver(device: Device, workers: Workers) -> Iterator[RowSolver]:
    """Who solves rows until the block ends. Raises InputError where no workers are reached."""
    if not workers.shared:
        yield RowSolver(resolve(device))
        return
    with opened(workers) as executor:
        yield RowSolver(workers=executor)
