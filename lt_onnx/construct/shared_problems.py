"""What the rows of a group share: their base sets, the feedback between problems, a weight's price.

Comes in: a layer's features over the calibration inputs. Goes out, for each group: the `Rows` of
`subset_sum`, in parts of the group's V·K problems with one H each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.layer_task import Block, LayerTask
from lt_onnx.subset_sum import Rows
from lt_onnx.target import Floats

MAX_POSITIONS = 8192  # output positions that H is made from
MAX_PROBLEMS = 1152  # problems with one H; bounds the work of Cholesky to O(n · MAX_PROBLEMS²)


# some of a group's V·K problems each, and what its rows share of them
Parts: TypeAlias = Sequence[tuple[slice, Rows]]


@dataclass(frozen=True)
class GroupProblems:
    """The problems of one group's rows."""

    parts: Parts
    price: float  # what a weight on a constant of 1 costs, in units of λ²: as one on the inputs


class SharedProblems:
    """The problems of the groups that are being solved; no others are held."""

    def __init__(self, task: LayerTask) -> None:
        self.task = task
        self.groups: dict[int, GroupProblems] = {}
        seed, linear = task.options.seed, task.linear
        shapes = [v.shape for v in task.y]
        if linear.op == "MatMul":  # channels are counted on axis 1
            shapes = [(shape[0], shape[-1], *shape[1:-1]) for shape in shapes]
        rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, task.step.source.index])
        self._positions = moments.positions(shapes, MAX_POSITIONS, rng=rng)

    def prepare(self, blocks: Sequence[Block]) -> None:
        """Find what the rows of these blocks share, and drop the rest."""
        ranges = dict.fromkeys(block.groups for block in blocks)
        for g in set(self.groups) - {g for numbers in ranges for g in numbers}:
            del self.groups[g]
        for numbers in ranges:
            if numbers[0] not in self.groups:
                self._share(numbers)

    def _share(self, groups: range) -> None:
        """Find what the rows of each group share."""
        task, features, taps = self.task, self.task.features, self.task.features.taps
        width = max(1, MAX_PROBLEMS // taps)  # features that share an H
        batches: list[list[tuple[int, slice]]] = []  # parts that are observed together
        for g in groups:
            group = features.of_group(g)
            for low in range(group.start, group.stop, width):
                part = slice(low, min(low + width, group.stop))
                if not batches or part.stop - batches[-1][0][1].start > width:
                    batches.append([])
                batches[-1].append((g, part))
        shared: dict[int, list[tuple[slice, Rows]]] = {g: [] for g in groups}
        for batch in batches:
            together = slice(batch[0][1].start, batch[-1][1].stop)
            if task.calibrated:
                seen, noise = features.observe(task.x, together, axis=task.step.in_layout.axis)
                patches = moments.patches(seen, self._positions, linear=task.linear)
            for g, part in batch:
                rows = Rows.plain(*features.problems(part))
                if task.calibrated:
                    inside = slice(part.start - together.start, part.stop - together.start)
                    rows = _with_feedback(
                        rows, task, part=part, noise=noise[inside], patches=patches[:, inside]
                    )
                first = features.of_group(g).start
                problems = slice((part.start - first) * taps, (part.stop - first) * taps)
                shared[g].append((problems, rows))
        self.groups.update({g: _one_price(shared[g]) for g in groups})


def _with_feedback(
    rows: Rows, task: LayerTask, *, part: slice, noise: Floats, patches: Floats
) -> Rows:
    """The problems of some features with their members' noise and the feedback between them.

    The price of a weight is at first the power of what it carries.
    """
    H, taps = moments.covariance(patches), task.features.taps
    order, upper, weight = moments.feedback(H)
    power = np.diagonal(H) * np.repeat(task.features.top[part], taps) ** 2
    noise, price = np.repeat(noise, taps, 0), (task.price * power).astype(np.float32)
    return replace(rows, weight=weight, noise=noise, price=price, order=order, upper=upper)


def _one_price(parts: Parts) -> GroupProblems:
    """One price for all weights of a group, the mean power of what they carry."""
    if not parts:  # a group of zeros
        return GroupProblems(parts, 0.0)
    mean = np.concatenate([rows.price for _, rows in parts]).mean(dtype=np.float64)
    parts = [(part, replace(rows, price=np.full_like(rows.price, mean))) for part, rows in parts]
    return GroupProblems(parts, float(np.float32(mean)))
