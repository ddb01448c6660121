"""Plan a constructed layer, one-for-one (Alg. 2) or two-for-one (Alg. 1)."""

from dataclasses import replace

import numpy as np

from lt_onnx.blueprint import Build, Expand
from lt_onnx.layout import CONSTANT, INT, UNUSED, Layout, built
from lt_onnx.ops.activation_fit import Use
from lt_onnx.ops.activations import next_one
from lt_onnx.ops.conv_padding import admissible_taps, explicit_pads
from lt_onnx.options import Mode
from lt_onnx.planning.blocks import open_block
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Linear, Node


def build(draft: Draft, linear: Linear) -> None:
    """Plan `linear`: by what its input is in the draft, and what is asked of its output."""
    if linear.input in draft.views:
        draft.collapsed(linear.input)
    demand = draft.demand(linear.output)
    copies = draft.options.copies if demand.copies else 1
    needs = demand.constants > 0 or bool(linear.bias.any())
    rank, axis = _rank(draft, linear)
    layout = draft.layouts.get(linear.input)
    one_for_one = (
        draft.options.mode is Mode.L_PLUS_1
        and layout is not None
        and layout.axis == axis
        and layout.copies > 1
        and linear.input not in draft.fresh
        and (layout.constants > 0 or not needs)
    )
    key, block = linear.input, None
    if not one_for_one:
        channels = linear.weight.shape[1] * linear.group
        key, block = open_block(draft, key, channels, linear.group, axis, rank, needs)
    layout, source = draft.layouts[key], draft.physical[key]
    pads = explicit_pads(linear)
    if needs and pads is not None and any(pads) and not admissible_taps(linear, pads):
        layout, source = _pad_by_hand(draft, linear, layout, source, pads, one_for_one)
        pads = (0,) * len(pads)
    if one_for_one and linear.group > 1:
        layout, source = _by_group(draft, linear, layout, source)
    out = built(len(linear.bias), copies, linear.group, demand.rows, axis if rank > 2 else 1)
    width = layout.width // linear.group
    spec = SourceLayer(
        name=draft.unused(f"{linear.name}/weight"),
        index=draft.layer_number(),
        shape=(out.width, width, *linear.kernel),
        mirror_columns=layout.mirror,
        transposed=linear.op == "MatMul" or (linear.op == "Gemm" and not draft.has_gemm),
    )
    is_plain = copies == 1 and not demand.rows
    output = linear.output
    if not is_plain and linear.output in draft.outputs:
        output = f"{linear.output}/copies"
    total = draft.unused(f"{linear.name}/sum")
    scale = draft.unused(f"{linear.name}/sigma")
    if linear.op == "Conv":
        attributes = {k: v for k, v in linear.attributes.items() if k != "pads"}
        if pads is not None:
            attributes.pop("auto_pad", None)
            attributes["pads"] = list(pads)
        attributes |= {"group": linear.group, "kernel_shape": list(linear.kernel)}
        first = Node("Conv", linear.name, (source, spec.name), (total,), attributes)
    elif not spec.transposed:
        first = Node("Gemm", linear.name, (source, spec.name), (total,), {"transB": 1})
    else:
        first = Node("MatMul", linear.name, (source, spec.name), (total,))
    draft.steps.append(
        Build(
            name=linear.name,
            linear=linear,
            source=spec,
            input=source,
            in_layout=layout,
            output=output,
            out_layout=out,
            expand=None if block is None else block.name,
            follows=next_one(linear.output, draft.target),
            nodes=(first, Node("Mul", scale, (total, scale), (output,))),
            scale=scale,
            pads=pads,
            base_size=layout.copies if block is None else block.neurons,
            coefficients=_coefficients(draft, block),
            builds_constants=demand.constants > 0,
        )
    )
    draft.put(linear.output, output, None if is_plain else out)


def _coefficients(draft: Draft, block: Expand | None) -> dict[int, float]:
    """How the features of a channel add up to it (see `activations`)."""
    model = draft.model
    if block is None or model.use is not Use.SPLIT:
        return {0: 1.0}
    if block.nonnegative:
        return {1: 1 / model.positive}
    r = 1 / (model.positive + model.negative)
    return {1: r, -1: -r}


def _rank(draft: Draft, linear: Linear) -> tuple[int, int]:
    """Rank of the input and the axis of its channels."""
    if linear.op == "Conv":
        return len(linear.kernel) + 2, 1
    if linear.op == "Gemm":
        return 2, 1
    rank = len(draft.shapes[linear.input])
    return rank, rank - 1


def _by_group(draft: Draft, linear: Linear, layout: Layout, source: str) -> tuple[Layout, str]:
    """Reorder so that each group has its channels' copies, then the constants."""
    size = layout.size // linear.group
    constants = np.flatnonzero(layout.channel == CONSTANT)[:RESERVE]
    places: list[int] = []
    for g in range(linear.group):
        for c in range(g * size, (g + 1) * size):
            copies = np.flatnonzero(layout.channel == c)
            if not len(copies):  # a channel of zeros must still fill its place
                copies = np.full(layout.copies, -1)
            places += copies.tolist()
        places += constants.tolist()
    index = np.array(places, np.int64)
    if np.array_equal(index, np.arange(layout.width)):
        return layout, source
    zero = index < 0
    taken = layout.take(np.where(zero, 0, index))
    taken = replace(taken, channel=np.where(zero, UNUSED, taken.channel).astype(INT))
    return taken, draft.gather(source, index, layout.axis, f"{linear.name}/groups")


def _pad_by_hand(
    draft: Draft,
    linear: Linear,
    layout: Layout,
    source: str,
    pads: tuple[int, ...],
    reordered: bool,
) -> tuple[Layout, str]:
    """Zeros around the data but edges around the constants, where no tap avoids padding.

    Unless they are `reordered` by group next, the channels of groups are brought back in order.
    """
    rank = len(pads) // 2
    full = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
    parts, places = [], []
    constant = layout.channel == CONSTANT
    for mode, wanted in (("constant", ~constant), ("edge", constant)):
        index = np.flatnonzero(wanted)
        places.append(index)
        part = draft.gather(source, index, 1, f"{linear.name}/{mode}")
        out = draft.unused(f"{linear.name}/{mode}_pad")
        draft.pad(part, out, full, mode)
        parts.append(out)
    out = draft.unused(f"{linear.name}/padded")
    draft.emit(Node("Concat", out, tuple(parts), (out,), {"axis": 1}))
    order = np.concatenate(places)
    taken = layout.take(order)
    if linear.group > 1 and not reordered:
        back = np.argsort(order, kind="stable")
        return layout, draft.gather(out, back, 1, f"{linear.name}/regroup")
    return taken, out
