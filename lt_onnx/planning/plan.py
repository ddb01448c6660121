"""Plan a ticket: a Target and Options become a Blueprint, in two passes.

The first pass is optimistic (every layer puts out copies and constants) and shows who reads what;
from that follows what each layer really has to put out, and the second pass plans it.

One rule decides between the constructions: a layer that finds copies of its input channels is
one-for-one, a layer that finds a single copy opens a two-for-one block. Copies are made where a
layer listens to them that other layers follow; the last layers of a network read single copies.
"""

from dataclasses import replace

from lt_onnx.blueprint import Blueprint, Run, TicketStep
from lt_onnx.ops.activations import block_activation
from lt_onnx.ops.signs import nonnegative_tensors
from lt_onnx.options import Options
from lt_onnx.planning import layers, nodes
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.emitted import Emitted
from lt_onnx.planning.request import Request
from lt_onnx.planning.requirements import required
from lt_onnx.target import Linear, Target


def plan(
    target: Target, options: Options, *, constants_lost: frozenset[str] = frozenset()
) -> Blueprint:
    """Plan the ticket of `target`.

    `constants_lost` are tensors that constants turned out not to survive to: the layers that read
    them open blocks with biases of their own.
    """
    activation, model = block_activation(target)
    nonnegative = nonnegative_tensors(target)
    request = Request(target, options, activation, model, nonnegative, constants_lost)
    first = _walk(request)
    requirements = required(
        target,
        opening=[layer.name for layer in target.linears if options.is_two_for_one(layer.name)],
        copy_wise=first.copy_wise,
        carrying={
            **dict.fromkeys(first.inside_chains, True),
            **{name: copies.layout.constants > 0 for name, copies in first.copies.items()},
        },
    )
    request = replace(request, requirements=requirements)
    return _finished(request, _walk(request))


def _walk(request: Request) -> Emitted:
    """Plan the target's steps, in order, then its outputs."""
    draft = Draft(request)
    for step in request.target.steps:
        if isinstance(step, Linear):
            layers.build(draft, step)
        else:
            nodes.take_over(draft, step)
    for port in request.target.outputs:
        draft.collapsed(port.name)
    return draft.emitted


def _finished(request: Request, emitted: Emitted) -> Blueprint:
    """Drop what nothing reads, and number the source layers."""
    alive = {port.name for port in request.target.outputs}
    needed: list[TicketStep] = []
    for step in reversed(emitted.steps):
        if any(name in alive for name in step.nodes[-1].outputs):
            alive |= {name for node in step.nodes for name in node.inputs}
            needed.append(step)
    steps: list[TicketStep] = []
    index = 0
    for step in reversed(needed):
        if not isinstance(step, Run):
            step = replace(step, source=replace(step.source, index=index))
            index += 1
        steps.append(step)
    return Blueprint(
        target=request.target,
        options=request.options,
        steps=tuple(steps),
        constants={name: v for name, v in emitted.constants.items() if name in alive},
        dense=tuple(emitted.dense.values()),
        activation=request.activation,
        copy_wise=frozenset(emitted.copy_wise),
        nonnegative=request.nonnegative,
        constants_lost=request.constants_lost,
    )
