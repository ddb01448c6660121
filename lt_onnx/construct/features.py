"""The features that a layer's weights meet, as the ticket delivers them.

A feature is a channel (one-for-one) or a channel's part of one sign (two-for-one). Its members are
the physical channels that carry it: copies, or neurons with gains. Letters: G groups, V features of
a group at most, M members at most, K taps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.construct.constants import constant_places, extremes
from lt_onnx.construct.stepwise_run import taken
from lt_onnx.cores import share
from lt_onnx.layout import Layout
from lt_onnx.runtime import by_batch
from lt_onnx.target import Array, Doubles, Floats, Indices, Linear

T = TypeVar("T")


@dataclass(frozen=True)
class Features:
    """The features of a layer: which physical channels are members of which feature.

    A group that has fewer is filled up with features of coefficient 0, which have no members.
    """

    channel: Indices  # [G, V]  target channel within the group
    coefficient: Floats  # [G, V]  x_channel = Σ coefficient · feature
    index: NDArray[np.int32]  # [G, V, M]  member's physical channel within the group, or -1
    gain: Floats  # [G, V, M]  member = unit · gain · feature
    unit: float  # largest gain of the layer, so that gains are at most 1
    width: int  # physical channels of a group
    taps: int
    twin: int  # distance from a neuron to its mirror image, 0 without
    shared_input: bool  # members of a feature share their input, so none is noisier than another

    @property
    def top(self) -> Doubles:
        """Largest gain of every feature, [G, V]; λ_i is measured in it."""
        gain = np.abs(self.gain.astype(np.float64))
        return np.asarray(np.maximum(gain.max(2, initial=0.0), 1e-30), np.float64)

    def problems(self, groups: range, part: slice) -> tuple[NDArray[np.int32], Floats]:
        """The members of some features' problems, [G', V'·K, M]: place in a row, or -1, and gain.

        The problems of a feature follow one another, tap by tap.
        """
        own = slice(groups.start, groups.stop), part
        index, tap = self.index[own][:, :, None], np.arange(self.taps, dtype=np.int32)
        place = np.where(index >= 0, index * self.taps + tap[:, None], np.int32(-1))
        place = place.reshape(len(groups), -1, index.shape[3])
        return place, np.repeat(self.gain[own], self.taps, 1)

    @staticmethod
    def of(step: Build, gains: Mapping[str, Floats]) -> "Features":
        """The features of the layer that `step` builds."""
        linear, layout = step.linear, step.in_layout
        unit = 1.0 if step.expand is None else float(np.abs(gains[step.expand]).max()) or 1.0
        width, per_group = layout.width // linear.group, linear.weight.shape[1]
        data = np.flatnonzero(layout.channel >= 0)
        kind = layout.channel[data].astype(np.int64) * 3 + layout.part[data] + 1
        places, kind = (a[np.argsort(kind, kind="stable")] for a in (data, kind))
        features, first, counts = np.unique(kind, return_index=True, return_counts=True)
        group, parts = features // 3 // per_group, features % 3 - 1
        own = group, np.arange(len(features)) - np.searchsorted(group, group)
        shape = linear.group, int(own[1].max(initial=0)) + 1
        channel, coefficient = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        channel[own] = features // 3 % per_group
        number = np.repeat(np.arange(len(features)), counts)
        member = own[0][number], own[1][number], np.arange(len(data)) - first[number]
        index = np.full((*shape, int(counts.max(initial=1))), -1, np.int32)
        gain = np.zeros(index.shape, np.float32)
        index[member] = places % width
        if step.expand is None:
            gain[member] = 1.0
            coefficient[own] = 1.0
        else:
            slots = gains[step.expand] / np.float32(unit)
            gain[member] = slots[layout.copy[places]]
            coefficient[own] = [step.coefficients[int(p)] for p in parts]
        index[gain == 0] = -1
        return Features(
            channel=channel,
            coefficient=coefficient,
            index=index,
            gain=gain,
            unit=unit,
            width=width,
            taps=math.prod(linear.kernel),
            twin=layout.mirror,
            shared_input=step.expand is not None,
        )

    def delivered(
        self, x: Sequence[Array], layout: Layout
    ) -> tuple[Sequence[Array], Sequence[Array]]:
        """What sums are made of by batch, and the extremes of channels that should be constant.

        `x` are the layer's inputs in `layout`. Copies are what they are; of a block all neurons of
        a feature share their input, so that one of them over its gain stands for them: the features
        [N, G·V, *S].
        """
        places, axis = constant_places(layout), layout.axis
        if not self.shared_input:
            return x, by_batch(taken(x, places, axis), lambda value: extremes(value, axis))
        first = np.arange(len(self.index))[:, None] * self.width
        own = (first + np.maximum(self.index, 0).max(2)).reshape(-1)
        twins = own + self.twin if self.twin else own[:0]
        edges = np.cumsum([len(own), len(twins)])
        gain = np.take_along_axis(self.gain, self.index.argmax(2)[:, :, None], 2).reshape(-1)
        inverse = np.where(gain != 0, 1 / np.where(gain != 0, gain * np.float32(self.unit), 1), 0)

        def look(value: Array) -> tuple[Floats, Array]:
            member, twin, constant = np.split(value, edges, axis)
            column = inverse.astype(np.float32).reshape(-1, *[1] * (value.ndim - axis - 1))
            feature = (member - twin if self.twin else member) * column
            return feature, extremes(constant, axis)

        some = taken(x, np.concatenate([own, twins, places]), axis)
        features, constants = zip(*by_batch(some, look), strict=True)
        return features, constants

    def sums(self, weight: Floats, group: Indices) -> Doubles:
        """What rows [r, L], each of a `group` [r], make of every feature at every tap, [r, V, K].

        Σ of weight · gain over the members.
        """
        total = np.zeros((len(weight), self.channel.shape[1], self.taps))
        tap = np.arange(self.taps)

        def work(start: int, stop: int) -> None:
            every, own = np.arange(start, stop)[:, None, None], group[start:stop]
            for m in range(self.index.shape[2]):
                index, gain = self.index[own, :, m], self.gain[own, :, m]  # [r, V]
                place = np.maximum(index, 0)[:, :, None] * self.taps + tap
                total[start:stop] += (
                    weight[every, place] * np.where(index >= 0, gain, 0)[:, :, None]
                )

        share(len(weight), work)
        return total

    def goals(self, linear: Linear, channels: Indices) -> Doubles:
        """Target weights of some output channels, by feature: [O', V, K]."""
        group = channels // (len(linear.bias) // linear.group)
        w = linear.weight.reshape(*linear.weight.shape[:2], -1)
        w = w[channels[:, None], self.channel[group]].astype(np.float64)
        return np.asarray(w * self.coefficient[group][:, :, None])

    def observe(
        self,
        x: Sequence[Array],
        groups: range,
        part: slice,
        *,
        axis: int,
        look: Callable[[int, Floats], T],
    ) -> tuple[list[T], Floats]:
        """Some features of some groups, G'·V' in all, as the ticket delivers them.

        `x` are the layer's inputs batch by batch, copies of channels on `axis`. `look` is shown the
        features [N, G'·V', *S] of every batch (channels on `axis`), each the mean of its members
        over their gains. Returns what it makes of them, and every member's variance around that
        mean, [G'·V', M].
        """
        own = slice(groups.start, groups.stop), part
        index, gain = (a[own].reshape(-1, a.shape[2]) for a in (self.index, self.gain))
        gain = gain * np.float32(self.unit)
        first = np.repeat(np.array(groups), len(index) // len(groups)) * self.width
        valid = index >= 0
        count = np.maximum(valid.sum(1), 1).astype(np.float32)
        looks: list[T] = []
        square, center, total = np.zeros(index.shape), np.zeros(index.shape), 0
        for b, value in enumerate(x):
            moved = np.moveaxis(value, axis, 1)
            column = (1, -1, *[1] * (moved.ndim - 2))
            mean = np.zeros((len(moved), len(index), *moved.shape[2:]), np.float32)
            members = []
            for s in range(index.shape[1]):
                places = first + np.maximum(index[:, s], 0)
                member = moved[:, places]
                inverse = np.where(valid[:, s], 1 / np.where(valid[:, s], gain[:, s], 1), 0)
                member = member * inverse.astype(np.float32).reshape(column)
                mean += member
                members.append(member)
            mean /= count.reshape(column)
            axes = (0, *range(2, mean.ndim))
            for s, member in enumerate(members):
                off = member - mean
                square[:, s] += np.square(off, dtype=np.float32).sum(axis=axes, dtype=np.float64)
                center[:, s] += off.sum(axis=axes, dtype=np.float64)
            total += mean.size // mean.shape[1]
            looks.append(look(b, np.ascontiguousarray(np.moveaxis(mean, 1, axis))))
        variance = np.maximum(square / total - (center / total) ** 2, 0)
        return looks, variance.astype(np.float32)
