"""From plain nodes to a Target: find the linear layers and fold what is affine into them.

Rules, in order, until none applies:
1. Conv, Gemm and MatMul with constant weights become `Linear` (y = W x + b).
2. A Linear read only by a BatchNormalization takes it in:  W ← W·γ/√(v+ε),  b ← (b−μ)·γ/√(v+ε)+β.
3. A Linear read only by an Add, Sub, Mul or Div of a per-channel constant takes it in likewise.
4. Any other BatchNormalization or per-channel arithmetic is a depthwise 1x1 layer of its own, or
   goes into the layer that alone reads it.
5. A ConvTranspose becomes a convolution and a pixel shuffle (see `transposed`).
6. Identity and Dropout vanish; a Reshape with a computed but inferable shape gets a constant one.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reading.conv_transpose import convolution
from lt_onnx.reading.graph import Graph, read_graph
from lt_onnx.target import Array, Linear, Node, Shape, Step, Target

ARITHMETIC = ("Add", "Sub", "Mul", "Div")
FURTHEST = 1 << 20  # of strides, pads and the like
CONV_KEYS = ("strides", "pads", "dilations", "auto_pad")


def read_target(path: Path) -> Target:
    """Read the network at `path` as a Target. Raises InputError, UnsupportedError."""
    return lower(read_graph(path))


def lower(graph: Graph) -> Target:
    """Apply the rules above to `graph`."""
    lowering = _Lowering(graph)
    with np.errstate(all="ignore"):  # what is no number in the end is told below
        steps = lowering.run()
    for step in steps:
        if isinstance(step, Linear) and not (_finite(step.weight) and _finite(step.bias)):
            raise InputError(
                f"{graph.path}: node '{step.name}' ({step.op}): its weights, with what is folded "
                "into them, are beyond float32; scale the network down"
            )
    return Target(
        path=graph.path,
        sha256=graph.sha256,
        name=graph.name,
        inputs=graph.inputs,
        outputs=graph.outputs,
        steps=tuple(steps),
        constants=lowering.constants,
        shapes=lowering.shapes,
        opsets=graph.opsets,
        ir_version=graph.ir_version,
        integers=graph.integers,
    )


def _finite(value: Array) -> bool:
    """Whether all are numbers; of one number everywhere only that is looked at."""
    few = value if any(value.strides) else value[(0,) * value.ndim]
    return bool(np.isfinite(few).all())


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = dict(graph.constants)
        self.shapes = dict(graph.shapes)
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
                for step in self._steps(node):
                    self._append(step)
        for position, made in enumerate(self.steps):
            if isinstance(made, Linear):
                self.steps[position] = self._absorb(made)
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
        """Rule 6, first half."""
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

    def _steps(self, node: Node) -> list[Step]:
        """What `node` becomes: a layer, a few steps, or itself."""
        weight = self.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if (
            node.op in ("Conv", "ConvTranspose", "Gemm")
            and weight is not None
            and (weight.dtype != np.float32)
        ):
            raise InputError(
                f"{self.graph.path}: node '{node.name}' ({node.op}): its weight is "
                f"{weight.dtype}; export the network in float32"
            )
        layer = self._linear(node) if not node.domain else None
        if layer is not None:
            return [layer]
        if node.op in ("BatchNormalization", *ARITHMETIC) and not node.domain:
            steps = self._depthwise(node)
            if steps is not None:
                return steps
        if node.op == "Gemm" and node.attributes.get("transA", 0):
            turned = f"{node.name}/turned"
            rest = {k: v for k, v in node.attributes.items() if k != "transA"}
            layer = self._gemm(replace(node, inputs=(turned, *node.inputs[1:]), attributes=rest))
            if layer is not None:
                shape = self.shapes.get(node.inputs[0])
                if shape is not None:
                    self.shapes[turned] = shape[::-1]
                self.reads[turned] = 1
                turn = Node("Transpose", turned, (node.inputs[0],), (turned,), {"perm": [1, 0]})
                return [turn, layer]
        if node.op == "ConvTranspose" and not node.domain:
            steps = self._conv_transpose(node)
            if steps is not None:
                return steps
        return [self._constant_shape(node)]

    def _conv_transpose(self, node: Node) -> list[Step] | None:
        """Rule 5: see `transposed`."""
        weight, bias = self._constant(node, 1), self._constant(node, 2)
        has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
        shape = self.shapes.get(node.inputs[0])
        if weight is None or (has_bias and bias is None) or 0 in weight.shape:
            return None
        self._fits(node, weight, bias)
        made = convolution(node, weight, bias, shape, self.graph.opsets.get("", 1))
        if made is None:
            return None
        steps, constants, shapes = made
        self.constants |= constants
        self.shapes |= shapes
        return steps

    def _linear(self, node: Node) -> Linear | None:
        match node.op:
            case "Conv":
                return self._conv(node)
            case "Gemm":
                return self._gemm(node)
            case "MatMul":
                return self._matmul(node)
        return None

    def _conv(self, node: Node) -> Linear | None:
        weight, bias = self._constant(node, 1), self._constant(node, 2)
        has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
        if weight is None or (has_bias and bias is None):
            return None
        group = self._fits(node, weight, bias)
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

    def _fits(self, node: Node, weight: Array, bias: Array | None) -> int:
        """The groups of a convolution, whose parts must not contradict each other."""
        group, rank = int(node.attributes.get("group", 1)), weight.ndim - 2
        turned = node.op == "ConvTranspose"
        if rank < 1 or group < 1 or weight.shape[0] % group or 0 in weight.shape:
            raise self._odd(
                node, f"weight of shape {list(weight.shape)} does not fit {group} groups"
            )
        channels = weight.shape[0] if turned else weight.shape[1] * group
        width = weight.shape[1] * group if turned else weight.shape[0]
        if bias is not None and bias.shape != (width,):
            raise self._odd(node, f"bias of shape {list(bias.shape)} for {width} channels")
        shape = self.shapes.get(node.inputs[0])
        if shape is not None and (
            len(shape) != rank + 2 or (isinstance(shape[1], int) and shape[1] != channels)
        ):
            raise self._odd(
                node,
                f"its weight wants {channels} channels and {rank} spatial axes, its input is "
                f"{list(shape)}",
            )
        kernel = node.attributes.get("kernel_shape")
        if kernel and list(kernel) != list(weight.shape[2:]):
            raise self._odd(
                node, f"kernel_shape is {list(kernel)}, its weight's {list(weight.shape[2:])}"
            )
        for key, counts, least in (
            ("pads", (2 * rank,), 0),
            ("strides", (rank,), 1),
            ("dilations", (rank,), 1),
            ("output_padding", (rank,), 0),
            ("output_shape", (rank, rank + 2), 1),
        ):
            given = node.attributes.get(key)
            if given and len(given) not in counts:
                raise self._odd(
                    node, f"{len(given)} {key} for {rank} spatial axes; there must be {counts[0]}"
                )
            if given and not least <= min(given) <= max(given) <= FURTHEST:
                raise self._odd(node, f"{key} {list(given)}: no such are possible")
        return group

    def _odd(self, node: Node, what: str) -> InputError:
        return InputError(f"{self.graph.path}: node '{node.name}' ({node.op}): {what}")

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
            weight=weight if alpha == 1 else weight * np.float32(alpha),
            bias=np.broadcast_to(bias.reshape(-1) * np.float32(beta), width).copy(),
        )

    def _matmul(self, node: Node) -> Linear | None:
        weight, shape = self._constant(node, 1), self.shapes.get(node.inputs[0])
        if weight is None or weight.ndim != 2 or shape is None or len(shape) < 2:
            return None
        return Linear(
            name=node.name,
            op="Gemm" if len(shape) == 2 else "MatMul",
            input=node.inputs[0],
            output=node.outputs[0],
            weight=weight.T,
            bias=np.zeros(weight.shape[1], np.float32),
        )

    # rules 2 and 3 ------------------------------------------------------------------------

    def _fold(self, node: Node) -> bool:
        """Fold `node` into the Linear before it, if it is affine per channel and alone there."""
        if node.op == "BatchNormalization":
            parts = self._scale_shift(node)
            source = node.inputs[0]
        elif node.op in ARITHMETIC:
            place = self._constant_place(node)
            if place is None:
                return False
            source = node.inputs[1 - place]
        else:
            return False
        layer = self._sole_maker(source)
        if layer is None:
            return False
        if node.op != "BatchNormalization":
            parts = self._affine(node, len(layer.bias), _axis(layer, self.shapes.get(source)))
        if parts is None:
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

    def _constant_place(self, node: Node) -> int | None:
        """Which of the two inputs is constant; None if not just one is, or it is a dividend."""
        places = [i for i, name in enumerate(node.inputs) if name in self.constants]
        if len(places) != 1 or (places[0] == 0 and node.op == "Div"):
            return None
        return places[0]

    def _affine(self, node: Node, width: int, axis: int | None) -> tuple[Array, Array] | None:
        """(scale, shift) per channel of an arithmetic node over `width` channels on `axis`.

        Axes count from the end.
        """
        place = self._constant_place(node)
        value = None if place is None else self._constant(node, place)
        shape = self.shapes.get(node.outputs[0])
        if value is None or axis is None or (shape is not None and value.ndim > len(shape)):
            return None
        if value.size == 1:
            constant = np.full(width, value.reshape(-1)[0], np.float64)
        elif value.ndim >= -axis and value.shape[axis] == width == value.size:
            constant = value.reshape(-1).astype(np.float64)
        else:
            return None
        one, zero = np.ones(width), np.zeros(width)
        match node.op:
            case "Add":
                return one, constant
            case "Sub":
                return (one, -constant) if place == 1 else (-one, constant)
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

    def _channelwise(self, node: Node) -> tuple[str, Array, Array] | None:
        """(input, scale, shift) of a BatchNormalization or an arithmetic node, channels on axis 1.

        None where it is neither, or has one number for all channels.
        """
        if node.op == "BatchNormalization":
            parts, source = self._scale_shift(node), node.inputs[0]
            return None if parts is None else (source, *parts)
        place = self._constant_place(node) if node.op in ARITHMETIC else None
        if place is None:
            return None
        source = node.inputs[1 - place]
        shape, out = self.shapes.get(source), self.shapes.get(node.outputs[0])
        if shape is None or out is None or len(shape) != len(out) or len(shape) < 2:
            return None
        width = shape[1]
        if not isinstance(width, int) or self.constants[node.inputs[place]].size == 1:
            return None
        parts = self._affine(node, width, 1 - len(shape))
        return None if parts is None else (source, *parts)

    def _depthwise(self, node: Node) -> list[Step] | None:
        """Rule 4: a layer of its own with one weight per channel."""
        known = self._channelwise(node)
        shape = None if known is None else self.shapes.get(known[0])
        if known is None or shape is None or len(shape) < 2 or known[0] in self.constants:
            return None
        source, scale, shift = known
        flat = len(shape) == 2
        given = f"{node.name}/given" if flat else source
        made = f"{node.name}/made" if flat else node.outputs[0]
        layer = Linear(
            name=node.name,
            op="Conv",
            input=given,
            output=made,
            weight=scale.astype(np.float32).reshape(-1, *[1] * (1 if flat else len(shape) - 1)),
            bias=shift.astype(np.float32),
            group=len(scale),
        )
        if not flat:
            return [layer]
        layer = replace(layer, weight=layer.weight.reshape(-1, 1, 1))
        self.shapes |= {given: (*shape, 1), made: (*shape, 1)}
        self.reads |= {given: 1, made: 1}
        old = self.graph.opsets.get("", 1) < 13
        axes = f"{node.name}/axes"
        if not old:
            self.constants[axes] = np.array([2], np.int64)
        extra, attributes = ((), {"axes": [2]}) if old else ((axes,), {})
        return [
            Node("Unsqueeze", f"{node.name}/open", (source, *extra), (given,), attributes),
            layer,
            Node("Squeeze", f"{node.name}/close", (made, *extra), node.outputs, attributes),
        ]

    def _absorb(self, layer: Linear) -> Linear:
        """Rule 3, the other way: an affine layer before this one goes into its weights.

        Where padding would meet a shift, only a pure scale can.
        """
        while True:
            position = self.made.get(layer.input)
            before = None if position is None else self.steps[position]
            if not isinstance(before, Linear) or self.reads.get(layer.input, 0) != 1:
                return layer
            single = before.group == len(before.bias) and before.weight.size == len(before.bias)
            padded = any(layer.attributes.get("pads") or ()) or "SAME" in str(
                layer.attributes.get("auto_pad", "")
            )
            if (
                not single
                or before.op != "Conv"
                or layer.input in self.kept
                or (padded and before.bias.any())
                or before.attributes
            ):
                return layer
            scale = before.weight.reshape(layer.group, -1).astype(np.float64)
            shift = before.bias.reshape(layer.group, -1).astype(np.float64)
            w = layer.weight.reshape(layer.group, -1, *layer.weight.shape[1:]).astype(np.float64)
            shape = (layer.group, 1, -1, *[1] * len(layer.kernel))
            added = (w * shift.reshape(shape)).sum(tuple(range(2, w.ndim))).reshape(-1)
            assert position is not None
            self.steps[position] = None
            layer = replace(
                layer,
                input=before.input,
                weight=(w * scale.reshape(shape)).reshape(layer.weight.shape).astype(np.float32),
                bias=(layer.bias + added).astype(np.float32),
            )

    # rule 6, second half ------------------------------------------------------------------

    def _constant_shape(self, node: Node) -> Node:
        """A Reshape whose result shape is inferred up to one axis gets that shape as a constant."""
        if node.op != "Reshape" or node.inputs[1] in self.constants:
            return node
        shape = self.shapes.get(node.outputs[0])
        if shape is None or sum(not isinstance(d, int) for d in shape) > 1:
            return node
        name = f"{node.name}/shape"
        self.constants[name] = np.array([d if isinstance(d, int) else -1 for d in shape], np.int64)
        return replace(node, inputs=(node.inputs[0], name))


def _axis(layer: Linear, shape: Shape | None) -> int | None:
    """The axis of the layer's output channels, counted from the end."""
    if layer.op == "Conv":
        return -1 - len(layer.kernel)
    return -1 if layer.op == "Gemm" or shape is not None else None
