"""A transposed convolution as a convolution and a pixel shuffle, so that it can be constructed.

With stride s every output belongs to one of s phases per axis:

    y[s·q + r] = Σ_u x[q − u] · w[s·u + r]

The phases of a channel become channels of a plain convolution with ⌈k/s⌉ taps per axis, which the
shuffle interleaves; what the pads cut off is sliced away.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lt_onnx.target import Array, Floats, Linear, Node, Shape, Step


@dataclass(frozen=True)
class _Axis:
    """One spatial axis: pads of the plain convolution, taps, stride, and what is cut off."""

    begin: int
    end: int
    taps: int
    stride: int
    cut_begin: int
    cut_end: int


def convolution(
    node: Node, weight: Floats, bias: Floats | None, shape: Shape | None, opset: int
) -> tuple[list[Step], dict[str, Array], dict[str, Shape]] | None:
    """Steps equal to the ConvTranspose `node`, their constants, and the shapes between them.

    None where pads depend on a size that is not known, or reach further than the kernel.

    `weight` is [I, O/G, *K], `shape` that of the node's input.
    """
    rank = weight.ndim - 2
    group = int(node.attributes.get("group", 1))
    attributes = None if shape is None else _resolved(node.attributes, weight.shape, shape)
    if shape is None or attributes is None:
        return None
    axes = [_axis(attributes, weight.shape, i) for i in range(rank)]
    if any(axis.begin < 0 or axis.end < 0 or axis.cut_begin < 0 for axis in axes):
        return None
    out = weight.shape[1] * group
    phases = math.prod(axis.stride for axis in axes)
    sums = node.outputs[0] if phases == 1 else f"{node.outputs[0]}/phases"
    layer = Linear(
        name=node.name,
        op="Conv",
        input=node.inputs[0],
        output=sums,
        weight=_phases(weight, group, axes, node.attributes),
        bias=np.repeat(np.zeros(out, np.float32) if bias is None else bias, phases),
        group=group,
        attributes={"pads": [a.begin for a in axes] + [a.end for a in axes]},
    )
    if phases == 1:
        return [layer], {}, {}
    strides = [axis.stride for axis in axes]
    positions = [
        d + axis.begin + axis.end - axis.taps + 1 if isinstance(d, int) else None
        for d, axis in zip(shape[2:], axes, strict=True)
    ]
    cut = any(axis.cut_begin or axis.cut_end for axis in axes)
    whole = f"{node.outputs[0]}/whole" if cut else node.outputs[0]
    shuffled = _shuffle(node.name, sums, whole, out, strides, positions, opset)
    if shuffled is None:
        return None
    steps, constants = shuffled
    spread = [None if d is None else d * s for d, s in zip(positions, strides, strict=True)]
    turned = [k for pair in zip(positions, strides, strict=True) for k in pair]
    shapes: dict[str, Shape] = {
        sums: (shape[0], out * phases, *positions),
        whole: (shape[0], out, *spread),
        f"{whole}/split": (shape[0], out, *strides, *positions),
        f"{whole}/turned": (shape[0], out, *turned),
    }
    shapes.pop(node.outputs[0], None)
    if cut:
        steps.append(_slice(node.name, whole, node.outputs[0], axes, constants, opset))
    return [layer, *steps], constants, shapes


def _resolved(attributes: Any, weight: tuple[int, ...], shape: Shape) -> dict[str, Any] | None:
    """The attributes with the pads that auto_pad or output_shape stand for."""
    rank, mode = len(shape) - 2, attributes.get("auto_pad", "NOTSET")
    sizes = list(attributes.get("output_shape") or [])[-rank:]
    if mode in ("NOTSET", "VALID") and not sizes:
        return dict(attributes) | ({"pads": [0] * 2 * rank} if mode == "VALID" else {})
    begin, end = [], []
    for i in range(rank):
        stride, dilation, extra = (
            int((attributes.get(key) or [default] * rank)[i])
            for key, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
        )
        total = (weight[2 + i] - 1) * dilation + 1 - stride + extra
        if sizes:
            into = shape[2 + i]
            if not isinstance(into, int):
                return None
            total += stride * into - int(sizes[i])
        if total < 0:
            return None
        begin.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
        end.append(total - begin[-1])
    return dict(attributes) | {"pads": [*begin, *end]}


def _axis(attributes: Any, shape: tuple[int, ...], i: int) -> _Axis:
    rank = len(shape) - 2

    def of(key: str, default: int, at: int = i) -> int:
        return int((attributes.get(key) or (default,) * 2 * rank)[at])

    stride, extra = of("strides", 1), of("output_padding", 0)
    reach = (shape[2 + i] - 1) * of("dilations", 1) + 1
    before, after = of("pads", 0), of("pads", 0, i + rank)
    taps = -(-reach // stride)
    first, last = before // stride, (reach - 1 - after + extra) // stride
    # outputs cover stride · (n + last - first) positions from stride · first on
    made = stride * (last - first + 1) - stride
    wanted = reach - before - after + extra - stride
    cut = before - stride * first
    return _Axis(taps - 1 - first, last, taps, stride, cut, made - wanted - cut)


def _phases(weight: Floats, group: int, axes: list[_Axis], attributes: Any) -> Floats:
    """[I, O/G, *K] as [O·phases, I/G, *taps]."""
    into, out, *kernel = weight.shape
    dilations = attributes.get("dilations") or [1] * len(kernel)
    full = np.zeros((into, out, *[a.taps * a.stride for a in axes]), np.float32)
    spots = tuple(slice(0, (k - 1) * d + 1, d) for k, d in zip(kernel, dilations, strict=True))
    full[(slice(None), slice(None), *spots)] = weight
    split = full.reshape(group, into // group, out, *[n for a in axes for n in (a.taps, a.stride)])
    rank = len(axes)
    taps, strides = [3 + 2 * i for i in range(rank)], [4 + 2 * i for i in range(rank)]
    moved = split.transpose(0, 2, *strides, 1, *taps)
    plain = moved.reshape(-1, into // group, *[a.taps for a in axes])
    return np.ascontiguousarray(np.flip(plain, tuple(range(2, 2 + rank))))


def _shuffle(
    name: str,
    source: str,
    output: str,
    out: int,
    strides: list[int],
    positions: list[int | None],
    opset: int,
) -> tuple[list[Step], dict[str, Array]] | None:
    """Interleave the phases: DepthToSpace, or reshapes where it does not reach."""
    if len(strides) == 2 and strides[0] == strides[1] and opset >= 11:
        attributes = {"blocksize": strides[0], "mode": "CRD"}
        return [Node("DepthToSpace", f"{name}/shuffle", (source,), (output,), attributes)], {}
    if len(strides) > 1 and None in positions:
        return None  # Reshape can infer one axis only
    sizes = [-1 if d is None else d for d in positions]
    joined = [-1 if d is None else d * s for d, s in zip(positions, strides, strict=True)]
    constants: dict[str, Array] = {
        f"{name}/split/shape": np.array([0, out, *strides, *sizes], np.int64),
        f"{name}/join/shape": np.array([0, out, *joined], np.int64),
    }
    rank = len(strides)
    order = [0, 1, *[k for i in range(rank) for k in (2 + rank + i, 2 + i)]]
    split, turned = f"{output}/split", f"{output}/turned"
    return [
        Node("Reshape", f"{name}/split", (source, f"{name}/split/shape"), (split,)),
        Node("Transpose", f"{name}/turn", (split,), (turned,), {"perm": order}),
        Node("Reshape", f"{name}/join", (turned, f"{name}/join/shape"), (output,)),
    ], constants


def _slice(
    name: str, source: str, output: str, axes: list[_Axis], constants: dict[str, Array], opset: int
) -> Node:
    """Cut off what lies outside."""
    spatial = list(range(2, 2 + len(axes)))
    starts = [axis.cut_begin for axis in axes]
    ends = [-axis.cut_end if axis.cut_end else 2**31 - 1 for axis in axes]
    if opset < 10:
        bounds = {"starts": starts, "ends": ends, "axes": spatial}
        return Node("Slice", f"{name}/cut", (source,), (output,), bounds)
    names = []
    for key, value in (("starts", starts), ("ends", ends), ("axes", spatial)):
        names.append(f"{name}/cut/{key}")
        constants[names[-1]] = np.array(value, np.int64)
    return Node("Slice", f"{name}/cut", (source, *names), (output,))
