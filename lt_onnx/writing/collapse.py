"""Two-for-one blocks as single layers: the plan of a ticket's collapsed form.

In: a ticket's Blueprint. Out: a Blueprint whose steps are the target's own, and what the weight of
each of its layers is summed from.

Where φ(x) = x for x ≥ 0, the neurons of a channel hand on the same number, g times it, and

    σ_o Σ_s w[o, s, k] φ(± g x_i)  =  (g σ_o Σ_s w[o, s, k]) φ(± x_i),

summed over the neurons s of channel i and of one sign. Inputs that are never negative have neurons
of one sign, and φ(x) is x itself. Others are read as x and p = max(x, 0), of which φ(x) and φ(−x)
are sums: with the slope m₋ for x < 0, φ(x) = m₋ x + (1 − m₋) p and φ(−x) = −x + (1 − m₋) p. Both
stand side by side before one operator, or, where that has groups, before one each: depthwise layers
stay depthwise. What the constant neurons add is a bias. An activation that is x up to a limit, as
ReLU6 is, counts as ReLU: a block's gain keeps its neurons far from the limit.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.errors import InputError
from lt_onnx.layout import CONSTANT
from lt_onnx.manifest import CollapsedLayer
from lt_onnx.ops.activation_fit import Use
from lt_onnx.ops.activations import block_activation
from lt_onnx.options import Mode, Sigma
from lt_onnx.planning.plan import plan
from lt_onnx.target import Array, Node
from lt_onnx.writing.generator_sums import POSITIVE


@dataclass(frozen=True)
class Collapse:
    """The collapsed form of a plan: the steps of its file, and the layers among them."""

    blueprint: Blueprint
    layers: tuple[CollapsedLayer, ...]
    slope: float  # of φ where x < 0


def collapsed(blueprint: Blueprint) -> Collapse:
    """The collapsed form of a ticket's plan. Raises InputError where there is none, saying why."""
    slope = _slope(blueprint)
    target = blueprint.target
    layers = [step for step in blueprint.steps if not isinstance(step, Run)]
    work = _Collapsing(blueprint, {step.name: number for number, step in enumerate(layers)})
    builds = {step.name: step for step in layers if isinstance(step, Build)}
    expands = {step.name: step for step in layers if isinstance(step, Expand)}
    for step in target.steps:
        if isinstance(step, Node):
            work.nodes.append(step)
        elif step.name in builds:
            work.add(builds[step.name], expands[builds[step.name].expand or ""])
    constants = {**target.constants, **work.stand_ins}
    steps = tuple(work.nodes)
    planned = plan(replace(target, steps=steps, constants=constants), blueprint.options)
    layers_own = builds.keys() | work.second
    own = {place.name: place for place in planned.dense if place.name not in layers_own}
    there = {(node.name, node.op) for step in planned.steps for node in step.nodes}
    kept = [p for p in blueprint.dense if (p.name, p.op) in there and p.name not in own]
    used = {name: v for name, v in planned.constants.items() if name not in work.stand_ins}
    dense = (*own.values(), *kept)
    plain = replace(blueprint, steps=planned.steps, constants=used, dense=dense)
    return Collapse(plain, tuple(work.layers), slope)


def _slope(blueprint: Blueprint) -> float:
    """The slope of φ where x < 0. Raises InputError unless φ(x) = x elsewhere."""
    options, (_, model) = blueprint.options, block_activation(blueprint.target)
    title = blueprint.activation.title
    if options.mode is not Mode.TWO_L:
        reason = f"mode {options.mode} has copies, not blocks: convert it with `mode=2l`"
    elif options.sigma is not Sigma.CHANNEL:
        reason = "with `sigma=layer` the neurons of a channel hand on different numbers"
    elif model.use is not Use.SPLIT or model.positive != 1:
        reason = (
            f"its blocks open with {title}, which changes positive numbers too: leave it seeded"
        )
    elif math.isfinite(model.reach) and model.negative != 0:
        reason = f"its blocks open with {title}, which bends on both sides: leave it seeded"
    else:
        return model.negative
    raise InputError(f"a ticket of {blueprint.target.path} does not collapse: {reason}")


