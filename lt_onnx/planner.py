"""Plan a ticket: a Target and Options become a Blueprint, in two passes.

The first pass is optimistic (every layer puts out copies and constants) and shows who reads what;
from that follows what each layer really has to put out, and the second pass plans it.

One rule decides between the constructions: a layer that finds copies of its input channels is
one-for-one, a layer that finds a single copy opens a two-for-one block. Copies are made where a
layer listens to them that other layers follow; the last layers of a network read single copies.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from lt_onnx import ops
from lt_onnx.activations import Activation, commonest, next_one
from lt_onnx.allocation import neurons
from lt_onnx.blueprint import Blueprint, Build, Dense, Expand, Run, TicketStep
from lt_onnx.demands import CARRIED, RESERVE, Demand, demands
from lt_onnx.layout import CONSTANT, INT, UNUSED, Layout, built, opened
from lt_onnx.local_model import LocalModel, Use
from lt_onnx.options import Mode, Options
from lt_onnx.source import SourceLayer
from lt_onnx.taps import admissible_taps, explicit_pads
from lt_onnx.target import Array, Linear, Node, Shape, Target

MULTIPLYING = {
    "Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN",
    "Attention",
}  # fmt: skip
ARITHMETIC = {  # what shapes are computed with, and data may be
    "Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Pow", "Sum", "Concat", "Where", "Equal",
    "Less", "Greater", "LessOrEqual", "GreaterOrEqual",
}  # fmt: skip


def plan(target: Target, options: Options, fresh: frozenset[str] = frozenset()) -> Blueprint:
    """Plan the ticket of `target`.

    `fresh` are tensors that constants turned out not to survive to: the layers that read them open
    blocks with biases of their own.
    """
    activation, model = commonest(target)
    optimistic = _Planner(target, options, activation, model, None, fresh)
    optimistic.run()
    many = options.mode is Mode.L_PLUS_1
    carried = optimistic.layouts.keys() | optimistic.passed
    wanted = demands(target, many, optimistic.kept, carried)
    planner = _Planner(target, options, activation, model, wanted, fresh)
    planner.run()
    return planner.finish()


# the two passes -------------------------------------------------------------------------------


@dataclass
class _Planner:
    """Emits the ticket's steps; answers the rules' questions (`ops.Emitter`)."""

    target: Target
    options: Options
    activation: Activation
    model: LocalModel
    demands: dict[str, Demand] | None
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
    expanded: dict[tuple[str, int, bool], tuple[str, str]] = field(default_factory=dict)
    sign: dict[str, bool] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)  # tensors that follow from shapes alone
    names: set[str] = field(default_factory=set)
    extent: dict[str, tuple[int, int]] = field(default_factory=dict)  # (channels, rank)

    def run(self) -> None:
        self.outputs = {port.name for port in self.target.outputs}
        self.readers = self.target.consumers
        self.fed, self.feeding = _between_layers(self.target)
        self.shapes = dict(self.target.shapes)
        for port in self.target.inputs:
            self.shapes[port.name] = port.shape
            self._put(port.name, port.name, None)
        self.taken = {*self.target.constants, *(port.name for port in self.target.inputs)}
        self.taken |= {name for step in self.target.steps for name in step.outputs}
        for step in self.target.steps:
            if isinstance(step, Linear):
                self._build(step)
            else:
                sign = ops.never_negative(step, self.sign, self.target.constants)
                self.sign.update(dict.fromkeys(step.outputs, sign))
                self._run(step)
        for port in self.target.outputs:
            self._collapse(port.name)

    # the rules' questions

    @property
    def opset(self) -> int:
        return self.target.opset

    def shape(self, tensor: str) -> Shape | None:
        return self.shapes.get(tensor)

    def constant(self, tensor: str) -> Array | None:
        return self.target.constants.get(tensor)

    def place(self, tensor: str) -> str:
        if tensor not in self.physical:
            return f"{tensor}/copies" if tensor in self.outputs else tensor
        return self.physical[tensor]

    def add_constant(self, name: str, value: Array) -> str:
        name = self._fresh(name)
        self.constants[name] = value
        return name

    def parameter(self, node: Node, name: str, value: Array) -> str:
        if all(place.name != node.name for place in self.dense):
            reason = "its parameters are the target's own, repeated for the copies"
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

    def collapsed(self, tensor: str) -> str:
        return self._collapse(tensor)

    def with_entry(self, tensor: str, place: int, value: int, name: str) -> str:
        source, parts = self._collapse(tensor), []
        for end, start, stop in (("head", 0, place), ("tail", place + 1, 2**31)):
            if start == stop or (end == "tail" and place == -1):
                continue
            part = self._fresh(f"{name}/{end}")
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
        out = self._fresh(name)
        self.emit(Node("Concat", out, tuple(parts), (out,), {"axis": 0}))
        return out

    def emit(self, node: Node) -> None:
        for name in node.inputs:
            if name in self.target.constants and name not in self.constants:
                self.constants[name] = self.target.constants[name]
        known = any(place.name == node.name for place in self.dense)
        if not known and node.op not in ("Resize", "Upsample") and self._takes_over(node):
            reason = "its parameters are the target's own"
            self.dense.append(Dense(node.name, node.op, reason, self._parameters(node)))
        if node.op in ("Shape", "Size") or self._is_measured(node):
            self.measured.update(node.outputs)
        self.steps.append(Run(node))

    def _takes_over(self, node: Node) -> bool:
        """Whether `node` computes with more of the target's numbers than a scalar."""
        if self._held(node, "f") or self._held(node, "b"):
            return True
        return bool(self._whole(node)) and not self._is_measured(node)

    def _is_measured(self, node: Node) -> bool:
        """Whether `node` computes with shapes and constants alone."""
        known = self.target.constants, self.constants, self.measured
        return all(any(name in some for some in known) for name in node.inputs if name)

    def gather(self, tensor: str, places: Array, axis: int, name: str) -> str:
        name = self._fresh(name)
        if (places < 0).any():
            tensor = self._with_zeros(tensor, axis, name)
            places = np.where(places < 0, self.extent[tensor][0], places)
        index = self.add_constant(f"{name}/index", places.astype(np.int64))
        self.emit(Node("Gather", name, (tensor, index), (name,), {"axis": axis}))
        return name

    def copies_wanted(self, tensor: str) -> bool:
        return self._demand(tensor).copies

    # helpers

    def _fresh(self, name: str) -> str:
        made, count = name, 1
        while made in self.names or made in self.taken:
            count += 1
            made = f"{name}_{count}"
        self.names.add(made)
        return made

    def _demand(self, tensor: str) -> Demand:
        if self.demands is not None:
            return self.demands.get(tensor, Demand())
        many = self.options.mode is Mode.L_PLUS_1
        return Demand(True, many, RESERVE if many else CARRIED)

    def _with_zeros(self, tensor: str, axis: int, name: str) -> str:
        """`tensor` with one more channel, of zeros, at the end."""
        out = self._fresh(f"{name}/zero")
        width, rank = self.extent[tensor]
        pads = [0] * (2 * rank)
        pads[rank + axis] = 1
        self._pad(tensor, out, pads, "constant")
        self.extent[out] = (width, rank)
        return out

    def _pad(self, tensor: str, out: str, pads: list[int], mode: str) -> None:
        """Emit a Pad in the form of the target's operator set."""
        if self.target.opset >= 11:
            value = self.add_constant(f"{out}/pads", np.array(pads, np.int64))
            self.emit(Node("Pad", out, (tensor, value), (out,), {"mode": mode}))
        else:
            self.emit(Node("Pad", out, (tensor,), (out,), {"mode": mode, "pads": pads}))

    def _put(self, tensor: str, name: str, layout: Layout | None) -> None:
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

    def _collapse(self, tensor: str) -> str:
        """The ticket's tensor that holds `tensor` as the target has it: copy 0 of each channel."""
        if tensor in self.views and tensor not in self.plain:
            for node in self.views[tensor][1]:
                if node.outputs[0] not in self.plain:
                    self._run_dense(node, "it splits the channels")
        if tensor in self.plain or tensor not in self.layouts:
            return self.plain.get(tensor, self.physical.get(tensor, tensor))
        layout = self.layouts[tensor]
        places = layout.find((c, 0) for c in range(layout.size))
        name = tensor if tensor in self.outputs else self._fresh(f"{tensor}/collapsed")
        made = self.gather(self.physical[tensor], places, layout.axis, f"{name}/gather")
        last = self.steps.pop()
        assert isinstance(last, Run)
        self.steps.append(Run(replace(last.node, outputs=(name,))))
        del made
        self.plain[tensor] = name
        return name

    # nodes

    def _run(self, node: Node) -> None:
        if self._pass_on(node):
            return
        layouts = [self.layouts.get(name) for name in node.inputs]
        if any(layout is not None for layout in layouts):
            rule = ops.RULES.get(node.op) if not node.domain else None
            mark = len(self.steps), len(self.dense)
            try:
                if rule is None:
                    raise ops.RefusalError("the op table has no rule for it")
                made = rule(node, layouts, self)
            except ops.UndecidedError:
                self.views[node.outputs[0]] = (node.inputs[0], (node,))
            except ops.RefusalError as refusal:
                del self.steps[mark[0] :], self.dense[mark[1] :]
                self._run_dense(node, str(refusal))
            else:
                self.kept.add(node.name)
                several: list[Layout | None] = [*made] if isinstance(made, list) else [made]
                several += [None] * (len(node.outputs) - len(several))
                for name, given in zip(node.outputs, several, strict=True):
                    if name:
                        self._put(name, self.place(name), given)
                self._remember(node)
            return
        between = node.outputs[0] in self.feeding and node.inputs and node.inputs[0] in self.fed
        known = not node.domain and node.op in ops.RULES
        declared = between or node.op in MULTIPLYING or node.domain
        self._run_dense(node, None if known or not declared else "the op table has no rule for it")
        self._remember(node)

    def _pass_on(self, node: Node) -> bool:
        """Take `node` into the chain of reshapes and transposes that it stands behind, if any."""
        if node.op not in ("Reshape", "Transpose") or node.inputs[0] not in self.views:
            return False
        if node.inputs[0] in self.plain:
            return False
        base, chain = self.views[node.inputs[0]]
        chain = (*chain, node)
        try:
            made = ops.composed(chain, self.layouts[base], self)
        except ops.UndecidedError:
            self.views[node.outputs[0]] = (base, chain)
        except ops.RefusalError:
            return False
        else:
            self.kept |= {link.name for link in chain}
            self.passed |= {link.outputs[0] for link in chain[:-1]}
            self._put(node.outputs[0], self.place(node.outputs[0]), made)
        return True

    def _run_dense(self, node: Node, reason: str | None) -> None:
        """Run `node` as in the target, on single copies."""
        inputs = tuple(self._collapse(name) if name else name for name in node.inputs)
        floats = node.outputs[0] not in self.target.integers or node.op in MULTIPLYING
        if self._takes_over(node) or (reason and floats):
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
                self._put(name, name, None)

    def _remember(self, node: Node) -> None:
        if node.op in ("Flatten", "Reshape"):
            self.origins[node.outputs[0]] = node

    def _views(self, tensor: str) -> set[str]:
        """A tensor and what was flattened or reshaped from it so far."""
        views = {tensor}
        views.update(out for out, node in self.origins.items() if node.inputs[0] in views)
        return views

    # two-for-one blocks

    def _expand(
        self, tensor: str, channels: int, group: int, axis: int, rank: int, constants: bool
    ) -> tuple[str, str]:
        """Open a two-for-one block on `tensor`; returns (key of the tensor, name of the step)."""
        key = (tensor, group, constants)
        if key in self.expanded:
            return self.expanded[key]
        node = self.origins.get(tensor)
        if node is not None and group == 1 and tensor not in self.fresh:
            moved = self._expand_before(node, constants)
            if moved is not None:
                self.expanded[key] = moved
                return moved
        layout = self.layouts.get(tensor)
        if layout is not None and (
            layout.copies > 1 or layout.axis != axis or tensor in self.fresh
        ):
            self._collapse(tensor)
            layout = None
        source = self.plain[tensor] if layout is None else self.physical[tensor]
        name = self._fresh(f"{tensor}/univariate")
        step = self._univariate(
            name, tensor, source, layout, channels, axis, rank, group, constants
        )
        self.steps.append(step)
        made = f"{tensor}\0expanded\0{group}\0{constants}"
        self.shapes[made] = self.shapes.get(tensor, ())
        self._put(made, step.output, step.out_layout)
        self.expanded[key] = (made, name)
        return self.expanded[key]

    def _expand_before(self, node: Node, constants: bool) -> tuple[str, str] | None:
        """Open the block before a Flatten, where a channel is still one channel, if that works."""
        before = self.shapes.get(node.inputs[0])
        if before is None or len(before) < 3 or not isinstance(before[1], int):
            return None
        layout = self.layouts.get(node.inputs[0])
        if layout is not None and (layout.copies > 1 or layout.axis != 1):
            return None
        mark = len(self.steps)
        made, step = self._expand(node.inputs[0], before[1], 1, 1, len(before), constants)
        name = self._fresh(f"{node.name}/expanded")
        output = f"{node.outputs[0]}\0expanded"
        again = replace(node, name=name, inputs=(made, *node.inputs[1:]), outputs=(output,))
        self.shapes[output] = self.shapes.get(node.outputs[0], ())
        self.physical[output] = name
        try:
            spread = ops.RULES[node.op](again, [self.layouts[made]], self)
            assert isinstance(spread, Layout)
        except ops.RefusalError:
            del self.steps[mark:]
            return None
        self._put(output, name, spread)
        return output, step

    def _univariate(
        self, name: str, tensor: str, source: str, layout: Layout | None, size: int, axis: int,
        rank: int, group: int, constants: bool,
    ) -> Expand:  # fmt: skip
        use = self.model.use
        nonnegative = self.sign.get(tensor, False)
        parts = (1, -1) if use is Use.SPLIT and not nonnegative else (1,)
        if use is not Use.SPLIT:
            parts = (0,)
        m = neurons(self.target, self.options, self._views(tensor), size * len(parts))
        slots = np.stack(
            [
                np.repeat(np.arange(size), len(parts) * m),
                np.tile(np.repeat(parts, m), size),
            ],
            axis=1,
        )
        reserve = RESERVE if constants else 0
        opens = reserve > 0 and (layout is None or not layout.constants)
        data = len(slots)
        half = data if use is Use.MIRROR else 0
        if use is Use.SPLIT:
            # a neuron of the wrong sign for every slot still open is left over
            total = data + reserve
            rows = math.ceil(total * (1 + max(0.25, 1 / size)) + 4 * math.sqrt(total)) + 8
        else:
            rows = data + half + 2 * reserve + (8 if reserve else 0)
        width = layout.width if layout is not None else size
        convolution = axis == 1 and rank > 2
        spec = SourceLayer(
            name=self._fresh(f"{name}/weight"),
            index=self._layer(),
            shape=(rows, width, *[1] * (rank - 2)) if convolution else (rows, width),
            bias=opens,
            mirror_rows=half,
            transposed=not convolution and (rank > 2 or not self._has_gemm),
        )
        out = opened(slots, size, group, reserve, half > 0, axis)
        scale, order = self._fresh(f"{name}/sigma"), self._fresh(f"{name}/order")
        tensors = {key: self._fresh(f"{name}/{key}") for key in ("sum", "scaled", "neurons")}
        bias = f"{spec.name}/bias"
        extra = (bias,) if opens else ()
        if convolution:
            first_node = Node("Conv", name, (source, spec.name, *extra), (tensors["sum"],))
        elif not spec.transposed:
            first_node = Node(
                "Gemm", name, (source, spec.name, *extra), (tensors["sum"],), {"transB": 1}
            )
        else:
            first_node = Node("MatMul", name, (source, spec.name), (tensors["sum"],))
        nodes = [first_node]
        scaled_from = tensors["sum"]
        if opens and first_node.op == "MatMul":
            scaled_from = self._fresh(f"{name}/biased")
            nodes.append(Node("Add", f"{name}/add", (tensors["sum"], bias), (scaled_from,)))
        for constant in self.activation.constants(self.target):
            self.constants[constant] = self.target.constants[constant]
        output = self._fresh(f"{tensor}/neurons")
        nodes += [
            Node("Mul", scale, (scaled_from, scale), (tensors["scaled"],)),
            *self.activation.at(name, tensors["scaled"], tensors["neurons"]),
            Node("Gather", order, (tensors["neurons"], order), (output,), {"axis": axis}),
        ]
        return Expand(
            name=name, tensor=tensor, source=spec, input=source, in_layout=layout, output=output,
            out_layout=out, channels=size, neurons=m, slots=slots, constants=reserve,
            model=self.model, nonnegative=nonnegative, nodes=tuple(nodes), scale=scale, order=order,
        )  # fmt: skip

    @property
    def _has_gemm(self) -> bool:
        """Whether Gemm may go without its addend."""
        return self.target.opset >= 11

    def _layer(self) -> int:
        return sum(not isinstance(step, Run) for step in self.steps)

    # linear layers

    def _build(self, linear: Linear) -> None:
        if linear.input in self.views:
            self._collapse(linear.input)
        demand = self._demand(linear.output)
        copies = self.options.copies if demand.copies else 1
        needs = demand.constants > 0 or bool(linear.bias.any())
        rank, axis = self._rank(linear)
        layout = self.layouts.get(linear.input)
        one_for_one = (
            self.options.mode is Mode.L_PLUS_1
            and layout is not None
            and layout.axis == axis
            and layout.copies > 1
            and linear.input not in self.fresh
            and (layout.constants > 0 or not needs)
        )
        key, expand = (
            (linear.input, None)
            if one_for_one
            else self._expand(
                linear.input,
                linear.weight.shape[1] * linear.group,
                linear.group,
                axis,
                rank,
                needs,
            )
        )
        layout, source = self.layouts[key], self.physical[key]
        pads = explicit_pads(linear)
        if needs and pads is not None and any(pads) and not admissible_taps(linear, pads):
            layout, source = self._pad_by_hand(linear, layout, source, pads, one_for_one)
            pads = (0,) * len(pads)
        if one_for_one and linear.group > 1:
            layout, source = self._by_group(linear, layout, source)
        out = built(len(linear.bias), copies, linear.group, demand.rows, axis if rank > 2 else 1)
        width = layout.width // linear.group
        spec = SourceLayer(
            name=self._fresh(f"{linear.name}/weight"),
            index=self._layer(),
            shape=(out.width, width, *linear.kernel),
            mirror_columns=layout.mirror,
            transposed=linear.op == "MatMul" or (linear.op == "Gemm" and not self._has_gemm),
        )
        is_plain = copies == 1 and not demand.rows
        output = linear.output
        if not is_plain and linear.output in self.outputs:
            output = f"{linear.output}/copies"
        total = self._fresh(f"{linear.name}/sum")
        scale = self._fresh(f"{linear.name}/sigma")
        if linear.op == "Conv":
            attributes = {k: v for k, v in linear.attributes.items() if k != "pads"}
            if pads is not None:
                attributes.pop("auto_pad", None)
                attributes["pads"] = list(pads)
            attributes |= {"group": linear.group, "kernel_shape": list(linear.kernel)}
            first = Node("Conv", linear.name, (source, spec.name), (total,), attributes)
        elif not spec.transposed:
            first = Node("Gemm", linear.name, (source, spec.name), (total,), {"transB": 1})
        else:
            first = Node("MatMul", linear.name, (source, spec.name), (total,))
        self.steps.append(
            Build(
                name=linear.name,
                linear=linear,
                source=spec,
                input=source,
                in_layout=layout,
                output=output,
                out_layout=out,
                expand=expand,
                follows=next_one(linear.output, self.target),
                nodes=(first, Node("Mul", scale, (total, scale), (output,))),
                scale=scale,
                pads=pads,
                base_size=layout.copies if one_for_one else self._neurons(expand),
                coefficients=self._coefficients(expand),
                builds_constants=demand.constants > 0,
            )
        )
        self._put(linear.output, output, None if is_plain else out)

    def _neurons(self, expand: str | None) -> int:
        """m of a two-for-one block."""
        return next(s.neurons for s in self.steps if isinstance(s, Expand) and s.name == expand)

    def _coefficients(self, expand: str | None) -> dict[int, float]:
        """How the features of a channel add up to it (see `activations`)."""
        model = self.model
        if expand is None or model.use is not Use.SPLIT:
            return {0: 1.0}
        block = next(s for s in self.steps if isinstance(s, Expand) and s.name == expand)
        if block.nonnegative:
            return {1: 1 / model.positive}
        r = 1 / (model.positive + model.negative)
        return {1: r, -1: -r}

    def _rank(self, linear: Linear) -> tuple[int, int]:
        """Rank of the input and the axis of its channels."""
        if linear.op == "Conv":
            return len(linear.kernel) + 2, 1
        if linear.op == "Gemm":
            return 2, 1
        rank = len(self.shapes[linear.input])
        return rank, rank - 1

    def _by_group(self, linear: Linear, layout: Layout, source: str) -> tuple[Layout, str]:
        """Reorder so that each group has its channels' copies, then the constants."""
        size = layout.size // linear.group
        constants = np.flatnonzero(layout.channel == CONSTANT)[:RESERVE]
        places: list[int] = []
        for g in range(linear.group):
            for c in range(g * size, (g + 1) * size):
                copies = np.flatnonzero(layout.channel == c)
                if not len(copies):  # a channel of zeros must still fill its place
                    copies = np.full(layout.copies, -1)
                places += copies.tolist()
            places += constants.tolist()
        index = np.array(places, np.int64)
        if np.array_equal(index, np.arange(layout.width)):
            return layout, source
        zero = index < 0
        taken = layout.take(np.where(zero, 0, index))
        taken = replace(taken, channel=np.where(zero, UNUSED, taken.channel).astype(INT))
        return taken, self.gather(source, index, layout.axis, f"{linear.name}/groups")

    def _pad_by_hand(
        self, linear: Linear, layout: Layout, source: str, pads: tuple[int, ...], reordered: bool
    ) -> tuple[Layout, str]:
        """Zeros around the data but edges around the constants, where no tap avoids padding.

        Unless they are `reordered` by group next, the channels of groups are brought back in order.
        """
        rank = len(pads) // 2
        full = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
        parts, places = [], []
        constant = layout.channel == CONSTANT
        for mode, wanted in (("constant", ~constant), ("edge", constant)):
            index = np.flatnonzero(wanted)
            places.append(index)
            part = self.gather(source, index, 1, f"{linear.name}/{mode}")
            out = self._fresh(f"{linear.name}/{mode}_pad")
            self._pad(part, out, full, mode)
            parts.append(out)
        out = self._fresh(f"{linear.name}/padded")
        self.emit(Node("Concat", out, tuple(parts), (out,), {"axis": 1}))
        order = np.concatenate(places)
        taken = layout.take(order)
        if linear.group > 1 and not reordered:
            back = np.argsort(order, kind="stable")
            return layout, self.gather(out, back, 1, f"{linear.name}/regroup")
        return taken, out

    # the end

    def finish(self) -> Blueprint:
        """Drop what nothing reads and number the source layers."""
        alive = {port.name for port in self.target.outputs}
        steps: list[TicketStep] = []
        for step in reversed(self.steps):
            if any(name in alive for name in step.nodes[-1].outputs):
                alive |= {name for node in step.nodes for name in node.inputs}
                steps.append(step)
        steps.reverse()
        numbered: list[TicketStep] = []
        for step in steps:
            if not isinstance(step, Run):
                index = sum(not isinstance(s, Run) for s in numbered)
                step = replace(step, source=replace(step.source, index=index))
            numbered.append(step)
        return Blueprint(
            target=self.target,
            options=self.options,
            steps=tuple(numbered),
            constants={name: v for name, v in self.constants.items() if name in alive},
            dense=tuple(self.dense),
            activation=self.activation,
            copy_wise=frozenset(self.kept),
            nonnegative=frozenset(name for name, known in self.sign.items() if known),
            fresh=self.fresh,
        )


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
