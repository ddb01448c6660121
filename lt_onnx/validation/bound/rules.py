"""Operators without random weights: what they make of ranges and errors.

Most move or pick entries, or average them with weights that are not negative: they do to the ends
of an interval, and to the error, what they do to the data. The others are elementwise.
"""

from collections.abc import Mapping

import numpy as np

from lt_onnx.blueprint import Blueprint
from lt_onnx.ops.table import ELEMENTWISE
from lt_onnx.runtime import evaluate
from lt_onnx.target import Array, Node
from lt_onnx.validation.bound.functions import function_of
from lt_onnx.validation.bound.ranges import OUTWARD, Doubles, Range, Slopes, UnboundedError

MOVING = {
    "Gather",
    "Reshape",
    "Flatten",
    "Transpose",
    "Slice",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Concat",
    "DepthToSpace",
    "SpaceToDepth",
    "Expand",
    "Tile",
    "Identity",
    "Dropout",
    "Pad",
    "MaxPool",
    "GlobalMaxPool",
    "ReduceMax",
}
AVERAGING = {"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Upsample", "Resize"}
PICKING = {"MaxPool", "GlobalMaxPool", "ReduceMax"}  # of several entries: slopes do not survive
SUMMED = 3e-5  # relative rounding of a float32 sum of up to 500 terms, generously

Ranges = dict[str, Range]


def apply(node: Node, ranges: Ranges, blueprint: Blueprint) -> None:
    """Put the ranges of the node's outputs. Raises UnboundedError where there is no rule."""
    constants = {**blueprint.target.constants, **blueprint.constants}
    data = [name for name in node.inputs if name and name not in constants]
    if not any(name in ranges for name in data):
        if blueprint.target.integers.issuperset(node.outputs):
            return  # arithmetic with shapes
        raise UnboundedError(f"no bound through {node.op} '{node.name}'")
    if node.domain or any(name not in ranges for name in data):
        raise UnboundedError(f"no bound through {node.op} '{node.name}': shapes are computed")
    if node.op in MOVING or node.op in AVERAGING:
        _linear(node, data, ranges, constants, blueprint)
    elif node.op in ("Add", "Sum", "Sub"):
        ranges[node.outputs[0]] = _sum(node, ranges, constants)
    elif node.op in ("Mul", "Div"):
        ranges[node.outputs[0]] = _product(node, ranges, constants)
    elif node.op == "PRelu":
        ranges[node.outputs[0]] = _prelu(node, ranges, constants)
    elif node.op == "Softmax":
        ranges[node.outputs[0]] = _softmax(node, ranges, blueprint.target.opset)
    elif node.op in ELEMENTWISE:
        function = function_of(node, constants)
        ranges[node.outputs[0]] = function.image(ranges[node.inputs[0]])
    else:
        raise UnboundedError(f"no bound through {node.op} '{node.name}'")


