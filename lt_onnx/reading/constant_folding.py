"""What a model computes without its inputs is computed once, here, within bounds.

Comes in: a checked model with its nodes in order. Goes out: the same model with constant subgraphs
as initializers and without dead nodes, and the shapes of its tensors. A constant is computed only
after its size is inferred: a few bytes of Tile or Range can ask for terabytes.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from lt_onnx.errors import InputError
from lt_onnx.reading.protobuf import array_of, plain_node
from lt_onnx.reading.sandbox import guarded
from lt_onnx.reading.topology import where
from lt_onnx.runtime import evaluate
from lt_onnx.target import Array, Node, Shape, is_standard_domain

ROUNDS = 16  # of inference and evaluation; each makes known what the next one needs
MOST_NODES = 20_000  # constant ones
MOST_BYTES = 1 << 28  # that constants may take apart from …
GROWTH = 4  # … so many times what the file holds
MOST_WORK = 1 << 37  # multiply-adds of one constant
LARGEST = 1 << 31  # numbers of a tensor for one sample; runtimes count them in 32 bits
PROPAGATED = 1 << 12  # numbers of a shape tensor; inference carries each of them on its own
RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
BOUNDED = {"NonZero", "Unique", "Compress", "NonMaxSuppression"}  # sizes follow their input's
FLOATS = (onnx.TensorProto.UNDEFINED, onnx.TensorProto.FLOAT)


def fold(
    path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]
) -> tuple[dict[str, Shape], frozenset[str]]:
    """Fold the model in place; inferred shapes, and the tensors that hold no floats.

    What inference misses is absent. Raises InputError for what cannot be evaluated or is too large.
    """
    folding = _Folding(path, model, opsets)
    folding.constants_of_nodes()
    folding.drop_dead()
    for _ in range(ROUNDS):
        values = folding.inferred()
        if not folding.evaluate(values):
            break
        folding.drop_dead()
    kinds = {name: v.type.tensor_type for name, v in values.items()}
    return (
        {name: shape_of(v) for name, v in values.items() if kinds[name].HasField("shape")},
        frozenset(name for name, kind in kinds.items() if kind.elem_type not in FLOATS),
    )


def shape_of(value: onnx.ValueInfoProto) -> Shape:
    """Sizes of a tensor: an int, a symbol or None per axis."""
    return tuple(
        dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value >= 0
        else (dim.dim_param or None)
        for dim in value.type.tensor_type.shape.dim
    )


class _Folding:
    def __init__(self, path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
        self.path, self.model, self.graph, self.opsets = path, model, model.graph, opsets
        self.held = {tensor.name: tensor for tensor in model.graph.initializer}
        size = sum(tensor.ByteSize() for tensor in self.held.values())
        self.bytes_left = MOST_BYTES + GROWTH * size
        self.nodes_left = MOST_NODES

    def constants_of_nodes(self) -> None:
        """Constant nodes become initializers."""
        kept = []
        for node in self.graph.node:
            tensor = (
                _tensor_of(node)
                if is_standard_domain(node.domain) and node.op_type == "Constant"
                else None
            )
            if tensor is None or not node.output:
                kept.append(node)
            else:
                tensor.name = node.output[0]
                self._hold(tensor)
        self._keep(kept)

    def drop_dead(self) -> None:
        """Remove nodes and initializers that no output needs."""
        needed = {value.name for value in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if any(name in needed for name in node.output):
                needed.update(node.input)
                kept.append(node)
        if len(kept) < len(self.graph.node):
            self._keep(kept[::-1])
        dead = [name for name in self.held if name not in needed]
        if dead:
            for name in dead:
                del self.held[name]
            tensors = [t for t in self.graph.initializer if t.name in self.held]
            del self.graph.initializer[:]
            self.graph.initializer.extend(tensors)

    def inferred(self) -> dict[str, onnx.ValueInfoProto]:
        """What inference knows of each tensor."""
        try:
            values = _values(guarded(infer, self.model.SerializeToString()))
        except InputError as error:
            raise InputError(f"{self.path}: its shapes cannot be inferred: {error}") from None
        for name, value in values.items():
            shape = shape_of(value)
            numbers = math.prod(d for d in shape if isinstance(d, int))
            if numbers > LARGEST and 0 not in shape:
                raise InputError(
                    f"{self.path}: tensor '{name}' would hold {numbers:.2g} numbers; "
                    "is a shape or a size in the model wrong?"
                )
        return values

    def evaluate(self, values: Mapping[str, onnx.ValueInfoProto]) -> bool:
        """Compute what can be computed now; whether that was anything."""
        shapes = {n: shape_of(v) for n, v in values.items() if v.type.tensor_type.HasField("shape")}
        kept, ready = [], []
        known = set(self.held) | {""}
        shaped: dict[str, Shape] = {}  # what a Shape gives, as far as it is known
        for node in self.graph.node:
            if self._is_shape(node, shapes, shaped):
                known.update(node.output)
            elif (
                node.op_type not in RANDOM
                and is_standard_domain(node.domain)
                and all(name in known for name in node.input)
                and not any(a.HasField("g") or a.graphs for a in node.attribute)
                and all(self._fits(node, name, values, shapes) for name in node.output if name)
            ):
                self._check_work(node, shapes)
                ready.append(node)
                known.update(node.output)
            else:
                kept.append(node)
        if len(kept) == len(self.graph.node):
            return False
        self._keep_count(len(self.graph.node) - len(kept))
        read = {name for node in kept for name in node.input}
        read |= {value.name for value in self.graph.output}
        wanted = [n for node in ready for n in node.output if n in read]
        if wanted:
            self._compute(ready, wanted)
        self._keep(kept)
        return True

    def _fits(
        self,
        node: onnx.NodeProto,
        name: str,
        values: Mapping[str, onnx.ValueInfoProto],
        shapes: Mapping[str, Shape],
    ) -> bool:
        """Whether the size of an output is known; taken from what constants may take."""
        shape = shapes.get(name)
        if shape is None or not all(isinstance(d, int) for d in shape):
            return node.op_type in BOUNDED
        size = math.prod(d for d in shape if isinstance(d, int))
        self.bytes_left -= 8 * size if name not in values else 4 * size
        if self.bytes_left < 0:
            raise InputError(
                f"{self.path}: {where(node)} makes a constant '{name}' of shape {list(shape)}; "
                "with it the model's constants are too large: store what it needs as weights"
            )
        return True

    def _keep_count(self, count: int) -> None:
        self.nodes_left -= count
        if self.nodes_left < 0:
            raise InputError(
                f"{self.path}: more than {MOST_NODES:,} nodes compute constants; fold them first, "
                "with onnxruntime or onnxsim"
            )

    def _check_work(self, node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> None:
        """Refuse a constant that takes minutes."""
        sizes = [math.prod(int(d or 0) for d in shapes.get(n, ())) for n in node.output if n]
        inner = [shapes.get(name, ()) for name in node.input]
        per = 1
        match node.op_type:
            case "MatMul" | "Gemm":
                per = max((int(d or 0) for d in inner[0][-2:]), default=1)
            case "Conv" | "ConvTranspose":
                per = math.prod(int(d or 0) for d in inner[1][1:])
            case "Einsum":
                per = math.prod(int(d or 0) for shape in inner for d in shape)
            case _:
                kernel = [a.ints for a in node.attribute if a.name == "kernel_shape"]
                per = math.prod(kernel[0]) if kernel else 1
        if max(sizes, default=0) * per > MOST_WORK:
            raise InputError(
                f"{self.path}: {where(node)} computes a constant with more than "
                f"{MOST_WORK:.1g} multiply-adds; store its value as a weight"
            )

    def _is_shape(
        self, node: onnx.NodeProto, shapes: Mapping[str, Shape], shaped: dict[str, Shape]
    ) -> bool:
        """Shape, Size, and what Gather and Slice take of them, where that is static."""
        if (
            not is_standard_domain(node.domain)
            or len(node.output) != 1
            or node.output[0] in self.held
        ):
            return False
        if node.op_type in ("Shape", "Size") and node.input and node.input[0] in shapes:
            shape = shapes[node.input[0]]
            if node.op_type == "Size":
                shape = (math.prod(shape),) if all(isinstance(d, int) for d in shape) else (None,)  # type: ignore[arg-type]
            cut = {a.name: a.i for a in node.attribute}
            shaped[node.output[0]] = shape[slice(cut.get("start"), cut.get("end"))]
            found = shaped[node.output[0]]
            scalar = node.op_type == "Size"
        elif node.op_type == "Gather" and len(node.input) == 2 and node.input[0] in shaped:
            at = self._held_array(node.input[1])
            whole = shaped[node.input[0]]
            if at is None or at.size == 0 or at.size > PROPAGATED or at.ndim > 1:
                return False
            places = at.reshape(-1).tolist()
            if not all(isinstance(p, int) and -len(whole) <= p < len(whole) for p in places):
                return False
            found, scalar = tuple(whole[p] for p in places), at.ndim == 0
        else:
            return False
        if not all(isinstance(d, int) for d in found):
            return False
        value = np.array(found, np.int64)
        self._hold(numpy_helper.from_array(value.reshape(()) if scalar else value, node.output[0]))
        return True

    def _held_array(self, name: str) -> Array | None:
        tensor = self.held.get(name)
        return None if tensor is None else array_of(self.path, tensor)

    def _compute(self, ready: list[onnx.NodeProto], wanted: list[str]) -> None:
        nodes: list[Node] = [plain_node(self.path, node, i) for i, node in enumerate(ready)]
        made = {name for node in ready for name in node.output}
        names = {name for node in ready for name in node.input if name} - made
        constants = {name: array_of(self.path, self.held[name]) for name in names}
        try:
            results = guarded(evaluate, nodes, {}, constants, wanted, self.opsets)
        except InputError as error:
            raise InputError(f"{self.path}: a constant cannot be computed: {error}") from None
        for name, value in zip(wanted, results, strict=True):
            if not isinstance(value, np.ndarray):
                raise InputError(f"{self.path}: the constant '{name}' is no tensor")
            self._hold(numpy_helper.from_array(value, name))

    def _hold(self, tensor: onnx.TensorProto) -> None:
        self.held[tensor.name] = tensor
        self.graph.initializer.append(tensor)

    def _keep(self, nodes: list[onnx.NodeProto]) -> None:
        kept = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(kept)


def _tensor_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The value of a Constant; None where it is of a kind that arrays have not."""
    for attribute in node.attribute:
        made = onnx.TensorProto()
        match attribute.name:
            case "value":
                made.CopyFrom(attribute.t)
            case "value_float" | "value_floats":
                floats = attribute.f if attribute.name == "value_float" else attribute.floats
                made = numpy_helper.from_array(np.array(floats, np.float32))
            case "value_int" | "value_ints":
                ints = attribute.i if attribute.name == "value_int" else attribute.ints
                made = numpy_helper.from_array(np.array(ints, np.int64))
            case _:
                continue
        return made
    return None


