"""What the channels of a ticket are to be multiplied by, so that its outputs come nearest.

In: a `ScaledTarget`, the ticket's errors on some inputs and on others that were kept out. Out: the
factors, 1 + θ. The ticket itself is not run: to first order its outputs change with its scales as
those of the program do, from where the ticket is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from lt_onnx.fitting.scaled_target import ScaledTarget
from lt_onnx.runtime import by_batch
from lt_onnx.target import Array, Doubles

T = TypeVar("T")
MAX_STEPS = 12  # of conjugate gradients
PATIENCE = 6  # steps without a gain on the inputs kept out
FIRST_STEP = 1e-3  # by which a factor changes most, where curvature is first looked at
MAX_CHANGE = 0.25  # of a factor
LEAST_STIFFNESS = 0.1  # of a factor, over the mean of all

Residuals: TypeAlias = list[list[Tensor]]  # by batch and output, in units of what the output varies


@dataclass(frozen=True)
class Batches:
    """Inputs batch by batch, and what the ticket's outputs miss there, [N, …] each."""

    feeds: Sequence[Mapping[str, Array]]
    errors: Sequence[Sequence[Array]]  # ticket − target, by batch and output
    powers: Sequence[float]  # of every output's variation over these inputs


def descend(program: ScaledTarget, seen: Batches, fresh: Batches) -> Doubles:
    """θ [count], by conjugate gradients on the `seen` inputs.

    The sum over outputs of their relative error powers is made small; of all steps the one is taken
    that is best on the `fresh` inputs. All zeros where none is better there than nothing. Every
    batch is run by one thread, so that results do not depend on how many there are.
    """
    with _one_thread():
        return _descend(_Errors.of(program, seen), _Errors.of(program, fresh))


def _descend(seen: "_Errors", fresh: "_Errors") -> Doubles:
    theta = np.zeros(seen.program.count)
    best, least, since = theta, fresh.power(theta), 0
    direction, before, reach = np.zeros_like(theta), np.zeros_like(theta), FIRST_STEP
    stiff = seen.stiffness()
    for _ in range(MAX_STEPS):
        residuals, gradient = seen.gradient(theta)
        # Polak and Ribière's, which begins anew where it does not descend
        steepest = gradient / stiff
        rise = float(steepest @ (gradient - before)) / max(float(before @ (before / stiff)), 1e-300)
        direction = max(rise, 0.0) * direction - steepest
        if float(direction @ gradient) >= 0:
            direction = -steepest
        before = gradient
        largest = float(np.abs(direction).max(initial=0.0))
        if not largest > 0:
            break
        trial = reach / largest
        along = seen.residuals(theta + trial * direction)
        slope, curvature = _line(residuals, along)
        if not (curvature > 0 and np.isfinite(curvature)):
            break
        moved = -slope / curvature * trial * direction
        theta = np.clip(theta + moved, -MAX_CHANGE, MAX_CHANGE)
        reach = float(np.clip(np.abs(moved).max(), FIRST_STEP / 10, MAX_CHANGE / 10))
        power, since = fresh.power(theta), since + 1
        if power < least:
            best, least, since = theta, power, 0
        if since == PATIENCE:
            break
    return best


def _line(residuals: Residuals, along: Residuals) -> tuple[float, float]:
    """Slope and curvature of half the squared residuals on the way from the first to the second."""
    slope = curvature = 0.0
    for first, second in zip(residuals, along, strict=True):
        for a, b in zip(first, second, strict=True):
            change = (b - a).double()
            slope += float((a.double() * change).sum())
            curvature += float(change.square().sum())
    return slope, curvature


@dataclass(frozen=True)
class _Errors:
    """The ticket's errors as they change with its scales."""

    program: ScaledTarget
    batches: Batches
    offsets: Residuals  # errors less what the program puts out at θ = 0

    @staticmethod
    def of(program: ScaledTarget, batches: Batches) -> "_Errors":
        plain = _Errors(program, batches, [])
        ones = torch.ones(program.count)

        def offset(b: int) -> list[Tensor]:
            with torch.no_grad():
                made = program.run(batches.feeds[b], ones)
            pairs = zip(batches.errors[b], made, strict=True)
            return [torch.from_numpy(np.asarray(error)) - value for error, value in pairs]

        return _Errors(program, batches, plain._each(offset))

    def residuals(self, theta: Doubles) -> Residuals:
        """Errors at θ, over the root of their output's variation."""

        def one(b: int) -> list[Tensor]:
            with torch.no_grad():
                return self._residuals(b, _factors(theta))

        return self._each(one)

    def power(self, theta: Doubles) -> float:
        """The sum of the outputs' relative error powers at θ."""
        batches = self.residuals(theta)
        power = sum(float(one.double().square().sum()) for batch in batches for one in batch)
        return power if np.isfinite(power) else np.inf

    def gradient(self, theta: Doubles) -> tuple[Residuals, Doubles]:
        """The residuals at θ, and the gradient of half their squares, [count]."""

        def one(b: int) -> tuple[list[Tensor], Doubles]:
            factors = _factors(theta).requires_grad_()
            residuals = self._residuals(b, factors)
            half = torch.stack([value.square().sum() for value in residuals]).sum() / 2
            return [value.detach() for value in residuals], _gradient(half, factors)

        results = self._each(one)
        gradients = [gradient for _, gradient in results]
        return [residuals for residuals, _ in results], np.sum(gradients, 0)

    def stiffness(self) -> Doubles:
        """The curvature along every factor, roughly, [count]: what conjugate gradients divide by.

        The squared gradient of residuals with random signs, batch by batch, is it in the mean.
        """

        def one(b: int) -> Doubles:
            rng = np.random.default_rng(b)
            factors = torch.ones(self.program.count, requires_grad=True)
            signed = [
                (value * torch.from_numpy(rng.choice([-1.0, 1.0], value.shape))).sum()
                for value in self._residuals(b, factors)
            ]
            return np.square(_gradient(torch.stack(signed).sum(), factors))

        curvature: Doubles = np.sum(self._each(one), 0)
        return curvature + LEAST_STIFFNESS * max(float(curvature.mean()), 1e-300)

    def _residuals(self, b: int, factors: Tensor) -> list[Tensor]:
        made = self.program.run(self.batches.feeds[b], factors)
        triples = zip(made, self.offsets[b], self.batches.powers, strict=True)
        return [(value + offset) / power**0.5 for value, offset, power in triples]

    def _each(self, look: Callable[[int], T]) -> list[T]:
        return by_batch(range(len(self.batches.feeds)), look)


def _gradient(value: Tensor, factors: Tensor) -> Doubles:
    """Zeros where it does not depend on them."""
    if not value.requires_grad:
        return np.zeros(len(factors))
    (gradient,) = torch.autograd.grad(value, factors)
    return gradient.double().numpy()


def _factors(theta: Doubles) -> Tensor:
    return torch.from_numpy((1 + theta).astype(np.float32))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch share no sum between threads: how it is rounded depends on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
