"""From plain nodes to a Target: find the linear layers and fold what is affine into them.

Rules, in order, until none applies:
1. Conv, Gemm and MatMul with constant weights become `Linear` (y = W x + b).
2. A Linear read only by a BatchNormalization takes it in:  W ← W·γ/√(v+ε),  b ← (b−μ)·γ/√(v+ε)+β.
3. A Linear read only by an Add, Sub, Mul or Div of a per-channel constant takes it in likewise.
4. Any other BatchNormalization in inference form is a depthwise 1x1 layer of its own.
5. Identity and Dropout vanish; a Reshape with a computed but inferable shape gets a constant one.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reader import Graph, read_graph
from lt_onnx.target import Array, Linear, Node, Shape, Step, Target

CONV_KEYS = ("strides", "pads", "dilations", "auto_pad")


def read_target(path: Path) -> Target:
    """Read the network at `path` as a Target. Raises InputError, UnsupportedError."""
    return lower(read_graph(path))


def lower(graph: Graph) -> Target:
    """Apply the rules above to `graph`."""
    lowering = _Lowering(graph)
    steps = lowering.run()
    return Target(
        path=graph.path,
        sha256=graph.sha256,
        name=graph.name,
        inputs=graph.inputs,
        outputs=graph.outputs,
        steps=tuple(steps),
        constants=lowering.constants,
        shapes=graph.shapes,
        opsets=graph.opsets,
        ir_version=graph.ir_version,
        integers=graph.integers,
    )


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = dict(graph.constants)
        self.alias: dict[str, str] = {}
        self.kept = {port.name for port in graph.outputs}
        self.made: dict[str, int] = {}  # output tensor -> position of its Linear in `steps`
        self.steps: list[Step | None] = []
        self.reads: dict[str, int] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self.reads[name] = self.reads.get(name, 0) + 1
        self.names: set[str] = set()

    def run(self) -> list[Step]:
        for node in self.graph.nodes:
            inputs = tuple(self.alias.get(name, name) for name in node.inputs)
            node = replace(node, inputs=inputs, name=self._unique(node.name))
            if node.domain not in self.graph.opsets:
                raise UnsupportedError(
                    f"{self.graph.path}: node '{node.name}' ({node.op}) is of the domain "
                    f"'{node.domain}', which the model does not import"
                )
            if not self._vanish(node) and not self._fold(node):
                layer = self._linear(node) if not node.domain else None
                self._append(layer or self._constant_shape(node))
        return [step for step in self.steps if step is not None]

    def _unique(self, name: str) -> str:
        made, count = name, 1
        while made in self.names:
            count += 1
            made = f"{name}_{count}"
        self.names.add(made)
        return made

    def _append(self, step: Step) -> None:
        if isinstance(step, Linear):
            self.made[step.output] = len(self.steps)
        self.steps.append(step)

    def _vanish(self, node: Node) -> bool:
        """Rule 5, first half."""
        if node.op == "Dropout" and len(node.inputs) > 2 and self._flag(node.inputs[2]):
            raise UnsupportedError(
                f"{self.graph.path}: node '{node.name}' (Dropout) is in training mode; "
                "export the network for inference"
            )
        if node.op not in ("Identity", "Dropout") or node.outputs[0] in self.kept:
            return False
        if any(name and self.reads.get(name) for name in node.outputs[1:]):
            return False
        source = node.inputs[0]
        if source in self.constants:
            self.constants[node.outputs[0]] = self.constants[source]
        else:
            self.alias[node.outputs[0]] = source
            self.reads[source] += self.reads.get(node.outputs[0], 0) - 1
        return True

    def _flag(self, name: str) -> bool:
        return bool(name) and bool(np.any(self.constants.get(name, np.array(True))))

    def _constant(self, node: Node, position: int) -> Array | None:
        """A constant float input; None when absent or computed."""
        if position >= len(node.inputs):
            return None
        value = self.constants.get(node.inputs[position])
        return value if value is not None and value.dtype == np.float32 else None

    # rule 1 -------------------------------------------------------------------------------

    def _linear(self, node: Node) -> Linear | None:
        match node.op:
            case "Conv":
                return self._conv(node)
            case "Gemm":
                return self._gemm(node)
            case "MatMul":
                return self._matmul(node)
            case "BatchNormalization":
                return self._batch_norm(node)
        return None

    def _conv(self, node: Node) -> Linear | None:
        weight, bias = self._constant(node, 1), self._constant(node, 2)
        has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
        if weight is None or (has_bias and bias is None):
            return None
        group = int(node.attributes.get("group", 1))
        if group < 1 or weight.shape[0] % group or 0 in weight.shape:
            raise InputError(
                f"{self.graph.path}: node '{node.name}' (Conv): weight of shape "
                f"{list(weight.shape)} does not fit {group} groups"
            )
        return Linear(
            name=node.name,
            op="Conv",
            input=node.inputs[0],
            output=node.outputs[0],
            weight=weight,
            bias=bias if bias is not None else np.zeros(len(weight), np.float32),
            group=group,
            attributes={k: node.attributes[k] for k in CONV_KEYS if k in node.attributes},
        )

    def _gemm(self, node: Node) -> Linear | None:
        weight, bias = self._constant(node, 1), self._constant(node, 2)
        has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
        if weight is None or node.attributes.get("transA", 0) or (has_bias and bias is None):
            return None
        alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
        weight = weight if node.attributes.get("transB", 0) else weight.T
        width = len(weight)
        if bias is None:
            bias = np.zeros(width, np.float32)
        if bias.size not in (1, width) or (bias.ndim > 1 and bias.shape[0] != 1):
            return None  # a bias per sample
        return Linear(
            name=node.name,
            op="Gemm",
            input=node.inputs[0],
            output=node.outputs[0],
            weight=np.ascontiguousarray(weight * np.float32(alpha)),
            bias=np.broadcast_to(bias.reshape(-1) * np.float32(beta), width).copy(),
        )

    def _matmul(self, node: Node) -> Linear | None:
        weight, shape = self._constant(node, 1), self.graph.shapes.get(node.inputs[0])
        if weight is None or weight.ndim != 2 or shape is None or len(shape) < 2:
            return None
        return Linear(
            name=node.name,
            op="Gemm" if len(shape) == 2 else "MatMul",
            input=node.inputs[0],
            output=node.outputs[0],
            weight=np.ascontiguousarray(weight.T),
            bias=np.zeros(weight.shape[1], np.float32),
        )

    # rules 2 and 3 ------------------------------------------------------------------------

    def _fold(self, node: Node) -> bool:
        """Fold `node` into the Linear before it, if it is affine per channel and alone there."""
        if node.op == "BatchNormalization":
            parts = self._scale_shift(node)
            source = node.inputs[0]
        elif node.op in ("Add", "Sub", "Mul", "Div"):
            positions = [i for i, name in enumerate(node.inputs) if name in self.constants]
            if len(positions) != 1 or (positions[0] == 0 and node.op == "Div"):
                return False
            source = node.inputs[1 - positions[0]]
            parts = self._affine(node, positions[0], source)
        else:
            return False
        layer = self._sole_maker(source)
        if layer is None or parts is None:
            return False
        scale, shift = parts
        if len(scale) != len(layer.bias):
            return False
        position = self.made.pop(source)
        self.steps[position] = None
        self._append(
            replace(
                layer,
                output=node.outputs[0],
                weight=(layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))).astype(
                    np.float32
                ),
                bias=(layer.bias * scale + shift).astype(np.float32),
            )
        )
        return True

    def _affine(self, node: Node, position: int, source: str) -> tuple[Array, Array] | None:
        """(scale, shift) per channel of an arithmetic node with the constant at `position`."""
        layer, value = self._sole_maker(source), self._constant(node, position)
        if layer is None or value is None:
            return None
        constant = _per_channel(value, layer, self.graph.shapes.get(source))
        if constant is None:
            return None
        constant = constant.astype(np.float64)
        one, zero = np.ones_like(constant), np.zeros_like(constant)
        match node.op:
            case "Add":
                return one, constant
            case "Sub":
                return (one, -constant) if position == 1 else (-one, constant)
            case "Mul":
                return constant, zero
        return (one / constant, zero) if constant.all() else None

    def _sole_maker(self, tensor: str) -> Linear | None:
        """The Linear that makes `tensor`, if nothing else reads it."""
        position = self.made.get(tensor)
        if position is None or self.reads.get(tensor, 0) != 1 or tensor in self.kept:
            return None
        step = self.steps[position]
        return step if isinstance(step, Linear) else None

    # rule 4 -------------------------------------------------------------------------------

    def _scale_shift(self, node: Node) -> tuple[Array, Array] | None:
        """(scale, shift) in float64 of a BatchNormalization: y = scale·x + shift."""
        if node.attributes.get("training_mode", 0) or any(
            self.reads.get(name) for name in node.outputs[1:] if name
        ):
            raise UnsupportedError(
                f"{self.graph.path}: node '{node.name}' (BatchNormalization) is in training mode; "
                "export the network for inference"
            )
        values = [self._constant(node, i) for i in range(1, 5)]
        if any(value is None for value in values):
            return None
        gamma, beta, mean, variance = (np.float64(value) for value in values)
        scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        shift = beta - mean * scale
        if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
            raise InputError(
                f"{self.graph.path}: node '{node.name}' (BatchNormalization) divides by zero: "
                "its variance plus epsilon is not positive"
            )
        return scale, shift

    def _batch_norm(self, node: Node) -> Linear | None:
        parts = self._scale_shift(node)
        shape = self.graph.shapes.get(node.inputs[0])
        if parts is None or shape is None or len(shape) < 3:
            return None
        scale, shift = parts
        return Linear(
            name=node.name,
            op="Conv",
            input=node.inputs[0],
            output=node.outputs[0],
            weight=scale.astype(np.float32).reshape(-1, *[1] * (len(shape) - 1)),
            bias=shift.astype(np.float32),
            group=len(scale),
        )

    # rule 5, second half ------------------------------------------------------------------

    def _constant_shape(self, node: Node) -> Node:
        """A Reshape whose result shape is inferred up to one axis gets that shape as a constant."""
        if node.op != "Reshape" or node.inputs[1] in self.constants:
            return node
        shape = self.graph.shapes.get(node.outputs[0])
        if shape is None or sum(not isinstance(d, int) for d in shape) > 1:
            return node
        name = f"{node.name}/shape"
        self.constants[name] = np.array([d if isinstance(d, int) else -1 for d in shape], np.int64)
        return replace(node, inputs=(node.inputs[0], name))


def _per_channel(value: Array, layer: Linear, shape: Shape | None) -> Array | None:
    """`value` as one number per output channel of `layer`; None where it is anything else."""
    width = len(layer.bias)
    if value.size == 1:
        return np.full(width, value.reshape(-1)[0], np.float32)
    rank = len(shape) if shape is not None else (2 if layer.op == "Gemm" else None)
    if rank is None or value.ndim > rank:
        return None
    axis = 1 if layer.op == "Conv" else rank - 1
    full = (1,) * (rank - value.ndim) + value.shape
    if full[axis] != width or any(d != 1 for i, d in enumerate(full) if i != axis):
        return None
    return value.reshape(-1)