@dataclass
class _Collapsing:
    """The steps of a collapsed form in the making."""

    blueprint: Blueprint
    numbers: dict[str, int]  # of the ticket's layers
    nodes: list[Node] = field(default_factory=list)
    layers: list[CollapsedLayer] = field(default_factory=list)
    stand_ins: dict[str, Array] = field(default_factory=dict)  # for what the file makes
    features: set[str] = field(default_factory=set)
    second: set[str] = field(default_factory=set)  # names of operators that a layer has besides

    def add(self, build: Build, block: Expand) -> None:
        """Add a layer: the target's operator, of a weight that is summed. Raises InputError."""
        linear, weight = build.linear, build.source.name
        inner = _inner(build, block)
        if inner is None:
            raise InputError(
                f"{self.blueprint.target.path}: does not collapse: layer '{linear.name}' reads its "
                "block in another order"
            )
        group, outputs = linear.group, len(linear.bias) // linear.group
        bias = f"{weight}/bias" if block.constants else None
        self.layers.append(
            CollapsedLayer(self.numbers[build.name], self.numbers[block.name], outputs, inner, bias)
        )
        x, width = linear.input, linear.weight.shape[1]
        if not block.nonnegative and group == 1:
            x, width = self._with_positive(x, build.source.transposed), 2 * width
        shape = (len(linear.bias), width, *linear.kernel)
        self.stand_ins[weight] = np.broadcast_to(np.float32(0), shape)
        biases = () if bias is None else (bias,)
        if bias is not None:
            self.stand_ins[bias] = np.zeros(len(linear.bias), np.float32)
        name, output = linear.name, linear.output
        if build.source.transposed:
            product = f"{weight}/product" if bias else output
            self.nodes.append(Node("MatMul", name, (x, weight), (product,)))
            if bias is not None:
                self.second = {*self.second, f"{name}/add"}
                self.nodes.append(Node("Add", f"{name}/add", (product, bias), (output,)))
            return
        attributes: dict[str, Any] = {"transB": 1}
        if linear.op == "Conv":
            attributes = {**linear.attributes, "group": group, "kernel_shape": [*linear.kernel]}
        if block.nonnegative or group == 1:
            inputs = x, weight, *biases
            self.nodes.append(Node(linear.op, name, inputs, (output,), attributes))
            return
        other, parts = f"{weight}/{POSITIVE}", (f"{weight}/straight", f"{weight}/bent")
        self.stand_ins[other], self.second = self.stand_ins[weight], {*self.second, f"{name}/more"}
        inputs = self._positive(x), other, *biases
        self.nodes.append(Node(linear.op, name, (x, weight), parts[:1], attributes))
        self.nodes.append(Node(linear.op, f"{name}/more", inputs, parts[1:], attributes))
        self.nodes.append(Node("Add", f"{name}/add", parts, (output,)))

    def _positive(self, x: str) -> str:
        """max(x, 0)."""
        name = f"{x}/{POSITIVE}"
        if name not in self.features:
            self.features.add(name)
            self.nodes.append(Node("Relu", name, (x,), (name,)))
        return name

    def _with_positive(self, x: str, last: bool) -> str:
        """x and max(x, 0) side by side, along axis 1 or the `last` one."""
        inputs, name = (x, self._positive(x)), f"{x}/both{'/last' if last else ''}"
        if name not in self.features:
            self.features.add(name)
            axis = {"axis": -1 if last else 1}
            self.nodes.append(Node("Concat", name, inputs, (name,), axis))
        return name


def _inner(build: Build, block: Expand) -> int | None:
    """Channels of a layer for each of its block's, in a row of weights; None: in another order."""
    layout, out, group = build.in_layout, block.out_layout, build.linear.group
    inner = layout.width // out.width
    if inner * out.width != layout.width or build.expand != block.name:
        return None
    spread = out.spread(inner, layout.axis)
    data = layout.channel >= 0
    same = (
        np.array_equal(data, spread.channel >= 0)
        and np.array_equal(layout.channel[data], spread.channel[data])
        and np.array_equal(layout.part[data], spread.part[data])
        and np.array_equal(layout.channel == CONSTANT, spread.channel == CONSTANT)
    )
    rows = build.out_layout.channel.reshape(group, -1)
    outputs = len(build.linear.bias) // group
    first = np.arange(len(build.linear.bias)).reshape(group, outputs)
    if not same or not np.array_equal(rows[:, :outputs], first):
        return None
    return inner if group == 1 or inner == 1 else None