def infer(content: bytes) -> bytes:
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
    found = _inferred(model, data_prop=False)
    values = _values(found.SerializeToString())
    whole = [v for v in values.values() if v.type.tensor_type.elem_type not in FLOATS]
    longest = max((d for v in whole for d in shape_of(v) if isinstance(d, int)), default=0)
    if longest <= PROPAGATED:
        found = _inferred(model, data_prop=True)
    bare = onnx.GraphProto(value_info=found.value_info, input=found.input, output=found.output)
    return bytes(bare.SerializeToString())


def _inferred(model: onnx.ModelProto, *, data_prop: bool) -> onnx.GraphProto:
    """Raises InputError naming the node whose inputs and attributes contradict each other."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    for value in asked.graph.output:  # exporters state some wrongly, runtimes do not mind
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(asked, strict_mode=True, data_prop=data_prop).graph
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise InputError(_reason(str(error))) from None


def _reason(text: str) -> str:
    """The first of inference's complaints, with its node."""
    text = text.partition("Inference error(s):")[2] or text
    first = next((line for line in text.splitlines() if line.strip()), "")
    for word in ("[ShapeInferenceError]", "[TypeInferenceError]", "(op_type:"):
        first = first.replace(word, "")
    return " ".join(first.replace(", node name: ", " '").replace("): ", "': ").split())


def _values(content: bytes) -> dict[str, onnx.ValueInfoProto]:
    graph = onnx.GraphProto()
    graph.ParseFromString(content)
    return {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
