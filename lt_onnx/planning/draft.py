"""A blueprint in the making: the steps so far, and where they have each tensor of the target.

`layers` and `nodes` add to it step by step. It answers the rules' questions (`ops.rule.Emitter`).
"""

from dataclasses import dataclass, field, replace

import numpy as np

from lt_onnx.blueprint import Dense, Expand, Run, TicketStep
from lt_onnx.layout import Layout
from lt_onnx.manifest import DenseReason
from lt_onnx.ops.activation_fit import LocalModel
from lt_onnx.ops.activations import Activation
from lt_onnx.options import Mode, Options
from lt_onnx.planning.requirements import CARRIED, RESERVE, Requirement
from lt_onnx.target import Array, Linear, Node, Shape, Target

MULTIPLYING = {
    "Conv",
    "ConvTranspose",
    "DeformConv",
    "Gemm",
    "MatMul",
    "Einsum",
    "LSTM",
    "GRU",
    "RNN",
    "Attention",
}
ARITHMETIC = {  # what shapes are computed with, and data may be
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Min",
    "Max",
    "Pow",
    "Sum",
    "Concat",
    "Where",
    "Equal",
    "Less",
    "Greater",
    "LessOrEqual",
    "GreaterOrEqual",
}


@dataclass
class Draft:
    """One pass over the target. Without `demands` every layer puts out copies and constants."""

    target: Target
    options: Options
    activation: Activation
    model: LocalModel
    demands: dict[str, Requirement] | None
    fresh: frozenset[str]
    layouts: dict[str, Layout] = field(default_factory=dict)
    physical: dict[str, str] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    # tensors between reshapes and transposes that may come out even: what they start from
    views: dict[str, tuple[str, tuple[Node, ...]]] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)  # such tensors that are not needed themselves
    steps: list[TicketStep] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    dense: list[Dense] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    origins: dict[str, Node] = field(default_factory=dict)
    expanded: dict[tuple[str, int, bool], tuple[str, Expand]] = field(default_factory=dict)
    sign: dict[str, bool] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)  # tensors that follow from shapes alone
    names: set[str] = field(default_factory=set)
    extent: dict[str, tuple[int, int]] = field(default_factory=dict)  # (channels, rank)

    def __post_init__(self) -> None:
        self.outputs = {port.name for port in self.target.outputs}
        self.fed, self.feeding = _between_layers(self.target)
        self.shapes = dict(self.target.shapes)
        for port in self.target.inputs:
            self.shapes[port.name] = port.shape
            self.put(port.name, port.name, None)
        self.taken = {*self.target.constants, *(port.name for port in self.target.inputs)}
        self.taken |= {name for step in self.target.steps for name in step.outputs}

    # the rules' questions

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return self.target.opset

    def shape(self, tensor: str) -> Shape | None:
        """Shape of a target tensor."""
        return self.shapes.get(tensor)

    def constant(self, tensor: str) -> Array | None:
        """Value of a constant of the target."""
        return self.target.constants.get(tensor)

    def place(self, tensor: str) -> str:
        """Name of the ticket's tensor that holds this one, with its layout if it has any."""
        if tensor not in self.physical:
            return f"{tensor}/copies" if tensor in self.outputs else tensor
        return self.physical[tensor]

    def add_constant(self, name: str, value: Array) -> str:
        """Add a structural constant; returns the name it got."""
        name = self.unused(name)
        self.constants[name] = value
        return name

    def parameter(self, node: Node, name: str, value: Array) -> str:
        """Add float parameters of the target that stay dense; returns the name they got."""
        if all(place.name != node.name for place in self.dense):
            reason = DenseReason.REPEATED
            self.dense.append(Dense(node.name, node.op, reason, self._parameters(node)))
        return self.add_constant(name, value)

    def _parameters(self, node: Node) -> int:
        """Numbers of the target that `node` computes with, scalars apart."""
        return sum(v.size for v in [*self._held(node, "f"), *self._whole(node)])

    def _held(self, node: Node, kinds: str) -> list[Array]:
        """Constants of the target that `node` reads; of scalars those that it joins to others."""
        known, least = self.target.constants, 0 if node.op == "Concat" else 1
        values = [known[name] for name in node.inputs if name in known]
        return [v for v in values if v.dtype.kind in kinds and v.size > least]

    def _whole(self, node: Node) -> list[Array]:
        """Integers of the target that `node` computes with."""
        return self._held(node, "iu") if node.op in ARITHMETIC else []

    def with_entry(self, tensor: str, place: int, value: int, name: str) -> str:
        """A computed vector of integers with one entry replaced."""
        source, parts = self.collapsed(tensor), []
        for end, start, stop in (("head", 0, place), ("tail", place + 1, 2**31)):
            if start == stop or (end == "tail" and place == -1):
                continue
            part = self.unused(f"{name}/{end}")
            if self.opset >= 10:
                bounds = [
                    self.add_constant(f"{part}/{key}", np.array([at], np.int64))
                    for key, at in (("start", start), ("stop", stop))
                ]
                self.emit(Node("Slice", part, (source, *bounds), (part,)))
            else:
                bounds_of = {"starts": [start], "ends": [stop], "axes": [0]}
                self.emit(Node("Slice", part, (source,), (part,), bounds_of))
            parts.append(part)
        entry = self.add_constant(f"{name}/entry", np.array([value], np.int64))
        parts.insert(0 if place == 0 else 1, entry)
        out = self.unused(name)
        self.emit(Node("Concat", out, tuple(parts), (out,), {"axis": 0}))
        return out

    def emit(self, node: Node) -> None:
        """Append a node to the ticket, and what it takes from the target."""
        for name in node.inputs:
            if name in self.target.constants and name not in self.constants:
                self.constants[name] = self.target.constants[name]
        known = any(place.name == node.name for place in self.dense)
        if not known and node.op not in ("Resize", "Upsample") and self._has_parameters(node):
            reason = "its parameters are the target's own"
            self.dense.append(Dense(node.name, node.op, reason, self._parameters(node)))
        if node.op in ("Shape", "Size") or self._is_measured(node):
            self.measured.update(node.outputs)
        self.steps.append(Run(node))

    def _has_parameters(self, node: Node) -> bool:
        """Whether `node` computes with more of the target's numbers than a scalar."""
        if self._held(node, "f") or self._held(node, "b"):
            return True
        return bool(self._whole(node)) and not self._is_measured(node)

    def _is_measured(self, node: Node) -> bool:
        """Whether `node` computes with shapes and constants alone."""
        known = self.target.constants, self.constants, self.measured
        return all(any(name in some for some in known) for name in node.inputs if name)

    def gather(self, tensor: str, places: Array, axis: int, name: str) -> str:
        """Append a Gather of physical channels; place -1 stands for a channel of zeros."""
        name = self.unused(name)
        if (places < 0).any():
            tensor = self._with_zeros(tensor, axis, name)
            places = np.where(places < 0, self.extent[tensor][0], places)
        index = self.add_constant(f"{name}/index", places.astype(np.int64))
        self.emit(Node("Gather", name, (tensor, index), (name,), {"axis": axis}))
        return name

    def copies_wanted(self, tensor: str) -> bool:
        """Whether a later layer listens to more than one copy of this target tensor."""
        return self.demand(tensor).copies

    # helpers

    def unused(self, name: str) -> str:
        """`name`, numbered if it is taken."""
        made, count = name, 1
        while made in self.names or made in self.taken:
            count += 1
            made = f"{name}_{count}"
        self.names.add(made)
        return made

    def demand(self, tensor: str) -> Requirement:
        """What is asked of a tensor; everything, as long as that is not known."""
        if self.demands is not None:
            return self.demands.get(tensor, Requirement())
        many = self.options.mode is Mode.L_PLUS_1
        return Requirement(True, many, RESERVE if many else CARRIED)

    def _with_zeros(self, tensor: str, axis: int, name: str) -> str:
        """`tensor` with one more channel, of zeros, at the end."""
        out = self.unused(f"{name}/zero")
        width, rank = self.extent[tensor]
        pads = [0] * (2 * rank)
        pads[rank + axis] = 1
        self.pad(tensor, out, pads, "constant")
        self.extent[out] = (width, rank)
        return out

    def pad(self, tensor: str, out: str, pads: list[int], mode: str) -> None:
        """Emit a Pad in the form of the target's operator set."""
        if self.target.opset >= 11:
            value = self.add_constant(f"{out}/pads", np.array(pads, np.int64))
            self.emit(Node("Pad", out, (tensor, value), (out,), {"mode": mode}))
        else:
            self.emit(Node("Pad", out, (tensor,), (out,), {"mode": mode, "pads": pads}))

    def put(self, tensor: str, name: str, layout: Layout | None) -> None:
        """Record where the ticket has `tensor`."""
        self.physical[tensor] = name
        shape = self.shapes.get(tensor)
        if layout is not None:
            self.layouts[tensor] = layout
            if shape is not None:
                self.extent[name] = (layout.width, len(shape))
            return
        self.plain[tensor] = name
        if shape is not None and len(shape) > 1 and isinstance(shape[1], int):
            self.extent[name] = (shape[1], len(shape))

    def collapsed(self, tensor: str) -> str:
        """The ticket's tensor that holds `tensor` as the target has it: copy 0 of each channel."""
        if tensor in self.views and tensor not in self.plain:
            for node in self.views[tensor][1]:
                if node.outputs[0] not in self.plain:
                    self.run_dense(node, "it splits the channels")
        if tensor in self.plain or tensor not in self.layouts:
            return self.plain.get(tensor, self.physical.get(tensor, tensor))
        layout = self.layouts[tensor]
        places = layout.find((c, 0) for c in range(layout.size))
        name = tensor if tensor in self.outputs else self.unused(f"{tensor}/collapsed")
        self.gather(self.physical[tensor], places, layout.axis, f"{name}/gather")
        last = self.steps.pop()
        assert isinstance(last, Run)
        self.steps.append(Run(replace(last.node, outputs=(name,))))
        self.plain[tensor] = name
        return name

    def run_dense(self, node: Node, reason: str | None) -> None:
        """Run `node` as in the target, on single copies."""
        inputs = tuple(self.collapsed(name) if name else name for name in node.inputs)
        floats = node.outputs[0] not in self.target.integers or node.op in MULTIPLYING
        if self._has_parameters(node) or (reason and floats):
            self.dense.append(
                Dense(
                    node.name,
                    node.op,
                    reason or "it runs on single copies with its own parameters",
                    self._parameters(node),
                )
            )
        self.emit(replace(node, inputs=inputs))
        for name in node.outputs:
            if name:
                self.put(name, name, None)

    def views_of(self, tensor: str) -> set[str]:
        """A tensor and what was flattened or reshaped from it so far."""
        views = {tensor}
        views.update(out for out, node in self.origins.items() if node.inputs[0] in views)
        return views

    @property
    def has_gemm(self) -> bool:
        """Whether Gemm may go without its addend."""
        return self.target.opset >= 11

    def layer_number(self) -> int:
        """Number of the next random layer."""
        return sum(not isinstance(step, Run) for step in self.steps)


def _between_layers(target: Target) -> tuple[set[str], set[str]]:
    """Tensors that depend on a layer's output, and tensors that some layer depends on."""
    fed: set[str] = set()
    for step in target.steps:
        if isinstance(step, Linear) or any(name in fed for name in step.inputs):
            fed.update(step.outputs)
    feeding: set[str] = set()
    for step in reversed(target.steps):
        if isinstance(step, Linear) or any(name in feeding for name in step.outputs):
            feeding.update(step.inputs)
    return fed, feeding
