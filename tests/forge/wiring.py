"""The layers' nodes: other operators, inputs, readers, attributes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from forge.changes import both, edit
from forge.draft import Change, Draft, Forgery, step
from forge.reasons import (
    ALSO_DENSE,
    DEFINED_TWICE,
    DRAWN_FROM,
    FOREIGN_ATTRIBUTE,
    LAYERS,
    NEITHER,
    NO_DATA,
    NO_LAYERS_WEIGHT,
    NOT_A_WEIGHT,
    NOT_DRAWN,
    NOT_FROM_A_MASK,
    NOT_THE_BIAS,
    NOT_THE_NODE,
    SCALE_READ,
    UNREAD,
    WRITTEN_TWICE,
)

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "Mul", "QLinearConv")


def of_wiring(draft: Draft) -> Iterator[Forgery]:
    """Every layer's nodes, and layers declared to be the target's own."""
    for number in range(len(draft.layers)):
        yield from _node(draft, number)
        yield from _readers(draft, number)
        yield from _biases(draft, number)
    first, last = draft.layers[0]["weight"], draft.layers[-1]["weight"]
    dense = f"{LAYERS}|{NEITHER}|{NO_LAYERS_WEIGHT}"
    for what, change in (("declared dense", _leave), ("declared dense, and trained", _train)):
        yield Forgery(last, what, both(change, _declare(-1)), dense, target=True)
    yield Forgery(first, "the first layer declared dense", _declare(0), DRAWN_FROM)
    yield Forgery("output", "a branch around everything", _around, NEITHER)


def _node(draft: Draft, number: int) -> Iterator[Forgery]:
    """The node that applies a layer's weights."""
    weight = draft.layers[number]["weight"]
    op = draft.reader(weight).op_type

    def forged(what: str, change: Callable[[onnx.NodeProto], Any], told: str) -> Forgery:
        return Forgery(weight, what, lambda d: change(d.reader(weight)), told)

    for other in LINEAR:
        if other != op:
            yield forged(f"as {other}", lambda n, to=other: setattr(n, "op_type", to), NOT_THE_NODE)
    yield forged("of a foreign domain", lambda n: setattr(n, "domain", "own"), NOT_THE_NODE)
    yield forged("its inputs swapped", swap_inputs, NOT_A_WEIGHT)
    yield forged("a second output", lambda n: n.output.append("second"), WRITTEN_TWICE)
    for key, value in (("alpha", 2.0), ("transA", 1), ("fmf", [1, 2]), ("activation", "Relu")):
        attribute = helper.make_attribute(key, value)
        yield forged(
            f"its attribute {key}", lambda n, a=attribute: n.attribute.append(a), FOREIGN_ATTRIBUTE
        )
    yield forged("its weight again", lambda n: n.input.append(weight), NOT_A_WEIGHT)
    yield forged("empty inputs", lambda n: n.input.extend(["", "", ""]), NOT_THE_NODE)


def _readers(draft: Draft, number: int) -> Iterator[Forgery]:
    """What reads a layer's weights and its unscaled sum, and whether it is there at all."""
    layer, last = draft.layers[number], draft.model.graph.output[0].name
    weight = layer["weight"]
    summed = draft.reader(weight).output[0]

    def output(name: str) -> Change:
        port = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return lambda d: d.model.graph.output.append(port)

    def slipped(edge: str, op: str, *more: str) -> Change:
        return lambda d: d.insert(edge, step(op, ["was", *more]))

    weights = f"{NOT_A_WEIGHT}|{NOT_FROM_A_MASK}"
    unscaled = f"{SCALE_READ}|{NOT_THE_BIAS}"  # a MatMul's bias is added before the scale
    yield Forgery(weight, "its weight read twice", slipped(last, "Mul", weight), NOT_A_WEIGHT)
    yield Forgery(weight, "its weight as an output", output(draft.numbers(layer)), weights)
    yield Forgery(weight, "its unscaled sum as an output", output(summed), unscaled)
    yield Forgery(weight, "Relu before its scale", slipped(summed, "Relu"), unscaled)
    yield Forgery(weight, "read before its scale", slipped(last, "Add", summed), unscaled)
    yield Forgery(weight, "stands there twice", partial(_repeat, weight=weight), DEFINED_TWICE)
    yield Forgery(weight, "taken out", lambda d: d.bypass(summed), NOT_A_WEIGHT)
    yield Forgery(weight, "also declared dense", _declare(number, removed=False), ALSO_DENSE)
    constant = partial(_read_a_constant, weight=weight)
    yield Forgery(weight, "reads no data", constant, f"{NO_DATA}|{UNREAD}")


