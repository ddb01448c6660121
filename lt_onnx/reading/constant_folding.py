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
from onnx import numpy_helper, shape_inference

from lt_onnx.errors import InputError
from lt_onnx.reading.protobuf import array_of, node_title, plain_node, replace_items
from lt_onnx.reading.sandbox import guarded
from lt_onnx.runtime import evaluate
from lt_onnx.target import Shape, is_standard_domain

MAX_ROUNDS = 16  # of inference and evaluation; each makes known what the next one needs
MAX_FOLDED_NODES = 20_000
MAX_CONSTANT_BYTES = 1 << 28  # apart from …
MAX_GROWTH = 4  # … so many times what the file holds
MAX_MULTIPLY_ADDS = 1 << 37  # of one constant
MAX_TENSOR_SIZE = 1 << 31  # numbers of a tensor for one sample; runtimes count them in 32 bits
MAX_PROPAGATED = 1 << 12  # numbers of a shape tensor; inference carries each of them on its own
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
FLOATS = (onnx.TensorProto.UNDEFINED, onnx.TensorProto.FLOAT)


def fold(
    path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]
) -> tuple[dict[str, Shape], frozenset[str]]:
    """Fold the model in place; inferred shapes, and the tensors that hold no floats.

    What inference misses is absent. Raises InputError for what cannot be evaluated or is too large.
    """
    folding = _Folding(path, model, opsets)
    folding.hold_constant_nodes()
    folding.drop_dead()
    for _ in range(MAX_ROUNDS):
        folding.infer()
        if not folding.evaluate():
            break
        folding.drop_dead()
    return folding.shapes, folding.integers


def shape_of(value: onnx.ValueInfoProto) -> Shape:
    """Sizes of a tensor: an int, a symbol or None per axis."""
    return tuple(
        dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value >= 0
        else (dim.dim_param or None)
        for dim in value.type.tensor_type.shape.dim
    )


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
        self.shapes: dict[str, Shape] = {}
        self.integers: frozenset[str] = frozenset()

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
                needed.update(filter(None, node.input))
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
            inferred.ParseFromString(guarded(infer_shapes, self.model.SerializeToString()))
        except InputError as error:
            raise InputError(f"{self.path}: its shapes cannot be inferred: {error}") from None
        values = _values(inferred)
        kinds = {name: value.type.tensor_type for name, value in values.items()}
        self.shapes = {n: shape_of(v) for n, v in values.items() if kinds[n].HasField("shape")}
        self.integers = frozenset(n for n, kind in kinds.items() if kind.elem_type not in FLOATS)
        for name, shape in self.shapes.items():
            size = math.prod(d for d in shape if isinstance(d, int))
            if size > MAX_TENSOR_SIZE and 0 not in shape:
                held = f"tensor '{name}' would hold {size:.2g} numbers"
                raise InputError(f"{self.path}: {held}; is a shape or a size in the model wrong?")

    def evaluate(self) -> bool:
        """Compute what can be computed now; whether that was anything."""
        kept: list[onnx.NodeProto] = []
        ready: list[onnx.NodeProto] = []
        constant = {"", *self.constants}
        partial: dict[str, Shape] = {}  # what each Shape gives, as far as it is known
        for node in self.graph.node:
            held = self._hold_sizes(node, partial)
            computed = not held and constant.issuperset(node.input) and self._may_compute(node)
            if held or computed:
                constant.update(node.output)
            if not held:
                (ready if computed else kept).append(node)
        self.nodes_left -= len(self.graph.node) - len(kept)
        if self.nodes_left < 0:
            many = f"more than {MAX_FOLDED_NODES:,} nodes compute constants"
            raise InputError(f"{self.path}: {many}; fold them first, with onnxruntime or onnxsim")
        read = {n for node in kept for n in node.input} | {v.name for v in self.graph.output}
        wanted = [name for node in ready for name in node.output if name and name in read]
        if wanted:
            self._compute(ready, wanted)
        changed = len(kept) < len(self.graph.node)
        replace_items(self.graph.node, kept)
        return changed

    def _may_compute(self, node: onnx.NodeProto) -> bool:
        """Whether a node of constant inputs can be computed; its outputs' bytes are taken.

        Raises InputError where it would take too much memory or time.
        """
        bodies = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if bodies or node.op_type in RANDOM_OPS or not is_standard_domain(node.domain):
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

    def _hold_sizes(self, node: onnx.NodeProto, partial: dict[str, Shape]) -> bool:
        """Shape, Size, and what Gather takes of a Shape, where that is static."""
        name = node.output[0]
        if not is_standard_domain(node.domain) or name in self.constants:
            return False
        first, second = [*list(node.input), "", ""][:2]
        source = self.shapes.get(first)
        sizes: Shape | None = None
        scalar = node.op_type == "Size"
        if node.op_type == "Shape" and source is not None:
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            sizes = partial[name] = source[slice(bounds.get("start"), bounds.get("end"))]
        elif scalar and _is_static(source):
            sizes = (math.prod(source),)
        elif node.op_type == "Gather" and first in partial and second in self.constants:
            shape, indices = partial[first], array_of(self.path, self.constants[second])
            if not 0 < indices.size <= MAX_PROPAGATED or indices.ndim > 1:
                return False
            places, scalar = indices.reshape(-1).tolist(), indices.ndim == 0
            if all(isinstance(p, int) and -len(shape) <= p < len(shape) for p in places):
                sizes = tuple(shape[p] for p in places)
        if not _is_static(sizes):
            return False
        value = np.array(sizes, np.int64)
        self._hold(numpy_helper.from_array(value.reshape(()) if scalar else value, name))
        return True

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


def infer_shapes(content: bytes) -> bytes:
    """The graph of a serialised model with what inference finds, and nothing else in it."""
    model = onnx.ModelProto()
    model.ParseFromString(content)
    del model.graph.value_info[:]
    for node in model.graph.node:  # complaints tell names
        node.name = node.name or next(iter(node.output), "")
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:  # some exporters' word for an open axis; inference counts on it
                dim.Clear()
    for value in model.graph.output:  # exporters state some wrongly, runtimes do not mind
        value.type.tensor_type.ClearField("shape")
    inferred = _inferred(model, data_prop=False)
    values = _values(inferred).values()
    integers = [v for v in values if v.type.tensor_type.elem_type not in FLOATS]
    longest = max((d for v in integers for d in shape_of(v) if isinstance(d, int)), default=0)
    if longest <= MAX_PROPAGATED:
        inferred = _inferred(model, data_prop=True)
    fields = {key: getattr(inferred, key) for key in ("value_info", "input", "output")}
    return bytes(onnx.GraphProto(**fields).SerializeToString())


def _inferred(model: onnx.ModelProto, *, data_prop: bool) -> onnx.GraphProto:
    """Raises InputError naming the node whose inputs and attributes contradict each other."""
    try:
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=data_prop).graph
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise InputError(_first_complaint(str(error))) from None


def _first_complaint(text: str) -> str:
    """Of what inference says, with its node."""
    text = text.partition("Inference error(s):")[2] or text
    first = next((line for line in text.splitlines() if line.strip()), "")
    for word in ("[ShapeInferenceError]", "[TypeInferenceError]", "(op_type:"):
        first = first.replace(word, "")
    return " ".join(first.replace(", node name: ", " '").replace("): ", "': ").split())


def _values(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
