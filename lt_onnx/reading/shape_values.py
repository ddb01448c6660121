"""What shape arithmetic gives where the sizes that it reads are known in part.

Comes in: a node, the shapes of tensors and the values of its inputs, as far as they are known. Goes
out: the value of what it makes, entry by entry, or its shape. Sizes that are not known have names:
equal names are equal sizes.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import onnx
from onnx import TensorProto, numpy_helper

from lt_onnx.target import Shape, is_standard_domain

MAX_ENTRIES = 64  # of a value
WHOLE_TYPES = (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
Entry: TypeAlias = int | str | None  # a number, the size of this name, or not known


@dataclass(frozen=True)
class Value:
    """A scalar, or the entries of a vector; of whole numbers, unless it was cast to floats."""

    entries: tuple[Entry, ...]
    scalar: bool = False
    whole: bool = True

    @property
    def numbers(self) -> list[int] | None:
        """Its entries, if all are known."""
        known = [entry for entry in self.entries if isinstance(entry, int)]
        return known if len(known) == len(self.entries) else None


def constant_value(tensor: TensorProto) -> Value | None:
    """A small constant of whole numbers as a value; None for others."""
    dims = list(tensor.dims)
    if tensor.data_type not in WHOLE_TYPES or len(dims) > 1 or dims > [MAX_ENTRIES]:
        return None
    numbers = numpy_helper.to_array(tensor).reshape(-1).tolist()
    return Value(tuple(map(int, numbers)), scalar=not dims)


def value_of(
    node: onnx.NodeProto, shapes: Mapping[str, Shape], values: Mapping[str, Value]
) -> Value | None:
    """The value of a node's first output; None where nothing is known of it."""
    if not is_standard_domain(node.domain) or not all(node.input) or not node.input:
        return None
    if node.op_type in ("Shape", "Size"):
        sizes = shapes.get(node.input[0])
        if sizes is None:
            return None
        if node.op_type == "Size":
            return Value((_product(sizes),), scalar=True)
        value: Value | None = Value(sizes[_whole(node, "start", 0) : _whole(node, "end", None)])
    else:
        rule, given = RULES.get(node.op_type), [values.get(name) for name in node.input]
        known = [value for value in given if value is not None]
        value = None if rule is None or len(known) < len(given) else rule(node, known)
    return value if value is not None and len(value.entries) <= MAX_ENTRIES else None


def shape_by_values(
    node: onnx.NodeProto, shapes: Mapping[str, Shape], values: Mapping[str, Value]
) -> Shape | None:
    """The shape of a node's first output by the values of its inputs; None where they say none."""
    sizes = shapes.get(node.input[0]) if node.input else None
    first, _, third = [*(values.get(name) for name in node.input[1:]), None, None, None][:3]
    if sizes is None or not is_standard_domain(node.domain):
        return None
    match node.op_type:
        case "Reshape" if first is not None:
            return _reshaped(sizes, first.entries, copied=not _whole(node, "allowzero", 0))
        case "Expand" if first is not None:
            return _broadcast(sizes, first.entries)
        case "Tile" if first is not None and len(first.entries) == len(sizes):
            return tuple(map(_times, sizes, first.entries))
        case "Resize" if third is not None and len(third.entries) == len(sizes):
            return third.entries
        case "Slice" if third is not None and third.numbers is not None:
            axes = [axis % len(sizes) for axis in third.numbers]
            return tuple(None if axis in axes else size for axis, size in enumerate(sizes))
        case "Pad" if first is not None and len(first.entries) == 2 * len(sizes):
            before, after = first.entries[: len(sizes)], first.entries[len(sizes) :]
            return tuple(map(_plus, map(_plus, sizes, before), after))
        case "ConstantOfShape" if (shape := values.get(node.input[0])) is not None:
            return shape.entries
    return None


def _reshaped(sizes: Shape, goal: Sequence[Entry], *, copied: bool) -> Shape:
    """What a Reshape of `sizes` to `goal` gives; 0 is a size that is `copied`."""
    shape = [sizes[i] if d == 0 and copied and i < len(sizes) else d for i, d in enumerate(goal)]
    left, rest = [*sizes], [size for size in shape if size != -1]
    for name in [size for size in rest if isinstance(size, str) and size in left]:
        left.remove(name)
        rest.remove(name)
    whole, part = (math.prod(d for d in sizes if isinstance(d, int)) for sizes in (left, rest))
    open_sizes = [size for size in left if not isinstance(size, int)]
    inferred: Entry = None
    if part and whole % part == 0 and all(isinstance(size, int) for size in rest):
        inferred = whole // part
        if open_sizes:
            inferred = open_sizes[0] if inferred == len(open_sizes) == 1 else None
    return tuple(inferred if size == -1 else size for size in shape)


def _broadcast(sizes: Shape, goal: Sequence[Entry]) -> Shape:
    """What an Expand of `sizes` to `goal` gives."""
    rank = max(len(sizes), len(goal))
    first, second = ((1,) * (rank - len(given)) + tuple(given) for given in (sizes, goal))

    def common(a: Entry, b: Entry) -> Entry:
        if a == 1 or b == 1 or a == b:
            return b if a == 1 else a
        return next((size for size in (a, b) if isinstance(size, int)), None)

    return tuple(map(common, first, second))


def _whole(node: onnx.NodeProto, key: str, absent: Any) -> Any:
    """An attribute: a whole number, or several."""
    found = next((attribute for attribute in node.attribute if attribute.name == key), None)
    return absent if found is None else list(found.ints) or found.i


