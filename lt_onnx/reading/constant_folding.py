"""What a model computes without its inputs is computed once, here, within bounds.

Comes in: a checked model with its nodes in order. Goes out: the same model with constant subgraphs
as initializers and without dead nodes, and the shapes of its tensors. A constant is computed only
after its size is inferred: a few bytes of Tile or Range can ask for terabytes.

Files from anybody are folded by this code and not by onnx-graphsurgeon (measured: 0.6.1): its
fold_constants turned the sizes [2, 3, 4, 4] into [2, 3, 0, 0] on Shape → Cast → Mul by
[1, 1, .5, .5] → Cast and asked the allocator for a ConstantOfShape of 1 TB; its toposort, which
recurses, failed on 2,000 nodes; two writers of one tensor passed.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import numpy as np
import onnx
from onnx import numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.reading.conditionals import inlined, may_be_inlined
from lt_onnx.reading.float32 import hand_on_floats
from lt_onnx.reading.inference import FLOATS, infer_shapes, shape_of, values_of
from lt_onnx.reading.protobuf import (
    array_of,
    bodies,
    names_read,
    node_title,
    plain_node,
    replace_items,
)
from lt_onnx.reading.repeated import RepeatedConstants
from lt_onnx.reading.sandbox import guarded
from lt_onnx.reading.shape_values import Value, constant_value, shape_by_values, value_of
from lt_onnx.runtime import evaluate
from lt_onnx.target import Shape, is_standard_domain

MAX_ROUNDS = 64  # of inference and evaluation; each makes known what the next one needs
MAX_FOLDED_NODES = 20_000
MAX_CONSTANT_BYTES = 1 << 28  # apart from …
MAX_GROWTH = 4  # … so many times what the file holds
MAX_MULTIPLY_ADDS = 1 << 37  # of one constant
MAX_TENSOR_SIZE = 1 << 31  # numbers of a tensor for one sample; runtimes count them in 32 bits
RANDOM_OPS = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
# operators whose outputs have no static size, but never more numbers than the inputs allow
DATA_DEPENDENT = frozenset("Compress NonMaxSuppression NonZero Unique".split())
CONSTANT_FIELDS = {  # of a Constant's attributes: where the value is, and its dtype
    "value_float": ("f", np.float32),
    "value_floats": ("floats", np.float32),
    "value_int": ("i", np.int64),
    "value_ints": ("ints", np.int64),
}
INT64 = onnx.TensorProto.INT64


def fold(
    path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]
) -> tuple[dict[str, Shape], frozenset[str]]:
    """Fold the model in place; inferred shapes, and the tensors that hold no floats.

    What inference misses is absent. Raises InputError for what cannot be evaluated or is too large.
    """
    folding = _Folding(path, model, opsets)
    for _ in range(MAX_ROUNDS):
        folding.hold_constant_nodes()
        folding.drop_dead()
        folding.infer()
        if not folding.evaluate():
            break
    folding.drop_dead()
    hand_on_floats(model.graph, folding.types)
    integers = frozenset(n for n, kind in folding.types.items() if kind not in FLOATS)
    return folding.declared_shapes(), integers


def _is_static(shape: Shape | None) -> TypeGuard[tuple[int, ...]]:
    return shape is not None and all(isinstance(size, int) for size in shape)


class _Folding:
    """A model while it is folded: its constants, what is inferred, what may still be computed."""

    def __init__(self, path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
        self.path, self.model, self.graph, self.opsets = path, model, model.graph, opsets
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        size = sum(tensor.ByteSize() for tensor in self.constants.values())
        self.bytes_left = MAX_CONSTANT_BYTES + MAX_GROWTH * size
        self.nodes_left = MAX_FOLDED_NODES
        self.tensors = {
            *self.constants,
            *(name for node in self.graph.node for name in node.output),
        }
        self.types: dict[str, int] = {}
        # Sizes that are not known get names, each its own: what a model calls alike may differ.
        self.shapes: dict[str, Shape] = {}
        self.sizes: dict[tuple[str, int], str] = {}  # their names, by tensor and axis
        self.declared: dict[str, str | None] = {}  # what the model calls those of its inputs
        for value in self.graph.input:
            for axis, size in enumerate(shape_of(value)):
                if not isinstance(size, int):
                    dim = value.type.tensor_type.shape.dim[axis]
                    dim.dim_param = self._name_of(value.name, axis)
                    self.declared[dim.dim_param] = size
        self.told: dict[str, Shape] = {}  # what shape arithmetic says of shapes

    def hold_constant_nodes(self) -> None:
        """Constant nodes become initializers."""
        kept = []
        for node in self.graph.node:
            constant = node.op_type == "Constant" and is_standard_domain(node.domain)
            tensor = _tensor_of(node) if constant else None
            if tensor is None or not node.output:
                kept.append(node)
            else:
                tensor.name = node.output[0]
                self._hold(tensor)
        replace_items(self.graph.node, kept)

    def drop_dead(self) -> None:
        """Remove nodes and initializers that no output needs."""
        needed = {value.name for value in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if not needed.isdisjoint(node.output):
                needed.update(names_read(node))
                kept.append(node)
        if len(kept) < len(self.graph.node):
            replace_items(self.graph.node, kept[::-1])
        if not self.constants.keys() <= needed:
            self.constants = {n: t for n, t in self.constants.items() if n in needed}
            tensors = [t for t in self.graph.initializer if t.name in self.constants]
            replace_items(self.graph.initializer, tensors)

    def infer(self) -> None:
        """Renew what inference knows of each tensor."""
        inferred = onnx.GraphProto()
        try:
            content = self.model.SerializeToString()
            inferred.ParseFromString(guarded(infer_shapes, content, self.told))
        except InputError as error:
            raise InputError(f"{self.path}: its shapes cannot be inferred: {error}") from None
        values = values_of(inferred)
        kinds = {name: value.type.tensor_type for name, value in values.items()}
        self.types = {name: kind.elem_type for name, kind in kinds.items()}
        self.shapes, names = {}, {name: name for name in self.sizes.values()}
        for tensor in [name for name, kind in kinds.items() if kind.HasField("shape")]:
            sizes: list[int | str | None] = [*shape_of(values[tensor])]
            for axis, size in enumerate(sizes):
                if not isinstance(size, int):  # inference has names of its own, for this time
                    own = self._name_of(tensor, axis)
                    sizes[axis] = own if size is None else names.setdefault(size, own)
            self.shapes[tensor] = tuple(sizes)
        for tensor, told in self.told.items():
            self._merge(tensor, told)
        for name, shape in self.shapes.items():
            size = math.prod(d for d in shape if isinstance(d, int))
            if size > MAX_TENSOR_SIZE and 0 not in shape:
                held = f"tensor '{name}' would hold {size:.2g} numbers"
                raise InputError(f"{self.path}: {held}; is a shape or a size in the model wrong?")

    def evaluate(self) -> bool:
        """Compute what can be computed now; whether that was anything."""
        kept: list[onnx.NodeProto] = []
        ready: list[onnx.NodeProto] = []
        constant, told, done = {"", *self.constants}, False, 0
        values = {
            name: value
            for name, tensor in self.constants.items()
            if (value := constant_value(tensor)) is not None
        }
        for node in self.graph.node:
            branch = self._branch(node, values)
            if branch is not None:
                kept += branch
                told = True
                continue
            value = value_of(node, self.shapes, values)
            if value is not None:
                values[node.output[0]] = value
            if constant.issuperset(node.input):
                computed, held = self._may_compute(node), False
            else:
                computed, held = False, self._hold_value(node.output[0], value)
            if not (computed or held):
                told |= self._tell_shape(node, values)
            if held or computed:
                constant.update(node.output)
            done += held or computed
            if not held:
                (ready if computed else kept).append(node)
        self.nodes_left -= done
        if self.nodes_left < 0:
            many = f"more than {MAX_FOLDED_NODES:,} nodes compute constants"
            raise InputError(f"{self.path}: {many}; fold them first, with onnxruntime or onnxsim")
        read = {n for node in kept for n in names_read(node)} | {v.name for v in self.graph.output}
        wanted = [name for node in ready for name in node.output if name and name in read]
        if wanted:
            self._compute(ready, wanted)
        repeated = RepeatedConstants(self.shapes, values, self.constants, self.types, self.tensors)
        replace_items(self.graph.node, repeated.through(kept))
        for tensor in repeated.tensors:
            self._hold(tensor)
        return told or done > 0 or repeated.changed

    def _branch(
        self, node: onnx.NodeProto, values: Mapping[str, Value]
    ) -> list[onnx.NodeProto] | None:
        """The nodes of the branch that is taken, if it is known which; None of other nodes."""
        condition = values.get(node.input[0]) if may_be_inlined(node) else None
        if condition is None or condition.numbers is None or len(condition.numbers) != 1:
            return None
        nodes, tensors = inlined(node, truth=condition.numbers[0] != 0, taken=self.tensors)
        for tensor in tensors:
            self._hold(tensor)
        return nodes

    def _may_compute(self, node: onnx.NodeProto) -> bool:
        """Whether a node of constant inputs can be computed; its outputs' bytes are taken.

        Raises InputError where it would take too much memory or time.
        """
        if bodies(node) or node.op_type in RANDOM_OPS or not is_standard_domain(node.domain):
            return False
        largest = 0
        for name in filter(None, node.output):
            shape = self.shapes.get(name)
            if not _is_static(shape) and node.op_type in DATA_DEPENDENT:
                continue
            if not _is_static(shape):
                return False
            largest = max(largest, math.prod(shape))
            self.bytes_left -= 4 * math.prod(shape)
            if self.bytes_left < 0:
                value = f"makes a constant '{name}' of shape {list(shape)}"
                mend = "the model's constants are too large: store what it needs as weights"
                raise InputError(f"{self.path}: {node_title(node)} {value}; with it {mend}")
        if largest * self._terms(node) > MAX_MULTIPLY_ADDS:
            cost = f"computes a constant with more than {MAX_MULTIPLY_ADDS:.1g} multiply-adds"
            raise InputError(f"{self.path}: {node_title(node)} {cost}; store its value as a weight")
        return True

    def _terms(self, node: onnx.NodeProto) -> int:
        """Multiply-adds for each number of a node's outputs."""
        inputs = [
            [d if isinstance(d, int) else 0 for d in self.shapes.get(name, ())]
            for name in node.input
        ]
        match node.op_type:
            case "MatMul" | "Gemm":
                return max(inputs[0][-2:], default=1)
            case "Conv" | "ConvTranspose":
                return math.prod(inputs[1][1:])
            case "Einsum":
                return math.prod(d for sizes in inputs for d in sizes)
        return math.prod(k for a in node.attribute if a.name == "kernel_shape" for k in a.ints)

    def _hold_value(self, name: str, value: Value | None) -> bool:
        """Make a constant of a value that is wholly known; whether it is."""
        numbers = None if value is None or self.types.get(name) != INT64 else value.numbers
        if value is None or numbers is None:
            return False
        array = np.array(numbers, np.int64)
        self._hold(numpy_helper.from_array(array.reshape(()) if value.scalar else array, name))
        return True

    def _tell_shape(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """Tell inference the shape that shape arithmetic gives; whether that is news.

        A Reshape to a shape of which 0 and -1 can tell what is not known gets a constant one.
        """
        name = node.output[0]
        sizes: dict[str, Shape] = {
            n: tuple(self.constants[n].dims) if n in self.constants else self.shapes[n]
            for n in node.input[:1]
            if n in self.constants or n in self.shapes
        }
        shape = shape_by_values(node, sizes, values)
        before = self.told.get(name, self.shapes.get(name, (None,) * len(shape or ())))
        told = any(new not in (None, old) for new, old in zip(shape or (), before, strict=False))
        if shape is not None and told:
            self.told[name] = shape
            self._merge(name, shape)
        goal = None if node.op_type != "Reshape" else self._goal(node)
        if goal is not None:
            shape_name = f"{node.name or name}/shape"
            while shape_name in self.tensors:
                shape_name += "_"
            self.tensors.add(shape_name)
            self._hold(numpy_helper.from_array(np.array(goal, np.int64), shape_name))
            node.input[1] = shape_name
        return told or goal is not None

    def _goal(self, node: onnx.NodeProto) -> list[int] | None:
        """The shape to ask a Reshape for whose shape is computed; None where none will do."""
        shape, sizes = self.shapes.get(node.output[0]), self.shapes.get(node.input[0], ())
        if shape is None or 0 in shape or node.input[1] in self.constants:
            return None
        goal = [size if isinstance(size, int) else -1 for size in shape]
        if goal.count(-1) > 1 and not any(a.name == "allowzero" and a.i for a in node.attribute):
            same = [size == other for size, other in zip(shape, sizes, strict=False)]
            goal[: len(same)] = [0 if s else d for s, d in zip(same, goal, strict=False)]
        return goal if goal.count(-1) < 2 else None

    def declared_shapes(self) -> dict[str, Shape]:
        """The shapes, with the names that the inputs' sizes have in the model, and no others."""
        return {
            name: tuple(d if isinstance(d, int) else self.declared.get(d or "") for d in shape)
            for name, shape in self.shapes.items()
        }

    def _merge(self, tensor: str, told: Shape) -> None:
        """Take over what a shape says of sizes that are not known."""
        known = self.shapes.get(tensor, (None,) * len(told))
        if len(known) == len(told):
            pairs = zip(known, told, strict=True)
            self.shapes[tensor] = tuple(
                a if isinstance(a, int) or b is None else b for a, b in pairs
            )

    def _name_of(self, tensor: str, axis: int) -> str:
        return self.sizes.setdefault((tensor, axis), f"\n{len(self.sizes)}")

    def _compute(self, ready: list[onnx.NodeProto], wanted: list[str]) -> None:
        nodes = [plain_node(self.path, node, i) for i, node in enumerate(ready)]
        computed = {name for node in nodes for name in node.outputs}
        names = {name for node in nodes for name in node.inputs if name} - computed
        constants = {name: array_of(self.path, self.constants[name]) for name in names}
        try:
            results = guarded(
                evaluate, nodes, {}, constants=constants, outputs=wanted, opsets=self.opsets
            )
        except InputError as error:
            raise InputError(f"{self.path}: a constant cannot be computed: {error}") from None
        for name, value in zip(wanted, results, strict=True):
            if not isinstance(value, np.ndarray):
                raise InputError(f"{self.path}: the constant '{name}' is no tensor")
            self._hold(numpy_helper.from_array(value, name))

    def _hold(self, tensor: onnx.TensorProto) -> None:
        self.constants[tensor.name] = tensor
        self.graph.initializer.append(tensor)


def _tensor_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The value of a Constant; None where it is of a kind that arrays have not."""
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(attribute.t)
            return tensor
        if attribute.name in CONSTANT_FIELDS:
            field, dtype = CONSTANT_FIELDS[attribute.name]
            return numpy_helper.from_array(np.array(getattr(attribute, field), dtype))
    return None
