"""A certified bound on |target − ticket| over a box of inputs, from the ticket's own weights.

Comes in: a Blueprint, the ticket file made from it, a box of inputs. Goes out: for every layer and
output a number that the difference never exceeds, for any input of the box, whatever the rounding.

Every tensor of the ticket carries a `Range`: an interval for what each physical channel stands for
in the target (a copy: its channel; a constant: its value), and a bound on how far the ticket is off
it. Layers are bounded in `layers`, everything else in `rules`; both bound the difference itself, so
that what target and ticket share cancels. Intervals know nothing of what their entries have in
common: in deep networks the bound is loose by many orders of magnitude, but it holds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.samples.samples import Samples
from lt_onnx.target import Array
from lt_onnx.validation.bound.weights import TicketWeights

__all__ = ["Bound", "bound"]

Box = Mapping[str, tuple[Array, Array]]  # input: lowest and highest values, [1, C, *S] each


@dataclass(frozen=True)
class Bound:
    """What the difference never exceeds: largest over all entries of a tensor.

    `layers` and `outputs` are by the target's names; infinite where no bound was found, and then
    `reason` names the first operator that there is no rule for.
    """

    layers: dict[str, float]
    outputs: dict[str, float]
    reason: str | None
    box: str


def box_of(samples: Samples) -> Box:
    """The box around `samples`: least and greatest value per channel."""
    box = {}
    for name, value in samples.arrays.items():
        axes = tuple(i for i in range(value.ndim) if i != 1) if value.ndim > 1 else (0,)
        shape = (1, *value.shape[1:])
        low, high = value.min(axis=axes, keepdims=True), value.max(axis=axes, keepdims=True)
        box[name] = (np.broadcast_to(low, shape), np.broadcast_to(high, shape))
    return box


def bound(blueprint: Blueprint, ticket: Path, samples: Samples) -> Bound:
    """Bound the ticket at `ticket`, made from `blueprint`, over the box around `samples`."""
    # torch takes seconds to load, and whoever only inspects or plans does without
    from lt_onnx.validation.bound.constructed import bound_layer, open_block
    from lt_onnx.validation.bound.ranges import Range, UnboundedError
    from lt_onnx.validation.bound.rules import apply

    target = blueprint.target
    ranges: dict[str, Range] = {}
    for port in target.inputs:
        low, high = box_of(samples)[port.name]
        if np.issubdtype(port.dtype, np.floating):
            ranges[port.name] = Range.exact(low.astype(np.float64), high.astype(np.float64))
    weights = TicketWeights(ticket)
    layers: dict[str, float] = {}
    reason: str | None = None
    for step in blueprint.steps:
        try:
            if isinstance(step, Expand):
                ranges[step.output] = open_block(step, blueprint, weights, ranges)
            elif isinstance(step, Build):
                made = bound_layer(step, weights, ranges)
                ranges[step.output] = made
                data = step.out_layout.channel >= 0
                layers[step.name] = float(np.compress(data, made.error, step.out_layout.axis).max())
            else:
                apply(step.node, ranges, blueprint)
        except UnboundedError as unbounded:
            reason = reason or str(unbounded)
            if isinstance(step, Build):
                layers[step.name] = math.inf
    outputs = {
        port.name: float(ranges[port.name].error.max()) if port.name in ranges else math.inf
        for port in target.outputs
    }
    return Bound(layers, outputs, reason, f"the box around {samples.origin}")
