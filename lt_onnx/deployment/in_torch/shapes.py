"""Shapes, places and reductions."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lt_onnx.deployment.in_torch.attributes import (
    Inputs,
    Operator,
    attribute,
    axis_of,
    numbers,
    optional,
    refused,
)
from lt_onnx.target import Node


def shape_of(node: Node, x: Inputs, _: int) -> Tensor:
    """Shape, of all axes or of some."""
    sizes = list(x[0].shape)[slice(attribute(node, "start", 0), attribute(node, "end"))]
    return torch.tensor(sizes, dtype=torch.int64, device=x[0].device)


def reshape(node: Node, x: Inputs, _: int) -> Tensor:
    """Reshape; a size of 0 is that of the input."""
    sizes = attribute(node, "shape") or x[1].tolist()
    if not attribute(node, "allowzero", 0):
        sizes = [x[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    result: Tensor = x[0].reshape(sizes)
    return result


def flatten(node: Node, x: Inputs, _: int) -> Tensor:
    """Flatten to two axes."""
    axis = axis_of(node, x[0], 1)
    return x[0].reshape(math.prod(x[0].shape[:axis]), -1)


def transpose(node: Node, x: Inputs, _: int) -> Tensor:
    """Transpose; by default all axes the other way round."""
    return x[0].permute(*attribute(node, "perm", range(x[0].ndim - 1, -1, -1)))


def squeeze(node: Node, x: Inputs, _: int) -> Tensor:
    """Squeeze, of all axes of size 1 or of some."""
    axes = numbers(node, x, "axes", 1)
    return x[0].squeeze() if axes is None else x[0].squeeze(tuple(axes))


def unsqueeze(node: Node, x: Inputs, _: int) -> Tensor:
    """Unsqueeze; axes are those of the output."""
    axes = numbers(node, x, "axes", 1) or []
    result: Tensor = x[0]
    for axis in sorted(a + x[0].ndim + len(axes) if a < 0 else a for a in axes):
        result = result.unsqueeze(axis)
    return result


def split(node: Node, x: Inputs, _: int) -> tuple[Tensor, ...]:
    """Split in given sizes, or in as many parts as there are outputs."""
    axis, count = axis_of(node, x[0], 0), len(node.outputs)
    whole = x[0].shape[axis]
    sizes = numbers(node, x, "split", 1)
    if sizes is None:  # the last may be smaller
        sizes = [-(-whole // count)] * (count - 1)
        sizes.append(whole - sum(sizes))
    starts = [sum(sizes[:i]) for i in range(count)]
    return tuple(x[0].narrow(axis, start, size) for start, size in zip(starts, sizes, strict=True))


def slice_(node: Node, x: Inputs, _: int) -> Tensor:
    """Slice, backwards too."""
    starts, ends = (numbers(node, x, name, i) or [] for i, name in enumerate(("starts", "ends"), 1))
    axes = numbers(node, x, "axes", 3) or list(range(len(starts)))
    steps = numbers(node, x, "steps", 4) or [1] * len(starts)
    result: Tensor = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 1:
            part = slice(start, end).indices(result.shape[axis])
            result = result.narrow(axis, part[0], max(part[1] - part[0], 0))
            continue
        size = result.shape[axis]
        places = range(size)[slice(start, None if step < 0 and end < -size else end, step)]
        result = result.index_select(axis, torch.tensor(list(places), device=result.device))
    return result


def gather(node: Node, x: Inputs, _: int) -> Tensor:
    """Gather along an axis; places may count from the end."""
    axis, size = axis_of(node, x[0], 0), x[0].shape[axis_of(node, x[0], 0)]
    places = torch.where(x[1] < 0, x[1] + size, x[1]).long()
    picked = x[0].index_select(axis, places.reshape(-1))
    return picked.reshape(*x[0].shape[:axis], *places.shape, *x[0].shape[axis + 1 :])


def expand(node: Node, x: Inputs, _: int) -> Tensor:
    """Expand to a shape that both broadcast to."""
    return x[0].expand(np.broadcast_shapes(x[0].shape, tuple(x[1].tolist())))


def pad(node: Node, x: Inputs, _: int) -> Tensor:
    """Pad by a constant, the edge, a reflection or the other end."""
    pads, mode = numbers(node, x, "pads", 1) or [], attribute(node, "mode", "constant")
    axes = numbers(node, x, "axes", 3) or list(range(x[0].ndim))
    value, result = attribute(node, "value", optional(x, 2)), x[0]
    around = [0] * 2 * result.ndim  # from the last axis on
    for i, axis in enumerate(axes):
        last = 2 * (result.ndim - 1 - axis % result.ndim)
        around[last], around[last + 1] = pads[i], pads[i + len(axes)]
    if mode == "constant":
        return functional.pad(result, around, value=0.0 if value is None else float(value))
    for axis in range(result.ndim):
        first, last = around[2 * (result.ndim - 1 - axis) :][:2]
        if first or last:
            places = torch.arange(-first, result.shape[axis] + last, device=result.device)
            result = result.index_select(axis, _inside(places, result.shape[axis], mode))
    return result


def _inside(places: Tensor, size: int, mode: str) -> Tensor:
    """Places beyond the ends, brought back as the mode of Pad says."""
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    folded = places.abs() % max(2 * size - 2, 1)
    return torch.where(folded < size, folded, 2 * size - 2 - folded)


def depth_to_space(node: Node, x: Inputs, _: int) -> Tensor:
    """DepthToSpace, both orders of channels."""
    n, c, *sizes = x[0].shape
    b = node.attributes["blocksize"]
    if attribute(node, "mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x[0], b)
    moved = x[0].reshape(n, b, b, c // b**2, *sizes).permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(n, c // b**2, sizes[0] * b, sizes[1] * b)


def space_to_depth(node: Node, x: Inputs, _: int) -> Tensor:
    """SpaceToDepth, both orders of channels."""
    n, c, height, width = x[0].shape
    b = node.attributes["blocksize"]
    moved = x[0].reshape(n, c, height // b, b, width // b, b)
    order = (0, 1, 3, 5, 2, 4) if attribute(node, "mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    moved = moved.permute(order)
    return moved.reshape(n, c * b**2, height // b, width // b)


def constant_of_shape(node: Node, x: Inputs, _: int) -> Tensor:
    """ConstantOfShape."""
    value = torch.tensor(attribute(node, "value", [0.0])).reshape(-1)[0]
    return value.to(x[0].device).expand(x[0].tolist())


def constant(node: Node, x: Inputs, _: int) -> Tensor:
    """Constant, of whatever attribute holds it."""
    kinds = "value value_float value_floats value_int value_ints".split()
    return torch.tensor(next(node.attributes[kind] for kind in kinds if kind in node.attributes))


def reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """A reduction over axes."""

    def run(node: Node, x: Inputs, _: int) -> Tensor:
        axes = numbers(node, x, "axes", 1)
        if axes is None and attribute(node, "noop_with_empty_axes", 0):
            return x[0]
        axes = list(range(x[0].ndim)) if axes is None else axes
        return function(x[0], axes, bool(attribute(node, "keepdims", 1)))

    return run


def product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The product over axes."""
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def extreme_place(name: str) -> Operator:
    """ArgMax and ArgMin."""

    def run(node: Node, x: Inputs, _: int) -> Tensor:
        axis = axis_of(node, x[0], 0)
        if attribute(node, "select_last_index", 0):
            raise refused(node, "the last of equal places")
        result: Tensor = getattr(x[0], name)(axis, bool(attribute(node, "keepdims", 1)))
        return result

    return run


def cumulated(node: Node, x: Inputs, _: int) -> Tensor:
    """CumSum."""
    if attribute(node, "exclusive", 0) or attribute(node, "reverse", 0):
        raise refused(node, "a CumSum that is exclusive or reversed")
    return x[0].cumsum(int(x[1]))