def _linear(
    node: Node,
    data: list[str],
    ranges: Ranges,
    constants: Mapping[str, Array],
    blueprint: Blueprint,
) -> None:
    """Run the node on lows, highs and errors, each scaled into float32's range."""
    if node.op == "Resize" and node.attributes.get("mode", b"nearest") in (b"cubic", "cubic"):
        raise UnboundedError(f"no bound through Resize '{node.name}': cubic weights are negative")
    filled = node.op == "Pad" and (len(node.inputs) > 2 or node.attributes.get("value"))
    if filled and any(float(constants[n].reshape(-1)[0]) for n in node.inputs[2:3] if n):
        raise UnboundedError(f"no bound through Pad '{node.name}': it fills with a number")

    def run(values: Mapping[str, Doubles]) -> list[Doubles]:
        top = max(float(np.abs(v).max(initial=0.0)) for v in values.values())
        top = top if top > 0 else 1.0
        if not np.isfinite(top):
            raise UnboundedError(f"no bound at {node.op} '{node.name}': it overflows")
        feeds = {name: (v / top).astype(np.float32) for name, v in values.items()}
        outputs, opsets = [n for n in node.outputs if n], blueprint.target.opsets
        made = evaluate([node], feeds, constants=constants, outputs=outputs, opsets=opsets)
        return [value.astype(np.float64) * top for value in made]

    kept = all(ranges[name].slopes is not None for name in data) and node.op not in PICKING
    kept = kept and node.op in MOVING
    lows = run({name: ranges[name].low for name in data})
    highs = run({name: ranges[name].high for name in data})
    errors = run({name: ranges[name].error for name in data})
    moved = []
    if kept:
        for key in ("offset", "up", "down", "low", "high"):
            moved.append(run({name: getattr(ranges[name].slopes, key) for name in data}))
    largest = max(float(ranges[name].largest.max(initial=0.0)) for name in data)
    share = SUMMED if node.op in AVERAGING else 2.0**-22
    for i, name in enumerate(n for n in node.outputs if n):
        # casts to float32 round what is moved here; sums are rounded in both networks
        wide = share * np.maximum(np.abs(lows[i]), np.abs(highs[i]))
        more = np.zeros(()) if node.op in MOVING else 2 * share * (largest + errors[i])
        wide = wide if node.op in MOVING else np.full_like(wide, share * largest)
        slopes = None
        if kept:
            slopes = Slopes(*(values[i] for values in moved))
        ranges[name] = Range(
            lows[i] - wide, highs[i] + wide, (errors[i] * (1 + share) + more) * OUTWARD, slopes
        )


def _of(name: str, ranges: Ranges, constants: Mapping[str, Array]) -> Range:
    if name in ranges:
        return ranges[name]
    value = constants[name].astype(np.float64)
    return Range.exact(value, value)


def _sum(node: Node, ranges: Ranges, constants: Mapping[str, Array]) -> Range:
    terms = [_of(name, ranges, constants) for name in node.inputs]
    low, high, error = terms[0].low, terms[0].high, terms[0].error
    for term in terms[1:]:
        if node.op == "Sub":
            low, high = low - term.high, high - term.low
        else:
            low, high = low + term.low, high + term.high
        error = error + term.error
    return Range(low, high, error).rounded()


def _product(node: Node, ranges: Ranges, constants: Mapping[str, Array]) -> Range:
    a, b = (_of(name, ranges, constants) for name in node.inputs)
    if node.op == "Div":
        if node.inputs[1] in ranges or not (b.low != 0).all():
            raise UnboundedError(f"no bound through Div '{node.name}'")
        b = Range.exact(1 / b.low, 1 / b.low)
    ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    low, high = np.minimum.reduce(ends), np.maximum.reduce(ends)
    error = a.largest * b.error + b.largest * a.error + a.error * b.error
    return Range(low, high, error).rounded()


def _prelu(node: Node, ranges: Ranges, constants: Mapping[str, Array]) -> Range:
    x, slope = ranges[node.inputs[0]], constants.get(node.inputs[1])
    if slope is None or (slope < 0).any():
        raise UnboundedError(f"no bound through PRelu '{node.name}': its slopes are negative")

    def of(v: Doubles) -> Doubles:
        return np.where(v >= 0, v, v * slope)

    return Range(of(x.low), of(x.high), x.error * np.maximum(slope, 1.0)).rounded()


def _softmax(node: Node, ranges: Ranges, opset: int) -> Range:
    """Each output moves by half the largest input error at most, and never by more than 1."""
    x = ranges[node.inputs[0]]
    axis = int(node.attributes.get("axis", -1 if opset >= 13 else 1))
    axes = (axis,) if opset >= 13 else tuple(range(axis % x.low.ndim, x.low.ndim))
    error = np.minimum(x.error.max(axis=axes, keepdims=True) / 2, 1.0) + np.zeros(x.low.shape)
    return Range(np.zeros(x.low.shape), np.ones(x.low.shape), error).rounded(function=True)
