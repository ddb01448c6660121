"""What is the same for every input is computed once, and repeated for as many as there are.

Comes in: nodes in order, and what is known of shapes and values. Goes out: the same nodes, but
where one read a constant that is repeated as often as there are inputs, it reads the constant, and
what it makes is repeated. Positions that exporters count anew for every batch become constants that
way, and tokens that are looked up by them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lt_onnx.reading.inference import FLOATS
from lt_onnx.reading.protobuf import bodies
from lt_onnx.reading.shape_values import Value
from lt_onnx.target import Shape, is_standard_domain

ELEMENTWISE = frozenset(
    "Abs Add And Cast Ceil Cos Div Equal Erf Exp Floor Greater GreaterOrEqual Identity Less "
    "LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Reciprocal Relu Round Sigmoid Sign Sin Sqrt "
    "Sub Tanh Where Xor".split()
)
REPEATING = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}  # and where they are told how often
SIZED = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "Resize": 3}  # where a shape is told


@dataclass(frozen=True)
class _Repeated:
    """A tensor that is a constant, repeated along one axis."""

    once: str  # the constant, of size 1 there
    axis: int
    size: str  # how often; a name
    vector: str  # of which this is …
    entry: int  # … an entry


@dataclass
class RepeatedConstants:
    """Nodes while constants pass through them that are repeated."""

    shapes: Mapping[str, Shape]
    values: Mapping[str, Value]
    constants: Mapping[str, onnx.TensorProto]
    types: Mapping[str, int]  # of entries
    taken: AbstractSet[str]  # names of the model's tensors
    tensors: list[onnx.TensorProto] = field(default_factory=list)  # that the new nodes read
    changed: bool = False
    found: dict[str, _Repeated] = field(default_factory=dict)
    _made: AbstractSet[str] = frozenset()  # by the nodes

    def through(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """The nodes by which some of `nodes` are replaced, among the others."""
        out: list[onnx.NodeProto] = []
        self._made = {name for node in nodes for name in node.output}
        for node in nodes:
            out += self._started(node) or self._passed(node) or [node]
        return out

    def _started(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """A node that repeats a constant, and one that makes this; None for other nodes."""
        place, axis = REPEATING.get(node.op_type), self._axis(node)
        if axis is None or place is None or not self.are_constant(node.input[:place]):
            return None
        name, vector = node.output[0], node.input[place]
        size, told = self.shapes[name][axis], self.values.get(vector)
        if told is None or not self._is_told(vector, name, axis):
            return None
        once, sizes = next(iter(node.input[:place]), ""), self._sizes(name)
        if not once or list(self.constants[once].dims) != sizes:
            once = f"{name}/once"
        self.found[name] = _Repeated(once, axis, str(size), vector, axis)
        if self._is_there(once):
            return None
        if node.op_type == "Tile":
            sizes = [entry if isinstance(entry, int) else 1 for entry in told.entries]
        return [self._alone(node, sizes), node]

    def _passed(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """A node that reads what is repeated as one that repeats; None where that does not hold.

        What makes no floats stays beside it, for others that read it.
        """
        repeated = [self.found[name] for name in node.input if name in self.found]
        axis = self._axis(node) if repeated else None
        rule = _broadcast if node.op_type in ELEMENTWISE else RULES.get(node.op_type)
        if axis is None or rule is None:
            return None
        name, first = node.output[0], repeated[0]
        size, sizes = self.shapes[name][axis], self._sizes(name)
        if {one.size for one in repeated} != {size} or not rule(self, node, axis):
            return None
        floats = self.types.get(name) in FLOATS
        self.changed |= floats
        if floats and node.op_type == "Expand" and self._is_told(node.input[1], name, axis):
            node.input[0] = first.once  # which may be smaller than what is made of it
            return None
        for output in node.output:
            self.found[output] = replace(first, once=f"{output}/once", axis=axis)
        if not floats:
            return None if self._is_there(f"{name}/once") else [self._alone(node, sizes), node]
        nodes = [self._alone(node, sizes)]
        for output in node.output:
            nodes += self._again(output)
        return nodes

    def _again(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that repeat a constant that was found."""
        found, rank = self.found[name], self.rank(name)
        before = self._constant(f"{name}/before", [1] * found.axis)
        entry = self._constant(f"{name}/entry", [found.entry])
        behind = self._constant(f"{name}/behind", [1] * (rank - found.axis - 1))
        parts = [before, f"{name}/times", behind]
        return [
            helper.make_node("Gather", [found.vector, entry], [f"{name}/times"]),
            helper.make_node("Concat", parts, [f"{name}/repeated"], axis=0),
            helper.make_node("Expand", [found.once, f"{name}/repeated"], [name], name),
        ]

    def _alone(self, node: onnx.NodeProto, sizes: list[int]) -> onnx.NodeProto:
        """A node as it is where nothing is repeated; `sizes` if it is told any."""
        alone = onnx.NodeProto()
        alone.CopyFrom(node)
        alone.name = f"{node.name}/once" if node.name else ""
        given = [self.found[name].once if name in self.found else name for name in node.input]
        place = {**REPEATING, **SIZED}.get(node.op_type, len(given))
        if place < len(given):
            given[place] = self._constant(f"{node.output[0]}/once/sizes", sizes)
        alone.input[:], alone.output[:] = given, [f"{name}/once" for name in node.output]
        return alone

    def _is_there(self, name: str) -> bool:
        return name in self.constants or name in self._made

    def _axis(self, node: onnx.NodeProto) -> int | None:
        """The one axis of all that a node makes whose size is a name; None where there is none."""
        if not is_standard_domain(node.domain) or bodies(node):
            return None
        axes = {self._open_axis(name) for name in node.output}
        return axes.pop() if len(axes) == 1 else None

    def _open_axis(self, name: str) -> int | None:
        shape = self.shapes.get(name, ())
        open_axes = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
        new = {
            f"{name}/{key}" for key in "before behind entry once once/sizes repeated times".split()
        }
        if len(open_axes) != 1 or {None, 0} & {*shape} or new & self.taken:
            return None
        return open_axes[0]

    def _is_told(self, vector: str, name: str, axis: int) -> bool:
        """Whether a vector tells all sizes of a tensor, and how often that is repeated."""
        told, shape = self.values.get(vector), self.shapes[name]
        entries = () if told is None else told.entries
        return len(entries) == len(shape) and entries[axis] == shape[axis]

    def _sizes(self, name: str) -> list[int]:
        """The shape of a tensor when it is not repeated."""
        return [size if isinstance(size, int) else 1 for size in self.shapes[name]]

    def _constant(self, name: str, numbers: list[int]) -> str:
        self.tensors.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name

    def shape(self, name: str) -> Shape:
        """The shape of a tensor; () where it is not known."""
        constant = self.constants.get(name)
        return self.shapes.get(name, ()) if constant is None else tuple(constant.dims)

    def rank(self, name: str) -> int:
        """Axes of a tensor."""
        return len(self.shape(name))

    def are_constant(self, names: Sequence[str]) -> bool:
        """Whether some tensors are constants, each, where there is any."""
        return all(name in self.constants for name in names if name)

    def axes(self, node: onnx.NodeProto, key: str, place: int) -> list[int] | None:
        """Axes that a node has as an attribute, or as an input at this place; None: not known."""
        for attribute in node.attribute:
            if attribute.name == key:
                return list(attribute.ints) or [attribute.i]
        value = self.values.get(node.input[place]) if len(node.input) > place else None
        return None if value is None else value.numbers


