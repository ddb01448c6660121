"""The features that a layer's weights meet, as the ticket delivers them.

A feature is a channel (one-for-one) or a channel's part of one sign (two-for-one). Its members are
the physical channels that carry it: copies, or neurons with gains. Letters: V features, group after
group, M members at most, K taps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.target import Array, Floats, Linear


@dataclass(frozen=True)
class Features:
    """The features of a layer: which physical channels are members of which feature."""

    starts: NDArray[np.int64]  # [G + 1]  first feature of every group
    channel: NDArray[np.int64]  # [V]  target channel within the group
    coefficient: Floats  # [V]  x_channel = Σ coefficient · feature
    index: NDArray[np.int32]  # [V, M]  member's physical channel within the group, or -1
    gain: Floats  # [V, M]  member = unit · gain · feature
    unit: float  # largest gain of the layer, so that gains are at most 1
    width: int  # physical channels of a group
    taps: int
    twin: int  # distance from a neuron to its mirror image, 0 without
    shared_input: bool  # members of a feature share their input, so none is noisier than another

    @property
    def top(self) -> NDArray[np.float64]:
        """Largest gain of every feature, [V]; λ_i is measured in it."""
        gain = np.abs(self.gain.astype(np.float64))
        return np.asarray(np.maximum(gain.max(1, initial=0.0), 1e-30), np.float64)

    def of_group(self, g: int) -> slice:
        """The features of group `g`."""
        return slice(int(self.starts[g]), int(self.starts[g + 1]))

    def problem_index(self, some: slice) -> NDArray[np.int32]:
        """Place of each member of each problem in its row of weights, [V·K, M], or -1."""
        tap = np.arange(self.taps, dtype=np.int32)
        index = self.index[some, None, :]
        place = np.where(index >= 0, index * self.taps + tap[None, :, None], -1)
        return np.ascontiguousarray(place.reshape(-1, index.shape[2]), np.int32)

    def problem_gain(self, some: slice) -> Floats:
        """Gain of each member of each problem, [V·K, M]."""
        return np.repeat(self.gain[some], self.taps, 0)

    @staticmethod
    def of(step: Build, gains: Mapping[str, Floats]) -> "Features":
        """The features of the layer that `step` builds."""
        linear, layout, group = step.linear, step.in_layout, step.linear.group
        unit = 1.0 if step.expand is None else float(np.abs(gains[step.expand]).max()) or 1.0
        width = layout.width // group
        per_group = linear.weight.shape[1]
        data = np.flatnonzero(layout.channel >= 0)
        kind = layout.channel[data].astype(np.int64) * 3 + layout.part[data] + 1
        features, number = np.unique(kind, return_inverse=True)
        counts = np.bincount(number, minlength=len(features))
        index = np.full((len(features), int(counts.max(initial=1))), -1, np.int32)
        gain = np.zeros(index.shape, np.float32)
        by_feature = np.argsort(number, kind="stable")
        column = np.arange(len(data)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = data[by_feature]
        index[number[by_feature], column] = places % width
        if step.expand is None:
            gain[number[by_feature], column] = 1.0
            coefficient = np.ones(len(features), np.float32)
        else:
            slots = gains[step.expand] / np.float32(unit)
            gain[number[by_feature], column] = slots[layout.copy[places]]
            coefficient = np.array(
                [step.coefficients[int(p)] for p in features % 3 - 1], np.float32
            )
        index[gain == 0] = -1
        channel = features // 3
        return Features(
            starts=np.searchsorted(channel, np.arange(group + 1) * per_group),
            channel=channel % per_group,
            coefficient=coefficient,
            index=index,
            gain=gain,
            unit=unit,
            width=width,
            taps=math.prod(linear.kernel),
            twin=layout.mirror,
            shared_input=step.expand is not None,
        )

    def goals(self, linear: Linear, g: int) -> NDArray[np.float64]:
        """Target weights of group `g`, by feature: [O/G, V of the group, K]."""
        per_group = len(linear.bias) // linear.group
        some = self.of_group(g)
        w = linear.weight[g * per_group : (g + 1) * per_group].astype(np.float64)
        w = w.reshape(per_group, w.shape[1], -1)[:, self.channel[some]]
        return np.asarray(w * self.coefficient[some][None, :, None])

    def observe(
        self, x: list[Array], axis: int, some: slice
    ) -> tuple[list[Floats], NDArray[np.float64]]:
        """Some features as the ticket delivers them, and each member's variance around them.

        Returns the features [N, V', *S] batch by batch (channels on `axis`), and [V', M].
        """
        index, gain = self.index[some], self.gain[some] * np.float32(self.unit)
        groups = np.searchsorted(self.starts, np.arange(some.start, some.stop), "right") - 1
        first = groups * self.width
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
                places = first + np.maximum(index[:, s], 0)
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
