"""Open a two-for-one block: the univariate layer before a constructed one (Alg. 1, odd layers)."""

import math
from dataclasses import replace

import numpy as np

from lt_onnx.blueprint import Expand
from lt_onnx.layout import Layout, opened
from lt_onnx.ops.activation_fit import Use
from lt_onnx.ops.rule import RefusalError
from lt_onnx.ops.table import rule_for
from lt_onnx.planning.allocation import neurons
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Node


def open_block(
    draft: Draft, tensor: str, channels: int, group: int, axis: int, rank: int, constants: bool
) -> tuple[str, Expand]:
    """Open a two-for-one block on `tensor`, unless it is open; returns its output's key and it."""
    key = (tensor, group, constants)
    if key in draft.expanded:
        return draft.expanded[key]
    node = draft.origins.get(tensor)
    if node is not None and group == 1 and tensor not in draft.fresh:
        moved = _open_before(draft, node, constants)
        if moved is not None:
            draft.expanded[key] = moved
            return moved
    layout = draft.layouts.get(tensor)
    if layout is not None and (layout.copies > 1 or layout.axis != axis or tensor in draft.fresh):
        draft.collapsed(tensor)
        layout = None
    source = draft.plain[tensor] if layout is None else draft.physical[tensor]
    name = draft.unused(f"{tensor}/univariate")
    step = _univariate(draft, name, tensor, source, layout, channels, axis, rank, group, constants)
    draft.steps.append(step)
    made = f"{tensor}\0expanded\0{group}\0{constants}"
    draft.shapes[made] = draft.shapes.get(tensor, ())
    draft.put(made, step.output, step.out_layout)
    draft.expanded[key] = (made, step)
    return draft.expanded[key]


def _open_before(draft: Draft, node: Node, constants: bool) -> tuple[str, Expand] | None:
    """Open the block before a Flatten, where a channel is still one channel, if that works."""
    before = draft.shapes.get(node.inputs[0])
    if before is None or len(before) < 3 or not isinstance(before[1], int):
        return None
    layout = draft.layouts.get(node.inputs[0])
    if layout is not None and (layout.copies > 1 or layout.axis != 1):
        return None
    mark, opened_before = len(draft.steps), dict(draft.expanded)
    made, step = open_block(draft, node.inputs[0], before[1], 1, 1, len(before), constants)
    name = draft.unused(f"{node.name}/expanded")
    output = f"{node.outputs[0]}\0expanded"
    again = replace(node, name=name, inputs=(made, *node.inputs[1:]), outputs=(output,))
    draft.shapes[output] = draft.shapes.get(node.outputs[0], ())
    draft.physical[output] = name
    try:
        spread = rule_for(node)(again, [draft.layouts[made]], draft)
        assert isinstance(spread, Layout)
    except RefusalError:
        del draft.steps[mark:]
        draft.expanded = opened_before
        return None
    draft.put(output, name, spread)
    return output, step


def _univariate(
    draft: Draft,
    name: str,
    tensor: str,
    source: str,
    layout: Layout | None,
    size: int,
    axis: int,
    rank: int,
    group: int,
    constants: bool,
) -> Expand:
    """The layer: how many neurons it has and for what, its random weights and its nodes."""
    use = draft.model.use
    nonnegative = draft.sign.get(tensor, False)
    parts = (1, -1) if use is Use.SPLIT and not nonnegative else (1,)
    if use is not Use.SPLIT:
        parts = (0,)
    m = neurons(draft.target, draft.options, draft.views_of(tensor), size * len(parts))
    slots = np.stack(
        [np.repeat(np.arange(size), len(parts) * m), np.tile(np.repeat(parts, m), size)], axis=1
    )
    reserve = RESERVE if constants else 0
    opens = reserve > 0 and (layout is None or not layout.constants)
    data = len(slots)
    half = data if use is Use.MIRROR else 0
    if use is Use.SPLIT:
        # a neuron of the wrong sign for every slot still open is left over
        total = data + reserve
        rows = math.ceil(total * (1 + max(0.25, 1 / size)) + 4 * math.sqrt(total)) + 8
    else:
        rows = data + half + 2 * reserve + (8 if reserve else 0)
    width = layout.width if layout is not None else size
    convolution = axis == 1 and rank > 2
    spec = SourceLayer(
        name=draft.unused(f"{name}/weight"),
        index=draft.layer_number(),
        shape=(rows, width, *[1] * (rank - 2)) if convolution else (rows, width),
        bias=opens,
        mirror_rows=half,
        transposed=not convolution and (rank > 2 or not draft.has_gemm),
    )
    out = opened(slots, size, group, reserve, half > 0, axis)
    scale, order = draft.unused(f"{name}/sigma"), draft.unused(f"{name}/order")
    tensors = {key: draft.unused(f"{name}/{key}") for key in ("sum", "scaled", "neurons")}
    bias = f"{spec.name}/bias"
    extra = (bias,) if opens else ()
    if convolution:
        first_node = Node("Conv", name, (source, spec.name, *extra), (tensors["sum"],))
    elif not spec.transposed:
        first_node = Node(
            "Gemm", name, (source, spec.name, *extra), (tensors["sum"],), {"transB": 1}
        )
    else:
        first_node = Node("MatMul", name, (source, spec.name), (tensors["sum"],))
    nodes = [first_node]
    scaled_from = tensors["sum"]
    if opens and first_node.op == "MatMul":
        scaled_from = draft.unused(f"{name}/biased")
        nodes.append(Node("Add", f"{name}/add", (tensors["sum"], bias), (scaled_from,)))
    for constant in draft.activation.constants(draft.target):
        draft.constants[constant] = draft.target.constants[constant]
    output = draft.unused(f"{tensor}/neurons")
    nodes += [
        Node("Mul", scale, (scaled_from, scale), (tensors["scaled"],)),
        *draft.activation.at(name, tensors["scaled"], tensors["neurons"]),
        Node("Gather", order, (tensors["neurons"], order), (output,), {"axis": axis}),
    ]
    return Expand(
        name=name,
        tensor=tensor,
        source=spec,
        input=source,
        in_layout=layout,
        output=output,
        out_layout=out,
        channels=size,
        neurons=m,
        slots=slots,
        constants=reserve,
        model=draft.model,
        nonnegative=nonnegative,
        nodes=tuple(nodes),
        scale=scale,
        order=order,
    )