# whether a node does the same with every repetition; the axis is its output's
Rule = Callable[[RepeatedConstants, onnx.NodeProto, int], bool]


def _broadcast(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """All inputs are constants, and none but those that are repeated has the axis."""
    from_right = known.rank(node.output[0]) - axis
    for name in node.input:
        rank = known.rank(name)
        if name in known.found:
            if rank - known.found[name].axis != from_right:
                return False
        elif name not in known.constants or (
            rank >= from_right and known.shape(name)[rank - from_right] != 1
        ):
            return False
    return True


def _along_others(key: str, place: int) -> Rule:
    """A rule: the axes, an attribute `key` or the input at `place`, are others."""

    def rule(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
        axes, first = known.axes(node, key, place), node.input[0]
        if not axes or first not in known.found or not known.are_constant(node.input[1:]):
            return False
        return all(one % known.rank(first) != known.found[first].axis for one in axes)

    return rule


def _alike(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """Axes come, go and change places, or each number is bounded."""
    return node.input[0] in known.found and known.are_constant(node.input[1:])


def _gathered(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """Of constant data by repeated indices, or the other way round, along another axis."""
    data, indices = node.input
    if data not in known.found:
        return data in known.constants
    (along,) = known.axes(node, "axis", 2) or [0]
    return indices in known.constants and along % known.rank(data) != known.found[data].axis


def _joined(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    (along,) = known.axes(node, "axis", len(node.input)) or [0]
    return all(name in known.found for name in node.input) and (
        along % known.rank(node.output[0]) != axis
    )


def _multiplied(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """Matrices that are constants, or repeated; or the rows of one by a constant."""
    ranks = [known.rank(name) for name in node.input]
    if ranks[1] == 2 and node.input[1] in known.constants:
        return known.found[node.input[0]].axis < ranks[0] - 1
    return axis < max(ranks) - 2 and _broadcast(known, node, axis)


def _weighed(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """The rows of a matrix, by constants: the first steps of a recurrent layer."""
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return not turned and _convolved(known, node, axis)


def _normalized(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """Along axes behind; those of a Softmax without a word for them depend on the operator set."""
    first, absent = node.input[0], -1 if node.op_type == "LayerNormalization" else 0
    (along,) = known.axes(node, "axis", len(node.input)) or [absent]
    constant = known.are_constant(node.input[1:])
    return constant and first in known.found and axis < along % known.rank(first)


def _convolved(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    first = node.input[0]
    constant = known.are_constant(node.input[1:])
    return constant and first in known.found and known.found[first].axis == 0


def _reshaped(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """As many numbers before the axis, and so behind it."""
    first = node.input[0]
    if first not in known.found:
        return False
    before, after = (
        known.shape(first)[: known.found[first].axis],
        known.shape(node.output[0])[:axis],
    )
    counts = [math.prod(d for d in sizes if isinstance(d, int)) for sizes in (before, after)]
    return counts[0] == counts[1]


def _expanded(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    first, rank = node.input[0], known.rank(node.output[0])
    return first in known.found and known.rank(first) - known.found[first].axis == rank - axis


def _resized(known: RepeatedConstants, node: onnx.NodeProto, axis: int) -> bool:
    """To sizes of all axes."""
    if any(attribute.name in ("axes", "keep_aspect_ratio_policy") for attribute in node.attribute):
        return False
    return node.input[0] in known.found and known.are_constant(node.input[1:3])


RULES: dict[str, Rule] = {
    "Clip": _alike,
    "Concat": _joined,
    "Conv": _convolved,
    "CumSum": _along_others("axis", 1),
    "Expand": _expanded,
    "Flatten": _reshaped,
    "Gather": _gathered,
    "Gemm": _weighed,
    "LayerNormalization": _normalized,
    "MatMul": _multiplied,
    "ReduceMean": _along_others("axes", 1),
    "ReduceSum": _along_others("axes", 1),
    "Reshape": _reshaped,
    "Resize": _resized,
    "Slice": _along_others("axes", 3),
    "Softmax": _normalized,
    "Split": _along_others("axis", 2),
    "Squeeze": _along_others("axes", 1),
    "Transpose": _alike,
    "Unsqueeze": _alike,
}
