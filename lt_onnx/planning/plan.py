"""Plan a ticket: a Target and Options become a Blueprint, in two passes.

The first pass is optimistic (every layer puts out copies and constants) and shows who reads what;
from that follows what each layer really has to put out, and the second pass plans it.

One rule decides between the constructions: a layer that finds copies of its input channels is
one-for-one, a layer that finds a single copy opens a two-for-one block. Copies are made where a
layer listens to them that other layers follow; the last layers of a network read single copies.
"""

from dataclasses import replace

from lt_onnx.blueprint import Blueprint, Run, TicketStep
from lt_onnx.ops.activations import commonest
from lt_onnx.ops.signs import never_negative
from lt_onnx.options import Mode, Options
from lt_onnx.planning import layers, nodes
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.requirements import required
from lt_onnx.target import Linear, Target


def plan(target: Target, options: Options, fresh: frozenset[str] = frozenset()) -> Blueprint:
    """Plan the ticket of `target`.

    `fresh` are tensors that constants turned out not to survive to: the layers that read them open
    blocks with biases of their own.
    """
    activation, model = commonest(target)
    optimistic = Draft(target, options, activation, model, None, fresh)
    _walk(optimistic)
    many = options.mode is Mode.L_PLUS_1
    carried = optimistic.layouts.keys() | optimistic.passed
    wanted = required(target, many=many, copy_wise=optimistic.kept, carrying=carried)
    draft = Draft(target, options, activation, model, wanted, fresh)
    _walk(draft)
    return _finished(draft)


def _walk(draft: Draft) -> None:
    """Plan the target's steps, in order."""
    for step in draft.target.steps:
        if isinstance(step, Linear):
            layers.build(draft, step)
        else:
            sign = never_negative(step, draft.sign, draft.target.constants)
            draft.sign.update(dict.fromkeys(step.outputs, sign))
            nodes.take_over(draft, step)
    for port in draft.target.outputs:
        draft.collapsed(port.name)


def _finished(draft: Draft) -> Blueprint:
    """Drop what nothing reads and number the source layers."""
    alive = {port.name for port in draft.target.outputs}
    steps: list[TicketStep] = []
    for step in reversed(draft.steps):
        if any(name in alive for name in step.nodes[-1].outputs):
            alive |= {name for node in step.nodes for name in node.inputs}
            steps.append(step)
    steps.reverse()
    numbered: list[TicketStep] = []
    for step in steps:
        if not isinstance(step, Run):
            index = sum(not isinstance(s, Run) for s in numbered)
            step = replace(step, source=replace(step.source, index=index))
        numbered.append(step)
    return Blueprint(
        target=draft.target,
        options=draft.options,
        steps=tuple(numbered),
        constants={name: v for name, v in draft.constants.items() if name in alive},
        dense=tuple(draft.dense),
        activation=draft.activation,
        copy_wise=frozenset(draft.kept),
        nonnegative=frozenset(name for name, known in draft.sign.items() if known),
        fresh=draft.fresh,
    )
