"""Operators without random weights: what they make of intervals [l, h] and of errors e.

Most move or pick entries, or average them with weights that are not negative: they do to l, h and e
what they do to the data. The others are elementwise:

    x + y, x − y    e_x + e_y
    x y             |x| e_y + |y| e_x + e_x e_y
    matrices        see `mixtures`; LayerNormalization, too
    PRelu           max(slope, 1) e_x + |x| e_slope, where no slope is negative
    Softmax         min(max e / 2, 1): 1/2 bounds its derivative from ∞-norm to ∞-norm
    activation φ    sup |φ'| e, see `functions`
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter

import numpy as np

from lt_onnx.blueprint import Blueprint
from lt_onnx.ops.table import ELEMENTWISE
from lt_onnx.runtime import evaluate
from lt_onnx.target import Array, Node
from lt_onnx.validation.bound.functions import function_of
from lt_onnx.validation.bound.mixtures import normalized, product_of_matrices, scaled
from lt_onnx.validation.bound.ranges import OUTWARD, Doubles, Range, Slopes, UnboundedError

REARRANGING = frozenset(
    "Gather Reshape Flatten Transpose Slice Split Squeeze Unsqueeze Concat DepthToSpace "
    "SpaceToDepth Expand Tile Identity Dropout Pad".split()
)
PICKING = frozenset("MaxPool GlobalMaxPool ReduceMax".split())  # slopes do not survive these
AVERAGING = frozenset("AveragePool GlobalAveragePool ReduceMean ReduceSum Upsample Resize".split())
SHAPE_OPS = frozenset("Shape Size".split())
MOVE_ROUNDING = 2.0**-22  # relative: of the casts to float32 when an interval is moved
SUM_ROUNDING = 3e-5  # relative: of a float32 sum of up to 500 terms, generously

Ranges = dict[str, Range]


def apply(node: Node, ranges: Ranges, known: dict[str, Array], blueprint: Blueprint) -> None:
    """Put the ranges of the node's outputs, or what is the same for every input into `known`.

    Raises UnboundedError where there is no rule.
    """
    constants = {**blueprint.target.constants, **blueprint.constants, **known}
    data = [name for name in node.inputs if name and name not in constants]
    if node.op in SHAPE_OPS and all(name in ranges for name in data):
        feeds = {name: np.zeros(ranges[name].low.shape, np.float32) for name in data}
        known.update(_evaluated(node, feeds, constants, blueprint))
        return
    if not data and node.inputs and not node.domain:
        same = _evaluated(node, {}, constants, blueprint)
        known.update(same)
        floats = {name: v for name, v in same.items() if np.issubdtype(v.dtype, np.floating)}
        ranges.update((name, _exact(value)) for name, value in floats.items())
        return
    if not any(name in ranges for name in data):
        if blueprint.target.integers.issuperset(node.outputs):
            return  # arithmetic with shapes
        raise UnboundedError(f"no bound through {node.op} '{node.name}'")
    if node.domain or any(name not in ranges for name in data):
        raise UnboundedError(f"no bound through {node.op} '{node.name}': shapes are computed")
    if node.op in REARRANGING | PICKING | AVERAGING:
        # what is joined to data is moved as data is; shapes and places are not
        moved = [name for name in node.inputs if name] if node.op == "Concat" else data
        parts = {name: _range_of(name, ranges, constants) for name in moved}
        ranges.update(_moved(node, parts, constants, blueprint))
        return
    inputs = [_range_of(name, ranges, constants) for name in node.inputs if name]
    if node.op in ("Add", "Sum", "Sub"):
        result = _sum(node, inputs)
    elif node.op in ("Mul", "Div"):
        result = _product(node, inputs, divisor_is_data=node.inputs[1] in data)
    elif node.op == "MatMul" and min(factor.low.ndim for factor in inputs) > 1:
        result = product_of_matrices(*inputs)
    elif node.op == "LayerNormalization" and len(node.outputs) == 1:
        bias = inputs[2] if len(inputs) > 2 else None
        result = normalized(node, inputs[0], inputs[1], bias)
    elif node.op == "PRelu":
        result = _prelu(node, *inputs)
    elif node.op == "Softmax":
        result = _softmax(node, inputs[0], blueprint.target.opset)
    elif node.op in ELEMENTWISE:
        result = function_of(node, constants).image(inputs[0])
    else:
        raise UnboundedError(f"no bound through {node.op} '{node.name}'")
    ranges[node.outputs[0]] = result


def _moved(
    node: Node, inputs: Ranges, constants: Mapping[str, Array], blueprint: Blueprint
) -> Ranges:
    """The outputs: the node runs on l, h, e and slopes, each scaled into float32's range."""
    if node.op == "Resize" and node.attributes.get("mode", b"nearest") in (b"cubic", "cubic"):
        raise UnboundedError(f"no bound through Resize '{node.name}': cubic weights are negative")
    filled = node.op == "Pad" and (len(node.inputs) > 2 or node.attributes.get("value"))
    if filled and any(float(constants[n].reshape(-1)[0]) for n in node.inputs[2:3] if n):
        raise UnboundedError(f"no bound through Pad '{node.name}': it fills with a number")
    outputs = [name for name in node.outputs if name]

    def run(part: Callable[[Range], Doubles]) -> list[Doubles]:
        values = {name: part(x) for name, x in inputs.items()}
        top = max(float(np.abs(v).max(initial=0.0)) for v in values.values())
        top = top if top > 0 else 1.0
        if not np.isfinite(top):
            raise UnboundedError(f"no bound at {node.op} '{node.name}': it overflows")
        feeds = {name: (v / top).astype(np.float32) for name, v in values.items()}
        opsets = blueprint.target.opsets
        others = {name: value for name, value in constants.items() if name not in feeds}
        results = evaluate([node], feeds, constants=others, outputs=outputs, opsets=opsets)
        return [value.astype(np.float64) * top for value in results]

    ends = [run(attrgetter(part)) for part in ("low", "high", "error")]
    slopes: list[Slopes | None] = [None] * len(outputs)
    if node.op in REARRANGING and all(x.slopes is not None for x in inputs.values()):
        parts = [run(attrgetter(f"slopes.{part.name}")) for part in fields(Slopes)]
        slopes = [Slopes(*values) for values in zip(*parts, strict=True)]
    largest = max(float(x.largest.max(initial=0.0)) for x in inputs.values())
    moved = {}
    for name, low, high, error, slope in zip(outputs, *ends, slopes, strict=True):
        if node.op in AVERAGING:  # sums are rounded in both networks
            wide = np.full_like(low, SUM_ROUNDING * largest)
            error = error * (1 + SUM_ROUNDING) + 2 * SUM_ROUNDING * (largest + error)
        else:
            wide = MOVE_ROUNDING * np.maximum(np.abs(low), np.abs(high))
            error = error * (1 + MOVE_ROUNDING)
        moved[name] = Range(low - wide, high + wide, error * OUTWARD, slope)
    return moved


