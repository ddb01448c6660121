"""What the rows of a group share: their base sets, the feedback between problems, a weight's price.

Comes in: a layer's features over the calibration inputs. Goes out, for the groups of a block: the
`Rows` of `subset_sum`, in parts of a group's V·K problems with one H each.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.layer_task import Block, LayerTask
from lt_onnx.planning.sizes import MAX_POSITIONS, MAX_PROBLEMS
from lt_onnx.subset_sum import Rows
from lt_onnx.subset_sum.grid import on_grid
from lt_onnx.target import Doubles, Floats

MIN_FRESH_POSITIONS = 32  # with fewer, H itself tells the error: chance is taken out of it
MAX_FRESH_POSITIONS = 2048  # that a layer's error is measured at
DRAWN_POSITIONS, JITTER = 512, 1e-5  # that are drawn in place of fresh ones; of H's diagonal


@dataclass(frozen=True)
class GroupProblems:
    """The problems of the rows of neighbouring groups: some of each group's V·K at a time."""

    parts: Sequence[tuple[slice, Rows]]  # those of one H, priced at μ = 1
    price: Floats  # [G']  what a weight on a constant of 1 costs, in units of λ²: as on the inputs
    fresh: Floats  # [G', T', V·K]  what kernels see at positions of inputs H is not made from
    seen: Floats  # [G', T'', V·K]  and at some of those that it is made from
    price_bits: float = 0.0  # of `Options`

    def at(self, mu: float) -> "GroupProblems":
        """The same at the price μ."""
        factor = np.float32(mu)
        parts = [(part, replace(rows, price=rows.price * factor)) for part, rows in self.parts]
        if self.price_bits:
            parts = [(part, on_grid(rows, self.price_bits)) for part, rows in parts]
        return replace(self, parts=parts, price=self.price * factor)


class SharedProblems:
    """The problems of the groups that are being solved; no others are held."""

    def __init__(self, task: LayerTask) -> None:
        self.task = task
        self.groups: dict[range, GroupProblems] = {}  # by the groups of a block
        seed, linear = task.options.seed, task.linear
        shapes = moments.output_shapes(task.y, linear)
        rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, task.step.source.index])
        last = len(shapes) - task.fresh  # batches that H is made from; the others are fresh
        seen = moments.positions(shapes[:last], MAX_POSITIONS, rng=rng)
        fresh = moments.positions(shapes[last:] or shapes, MAX_FRESH_POSITIONS, rng=rng)
        none = [at[:0] for at in seen]
        self._seen = [*seen, *(at[:0] for at in fresh)] if task.fresh else seen
        self._fresh = [*none, *fresh] if task.fresh else fresh
        self._samples = moments.sample_numbers(seen)

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
        parts, fresh, known = [], [], []
        for low in range(0, count, width):
            part = slice(low, min(low + width, count))
            rows = Rows.plain(*features.problems(groups, part))
            if self.task.calibrated:
                rows, *patches = self._with_feedback(rows, groups, part)
                fresh.append(patches[0])
                known.append(patches[1])
            parts.append((slice(low * taps, part.stop * taps), rows))
        price = np.concatenate([rows.price for _, rows in parts], 1).mean(1, dtype=np.float64)
        price = price.astype(np.float32)
        for _, rows in parts:
            rows.price[:] = price[:, None]
        none = np.zeros((len(groups), 0, rows.index.shape[1]), np.float32)
        told = [np.concatenate(patches, 2) if patches else none for patches in (fresh, known)]
        return GroupProblems(
            parts, price, fresh=told[0], seen=told[1], price_bits=self.task.options.price_bits
        )

    def _with_feedback(self, rows: Rows, groups: range, part: slice) -> tuple[Rows, Floats, Floats]:
        """The problems of some features with their members' noise and the feedback between them.

        The price of a weight is at first the power of what it carries. Also what kernels see of the
        features at fresh positions and at others, [G', T', V'·K] each.
        """
        features, taps = self.task.features, self.task.features.taps
        together = max(1, MAX_PROBLEMS // taps // (part.stop - part.start))  # groups seen at once
        found, fresh, known = [], [], []
        for some in (groups[i : i + together] for i in range(0, len(groups), together)):
            looks, noise = self._observed(some, part)
            seen, told = (np.concatenate(patches) for patches in zip(*looks, strict=True))
            H = moments.covariance(seen, len(some), self._samples, biased=self.task.biased)
            moments.white_where_nothing_varies(H)
            some_seen = seen[:: -(-len(seen) // MAX_FRESH_POSITIONS)]
            told, own = (
                patches.reshape(len(patches), len(some), -1).swapaxes(0, 1)
                for patches in (told, some_seen)
            )
            known.append(own)
            fresh.append(told if told.shape[1] >= MIN_FRESH_POSITIONS else self._typical(H))
            power = np.diagonal(H, axis1=1, axis2=2)
            noise = np.repeat(noise.reshape(len(some), -1, noise.shape[1]), taps, 1)
            found.append((noise, power, *moments.feedback(H)))
        noise, power, order, upper, weight = (np.concatenate(v) for v in zip(*found, strict=True))
        top = np.repeat(features.top[groups.start : groups.stop, part], taps, 1)
        price = (power * top**2).astype(np.float32)
        shared = {"weight": weight, "noise": noise, "price": price, "order": order, "upper": upper}
        return replace(rows, **shared), np.concatenate(fresh), np.concatenate(known)

    def _observed(
        self, groups: range, part: slice
    ) -> tuple[Sequence[tuple[Floats, Floats]], Floats]:
        """What `_look` makes of some features, batch by batch, and their members' noise.

        Those of a block share their input: none is noisier than another.
        """
        features, x, axis = self.task.features, self.task.x, self.task.step.in_layout.axis
        if not features.shared_input:
            return features.observe(x, groups, part, axis=axis, look=self._look)
        places = np.arange(features.channel.size).reshape(features.channel.shape)
        own = places[groups.start : groups.stop, part].reshape(-1)
        looks = [self._look(b, np.take(v, own, axis)) for b, v in enumerate(x)]
        return looks, np.zeros((len(own), features.index.shape[2]), np.float32)

    def _look(self, b: int, features: Floats) -> tuple[Floats, Floats]:
        """What kernels see of batch b at the positions of H, and at fresh ones: [T', V, K] each."""
        at, linear = [self._seen[b], self._fresh[b]], self.task.linear
        patches = moments.patches([features, features], at, linear=linear)
        return patches[: len(at[0])], patches[len(at[0]) :]

    def _typical(self, H: Doubles) -> Floats:
        """Patches drawn with the moments H [G', n, n] and a mean of 0: [G', T', n]."""
        known = np.where(np.isfinite(H), H, 0)  # what is too large is told by the solver
        diagonal = np.maximum(np.diagonal(known, axis1=1, axis2=2).mean(1), 1e-30)
        factor, jitter = None, JITTER * diagonal[:, None, None] * np.eye(H.shape[1])
        while factor is None:
            with contextlib.suppress(np.linalg.LinAlgError):  # rounding leaves it no square
                factor = np.linalg.cholesky(known + jitter).swapaxes(1, 2).astype(np.float32)
            jitter *= 10
        rng = np.random.default_rng(self.task.step.source.index)
        half = rng.standard_normal((len(H), DRAWN_POSITIONS // 2, H.shape[1]), np.float32) @ factor
        return np.concatenate([half, -half], 1)
