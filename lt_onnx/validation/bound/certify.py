"""A certified bound on |target − ticket| over a box of inputs, from the ticket's own weights.

Comes in: a `Blueprint`, the ticket made from it, samples that span the box. Goes out: for every
layer and output a number that |t − t̂| never exceeds at any entry (the maximum norm), for any input
of the box, whatever the rounding.

Every tensor of the ticket carries a `Range`: an interval for what each of its channels stands for
in the target (a copy: its channel; a constant: its value), and a bound on the ticket's distance
from it. Both `constructed` and `rules` bound the difference itself, so that what target and ticket
share cancels. Intervals know nothing of what their entries have in common: in deep networks the
bound is loose by many orders of magnitude, but it holds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.samples.samples import Samples, are_whole
from lt_onnx.target import Array, Port
from lt_onnx.verification.seeded import open_ticket
from lt_onnx.verification.tensors import locate_tensors

Box = Mapping[str, tuple[Array, Array]]  # by input: lowest and highest values, [1, C, *S] each


@dataclass(frozen=True)
class Bound:
    """What the error never exceeds: largest over all entries of a tensor, by the target's names.

    Infinite where there is no bound; `reason` names the first operator without a rule.
    """

    layers: dict[str, float]
    outputs: Annotated[
        dict[str, float], Meta(description="|error| never exceeds this in the box; null: no bound")
    ]
    reason: str | None
    box: str


def box_of(samples: Samples, ports: tuple[Port, ...] = ()) -> Box:
    """The box around `samples` of the inputs `ports`: least and greatest value per channel."""
    box = {}
    for name, value in samples.arrays.items():
        leading = 1
        if are_whole(ports):
            leading, value = value.shape[1], value.reshape(-1, *value.shape[2:])
        axes = tuple(i for i in range(value.ndim) if i != 1) if value.ndim > 1 else (0,)
        shape = (leading, *value.shape[1:])
        low, high = value.min(axis=axes, keepdims=True), value.max(axis=axes, keepdims=True)
        box[name] = (np.broadcast_to(low, shape), np.broadcast_to(high, shape))
    return box


def certified_bound(blueprint: Blueprint, ticket: Path, *, samples: Samples) -> Bound:
    """Bound the error of `ticket`, made from `blueprint`, over the box around `samples`."""
    # torch takes seconds to load, and whoever only inspects or plans does without
    from lt_onnx.validation.bound.constructed import bound_layer, bound_neurons
    from lt_onnx.validation.bound.ranges import Range, UnboundedError
    from lt_onnx.validation.bound.rules import apply

    target = blueprint.target
    box = box_of(samples, target.inputs)
    ranges: dict[str, Range] = {}
    for port in target.inputs:
        if np.issubdtype(port.dtype, np.floating):
            low, high = (end.astype(np.float64) for end in box[port.name])
            ranges[port.name] = Range.exact(low, high)
    known: dict[str, Array] = {}  # what is the same for every input
    tensors = locate_tensors(ticket, open_ticket(ticket)[0])
    layers: dict[str, float] = {}
    reason: str | None = None
    for step in blueprint.steps:
        try:
            if isinstance(step, Expand):
                ranges[step.output] = bound_neurons(step, blueprint, tensors, ranges)
            elif isinstance(step, Build):
                ranges[step.output] = bound_layer(step, tensors, ranges)
                data = step.out_layout.channel >= 0
                error = np.compress(data, ranges[step.output].error, step.out_layout.axis)
                layers[step.name] = float(error.max())
            else:
                apply(step.node, ranges, known, blueprint)
        except UnboundedError as unbounded:
            reason = reason or str(unbounded)
            if isinstance(step, Build):
                layers[step.name] = math.inf
    outputs = {
        port.name: float(ranges[port.name].error.max()) if port.name in ranges else math.inf
        for port in target.outputs
    }
    return Bound(layers, outputs, reason, f"the box around {samples.origin}")
