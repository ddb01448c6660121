"""The error that a ticket may have, and what of it each layer takes.

Errors are relative powers: of a layer's output, D, and of the network's outputs. An error in layer
l comes to S_l·D_l at an output. In every base set a further weight takes away about the same number
of decibels, so that with P_l problems the cheapest split of Σ S_l·D_l ≤ D* is
D_l = D*·(P_l / ΣP) / S_l: every layer takes a share of the error as large as its share of the
problems. What the layers built so far do to the outputs is measured, so that those to come make up
for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lt_onnx.construct.fed_target import FedTarget, Layer
from lt_onnx.construct.results import LayerStats
from lt_onnx.target import Doubles

MAX_ERROR = 0.03  # of a layer, however little the outputs feel of it: errors add up while small
STEEPNESS, FIRST_RATIO = 0.8, 2e-3  # errors fall about so with prices
LEAST_REST = 0.25  # of its share that a layer may still take when those before it took too much


@dataclass(frozen=True)
class Promise:
    """How wrong a ticket may be: D* of every output, and what its layers' errors come to there."""

    allowed: Doubles  # [outputs]  relative error power
    sensitivity: Mapping[str, Doubles]  # S [outputs], by layer
    target: FedTarget  # its outputs are those
    readers: Mapping[str, Sequence[str]]  # the layers that read a layer's output
    # by layer, [outputs], what the deviation of its copies will cost there, by relative power
    apart: Mapping[str, Doubles] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """What one layer may take of the error."""

    allowed: float  # D_l, relative error power of its own
    guess: float  # the price at which it would have that, were it like the layer before
    apart: float = 0.0  # what the deviation of its copies counts: as much error of their mean


@dataclass
class NoiseBudget:
    """What is left of a promise for the layers that are still to be built."""

    promise: Promise
    problems: Mapping[str, float]  # subset-sum problems by layer
    built: dict[str, Layer] = field(default_factory=dict)
    inherited: Doubles | float = 0.0  # error of the deviation that layers found in copies
    # of what layers behind will find and hand on, by layer: set aside for those
    pending: dict[str, Doubles] = field(default_factory=dict)
    ratio: float = FIRST_RATIO  # of the last layer's price to its error's power of STEEPNESS

    def _at(self, layer: str) -> Doubles:
        """The problems of a layer, at every output that depends on it."""
        return np.where(self.promise.sensitivity[layer] > 0, self.problems[layer], 0.0)

    def allowance(self, layer: str) -> float:
        """D_l, the relative error power that a layer may have."""
        own, allowed = self.promise.sensitivity[layer], self.promise.allowed
        felt = own > 0
        if not felt.any():
            return MAX_ERROR
        every = np.sum([self._at(name) for name in self.problems], 0)
        rest = np.sum([self._at(name) for name in self.problems if name not in self.built], 0)
        spent, aside = np.zeros_like(allowed), np.zeros_like(allowed)
        if self.built:
            spent = self.promise.target.errors(self.built, elsewhere=True) + self.inherited
        for name, cost in self.pending.items():
            readers = self.promise.readers[name]
            for reader in readers:
                spent += cost / len(readers) * (reader not in self.built)
                aside += cost / len(readers) * (reader == layer)
        left = np.maximum(allowed - spent, LEAST_REST * allowed * rest / np.maximum(every, 1))
        share = left[felt] * self.problems[layer] / rest[felt] / own[felt]
        return float(min(share.min(), MAX_ERROR) + (aside[felt] / own[felt]).min())

    def share(self, layer: str) -> Share:
        """What a layer may take."""
        allowed = self.allowance(layer)
        felt, apart = self.promise.sensitivity[layer], self.promise.apart.get(layer)
        count = 0.0 if apart is None else float((apart[felt > 0] / felt[felt > 0]).max(initial=0))
        return Share(allowed, self.ratio * allowed**STEEPNESS, count)

    def spend(self, name: str, layer: Layer, stats: LayerStats) -> None:
        """A layer is built, which is `layer` in the mean of its copies."""
        self.built[name] = layer
        self.inherited += self.promise.sensitivity[name] * (stats.inherited or 0.0)
        if name in self.promise.apart:
            self.pending[name] = self.promise.apart[name] * (stats.apart or 0.0)
        if stats.price and stats.error and stats.error > 0:
            self.ratio = stats.price / stats.error**STEEPNESS