def _range_of(name: str, ranges: Ranges, constants: Mapping[str, Array]) -> Range:
    if name in ranges:
        return ranges[name]
    return _exact(constants[name])


def _exact(value: Array) -> Range:
    return Range.exact(value.astype(np.float64), value.astype(np.float64))


def _evaluated(
    node: Node, feeds: Mapping[str, Array], constants: Mapping[str, Array], blueprint: Blueprint
) -> dict[str, Array]:
    """What a node makes of what does not depend on the input."""
    outputs, opsets = [name for name in node.outputs if name], blueprint.target.opsets
    made = evaluate([node], feeds, constants=constants, outputs=outputs, opsets=opsets)
    return dict(zip(outputs, made, strict=True))


def _sum(node: Node, terms: list[Range]) -> Range:
    low, high, error = terms[0].low, terms[0].high, terms[0].error
    for term in terms[1:]:
        if node.op == "Sub":
            low, high = low - term.high, high - term.low
        else:
            low, high = low + term.low, high + term.high
        error = error + term.error
    return Range(low, high, error).rounded()


def _product(node: Node, factors: list[Range], *, divisor_is_data: bool) -> Range:
    a, b = factors
    if node.op == "Div":
        if divisor_is_data or not (b.low != 0).all():
            raise UnboundedError(f"no bound through Div '{node.name}'")
        b = Range.exact(1 / b.low, 1 / b.low)
    return scaled(a, b)


def _prelu(node: Node, x: Range, slope: Range) -> Range:
    if (slope.low - slope.error < 0).any():
        raise UnboundedError(f"no bound through PRelu '{node.name}': its slopes are negative")
    low = np.where(x.low >= 0, x.low, x.low * slope.high)
    high = np.where(x.high >= 0, x.high, x.high * slope.low)
    steepest = np.maximum(slope.high + slope.error, 1.0)
    return Range(low, high, x.error * steepest + np.maximum(-x.low, 0) * slope.error).rounded()


def _softmax(node: Node, x: Range, opset: int) -> Range:
    axis = int(node.attributes.get("axis", -1 if opset >= 13 else 1))
    axes = (axis,) if opset >= 13 else tuple(range(axis % x.low.ndim, x.low.ndim))
    error = np.minimum(x.error.max(axis=axes, keepdims=True) / 2, 1.0) + np.zeros(x.low.shape)
    return Range(np.zeros(x.low.shape), np.ones(x.low.shape), error).rounded(function=True)
