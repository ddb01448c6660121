"""A plan in the making: what is asked (`request`), and what there is of it so far (`emitted`).

`Draft` answers the rules' questions (`ops.rule.Emitter`); `nodes`, `layers` and `blocks` add to it
step by step. Where a rule refuses, what it emitted is forgotten.
"""

from dataclasses import replace

import numpy as np

from lt_onnx.blueprint import Run
from lt_onnx.layout import Layout
from lt_onnx.manifest import DensePlace, DenseReason
from lt_onnx.ops.rule import RefusalError
from lt_onnx.planning.emitted import Copies, Emitted
from lt_onnx.planning.made_numbers import PLACING, content_of, joins_made
from lt_onnx.planning.request import Request
from lt_onnx.target import Array, Node, Shape

MULTIPLYING = frozenset(
    "Conv ConvTranspose DeformConv Gemm MatMul Einsum LSTM GRU RNN Attention".split()
)
# what shapes are computed with, and whole-numbered data may be
WHOLE_ARITHMETIC = frozenset(
    "Add Sub Mul Div Mod Min Max Pow Sum Concat Where Equal Less Greater LessOrEqual "
    "GreaterOrEqual".split()
)
# the input of whole numbers or truth values that other operators place, or pick from
PLACED = {**dict.fromkeys(PLACING, 0), "OneHot": 2}

MAX_PICKED = 8  # numbers that follow from shapes, picked out of a tensor of them


