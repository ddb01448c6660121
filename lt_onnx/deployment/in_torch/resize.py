"""Resize and Upsample, one axis after the other."""

import math
from functools import reduce

import torch
from torch import Tensor

from lt_onnx.deployment.in_torch.attributes import Inputs, attribute, numbers, refused
from lt_onnx.target import Node

CUBIC = -0.75


def resize(node: Node, x: Inputs, opset: int) -> Tensor:
    """Resize, and Upsample before it."""
    old = node.op == "Upsample" or opset < 11
    scales = numbers(node, x, "scales", 1 if old else 2)
    sizes = None if old else numbers(node, x, "sizes", 3)
    if (
        attribute(node, "antialias", 0)
        or attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        raise refused(node, "a Resize with antialiasing or a fixed aspect")
    axes = attribute(node, "axes", range(x[0].ndim))
    result: Tensor = x[0]
    for i, axis in enumerate(axes):
        size = result.shape[axis]
        wanted = int(sizes[i]) if sizes is not None else math.floor(size * (scales or [])[i])
        scale = wanted / size if sizes is not None else (scales or [])[i]
        if scale != 1:
            result = _resized(node, result, axis, wanted=wanted, scale=scale, old=old)
    return result


def _resized(node: Node, x: Tensor, axis: int, *, wanted: int, scale: float, old: bool) -> Tensor:
    """One axis resized to `wanted` places."""
    size, mode = x.shape[axis], attribute(node, "mode", "nearest")
    way = attribute(node, "coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    at = torch.arange(wanted, dtype=torch.float32, device=x.device)
    if way in ("half_pixel", "half_pixel_symmetric") or (
        way == "pytorch_half_pixel" and wanted > 1
    ):
        at = (at + 0.5) / scale - 0.5
        if way == "half_pixel_symmetric":
            at = at + size / 2 * (1 - wanted / (scale * size))
    elif way == "align_corners":
        at = at * ((size - 1) / max(wanted - 1, 1))
    elif way in ("asymmetric", "pytorch_half_pixel"):
        at = at / scale if way == "asymmetric" else at * 0
    else:
        raise refused(node, f"a Resize in the way of {way}")
    if mode == "nearest":
        rounding = attribute(node, "nearest_mode", "floor" if old else "round_prefer_floor")
        places = {
            "floor": at.floor(),
            "ceil": at.ceil(),
            "round_prefer_floor": (at - 0.5).ceil(),
            "round_prefer_ceil": (at + 0.5).floor(),
        }[rounding]
        return x.index_select(axis, places.long().clamp(0, size - 1))
    first = at.floor()
    t = at - first
    if mode == "linear":
        clamped = at.clamp(0, size - 1)
        first = clamped.floor()
        t = clamped - first
        taps = {0: 1 - t, 1: t}
    elif mode == "cubic" and not attribute(node, "exclude_outside", 0):
        a = attribute(node, "cubic_coeff_a", CUBIC)
        taps = {i: _cubic((t - i).abs(), a) for i in (-1, 0, 1, 2)}
    else:
        raise refused(node, f"a {mode} Resize of this kind")
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    parts = [
        x.index_select(axis, (first + i).long().clamp(0, size - 1)) * tap.reshape(shape)
        for i, tap in taps.items()
    ]
    return reduce(torch.add, parts)


def _cubic(d: Tensor, a: float) -> Tensor:
    """The weight of a tap at the distance d, of cubic interpolation."""
    near = ((a + 2) * d - (a + 3)) * d**2 + 1
    return torch.where(d <= 1, near, ((d - 5) * d + 8) * d * a - 4 * a)
