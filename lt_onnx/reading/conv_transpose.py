"""A transposed convolution as a convolution and a pixel shuffle, so that it can be constructed.

With stride s every output belongs to one of s phases per axis:

    y[s·q + r] = Σ_u x[q − u] · w[s·u + r]

1. A ConvTranspose with constant weights becomes a layer of that operator, its weight as that of a
   convolution, so that what is affine behind it is fused into it first.
2. Then the phases of a channel become channels of a plain convolution with ⌈k/s⌉ taps per axis,
   which the shuffle interleaves; what the pads cut off is sliced away.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.reading.linear_layers import check_convolution, parameters
from lt_onnx.reading.rewriting import Network, Refusal, Result, Rewrite
from lt_onnx.target import Array, Floats, Linear, Node, Shape

DEFAULTS = {"strides": 1, "dilations": 1, "output_padding": 0}


@dataclass(frozen=True)
class _Axis:
    """One spatial axis: pads of the plain convolution, taps, stride, and what is cut off."""

    begin: int
    end: int
    taps: int
    stride: int
    cut_begin: int
    cut_end: int


def conv_transpose(node: Node, network: Network) -> Result:
    """Case 1: a layer with W [O, I/G, *K] whose attributes are all given."""
    if node.op != "ConvTranspose" or node.domain:
        return None
    known = parameters(node, network)
    if isinstance(known, Refusal):
        return known
    weight, bias = known
    group = check_convolution(node, network, weight, bias)
    shape = network.shapes.get(node.inputs[0])
    if shape is None:
        return Refusal("the shape of its input is not known")
    into, out, *kernel = weight.shape
    attributes = {
        key: list(node.attributes.get(key) or [default] * len(kernel))
        for key, default in DEFAULTS.items()
    }
    pads = _pads(node, attributes, kernel, shape)
    if isinstance(pads, Refusal):
        return pads
    grouped = weight.reshape(group, into // group, out, *kernel)
    layer = Linear(
        name=node.name,
        op="ConvTranspose",
        input=node.inputs[0],
        output=node.outputs[0],
        weight=grouped.swapaxes(1, 2).reshape(group * out, into // group, *kernel),
        bias=np.zeros(group * out, np.float32) if bias is None else bias,
        group=group,
        attributes=attributes | {"pads": pads},
    )
    possible = to_convolution(layer, network)
    return possible if isinstance(possible, Refusal) else Rewrite((layer,))


def to_convolution(layer: Linear, network: Network) -> Result:
    """Case 2: the steps that the layer of case 1 becomes."""
    if layer.op != "ConvTranspose":
        return None
    axes = [_axis(layer, i) for i in range(len(layer.kernel))]
    if any(min(axis.begin, axis.end, axis.cut_begin) < 0 for axis in axes):
        return Refusal("its pads reach further than its kernel")
    phases = math.prod(axis.stride for axis in axes)
    convolution = replace(
        layer,
        op="Conv",
        output=layer.output if phases == 1 else f"{layer.output}/phases",
        weight=_phases(layer, axes),
        bias=np.repeat(layer.bias, phases),
        attributes={"pads": [axis.begin for axis in axes] + [axis.end for axis in axes]},
    )
    if phases == 1:
        return Rewrite((convolution,))
    batch, _, *sizes = network.shapes[layer.input]
    positions = [
        size + axis.begin + axis.end - axis.taps + 1 if isinstance(size, int) else None
        for size, axis in zip(sizes, axes, strict=True)
    ]
    cut = any(axis.cut_begin or axis.cut_end for axis in axes)
    whole = f"{layer.output}/whole" if cut else layer.output
    shuffle = _shuffle(convolution, [axis.stride for axis in axes], positions, whole, network)
    if isinstance(shuffle, Refusal):
        return shuffle
    shapes = {**shuffle.shapes, convolution.output: (batch, len(convolution.bias), *positions)}
    if not cut:
        return replace(shuffle, steps=(convolution, *shuffle.steps), shapes=shapes)
    spread = [None if d is None else d * a.stride for d, a in zip(positions, axes, strict=True)]
    shapes[whole] = (batch, len(layer.bias), *spread)
    ending = _slice(layer, whole, axes, network.opset)
    steps = (convolution, *shuffle.steps, *ending.steps)
    return Rewrite(steps, {**shuffle.constants, **ending.constants}, shapes)


def _pads(
    node: Node, attributes: Mapping[str, Sequence[int]], kernel: Sequence[int], shape: Shape
) -> list[int] | Refusal:
    """The pads of a ConvTranspose, also those that `auto_pad` or `output_shape` stand for."""
    rank, mode = len(kernel), node.attributes.get("auto_pad", "NOTSET")
    sizes = list(node.attributes.get("output_shape") or ())[-rank:]
    if mode in ("NOTSET", "VALID") and not sizes:
        pads = node.attributes.get("pads") if mode == "NOTSET" else None
        return list(pads or [0] * 2 * rank)
    begin, end = [], []
    for i, taps in enumerate(kernel):
        stride, dilation, extra = (attributes[key][i] for key in DEFAULTS)
        total = (taps - 1) * dilation + 1 - stride + extra
        if sizes:
            size = shape[2 + i]
            if not isinstance(size, int):
                return Refusal("its pads follow from a size that is not known")
            total += stride * size - int(sizes[i])
        if total < 0:
            return Refusal("its output is larger than its input and kernel make it")
        begin.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
        end.append(total - begin[-1])
    return [*begin, *end]


def _axis(layer: Linear, i: int) -> _Axis:
    """Spatial axis `i` of the layer of case 1."""
    stride, dilation, extra = (layer.attributes[key][i] for key in DEFAULTS)
    reach = (layer.kernel[i] - 1) * dilation + 1
    before, after = layer.attributes["pads"][i :: len(layer.kernel)]
    taps = -(-reach // stride)
    first, last = before // stride, (reach - 1 - after + extra) // stride
    # outputs cover stride · (n + last - first) positions from stride · first on
    covered = stride * (last - first + 1) - stride
    wanted = reach - before - after + extra - stride
    cut = before - stride * first
    return _Axis(taps - 1 - first, last, taps, stride, cut, covered - wanted - cut)


def _phases(layer: Linear, axes: Sequence[_Axis]) -> Floats:
    """The weight of case 1, [O, I/G, *K], as [O·phases, I/G, *taps]."""
    out, into, *kernel = layer.weight.shape
    dilations = layer.attributes["dilations"]
    full = np.zeros((out, into, *[a.taps * a.stride for a in axes]), np.float32)
    spots = tuple(slice(0, (k - 1) * d + 1, d) for k, d in zip(kernel, dilations, strict=True))
    full[(slice(None), slice(None), *spots)] = layer.weight
    split = full.reshape(out, into, *[n for a in axes for n in (a.taps, a.stride)])
    strides = range(3, 3 + 2 * len(axes), 2)
    moved = split.transpose(0, *strides, 1, *[axis - 1 for axis in strides])
    plain = moved.reshape(-1, into, *[a.taps for a in axes])
    return np.ascontiguousarray(np.flip(plain, tuple(range(2, plain.ndim))))


def _shuffle(
    phases: Linear,
    strides: Sequence[int],
    positions: Sequence[int | None],
    output: str,
    network: Network,
) -> Rewrite | Refusal:
    """Interleave the phases: DepthToSpace, or reshapes where it does not reach."""
    name, source, rank = phases.name, phases.output, len(strides)
    if rank == 2 and strides[0] == strides[1] and network.opset >= 11:
        attributes = {"blocksize": strides[0], "mode": "CRD"}
        return Rewrite((Node("DepthToSpace", f"{name}/shuffle", (source,), (output,), attributes),))
    if rank > 1 and None in positions:
        return Refusal("its sizes are not known: a Reshape can infer one axis only")
    out = len(phases.bias) // math.prod(strides)
    sizes = [-1 if d is None else d for d in positions]
    joined = [-1 if d is None else d * s for d, s in zip(positions, strides, strict=True)]
    constants: dict[str, Array] = {
        f"{name}/split/shape": np.array([0, out, *strides, *sizes], np.int64),
        f"{name}/join/shape": np.array([0, out, *joined], np.int64),
    }
    order = [0, 1, *[k for i in range(rank) for k in (2 + rank + i, 2 + i)]]
    split, turned = f"{output}/split", f"{output}/turned"
    steps = (
        Node("Reshape", f"{name}/split", (source, f"{name}/split/shape"), (split,)),
        Node("Transpose", f"{name}/turn", (split,), (turned,), {"perm": order}),
        Node("Reshape", f"{name}/join", (turned, f"{name}/join/shape"), (output,)),
    )
    whole = (network.shapes[phases.input][0], out, *strides, *positions)
    return Rewrite(steps, constants, {split: whole, turned: tuple(whole[axis] for axis in order)})


def _slice(layer: Linear, source: str, axes: Sequence[_Axis], opset: int) -> Rewrite:
    """Cut off what lies outside."""
    bounds = {
        "starts": [axis.cut_begin for axis in axes],
        "ends": [-axis.cut_end if axis.cut_end else 2**31 - 1 for axis in axes],
        "axes": list(range(2, 2 + len(axes))),
    }
    name = f"{layer.name}/cut"
    if opset < 10:  # bounds were attributes
        return Rewrite((Node("Slice", name, (source,), (layer.output,), bounds),))
    constants = {f"{name}/{key}": np.array(value, np.int64) for key, value in bounds.items()}
    return Rewrite((Node("Slice", name, (source, *constants), (layer.output,)),), constants)