def _gather(node: onnx.NodeProto, given: list[Value]) -> Value | None:
    data, places = given[0], given[1].numbers
    count = len(data.entries)
    if data.scalar or places is None or not all(-count <= place < count for place in places):
        return None
    taken = tuple(data.entries[place] for place in places)
    return replace(data, entries=taken, scalar=given[1].scalar)


def _slice(node: onnx.NodeProto, given: list[Value]) -> Value | None:
    bounds = [value.numbers for value in given[1:]]
    bounds = bounds or [_whole(node, key, None) for key in ("starts", "ends")]
    ends = [bound[0] for bound in bounds if bound]
    if len(ends) < len(bounds) or ends[3:] == [0]:
        return None
    step = ends[3] if len(ends) > 3 else 1
    return replace(given[0], entries=given[0].entries[ends[0] : ends[1] : step])


def _concat(node: onnx.NodeProto, given: list[Value]) -> Value:
    entries = tuple(entry for value in given for entry in value.entries)
    return Value(entries, whole=all(value.whole for value in given))


def _cast(node: onnx.NodeProto, given: list[Value]) -> Value:
    return replace(given[0], whole=_whole(node, "to", 0) in WHOLE_TYPES)


def _same(node: onnx.NodeProto, given: list[Value]) -> Value:
    return given[0]


def _vector(node: onnx.NodeProto, given: list[Value]) -> Value | None:
    return replace(given[0], scalar=False) if given[0].scalar else None


def _scalar(node: onnx.NodeProto, given: list[Value]) -> Value | None:
    return replace(given[0], scalar=True) if len(given[0].entries) == 1 else None


def _flat(node: onnx.NodeProto, given: list[Value]) -> Value | None:
    """A vector in the shape that it has, or a single entry in another."""
    count, goal = len(given[0].entries), given[1].numbers
    if (
        goal is None
        or given[1].scalar
        or goal not in ([-1], [count], [])
        or (not goal and count != 1)
    ):
        return None
    return replace(given[0], scalar=not goal)


def _product_of(node: onnx.NodeProto, given: list[Value]) -> Value | None:
    product = _product(given[0].entries)
    return replace(given[0], entries=(product,), scalar=not _whole(node, "keepdims", 1))


def _filled(node: onnx.NodeProto, given: list[Value]) -> Value | None:
    fill = next((a.t for a in node.attribute if a.name == "value"), TensorProto())
    value, count = constant_value(fill), given[0].numbers
    if value is None or count is None or len(count) != 1 or not 0 <= count[0] <= MAX_ENTRIES:
        return None
    return Value(value.entries[:1] * count[0])


def _product(sizes: Sequence[Entry]) -> Entry:
    product: Entry = 1
    for size in sizes:
        product = _times(product, size)
    return product


def _times(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if 0 in (a, b):
        return 0
    return a if b == 1 else b if a == 1 else None


def _over(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int) and b:
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # ONNX rounds towards zero
    return a if b == 1 else None


def _plus(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return a if b == 0 else b if a == 0 else None


def _minus(a: Entry, b: Entry) -> Entry:
    if a is not None and a == b:
        return 0
    return _plus(a, -b if isinstance(b, int) else None)


def _equal(a: Entry, b: Entry) -> Entry:
    if None in (a, b) or (isinstance(a, str) and isinstance(b, str) and a != b):
        return None
    negative = any(isinstance(entry, int) and entry < 0 for entry in (a, b))
    return int(a == b) if type(a) is type(b) or negative else None  # no size is negative


def _compared(holds: Callable[[int, int], bool]) -> Callable[[Entry, Entry], Entry]:
    """Of sizes that have names nothing is told."""

    def compare(a: Entry, b: Entry) -> Entry:
        return int(holds(a, b)) if isinstance(a, int) and isinstance(b, int) else None

    return compare


def _chosen(condition: Entry, a: Entry, b: Entry) -> Entry:
    if isinstance(condition, int):
        return a if condition else b
    return a if a == b else None


def _elementwise(
    function: Callable[..., Entry],
) -> Callable[[onnx.NodeProto, list[Value]], Value | None]:
    """A rule: `function` of the entries at one place; a single one stands for all."""

    def rule(node: onnx.NodeProto, given: list[Value]) -> Value | None:
        count = max(len(value.entries) for value in given)
        if not all(value.whole and len(value.entries) in (1, count) for value in given):
            return None
        columns = [v.entries * count if len(v.entries) < count else v.entries for v in given]
        return Value(tuple(map(function, *columns)), scalar=all(value.scalar for value in given))

    return rule


RULES: dict[str, Callable[[onnx.NodeProto, list[Value]], Value | None]] = {
    "Add": _elementwise(_plus),
    "And": _elementwise(_compared(lambda a, b: bool(a and b))),
    "Cast": _cast,
    "Ceil": _same,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Div": _elementwise(_over),
    "Equal": _elementwise(_equal),
    "Floor": _same,
    "Gather": _gather,
    "Greater": _elementwise(_compared(operator.gt)),
    "GreaterOrEqual": _elementwise(_compared(operator.ge)),
    "Identity": _same,
    "Less": _elementwise(_compared(operator.lt)),
    "LessOrEqual": _elementwise(_compared(operator.le)),
    "Mul": _elementwise(_times),
    "Not": _elementwise(lambda a: int(not a) if isinstance(a, int) else None),
    "Or": _elementwise(_compared(lambda a, b: bool(a or b))),
    "ReduceProd": _product_of,
    "Reshape": _flat,
    "Slice": _slice,
    "Squeeze": _scalar,
    "Sub": _elementwise(_minus),
    "Unsqueeze": _vector,
    "Where": _elementwise(_chosen),
}
