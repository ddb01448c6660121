"""Layers, pooling and normalisation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lt_onnx.deployment.in_torch.attributes import (
    Inputs,
    Operator,
    attribute,
    axis_of,
    optional,
    refused,
)
from lt_onnx.target import Node


def _pads(node: Node, x: Tensor, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """What a window operator pads at the beginning and at the end of each spatial axis."""
    n, auto = len(kernel), attribute(node, "auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID"):
        pads = list(attribute(node, "pads", [0] * 2 * n)) if auto == "NOTSET" else [0] * 2 * n
        return pads[:n], pads[n:]
    strides, dilations = (attribute(node, key, [1] * n) for key in ("strides", "dilations"))
    begin, end = [], []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        first = total // 2 if auto == "SAME_UPPER" else total - total // 2
        begin.append(first)
        end.append(total - first)
    return begin, end


def _padded(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0) -> Tensor:
    """Constants around the last axes of x; of negative sizes, cut off."""
    around = [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]
    return functional.pad(x, around, value=value) if any(around) else x


def conv(node: Node, x: Inputs, _: int) -> Tensor:
    """Conv of one to three spatial axes."""
    weight = x[1]
    n = weight.ndim - 2
    padded = _padded(x[0], *_pads(node, x[0], weight.shape[2:]))
    run: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[n - 1]
    strides, dilations = (attribute(node, key, [1] * n) for key in ("strides", "dilations"))
    result: Tensor = run(
        padded, weight, optional(x, 2), strides, 0, dilations, attribute(node, "group", 1)
    )
    return result


def conv_transpose(node: Node, x: Inputs, _: int) -> Tensor:
    """ConvTranspose of one to three spatial axes."""
    if "output_shape" in node.attributes or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        raise refused(node, "a ConvTranspose of a given output shape")
    n = x[1].ndim - 2
    run: Any = (
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
    )[n - 1]
    strides, dilations = (attribute(node, key, [1] * n) for key in ("strides", "dilations"))
    extra, pads = attribute(node, "output_padding", [0] * n), attribute(node, "pads", [0] * 2 * n)
    whole = run(x[0], x[1], None, strides, 0, 0, attribute(node, "group", 1), dilations)
    ends = [e - p for e, p in zip(extra, pads[n:], strict=True)]
    result = _padded(whole, [-p for p in pads[:n]], ends)
    return result if optional(x, 2) is None else result + x[2].reshape(-1, *[1] * n)


def gemm(node: Node, x: Inputs, _: int) -> Tensor:
    """Gemm."""
    a = x[0].T if attribute(node, "transA", 0) else x[0]
    b = x[1].T if attribute(node, "transB", 0) else x[1]
    result: Tensor = a @ b
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    result = result if alpha == 1 else alpha * result
    if optional(x, 2) is None:
        return result
    return result + (x[2] if beta == 1 else beta * x[2])


def _windows(node: Node, x: Tensor) -> tuple[list[int], list[int], list[int]]:
    """Kernel, pads at the beginning, and as many at the end as the windows reach.

    With `ceil_mode` a last window may hang over, but none begins behind the input.
    """
    kernel = list(node.attributes["kernel_shape"])
    n = len(kernel)
    begin, end = _pads(node, x, kernel)
    strides, dilations = (attribute(node, key, [1] * n) for key in ("strides", "dilations"))
    reach = []
    for i, size in enumerate(x.shape[2:]):
        extent, whole = (kernel[i] - 1) * dilations[i] + 1, size + begin[i] + end[i]
        steps = (whole - extent) / strides[i]
        count = (math.ceil(steps) if attribute(node, "ceil_mode", 0) else math.floor(steps)) + 1
        if (count - 1) * strides[i] >= size + begin[i] and attribute(node, "ceil_mode", 0):
            count -= 1
        reach.append((count - 1) * strides[i] + extent - size - begin[i])
    return kernel, begin, reach


def max_pool(node: Node, x: Inputs, _: int) -> Tensor:
    """MaxPool."""
    if len(node.outputs) > 1:
        raise refused(node, "a MaxPool that puts out places")
    kernel, begin, end = _windows(node, x[0])
    n = len(kernel)
    run: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[n - 1]
    strides, dilations = (attribute(node, key, [1] * n) for key in ("strides", "dilations"))
    result: Tensor = run(_padded(x[0], begin, end, -math.inf), kernel, strides, 0, dilations)
    return result


def _average(node: Node, x: Tensor, kernel: Sequence[int]) -> Tensor:
    n = len(kernel)
    if max(attribute(node, "dilations", [1])) > 1:
        raise refused(node, "an average with dilations")
    run: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[n - 1]
    result: Tensor = run(x, tuple(kernel), tuple(attribute(node, "strides", [1] * n)))
    return result


def average_pool(node: Node, x: Inputs, _: int) -> Tensor:
    """AveragePool: each window over the places of it that count."""
    kernel, begin, end = _windows(node, x[0])
    total = _average(node, _padded(x[0], begin, end), kernel)
    ones = torch.ones((1, 1, *x[0].shape[2:]), dtype=total.dtype, device=total.device)
    if attribute(node, "count_include_pad", 0):
        declared = _pads(node, x[0], kernel)[1]
        ones = _padded(ones, begin, declared, 1)
        missing = [e - d for e, d in zip(end, declared, strict=True)]
        return total / _average(node, _padded(ones, [0] * len(kernel), missing), kernel)
    return total / _average(node, _padded(ones, begin, end), kernel)


def lp_pool(node: Node, x: Inputs, _: int) -> Tensor:
    """LpPool."""
    kernel, begin, end = _windows(node, x[0])
    p = attribute(node, "p", 2)
    mean = _average(node, _padded(x[0].abs() ** p, begin, end), kernel)
    total: Tensor = (mean * math.prod(kernel)) ** (1 / p)
    return total


def over_space(function: Callable[..., Tensor]) -> Operator:
    """A pooling of all places."""
    return lambda node, x, _: function(x[0], tuple(range(2, x[0].ndim)), keepdim=True)


def global_lp_pool(node: Node, x: Inputs, _: int) -> Tensor:
    """GlobalLpPool."""
    p = attribute(node, "p", 2)
    total: Tensor = (x[0].abs() ** p).sum(tuple(range(2, x[0].ndim)), keepdim=True)
    result: Tensor = total ** (1 / p)
    return result


def batch_norm(node: Node, x: Inputs, _: int) -> Tensor:
    """BatchNormalization by its running statistics."""
    if attribute(node, "training_mode", 0):
        raise refused(node, "a BatchNormalization in training")
    data, scale, bias, mean, variance = x
    return functional.batch_norm(
        data, mean, variance, scale, bias, eps=attribute(node, "epsilon", 1e-5)
    )


def instance_norm(node: Node, x: Inputs, _: int) -> Tensor:
    """InstanceNormalization."""
    return functional.instance_norm(
        x[0], weight=x[1], bias=x[2], eps=attribute(node, "epsilon", 1e-5)
    )


def layer_norm(node: Node, x: Inputs, _: int) -> tuple[Tensor, ...]:
    """LayerNormalization over the last axes, with the mean and the inverse deviation."""
    axes = tuple(range(axis_of(node, x[0], -1), x[0].ndim))
    centred = x[0] - x[0].mean(axes, keepdim=True)
    inverse = (centred.square().mean(axes, keepdim=True) + attribute(node, "epsilon", 1e-5)).rsqrt()
    result, bias = centred * inverse * x[1], optional(x, 2)
    result = result if bias is None else result + bias
    return result, x[0].mean(axes, keepdim=True), inverse


def group_norm(node: Node, x: Inputs, opset: int) -> Tensor:
    """GroupNormalization; before operator set 21 scales are of groups."""
    groups, scale, bias = node.attributes["num_groups"], x[1], x[2]
    if opset < 21:  # one of a group
        scale, bias = (v.repeat_interleave(x[0].shape[1] // groups) for v in (scale, bias))
    return functional.group_norm(x[0], groups, scale, bias, attribute(node, "epsilon", 1e-5))


def lrn(node: Node, x: Inputs, _: int) -> Tensor:
    """LRN over neighbouring channels."""
    size = node.attributes["size"]
    squares = functional.pad(
        (x[0] ** 2).unsqueeze(1), (0, 0) * (x[0].ndim - 2) + ((size - 1) // 2, size // 2)
    )
    total = squares.unfold(2, size, 1).sum(-1).squeeze(1)
    alpha, beta, bias = (
        attribute(node, n, d) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1))
    )
    result: Tensor = x[0] / (bias + alpha / size * total) ** beta
    return result
