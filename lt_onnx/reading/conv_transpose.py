"""A transposed convolution as a convolution and a pixel shuffle, so that it can be constructed.

With stride s every output belongs to one of s phases per axis:

    y[s·q + r] = Σ_u x[q − u] · w[s·u + r]

1. A ConvTranspose with constant weights becomes a layer of that operator with the taps of w in
   place, so that what is affine behind it is fused into it first.
2. Then the phases of a channel become channels of a plain convolution with ⌈k/s⌉ taps per axis,
   which the shuffle interleaves; what the pads cut off is sliced away.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_onnx.reading.linear_layers import check_convolution, parameters
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Array, Floats, Linear, Node, Shape

PerAxis: TypeAlias = NDArray[np.int64]  # a number for each spatial axis


def conv_transpose(node: Node, network: Network) -> RuleResult:
    """Case 1.

    The layer's weight is [O, I/G, *(taps · stride)]. Its attributes are those of the plain
    convolution, `strides` (of the shuffle), `begin` and `end` (pads), and what is cut off behind
    the shuffle, `cut_begin` and `cut_end`, each of one number per spatial axis.
    """
    parts = parameters("ConvTranspose", node, network)
    if parts is None or isinstance(parts, Refusal):
        return parts
    weight, bias = parts
    group = check_convolution(node, network, weight, bias)
    into, out, *kernel = weight.shape
    ones = [1] * len(kernel)
    strides = np.array(node.attributes.get("strides") or ones)
    dilations = np.array(node.attributes.get("dilations") or ones)
    extra = np.array(node.attributes.get("output_padding") or [0] * len(kernel))
    reach = (np.array(kernel) - 1) * dilations + 1
    pads = _pads(node, network.shapes.get(node.inputs[0]), strides, reach - strides + extra)
    if isinstance(pads, Refusal):
        return pads
    before, after = pads
    taps = -(-reach // strides)
    first, last = before // strides, (reach - 1 - after + extra) // strides
    # of n inputs, outputs cover stride · (n + last - first) positions from stride · first on
    surplus = strides * (last - first + 1) - (reach - before - after + extra)
    cut = before - strides * first
    attributes = {
        "strides": strides,
        "begin": taps - 1 - first,
        "end": last,
        "cut_begin": cut,
        "cut_end": surplus - cut,
    }
    if min(attributes[key].min() for key in ("begin", "end", "cut_begin")) < 0:
        return Refusal("its pads reach further than its kernel")
    full = np.zeros((group * out, into // group, *taps * strides), np.float32)
    spots = [slice(0, r, d) for r, d in zip(reach.tolist(), dilations.tolist(), strict=True)]
    grouped = weight.reshape(group, into // group, out, *kernel).swapaxes(1, 2)
    full[:, :, *spots] = grouped.reshape(group * out, into // group, *kernel)
    layer = Linear(
        name=node.name,
        op="ConvTranspose",
        input=node.inputs[0],
        output=node.outputs[0],
        weight=full,
        bias=np.zeros(group * out, np.float32) if bias is None else bias,
        group=group,
        attributes=attributes,
    )
    possible = to_convolution(layer, network)
    return possible if isinstance(possible, Refusal) else Rewrite((layer,))


def _pads(
    node: Node, shape: Shape | None, strides: PerAxis, total: PerAxis
) -> tuple[PerAxis, PerAxis] | Refusal:
    """Pads before and after, also those that `auto_pad` or `output_shape` stand for.

    `total` of both would make the output as large as the input times the stride.
    """
    rank, mode = len(strides), node.attributes.get("auto_pad", "NOTSET")
    wanted = list(node.attributes.get("output_shape") or ())[-rank:]
    if mode in ("NOTSET", "VALID") and not wanted:
        pads = node.attributes.get("pads") if mode == "NOTSET" else None
        before, after = np.array(pads or [0] * 2 * rank).reshape(2, rank)
        return before, after
    if wanted:
        sizes = [d for d in (shape or ())[2:] if isinstance(d, int)]
        if len(sizes) < rank:
            return Refusal("its pads follow from a size that is not known")
        total = total + strides * np.array(sizes) - np.array(wanted)
    if total.min() < 0:
        return Refusal("its output is larger than what it computes")
    more, less = total - total // 2, total // 2
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def to_convolution(layer: Linear, network: Network) -> RuleResult:
    """Case 2: the steps that the layer of case 1 becomes."""
    if layer.op != "ConvTranspose":
        return None
    if layer.input not in network.shapes:
        return Refusal("the shape of its input is not known")
    batch, _, *sizes = network.shapes[layer.input]
    strides, begin, end = (layer.attributes[key].tolist() for key in ("strides", "begin", "end"))
    phases = math.prod(strides)
    convolution = replace(
        layer,
        op="Conv",
        output=layer.output if phases == 1 else f"{layer.output}/phases",
        weight=_phases(layer.weight, strides),
        bias=np.repeat(layer.bias, phases),
        attributes={"pads": [*begin, *end]},
    )
    if phases == 1:
        return Rewrite((convolution,))
    positions = [
        size + b + e - taps + 1 if isinstance(size, int) else None
        for size, b, e, taps in zip(sizes, begin, end, convolution.kernel, strict=True)
    ]
    cut = bool(layer.attributes["cut_begin"].any() or layer.attributes["cut_end"].any())
    whole = f"{layer.output}/whole" if cut else layer.output
    shuffle = _shuffle(convolution, strides, (batch, *positions), whole, network.opset)
    if isinstance(shuffle, Refusal):
        return shuffle
    shapes = {**shuffle.shapes, convolution.output: (batch, len(convolution.bias), *positions)}
    if not cut:
        return replace(shuffle, steps=(convolution, *shuffle.steps), shapes=shapes)
    spread = [None if d is None else d * s for d, s in zip(positions, strides, strict=True)]
    shapes[whole] = (batch, len(layer.bias), *spread)
    ending = _slice(layer, whole, network.opset)
    steps = (convolution, *shuffle.steps, *ending.steps)
    return Rewrite(steps, {**shuffle.constants, **ending.constants}, shapes)


def _phases(weight: Floats, strides: Sequence[int]) -> Floats:
    """[O, I/G, *(taps · stride)] as [O·phases, I/G, *taps]."""
    out, into, *extents = weight.shape
    taps = [extent // stride for extent, stride in zip(extents, strides, strict=True)]
    pairs = [size for pair in zip(taps, strides, strict=True) for size in pair]
    split = weight.reshape(out, into, *pairs)
    phases = range(3, split.ndim, 2)
    moved = split.transpose(0, *phases, 1, *[axis - 1 for axis in phases])
    plain = moved.reshape(-1, into, *taps)
    return np.ascontiguousarray(np.flip(plain, tuple(range(2, plain.ndim))))


def _shuffle(
    phases: Linear, strides: Sequence[int], sizes: Shape, output: str, opset: int
) -> Rewrite | Refusal:
    """Interleave the phases: DepthToSpace, or reshapes where it does not reach.

    `sizes` are those of the phases, [N, *K].
    """
    name, source, rank = phases.name, phases.output, len(strides)
    if rank == 2 and strides[0] == strides[1] and opset >= 11:
        attributes = {"blocksize": strides[0], "mode": "CRD"}
        return Rewrite((Node("DepthToSpace", f"{name}/shuffle", (source,), (output,), attributes),))
    batch, *positions = sizes
    if rank > 1 and None in positions:
        return Refusal("its sizes are not known, of which a Reshape can infer one only")
    out = len(phases.bias) // math.prod(strides)
    apart = [d if isinstance(d, int) else -1 for d in positions]
    joined = [d * s if d > 0 else -1 for d, s in zip(apart, strides, strict=True)]
    constants: dict[str, Array] = {
        f"{name}/split/shape": np.array([0, out, *strides, *apart], np.int64),
        f"{name}/join/shape": np.array([0, out, *joined], np.int64),
    }
    order = [0, 1, *[axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]]
    split, turned = f"{output}/split", f"{output}/turned"
    steps = (
        Node("Reshape", f"{name}/split", (source, f"{name}/split/shape"), (split,)),
        Node("Transpose", f"{name}/turn", (split,), (turned,), {"perm": order}),
        Node("Reshape", f"{name}/join", (turned, f"{name}/join/shape"), (output,)),
    )
    shape = (batch, out, *strides, *positions)
    return Rewrite(steps, constants, {split: shape, turned: tuple(shape[axis] for axis in order)})


def _slice(layer: Linear, source: str, opset: int) -> Rewrite:
    """Cut off what lies outside."""
    begin, end = layer.attributes["cut_begin"], layer.attributes["cut_end"]
    bounds = {
        "starts": begin.tolist(),
        "ends": np.where(end == 0, 2**31 - 1, -end).tolist(),
        "axes": list(range(2, 2 + len(layer.kernel))),
    }
    name = f"{layer.name}/cut"
    if opset < 10:  # bounds were attributes
        return Rewrite((Node("Slice", name, (source,), (layer.output,), bounds),))
    constants = {f"{name}/{key}": np.array(value, np.int64) for key, value in bounds.items()}
    return Rewrite((Node("Slice", name, (source, *constants), (layer.output,)),), constants)
