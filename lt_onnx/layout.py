"""Which physical channels of a ticket's tensor hold which copy of which target channel.

A tensor without a layout is *plain*: shaped and ordered as in the target. A `Layout` says what its
P physical channels along `axis` are. A target channel with no physical channel at all is zero
everywhere, as channel padding makes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONSTANT = -1  # the same number everywhere, whatever the input; `copy` tells constants apart
UNUSED = -2  # nothing reads it: a row without weights, or the mirror image of a neuron

INT = np.int32
Ints = NDArray[np.int32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Meaning of every physical channel.

    `part` is 0 for a copy of channel x itself; +1 and -1 for neurons φ(λx) with λ > 0 and λ < 0
    (two-for-one blocks). `mirror` is the number of neurons per group that are followed by as many
    mirror images (looks-linear pairs).
    """

    axis: int
    size: int  # target channels
    channel: Ints  # [P]  target channel, CONSTANT or UNUSED
    copy: Ints  # [P]  index among the copies of its channel, or among the constants
    part: Ints  # [P]
    mirror: int = 0

    @property
    def width(self) -> int:
        """P, the physical channels."""
        return len(self.channel)

    @property
    def copies(self) -> int:
        """Most copies that any one channel has."""
        data = self.channel >= 0
        return int(self.copy[data].max(initial=-1)) + 1

    @property
    def constants(self) -> int:
        """Number of constant channels."""
        return int((self.channel == CONSTANT).sum())

    def take(self, places: Indices) -> "Layout":
        """The layout after gathering the physical channels `places`."""
        channel, copy, part = self.channel[places], self.copy[places], self.part[places]
        return replace(self, channel=channel, copy=copy, part=part)

    def spread(self, inner: int, axis: int, *, outer: int = 1) -> "Layout":
        """The layout where channels merge on `axis` with `outer` places before, `inner` behind."""
        if inner == outer == 1:
            return replace(self, axis=axis)
        before = np.arange(outer, dtype=INT)[:, None, None]
        behind = np.arange(inner, dtype=INT)
        shape = (outer, self.width, inner)
        data = (before * self.size + self.channel[:, None]) * inner + behind
        constant = (before * self.width + self.copy[:, None]) * inner + behind
        meaning = np.broadcast_to(self.channel[:, None], shape)
        number = np.broadcast_to(self.copy[:, None], shape)
        return Layout(
            axis=axis,
            size=self.size * inner * outer,
            channel=np.where(meaning >= 0, data, meaning).reshape(-1),
            copy=np.where(meaning == CONSTANT, constant, number).reshape(-1),
            part=np.broadcast_to(self.part[:, None], shape).reshape(-1),
            mirror=self.mirror * inner,
        )

    def without_constants(self) -> "Layout":
        """The layout where constant channels no longer hold a constant, and are unused."""
        return replace(self, channel=np.where(self.channel >= 0, self.channel, INT(UNUSED)))

    def find(self, keys: Iterable[tuple[int, int]]) -> Indices:
        """Places of (channel, copy) pairs; -1 where there is none."""
        entries = zip(self.channel.tolist(), self.copy.tolist(), strict=True)
        places = {entry: place for place, entry in enumerate(entries)}
        return np.array([places.get(key, -1) for key in keys], np.int64)


def whole_channels(size: int, axis: int, *, channel: ArrayLike, copy: ArrayLike) -> Layout:
    """A layout of whole channels (part 0 everywhere), from P entries in arrays of any shape."""
    channels, copies = np.asarray(channel, INT).reshape(-1), np.asarray(copy, INT).reshape(-1)
    return Layout(axis, size, channels, copies, part=np.zeros_like(channels))


def copies_in_order(size: int, axis: int, *, copies: int, constants: Ints) -> Layout:
    """Copies 0, 1, … of all channels in order, then the `constants` of these numbers."""
    channel = np.concatenate([np.tile(np.arange(size), copies), np.full(len(constants), CONSTANT)])
    copy = np.concatenate([np.repeat(np.arange(copies), size), constants])
    return whole_channels(size, axis, channel=channel, copy=copy)


def plain_layout(size: int, axis: int) -> Layout:
    """A plain tensor's layout: a single copy of each of its `size` channels, in order."""
    return copies_in_order(size, axis, copies=1, constants=np.zeros(0, INT))


def constructed_layout(size: int, axis: int, *, copies: int, group: int, constants: int) -> Layout:
    """What a constructed layer puts out, group by group: copies 0, 1, …, then constants.

    Every group has the same number of rows, so that with more groups than constants the last
    groups' constant rows stay unused.
    """
    channel = np.tile(np.arange(size).reshape(group, -1), copies)
    copy = np.tile(np.repeat(np.arange(copies), size // group), (group, 1))
    rows = -(-constants // group)
    number = np.arange(group * rows).reshape(group, rows)
    constant = np.where(number < constants, CONSTANT, UNUSED)
    channel, copy = np.hstack([channel, constant]), np.hstack([copy, number])
    return whole_channels(size, axis, channel=channel, copy=copy)


def univariate_layout(
    size: int, axis: int, *, slots: Indices, group: int, constants: int, mirrored: bool
) -> Layout:
    """What a univariate layer puts out, group by group: its slots, their mirrors, constants.

    `slots` are (channel, part) of every slot, [S, 2], of `size` target channels; every `group` of
    the layer behind has its own `constants`; `mirrored`: as many mirror images follow its slots.
    """
    numbers = np.arange(len(slots)).reshape(group, -1)
    mirrors = numbers if mirrored else numbers[:, :0]
    common = np.tile(np.arange(constants), (group, 1))
    channel, part = slots[numbers].transpose(2, 0, 1)
    channels = [channel, np.full_like(mirrors, UNUSED), np.full_like(common, CONSTANT)]
    copies = np.hstack([numbers, mirrors, common])
    layout = whole_channels(size, axis, channel=np.hstack(channels), copy=copies)
    parts = np.hstack([part, 0 * mirrors, 0 * common]).astype(INT)
    return replace(layout, part=parts.reshape(-1), mirror=mirrors.shape[1])
