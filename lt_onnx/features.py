"""The features that a layer's weights meet, as the ticket delivers them.

A feature is a channel (one-for-one) or a channel's part of one sign (two-for-one). Its members are
the physical channels that carry it: copies, or neurons with gains. Letters: V features of a group,
M members at most, K taps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.target import Array, Floats, Linear

CONSTANCY = 1e-4  # relative spread under which a channel counts as constant


@dataclass(frozen=True)
class Block:
    """The features of one group: which physical channels are members of which feature."""

    channel: NDArray[np.int64]  # [V]  target channel within the group
    coefficient: Floats  # [V]  x_channel = Σ coefficient · feature
    index: NDArray[np.int32]  # [V, M]  member's physical channel within the group, or -1
    gain: Floats  # [V, M]  member = unit · gain · feature
    unit: float  # largest gain of the layer, so that gains are at most 1
    taps: int
    twin: int  # distance from a neuron to its mirror image, 0 without
    shared_input: bool  # members of a feature share their input, so none is noisier than another

    @property
    def top(self) -> NDArray[np.float64]:
        """Largest gain of every feature, [V]; λ_i is measured in it."""
        gain = np.abs(self.gain.astype(np.float64))
        return np.asarray(np.maximum(gain.max(1, initial=0.0), 1e-30), np.float64)

    @property
    def problem_index(self) -> NDArray[np.int32]:
        """Place of each member of each problem in its row of weights, [V·K, M]."""
        tap = np.arange(self.taps, dtype=np.int32)
        place = self.index[:, None, :] * self.taps + tap[None, :, None]
        place = np.where(self.index[:, None, :] >= 0, place, -1)
        return np.ascontiguousarray(place.reshape(-1, self.index.shape[1]), np.int32)

    @staticmethod
    def of(step: Build, g: int, width: int, gains: Mapping[str, Floats], unit: float) -> "Block":
        """The features of group `g`, whose inputs are `width` physical channels."""
        layout = step.in_layout.take(np.arange(g * width, (g + 1) * width))
        per_group = step.linear.weight.shape[1]
        data = np.flatnonzero(layout.channel >= 0)
        key = layout.channel[data].astype(np.int64) * 3 + layout.part[data] + 1
        features, number = np.unique(key, return_inverse=True)
        counts = np.bincount(number, minlength=len(features))
        index = np.full((len(features), int(counts.max(initial=1))), -1, np.int32)
        gain = np.zeros(index.shape, np.float32)
        by_feature = np.argsort(number, kind="stable")
        column = np.arange(len(data)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = data[by_feature]
        index[number[by_feature], column] = places
        part = features % 3 - 1
        if step.expand is None:
            gain[number[by_feature], column] = 1.0
            coefficient = np.ones(len(features), np.float32)
        else:
            slots = gains[step.expand] / np.float32(unit)
            gain[number[by_feature], column] = slots[layout.copy[places]]
            coefficient = np.array([step.coefficients[int(p)] for p in part], np.float32)
        index[gain == 0] = -1
        return Block(
            channel=features // 3 - g * per_group,
            coefficient=coefficient,
            index=index,
            gain=gain,
            unit=unit,
            taps=math.prod(step.linear.kernel),
            twin=layout.mirror,
            shared_input=step.expand is not None,
        )

    def goals(self, linear: Linear, g: int) -> NDArray[np.float64]:
        """Target weights of the features, [O/g, V, K]."""
        per_group = len(linear.bias) // linear.group
        w = linear.weight[g * per_group : (g + 1) * per_group].astype(np.float64)
        w = w.reshape(per_group, w.shape[1], -1)[:, self.channel]
        return np.asarray(w * self.coefficient[None, :, None])

    def observe(
        self, x: list[Array], some: slice, step: Build, g: int
    ) -> tuple[list[Floats], NDArray[np.float64]]:
        """The features as the ticket delivers them, and each member's variance around them."""
        index, gain = self.index[some], self.gain[some] * np.float32(self.unit)
        axis = step.in_layout.axis
        width = step.in_layout.width // step.linear.group
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
                places = g * width + np.maximum(index[:, s], 0)
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


@dataclass(frozen=True)
class Reserve:
    """The constants that one group builds its biases from: flat columns, exact values."""

    column: NDArray[np.int64]
    value: NDArray[np.float64]
    unit: float  # gain in which the layer is measured

    @property
    def level(self) -> NDArray[np.float64]:
        """The values as a row with λ = 1 sees them."""
        return self.value / self.unit


def constant_values(layout: Layout, x: list[Array], axis: int) -> tuple[NDArray[np.int64], Floats]:
    """Places and values of the channels that really are constant and not zero."""
    places = np.flatnonzero(layout.channel == CONSTANT)
    if not len(places):
        return places, np.zeros(0, np.float32)
    low, high = [], []
    for value in x:
        some = np.take(value, places, axis)
        others = tuple(i for i in range(some.ndim) if i != axis)
        low.append(some.min(axis=others))
        high.append(some.max(axis=others))
    least, most = np.min(low, 0), np.max(high, 0)
    good = (most - least <= CONSTANCY * np.abs(most)) & (most != 0)
    return places[good], ((least + most) / 2)[good].astype(np.float32)
