"""The error that a ticket may have, and what of it each layer takes.

Errors are relative powers: of a layer's output, D, and of the network's outputs. An error in layer
l comes to S_l·D_l at an output. A ticket of a given error is smallest where one weight less costs
the outputs the same in every layer: S_l·ΔD_l = ν. Errors fall by a factor of e with every κ weights
per problem, so that a layer with P_l problems comes to about S_l·D_l = κ·ν·P_l. κ is learned from
the layers built so far, what those do to the outputs is measured, and ν is such that the layers to
come take what is left.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from lt_onnx.construct.fed_target import FedTarget, Layer
from lt_onnx.construct.results import LayerStats
from lt_onnx.target import Doubles

MAX_ERROR = 0.1  # of a layer, however little the outputs feel of it: errors add up while small
LEAST_REST = 0.25  # of its share that a layer may still take when those before it took too much
QUIET_DECAY, COPIED_DECAY = 0.2, 0.4  # κ of layers that read blocks, or copies: about so
FIRST_WEIGHT = 0.1  # of all problems, as many as count for it before layers are built
MOST_SLOWER = 3.0  # than usual, or faster: beyond, it is errors that no weight takes away
MOST_OVER_MEAN = 2.0  # of a weight's cost: small layers at the end gain little by what others left
MOST_GROWTH = 4.0  # of errors that are alike; what is beyond is one layer that failed


@dataclass(frozen=True)
class Promise:
    """How wrong a ticket may be: D* of every output, and what its layers' errors come to there."""

    allowed: Doubles  # [outputs]  relative error power
    sensitivity: Mapping[str, Doubles]  # S [outputs], by layer
    target: FedTarget  # its outputs are those
    # by layer, by each that reads its output: what the deviation of its copies will cost at the
    # outputs from there on, [outputs] by relative power
    apart: Mapping[str, Mapping[str, Doubles]] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """What one layer may take of the error."""

    left: Doubles  # [outputs]  the error of its own that would take all that is left there
    rest: Doubles  # [outputs]  κ·P of the layers to come
    problems: float  # P
    decay: float  # κ, as it is expected
    most: float  # that one weight less may cost, relative error power of its own
    apart: float = 0.0  # what the deviation of its copies counts: as much error of their mean

    def marginal(self, decay: float) -> float:
        """ν / S_l, the relative error power that one weight less may cost, if its κ is `decay`.

        More where errors fall faster than expected. Where they fall slower a layer takes more than
        its share, for which layers to come pay as well.
        """
        own = min(decay, self.decay) * self.problems
        by_output = self.left / (own + self.rest)
        return min(float(by_output.min(initial=np.inf)), self.most, MAX_ERROR / max(own, 1e-300))

    @property
    def allowed(self) -> float:
        """What its error is expected to come to."""
        return self.marginal(self.decay) * self.decay * self.problems


@dataclass
class NoiseBudget:
    """What is left of a promise for the layers that are still to be built."""

    promise: Promise
    problems: Mapping[str, float]  # subset-sum problems by layer
    copied: Collection[str] = ()  # the layers that read copies
    built: dict[str, Layer] = field(default_factory=dict)
    measured: Doubles | float = 0.0  # error of the layers built so far
    foreseen: Doubles | float = 0.0  # S_l·D_l of the layers built so far
    inherited: Doubles | float = 0.0  # error of the deviation that layers found in copies
    # of copies, by layer: what it will cost in layers to come is set aside for those
    deviations: dict[str, float] = field(default_factory=dict)
    decays: dict[str, float] = field(default_factory=dict)  # κ by layer
    costs: dict[str, float] = field(default_factory=dict)  # ν by layer, of what is allowed

    def share(self, layer: str) -> Share:
        """What a layer may take."""
        allowed, (left, rest) = self.promise.allowed, self._left()
        own = self.promise.sensitivity[layer] * self._growth()
        felt, usual, slower = own > 0, self._usual(layer), self._slower()
        reach, cost = float((own / allowed).max(initial=0)), self._mean_cost()
        apart = sum(self.promise.apart.get(layer, {}).values(), np.zeros_like(allowed))
        return Share(
            left[felt] / own[felt],
            slower * (rest[felt] - usual),
            self._count(layer),
            decay=slower * usual / self._count(layer),
            most=MOST_OVER_MEAN * cost / reach if cost and reach else np.inf,
            apart=float((apart[felt] / own[felt]).max(initial=0)),
        )

    def _growth(self) -> Doubles:
        """By how much more the layers built so far come to than each alone: errors may be alike."""
        some = FIRST_WEIGHT * self.promise.allowed
        return np.clip((self.measured + some) / (self.foreseen + some), 1.0, MOST_GROWTH)

    def _count(self, layer: str) -> float:
        """P_l."""
        return max(self.problems[layer], 1)

    def _usual(self, layer: str) -> float:
        """κ·P_l, were errors to fall as they usually do."""
        return self._count(layer) * (COPIED_DECAY if layer in self.copied else QUIET_DECAY)

    def _slower(self) -> float:
        """By how much slower they fall in the layers built so far."""
        usual = found = FIRST_WEIGHT * sum(map(self._usual, self.problems))
        for name, decay in self.decays.items():
            own = self._usual(name)
            slower = decay * self._count(name) / own
            usual += own
            found += own * min(max(slower, 1 / MOST_SLOWER), MOST_SLOWER)
        return found / usual

    def _left(self) -> tuple[Doubles, Doubles]:
        """The error that is left at every output, and κ·P of the layers to come there, usually."""
        allowed = self.promise.allowed
        every, rest, spent = np.zeros((3, len(allowed)))
        for name in self.problems:
            reached = self._usual(name) * (self.promise.sensitivity[name] > 0)
            every += reached
            rest += reached * (name not in self.built)
        spent += self.measured + self.inherited
        for name, deviation in self.deviations.items():
            waiting = self.promise.apart[name].items()
            spent += deviation * sum(cost for reader, cost in waiting if reader not in self.built)
        least = LEAST_REST * allowed * rest / np.maximum(every, 1e-300)
        return np.maximum(allowed - spent, least), rest

    def _mean_cost(self) -> float:
        """ν of the layers built so far; 0: of none it is known."""
        cost = sum(self._count(name) * cost for name, cost in self.costs.items())
        return cost / max(sum(map(self._count, self.costs)), 1)

    def spend(self, name: str, layer: Layer, stats: LayerStats) -> None:
        """A layer is built, which is `layer` in the mean of its copies."""
        self.built[name] = layer
        self.measured = self.promise.target.errors_elsewhere(self.built)
        inherited = stats.inherited or 0.0
        own = max((stats.error or 0.0) - inherited, 0.0)
        self.foreseen += self.promise.sensitivity[name] * own
        self.inherited += self.promise.sensitivity[name] * inherited
        if name in self.promise.apart:
            self.deviations[name] = stats.apart or 0.0
        if stats.error and stats.marginal:
            self.decays[name] = own / stats.marginal / self._count(name)
            if own < MAX_ERROR / 2:  # else it might have cost less than others
                felt = float((self.promise.sensitivity[name] / self.promise.allowed).max(initial=0))
                self.costs[name] = stats.marginal * felt