def _biases(draft: Draft, number: int) -> Iterator[Forgery]:
    """A bias that the target has not trained, or has."""
    weight = draft.layers[number]["weight"]
    for what, named, recorded, told in (
        ("a hidden bias", False, False, f"{NOT_THE_NODE}|{NOT_THE_BIAS}"),
        ("a hidden bias, named", True, False, f"{NOT_THE_NODE}|{NOT_THE_BIAS}"),
        ("a hidden bias, recorded", False, True, NOT_DRAWN),
    ):
        change = partial(_hide_bias, number=number, named=named, recorded=recorded)
        yield Forgery(weight, what, change, told)


def swap_inputs(node: onnx.NodeProto) -> None:
    """Exchange a node's first two inputs."""
    node.input[0], node.input[1] = node.input[1], node.input[0]


def _hide_bias(draft: Draft, number: int, named: bool, recorded: bool) -> None:
    layer = draft.layers[number]
    rows, linear = layer["shape"][0], draft.reader(layer["weight"])
    del linear.input[2:]
    linear.input.append(draft.add("hidden", np.linspace(1, 2, rows, dtype=np.float32)))
    if named:
        draft.declare("hidden")
    if recorded:
        layer.update(bias="hidden", kept_bias=rows)


def _read_a_constant(draft: Draft, weight: str) -> None:
    draft.reader(weight).input[0] = draft.add("k", np.ones(1, np.float32))
    draft.declare("k")


def _repeat(draft: Draft, weight: str) -> None:
    """The layer's node once more, and its sum added to the output."""
    graph, linear = draft.model.graph, draft.reader(weight)
    at = list(graph.node).index(linear)
    graph.node.insert(at + 1, linear)
    graph.node[at + 1].name = "again"


def _leave(draft: Draft) -> None:
    pass


def _train(draft: Draft) -> None:
    edit(draft.numbers(draft.layers[-1]), lambda array: array * np.float32(0.7))(draft)


def _declare(number: int, *, removed: bool = True) -> Change:
    """Say of a layer that it is the target's own, and of its weights that they are parameters."""

    def forge(draft: Draft) -> None:
        layer = draft.layers[number]
        linear, scaled = draft.reader(layer["weight"]), draft.reader(layer["scale"])
        names = {draft.numbers(layer), layer["scale"]} if removed else set()
        for node in (linear, scaled) if removed else (linear,):
            count = sum(draft.get(name).size for name in names if name in node.input)
            draft.manifest["dense"].append(dense_place(node.name, node.op_type, count))
        if removed:
            draft.manifest["layers"].remove(layer)
            draft.declare(*names)

    return forge


def dense_place(name: str, op: str, parameters: int) -> dict[str, Any]:
    """An entry of the manifest for a node that is the target's own."""
    reason = "the op table has no rule for it"
    return {"name": name, "op": op, "parameters": parameters, "reason": reason}


def _around(draft: Draft) -> None:
    entry = draft.model.graph.input[0].name
    branch = (step("Flatten", [entry], "f"), step("MatMul", ["f", "w"], "y"))
    weight = np.ones((64, 10), np.float32)
    draft.insert(draft.model.graph.output[0].name, *branch, step("Add", ["was", "y"]), w=weight)
