"""ONNX's operators in torch, from operator set 7 on.

In: a node, its inputs as tensors (None: omitted) and the version of the operator set. Out: its
output, or a tuple of them. What an operator has in rare forms only is refused by name.
"""

from collections.abc import Callable, Mapping
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from lt_onnx.deployment.in_torch import resize, shapes, windows
from lt_onnx.deployment.in_torch.attributes import Inputs, Operator, attribute, axis_of, optional
from lt_onnx.target import Node

DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}  # by ONNX's numbers


def unary(function: Callable[..., Tensor], **defaults: float) -> Operator:
    """A function of one tensor, with ONNX's attributes as its other arguments, in their order."""
    return lambda node, x, _: function(
        x[0], *(attribute(node, name, default) for name, default in defaults.items())
    )


def merged(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """A function of two tensors, over all inputs."""
    return lambda node, x, _: reduce(function, x)


def divided(x: Tensor, y: Tensor) -> Tensor:
    """x / y, towards zero of integers."""
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def clip(node: Node, x: Inputs, _: int) -> Tensor:
    """Clip, its ends attributes or inputs."""
    low, high = (attribute(node, n, optional(x, i)) for i, n in enumerate(("min", "max"), 1))
    result: Tensor = x[0]
    if low is not None:
        result = torch.maximum(result, torch.as_tensor(low, dtype=result.dtype))
    if high is not None:
        result = torch.minimum(result, torch.as_tensor(high, dtype=result.dtype))
    return result


def gelu(node: Node, x: Inputs, _: int) -> Tensor:
    """Gelu, exact or by tanh."""
    return functional.gelu(x[0], approximate=attribute(node, "approximate", "none"))


def prelu(node: Node, x: Inputs, _: int) -> Tensor:
    """PRelu, slopes broadcast from the last axis on."""
    return torch.where(x[0] < 0, x[0] * x[1], x[0])


def softmax(function: Callable[..., Tensor]) -> Operator:
    """Along one axis, before operator set 13 along all from it on."""

    def run(node: Node, x: Inputs, opset: int) -> Tensor:
        if opset >= 13:
            return function(x[0], dim=attribute(node, "axis", -1))
        return function(x[0].flatten(axis_of(node, x[0], 1)), dim=-1).reshape(x[0].shape)

    return run


def hardmax(x: Tensor, dim: int) -> Tensor:
    """1 at the first largest number along an axis, 0 elsewhere."""
    places = x.argmax(dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, places, torch.ones_like(places, dtype=x.dtype))


def eye_like(node: Node, x: Inputs, _: int) -> Tensor:
    """EyeLike, ones on a diagonal."""
    rows, columns = (torch.arange(size, device=x[0].device) for size in x[0].shape)
    ones: Tensor = rows[:, None] + attribute(node, "k", 0) == columns
    return ones.to(DTYPES[node.attributes["dtype"]] if "dtype" in node.attributes else x[0].dtype)


OPERATORS: Mapping[str, Operator] = {
    **{
        name: unary(getattr(torch, name.lower()))
        for name in (
            "Relu Tanh Sigmoid Abs Neg Sqrt Exp Log Erf Floor Ceil Round Sign Reciprocal Sin Cos "
            "Tan Atan".split()
        )
    },
    "Not": unary(torch.logical_not),
    "Identity": unary(lambda x: x),
    "Dropout": unary(lambda x: x),
    "Softsign": unary(functional.softsign),
    "Softplus": unary(lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "Mish": unary(functional.mish),
    "HardSwish": unary(functional.hardswish),
    "Elu": unary(functional.elu, alpha=1.0),
    "Celu": unary(functional.celu, alpha=1.0),
    "Selu": unary(
        lambda x, a, g: g * torch.where(x > 0, x, a * torch.expm1(x)),
        alpha=1.67326319217681884765625,
        gamma=1.05070102214813232421875,
    ),
    "LeakyRelu": unary(functional.leaky_relu, alpha=0.01),
    "ThresholdedRelu": unary(lambda x, a: torch.where(x > a, x, 0), alpha=1.0),
    "HardSigmoid": unary(lambda x, a, b: (a * x + b).clamp(0, 1), alpha=0.2, beta=0.5),
    "Swish": unary(lambda x, a: x * torch.sigmoid(a * x), alpha=1.0),
    "Gelu": gelu,
    "Clip": clip,
    "PRelu": prelu,
    "Cast": lambda node, x, _: x[0].to(DTYPES[node.attributes["to"]]),
    "Add": merged(torch.add),
    "Sub": merged(torch.sub),
    "Mul": merged(torch.mul),
    "Div": merged(divided),
    "Pow": merged(torch.pow),
    "Max": merged(torch.maximum),
    "Min": merged(torch.minimum),
    "Sum": merged(torch.add),
    "Mean": lambda node, x, _: reduce(torch.add, x) / len(x),
    "And": merged(torch.logical_and),
    "Or": merged(torch.logical_or),
    "Equal": merged(torch.eq),
    "Less": merged(torch.lt),
    "LessOrEqual": merged(torch.le),
    "Greater": merged(torch.gt),
    "GreaterOrEqual": merged(torch.ge),
    "Where": lambda node, x, _: torch.where(x[0], x[1], x[2]),
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "Gemm": windows.gemm,
    "MatMul": merged(torch.matmul),
    "Einsum": lambda node, x, _: torch.einsum(node.attributes["equation"], *x),
    "MaxPool": windows.max_pool,
    "AveragePool": windows.average_pool,
    "LpPool": windows.lp_pool,
    "GlobalAveragePool": windows.over_space(torch.mean),
    "GlobalMaxPool": windows.over_space(torch.amax),
    "GlobalLpPool": windows.global_lp_pool,
    "BatchNormalization": windows.batch_norm,
    "InstanceNormalization": windows.instance_norm,
    "LayerNormalization": windows.layer_norm,
    "GroupNormalization": windows.group_norm,
    "LRN": windows.lrn,
    "Softmax": softmax(torch.softmax),
    "LogSoftmax": softmax(torch.log_softmax),
    "Hardmax": softmax(hardmax),
    "Shape": shapes.shape_of,
    "Size": lambda node, x, _: torch.tensor(x[0].numel(), device=x[0].device),
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Transpose": shapes.transpose,
    "Squeeze": shapes.squeeze,
    "Unsqueeze": shapes.unsqueeze,
    "Concat": lambda node, x, _: torch.cat(list(x), node.attributes["axis"]),
    "Split": shapes.split,
    "Slice": shapes.slice_,
    "Gather": shapes.gather,
    "Expand": shapes.expand,
    "Tile": lambda node, x, _: x[0].tile(x[1].tolist()),
    "Pad": shapes.pad,
    "DepthToSpace": shapes.depth_to_space,
    "SpaceToDepth": shapes.space_to_depth,
    "Constant": shapes.constant,
    "ConstantOfShape": shapes.constant_of_shape,
    "EyeLike": eye_like,
    "Range": lambda node, x, _: torch.arange(
        x[0].item(), x[1].item(), x[2].item(), dtype=x[0].dtype
    ),
    "CumSum": shapes.cumulated,
    "ArgMax": shapes.extreme_place("argmax"),
    "ArgMin": shapes.extreme_place("argmin"),
    "ReduceMean": shapes.reduced(torch.mean),
    "ReduceSum": shapes.reduced(torch.sum),
    "ReduceMax": shapes.reduced(torch.amax),
    "ReduceMin": shapes.reduced(torch.amin),
    "ReduceProd": shapes.reduced(shapes.product),
    "ReduceL1": shapes.reduced(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": shapes.reduced(lambda x, axes, keep: (x**2).sum(axes, keep).sqrt()),
    "ReduceSumSquare": shapes.reduced(lambda x, axes, keep: (x**2).sum(axes, keep)),
    "ReduceLogSumExp": shapes.reduced(torch.logsumexp),
    "ReduceLogSum": shapes.reduced(lambda x, axes, keep: x.sum(axes, keep).log()),
    "Resize": resize.resize,
    "Upsample": resize.resize,
}