class Draft:
    """One pass over the target."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.target = target = request.target
        self.emitted = Emitted()
        self.outputs = frozenset(port.name for port in target.outputs)
        # Names are no part of a snapshot: what a refused rule was given stays taken, as it always
        # has, or the same options would give other names than before.
        self._names = {*target.constants, *(port.name for port in target.inputs)}
        self._names.update(name for step in target.steps for name in step.outputs)
        for port in target.inputs:
            self.emitted.shapes[port.name] = port.shape
            self.put(port.name, port.name, None)

    # the rules' questions

    def shape(self, tensor: str) -> Shape | None:
        """Shape of a tensor, as in the target."""
        shapes = self.emitted.shapes
        return shapes[tensor] if tensor in shapes else self.target.shapes.get(tensor)

    def place(self, tensor: str) -> str:
        """Name of the ticket's tensor that holds this one, with its layout if it has any."""
        if tensor in self.emitted.copies:
            return self.emitted.copies[tensor].name
        if tensor in self.emitted.singles:
            return self.emitted.singles[tensor]
        return f"{tensor}/copies" if tensor in self.outputs else tensor

    def unused(self, name: str) -> str:
        """`name`, numbered if it is taken; from now on it is."""
        free, count = name, 1
        while free in self._names:
            count += 1
            free = f"{name}_{count}"
        self._names.add(free)
        return free

    def add_constant(self, name: str, value: Array) -> str:
        """Add a structural constant; returns the name it got."""
        name = self.unused(name)
        self.emitted.constants[name] = value
        return name

    def parameter(self, node: Node, name: str, value: Array) -> str:
        """Add float parameters of the target that stay dense; returns the name they got."""
        self._declare_dense(node, DenseReason.REPEATED)
        return self.add_constant(name, value)

    def emit(self, node: Node) -> None:
        """Append a node to the ticket, and what it takes from the target."""
        for name in node.inputs:
            self.take_constant(name)
        if self._has_parameters(node):
            self._declare_dense(node, "its parameters are the target's own")
        if node.op in ("Shape", "Size") or self._is_from_shapes(node):
            for name in node.outputs:
                self.emitted.from_shapes.setdefault(
                    name, content_of(node, self.emitted.from_shapes)
                )
        elif joins_made(node, self.emitted.from_shapes):
            self._declare_dense(node, "it computes with numbers that the graph makes")
        self.emitted.steps.append(Run(node))

    def gather(
        self, tensor: str, places: Array, axis: int, name: str, *, output: str | None = None
    ) -> str:
        """Append a Gather of physical channels; place -1 stands for a channel of zeros.

        Raises RefusalError for more than a few numbers that follow from shapes: picked out by
        constants, these could be anything.
        """
        if tensor in self.emitted.from_shapes and places.size > MAX_PICKED:
            raise RefusalError("its other operand follows from shapes alone")
        name = self.unused(name)
        if (places < 0).any():
            tensor = self._with_zeros(tensor, axis, name)
            places = np.where(places < 0, self.emitted.extents[tensor][0], places)
        index = self.add_constant(f"{name}/index", places.astype(np.int64))
        self.emit(Node("Gather", name, (tensor, index), (output or name,), {"axis": axis}))
        return output or name

    def collapsed(self, tensor: str) -> str:
        """The ticket's tensor that holds `tensor` as the target has it: copy 0 of each channel."""
        singles = self.emitted.singles
        if tensor in self.emitted.undecided and tensor not in singles:
            for node in self.emitted.undecided[tensor][1]:
                if node.outputs[0] not in singles:
                    self.run_dense(node, "it splits the channels")
        if tensor in singles or tensor not in self.emitted.copies:
            return singles.get(tensor, tensor)
        copies = self.emitted.copies[tensor]
        places = copies.layout.find((c, 0) for c in range(copies.layout.size))
        name = tensor if tensor in self.outputs else self.unused(f"{tensor}/collapsed")
        self.gather(copies.name, places, copies.layout.axis, f"{name}/gather", output=name)
        singles[tensor] = name
        return name

    def copies_wanted(self, tensor: str) -> bool:
        """Whether a later layer reads more than one copy of this target tensor."""
        return self.request.required(tensor).copies

    # what steps add

    def layout(self, tensor: str) -> Layout | None:
        """Layout of a target tensor; None where the ticket has it as the target has."""
        copies = self.emitted.copies.get(tensor)
        return None if copies is None else copies.layout

    def put(self, tensor: str, name: str, layout: Layout | None) -> None:
        """Record where the ticket has `tensor`."""
        shape = self.shape(tensor)
        if layout is not None:
            self.emitted.copies[tensor] = Copies(name, layout)
            if shape is not None:
                self.emitted.extents[name] = layout.width, len(shape)
            return
        self.emitted.singles[tensor] = name
        if shape is not None and len(shape) > 1 and isinstance(shape[1], int):
            self.emitted.extents[name] = shape[1], len(shape)

    def take_constant(self, name: str) -> None:
        """Take a constant over from the target, if `name` is one."""
        if name in self.target.constants:
            self.emitted.constants.setdefault(name, self.target.constants[name])

    def pad(self, tensor: str, out: str, pads: list[int], mode: str) -> None:
        """Emit a Pad in the form of the target's operator set."""
        if self.target.opset >= 11:
            value = self.add_constant(f"{out}/pads", np.array(pads, np.int64))
            self.emit(Node("Pad", out, (tensor, value), (out,), {"mode": mode}))
        else:
            self.emit(Node("Pad", out, (tensor,), (out,), {"mode": mode, "pads": pads}))

    def run_dense(self, node: Node, reason: str | None) -> None:
        """Run `node` as in the target, on single copies."""
        inputs = tuple(self.collapsed(name) if name else name for name in node.inputs)
        floats = node.outputs[0] not in self.target.integers or node.op in MULTIPLYING
        if self._has_parameters(node) or (reason and (floats or node.domain)):
            why = reason or "it runs on single copies with its own parameters"
            self._declare_dense(node, why)
        self.emit(replace(node, inputs=inputs))
        for name in node.outputs:
            if name:
                self.put(name, name, None)

    def _declare_dense(self, node: Node, reason: str) -> None:
        sizes = [value.size for value in self._parameters(node, whole=True)]
        count = sum(size for size in sizes if size > 1 or node.op == "Concat")
        place = DensePlace(node.name, node.op, reason, count)
        self.emitted.dense.setdefault(node.name, place)

    def _has_parameters(self, node: Node) -> bool:
        """Whether `node` computes with numbers of the target; shapes and scalars are none."""
        if node.op in ("Resize", "Upsample"):  # scales
            return False
        return bool(self._parameters(node, whole=not self._is_from_shapes(node)))

    def _parameters(self, node: Node, *, whole: bool) -> list[Array]:
        """Constants that `node` computes with; of scalars, which do not count, those that it joins
        or places.

        Of `whole` numbers also what arithmetic reads, which may be shapes.
        """
        kinds = "fbiu" if whole and (node.op in WHOLE_ARITHMETIC or node.domain) else "fb"
        placed = PLACED.get(node.op) if not node.domain else None
        found = []
        for position, name in enumerate(node.inputs):
            value = self.target.constants.get(name)
            if value is None:
                continue
            computed = value.dtype.kind in kinds and value.size >= (1 if node.op == "Concat" else 2)
            if computed or position == placed:
                found.append(value)
        return found

    def _is_from_shapes(self, node: Node) -> bool:
        """Whether `node` computes with shapes and constants alone."""
        known = self.target.constants, self.emitted.constants, self.emitted.from_shapes
        return all(any(name in names for names in known) for name in node.inputs if name)

    def _with_zeros(self, tensor: str, axis: int, name: str) -> str:
        """`tensor` with one more channel, of zeros, at the end."""
        out = self.unused(f"{name}/zero")
        width, rank = self.emitted.extents[tensor]
        pads = [0] * (2 * rank)
        pads[rank + axis] = 1
        self.pad(tensor, out, pads, "constant")
        self.emitted.extents[out] = width, rank
        return out
