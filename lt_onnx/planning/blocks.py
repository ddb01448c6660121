"""Open a two-for-one block: the univariate layer before a constructed one (Alg. 1, odd layers)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lt_onnx.blueprint import Expand
from lt_onnx.layout import Layout, univariate_layout
from lt_onnx.ops.activation_fit import Use
from lt_onnx.ops.rule import RefusalError
from lt_onnx.ops.table import rule_for
from lt_onnx.planning.allocation import neurons
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.emitted import UNNUMBERED, Copies, Opening
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Node

Names = tuple[str, ...]
# that come from channels on the last axis: a block of fewer opens behind the Flatten, where it can
# be collapsed; one of more would have a univariate layer of gigabytes there
MANY_FEATURES = 1 << 12


def open_block(draft: Draft, opening: Opening) -> Copies:
    """Open a two-for-one block, unless it is open; returns what the layer behind it reads."""
    blocks = draft.emitted.blocks
    if opening not in blocks:
        blocks[opening] = _open_before_reshape(draft, opening) or _open(draft, opening)
    return blocks[opening]


def _open(draft: Draft, opening: Opening) -> Copies:
    """Open the block on the tensor itself, on the one copy that it has, or on copy 0."""
    tensor, layout = opening.tensor, draft.layout(opening.tensor)
    lost = tensor in draft.request.constants_lost
    if layout is not None and (layout.copies > 1 or layout.axis != opening.axis or lost):
        layout = None
    source = draft.collapsed(tensor) if layout is None else draft.place(tensor)
    name = draft.unused(f"{tensor}/univariate")
    expand = _univariate(draft, opening, name=name, source=source, layout=layout)
    draft.emitted.steps.append(expand)
    draft.emitted.shapes[expand.output] = draft.shape(tensor) or ()
    return Copies(expand.output, expand.out_layout, expand)


def _open_before_reshape(draft: Draft, opening: Opening) -> Copies | None:
    """Open the block before a Flatten, where a channel is still one channel, if that works."""
    node = draft.emitted.reshaped.get(opening.tensor)
    if node is None or opening.group > 1 or opening.tensor in draft.request.constants_lost:
        return None
    tensor = node.inputs[0]
    shape, layout = draft.shape(tensor), draft.layout(tensor)
    axis = 1 if layout is None else layout.axis
    if shape is None or len(shape) < 3 or (layout is not None and layout.copies > 1):
        return None
    size, rank = shape[axis], len(shape)
    if not isinstance(size, int) or (axis != 1 and opening.channels < MANY_FEATURES):
        return None
    snapshot = draft.emitted.snapshot()
    before = open_block(draft, Opening(tensor, size, 1, axis, rank, opening.constants))
    name = draft.unused(f"{node.name}/expanded")
    inputs = (before.name, *node.inputs[1:])
    again = replace(node, name=name, inputs=inputs, outputs=(name,))
    try:
        spread = rule_for(node)(again, [before.layout], draft)
    except RefusalError:
        spread = None
    # where the channels come to lie on another axis, others are the layer's
    if not isinstance(spread, Layout) or spread.axis != opening.axis:
        draft.emitted.restore(snapshot)
        return None
    return Copies(name, spread, before.expand)


def _univariate(
    draft: Draft, opening: Opening, *, name: str, source: str, layout: Layout | None
) -> Expand:
    """The layer: how many neurons it has and for what, its random weights and its nodes."""
    request, size = draft.request, opening.channels
    use, nonnegative = request.model.use, opening.tensor in request.nonnegative
    # parts of a channel that have neurons of their own (see `Layout`)
    parts = (0,) if use is not Use.SPLIT else (1,) if nonnegative else (1, -1)
    views = _reshaped_from(draft, opening.tensor)
    m = neurons(request.target, request.options, views=views, features=size * len(parts))
    channel, part = np.repeat(np.arange(size), len(parts) * m), np.repeat(parts, m)
    slots = np.stack([channel, np.tile(part, size)], axis=1)
    constants = RESERVE if opening.constants else 0
    biased = constants > 0 and (layout is None or not layout.constants)
    width = layout.width if layout is not None else size
    rows = _rows(use, size, slots=len(slots), constants=constants)
    convolution = opening.axis == 1 and opening.rank > 2
    spec = SourceLayer(
        name=draft.unused(f"{name}/weight"),
        index=UNNUMBERED,
        shape=(rows, width, *[1] * (opening.rank - 2)) if convolution else (rows, width),
        bias=biased,
        mirror_rows=len(slots) if use is Use.MIRROR else 0,
        transposed=not convolution and (opening.rank > 2 or not request.has_gemm),
    )
    group, mirrored = opening.group, use is Use.MIRROR
    out = univariate_layout(
        size, opening.axis, slots=slots, group=group, constants=constants, mirrored=mirrored
    )
    scale, order = draft.unused(f"{name}/sigma"), draft.unused(f"{name}/order")
    nodes = _nodes(draft, spec, name, source=source, scale=scale)
    output = draft.unused(f"{opening.tensor}/neurons")
    reordered = nodes[-1].outputs[0], order
    nodes.append(Node("Gather", order, reordered, (output,), {"axis": opening.axis}))
    return Expand(
        name=name,
        tensor=opening.tensor,
        source=spec,
        input=source,
        in_layout=layout,
        output=output,
        out_layout=out,
        channels=size,
        neurons=m,
        slots=slots,
        group=group,
        constants=constants,
        model=request.model,
        nonnegative=nonnegative,
        nodes=tuple(nodes),
        scale=scale,
        order=order,
    )


def _nodes(draft: Draft, spec: SourceLayer, name: str, *, source: str, scale: str) -> list[Node]:
    """The layer's nodes up to its activation: product, bias, scale, φ."""
    request = draft.request
    total, scaled, output = (draft.unused(f"{name}/{key}") for key in ("sum", "scaled", "neurons"))
    bias = (f"{spec.name}/bias",) if spec.bias else ()
    nodes = [product(name, spec, inputs=(source, spec.name, *bias), output=total, conv={})]
    if bias and spec.transposed:
        biased = draft.unused(f"{name}/biased")
        nodes.append(Node("Add", f"{name}/add", (total, *bias), (biased,)))
    for constant in request.activation.constants(request.target):
        draft.take_constant(constant)
    nodes.append(Node("Mul", scale, (nodes[-1].outputs[0], scale), (scaled,)))
    return [*nodes, *request.activation.at(name, scaled, output)]


def product(
    name: str, spec: SourceLayer, *, inputs: Names, output: str, conv: Mapping[str, Any]
) -> Node:
    """The node that multiplies by random weights; MatMul takes no bias, `conv` are for Conv."""
    if len(spec.shape) > 2:
        return Node("Conv", name, inputs, (output,), conv)
    if spec.transposed:
        return Node("MatMul", name, inputs[:2], (output,))
    return Node("Gemm", name, inputs, (output,), {"transB": 1})


def _rows(use: Use, size: int, *, slots: int, constants: int) -> int:
    """Neurons of the source, of which the ticket chooses: more than it needs."""
    if use is not Use.SPLIT:
        mirrors = slots if use is Use.MIRROR else 0
        return slots + mirrors + 2 * constants + (8 if constants else 0)
    # a neuron of the wrong sign for every slot still open is left over
    total = slots + constants
    return math.ceil(total * (1 + max(0.25, 1 / size)) + 4 * math.sqrt(total)) + 8


def _reshaped_from(draft: Draft, tensor: str) -> set[str]:
    """A target tensor and what was flattened or reshaped from it so far."""
    views = {tensor}
    views.update(out for out, node in draft.emitted.reshaped.items() if node.inputs[0] in views)
    return views
