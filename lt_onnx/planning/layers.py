"""Plan a constructed layer, one-for-one (Alg. 2) or two-for-one (Alg. 1)."""

from dataclasses import replace
from typing import Any

import numpy as np

from lt_onnx.blueprint import Build, Expand
from lt_onnx.layout import CONSTANT, INT, UNUSED, constructed_layout
from lt_onnx.ops.activation_fit import LocalModel, Use
from lt_onnx.ops.activations import next_one
from lt_onnx.ops.conv_padding import admissible_taps, explicit_pads
from lt_onnx.planning.blocks import open_block, product
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.emitted import UNNUMBERED, Copies, Opening
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Linear, Node


def build(draft: Draft, linear: Linear) -> None:
    """Plan `linear`: by what its input is in the draft, and what is asked of its output."""
    request = draft.request
    if linear.input in draft.emitted.undecided:
        draft.collapsed(linear.input)
    required = request.required(linear.output)
    copies = request.options.copies if required.copies else 1
    needs_constants = required.constants > 0 or bool(linear.bias.any())
    rank, axis = _rank(draft, linear)
    if _is_one_for_one(draft, linear, axis, needs_constants):
        source = draft.emitted.copies[linear.input]
    else:
        channels = linear.weight.shape[1] * linear.group
        opening = Opening(linear.input, channels, linear.group, axis, rank, needs_constants)
        source = open_block(draft, opening)
    expand = source.expand
    pads = explicit_pads(linear)
    if needs_constants and pads is not None and any(pads) and not admissible_taps(linear, pads):
        source = _padded(draft, linear, source, pads=pads, in_order=expand is not None)
        pads = (0,) * len(pads)
    if expand is None and linear.group > 1:
        source = _by_group(draft, linear, source)
    size, group = len(linear.bias), linear.group
    out = constructed_layout(size, axis, copies=copies, group=group, constants=required.rows)
    spec = SourceLayer(
        name=draft.unused(f"{linear.name}/weight"),
        index=UNNUMBERED,
        shape=(out.width, source.layout.width // linear.group, *linear.kernel),
        mirror_columns=source.layout.mirror,
        transposed=linear.op == "MatMul" or (linear.op == "Gemm" and not request.has_gemm),
    )
    is_plain = copies == 1 and not required.rows
    output = linear.output if is_plain else draft.place(linear.output)
    total = draft.unused(f"{linear.name}/sum")
    scale = draft.unused(f"{linear.name}/sigma")
    inputs, conv = (source.name, spec.name), _conv_attributes(linear, pads)
    multiplied = product(linear.name, spec, inputs=inputs, output=total, conv=conv)
    draft.emitted.steps.append(
        Build(
            name=linear.name,
            linear=linear,
            source=spec,
            input=source.name,
            in_layout=source.layout,
            output=output,
            out_layout=out,
            expand=None if expand is None else expand.name,
            follows=next_one(linear.output, request.target),
            nodes=(multiplied, Node("Mul", scale, (total, scale), (output,))),
            scale=scale,
            pads=pads,
            base_size=source.layout.copies if expand is None else expand.neurons,
            coefficients=_coefficients(request.model, expand),
            builds_constants=required.constants > 0,
        )
    )
    draft.put(linear.output, output, None if is_plain else out)


def _is_one_for_one(draft: Draft, linear: Linear, axis: int, needs_constants: bool) -> bool:
    """Whether the layer finds copies of its input channels, and constants if it needs any."""
    layout = draft.layout(linear.input)
    return (
        not draft.request.options.is_two_for_one(linear.name)
        and layout is not None
        and layout.axis == axis
        and layout.copies > 1
        and linear.input not in draft.request.constants_lost
        and (layout.constants > 0 or not needs_constants)
    )


def _conv_attributes(linear: Linear, pads: tuple[int, ...] | None) -> dict[str, Any]:
    """Attributes of the target's convolution; `pads` None are the runtime's to resolve."""
    attributes = {key: v for key, v in linear.attributes.items() if key != "pads"}
    if pads is not None:
        attributes.pop("auto_pad", None)
        attributes["pads"] = list(pads)
    return attributes | {"group": linear.group, "kernel_shape": list(linear.kernel)}


def _coefficients(model: LocalModel, expand: Expand | None) -> dict[int, float]:
    """How the features of a channel add up to it, by part (see `activation_fit`)."""
    if expand is None or model.use is not Use.SPLIT:
        return {0: 1.0}
    if expand.nonnegative:
        return {1: 1 / model.positive}
    r = 1 / (model.positive + model.negative)
    return {1: r, -1: -r}


def _rank(draft: Draft, linear: Linear) -> tuple[int, int]:
    """Rank of the input and the axis of its channels."""
    if linear.op == "Conv":
        return len(linear.kernel) + 2, 1
    if linear.op == "Gemm":
        return 2, 1
    shape = draft.shape(linear.input)
    assert shape is not None  # a MatMul is taken for a layer where its rank is known
    return len(shape), len(shape) - 1


def _by_group(draft: Draft, linear: Linear, source: Copies) -> Copies:
    """Reorder so that each group has its channels' copies, then the constants."""
    layout, size = source.layout, source.layout.size // linear.group
    constants = np.flatnonzero(layout.channel == CONSTANT)[:RESERVE]
    groups = []
    for g in range(linear.group):
        for c in range(g * size, (g + 1) * size):
            copies = np.flatnonzero(layout.channel == c)
            # a channel of zeros must still fill its place
            groups.append(copies if len(copies) else np.full(layout.copies, -1))
        groups.append(constants)
    places = np.concatenate(groups)
    if np.array_equal(places, np.arange(layout.width)):
        return source
    zero = places < 0
    taken = layout.take(np.where(zero, 0, places))
    taken = replace(taken, channel=np.where(zero, UNUSED, taken.channel).astype(INT))
    return Copies(draft.gather(source.name, places, layout.axis, f"{linear.name}/groups"), taken)


def _padded(
    draft: Draft, linear: Linear, source: Copies, *, pads: tuple[int, ...], in_order: bool
) -> Copies:
    """Zeros around the data but edges around the constants, where no tap avoids padding.

    `in_order` brings the channels of groups back in order.
    """
    rank = len(pads) // 2
    full = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
    parts, places = [], []
    constant = source.layout.channel == CONSTANT
    for mode, wanted in (("constant", ~constant), ("edge", constant)):
        places.append(np.flatnonzero(wanted))
        part = draft.gather(source.name, places[-1], 1, f"{linear.name}/{mode}")
        parts.append(draft.unused(f"{linear.name}/{mode}_pad"))
        draft.pad(part, parts[-1], full, mode)
    out = draft.unused(f"{linear.name}/padded")
    draft.emit(Node("Concat", out, tuple(parts), (out,), {"axis": 1}))
    order = np.concatenate(places)
    if linear.group > 1 and in_order:
        back = np.argsort(order, kind="stable")
        return Copies(draft.gather(out, back, 1, f"{linear.name}/regroup"), source.layout)
    return Copies(out, source.layout.take(order))
