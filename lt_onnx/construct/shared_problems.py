"""What the rows of a group share: their base sets, the feedback between problems, a weight's price.

Comes in: a layer's features over the calibration inputs. Goes out, for the groups of a block: the
`Rows` of `subset_sum`, in parts of a group's V·K problems with one H each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.layer_task import Block, LayerTask
from lt_onnx.subset_sum import Rows
from lt_onnx.target import Floats

MAX_POSITIONS = 8192  # output positions that H is made from
MAX_PROBLEMS = 1152  # problems with one H; bounds the work of Cholesky to O(n · MAX_PROBLEMS²)


@dataclass(frozen=True)
class GroupProblems:
    """The problems of the rows of neighbouring groups: some of each group's V·K at a time."""

    parts: Sequence[tuple[slice, Rows]]  # those of one H
    price: Floats  # [G']  what a weight on a constant of 1 costs, in units of λ²: as on the inputs


class SharedProblems:
    """The problems of the groups that are being solved; no others are held."""

    def __init__(self, task: LayerTask) -> None:
        self.task = task
        self.groups: dict[range, GroupProblems] = {}  # by the groups of a block
        seed, linear = task.options.seed, task.linear
        shapes = [v.shape for v in task.y]
        if linear.op == "MatMul":  # channels are counted on axis 1
            shapes = [(shape[0], shape[-1], *shape[1:-1]) for shape in shapes]
        rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, task.step.source.index])
        self._positions = moments.positions(shapes, MAX_POSITIONS, rng=rng)

    def prepare(self, blocks: Sequence[Block]) -> None:
        """Find what the rows of these blocks share, and drop the rest."""
        wanted = dict.fromkeys(block.groups for block in blocks)
        self.groups = {groups: self.groups[groups] for groups in wanted if groups in self.groups}
        for groups in wanted:
            if groups not in self.groups:
                self.groups[groups] = self._shared(groups)

    def _shared(self, groups: range) -> GroupProblems:
        """What the rows of each group share; one price for all weights of a group, the mean."""
        features, taps = self.task.features, self.task.features.taps
        count, width = features.channel.shape[1], max(1, MAX_PROBLEMS // taps)  # of one H
        parts = []
        for low in range(0, count, width):
            part = slice(low, min(low + width, count))
            rows = Rows.plain(*features.problems(groups, part))
            if self.task.calibrated:
                rows = self._with_feedback(rows, groups, part)
            parts.append((slice(low * taps, part.stop * taps), rows))
        price = np.concatenate([rows.price for _, rows in parts], 1).mean(1, dtype=np.float64)
        price = price.astype(np.float32)
        for _, rows in parts:
            rows.price[:] = price[:, None]
        return GroupProblems(parts, price)

    def _with_feedback(self, rows: Rows, groups: range, part: slice) -> Rows:
        """The problems of some features with their members' noise and the feedback between them.

        The price of a weight is at first the power of what it carries.
        """
        task, features, taps = self.task, self.task.features, self.task.features.taps
        together = max(1, MAX_PROBLEMS // taps // (part.stop - part.start))  # groups seen at once
        found = []
        for some in (groups[i : i + together] for i in range(0, len(groups), together)):
            seen, noise = features.observe(task.x, some, part, axis=task.step.in_layout.axis)
            patches = moments.patches(seen, self._positions, linear=task.linear)
            H = moments.covariance(patches, len(some))
            power = np.diagonal(H, axis1=1, axis2=2)
            noise = np.repeat(noise.reshape(len(some), -1, noise.shape[1]), taps, 1)
            found.append((noise, power, *moments.feedback(H)))
        noise, power, order, upper, weight = (np.concatenate(v) for v in zip(*found, strict=True))
        top = np.repeat(features.top[groups.start : groups.stop, part], taps, 1)
        price = (task.price * (power * top**2)).astype(np.float32)
        return replace(rows, weight=weight, noise=noise, price=price, order=order, upper=upper)
