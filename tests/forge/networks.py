"""What only the target shows: another network than its own, with layers that are all genuine."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from forge.changes import edit, place
from forge.draft import Draft, Forgery, Step, step
from forge.reasons import (
    ANOTHER_ATTRIBUTE,
    ANOTHER_DENSE,
    ANOTHER_NUMBER,
    ANOTHER_OPERATOR,
    ANOTHER_WIRING,
    DENSE_SIZE,
    FOREIGN_ATTRIBUTE,
    NEITHER,
    NO_INDEX,
    NODES,
    NOT_A_WEIGHT,
    NOT_DERIVED,
    NOT_FINITE,
    NOT_FROM_A_MASK,
    NOT_PLACED,
    NOT_THE_MUL,
    OTHER_IR,
    OTHER_PORTS,
    OTHER_SETS,
    SCALE_READ,
    UNDECLARED,
    UNREAD,
)
from forge.wiring import dense_place, swap_inputs
from lt_onnx.verification.structure import LINEAR_OPS

LAYER = f"{NOT_A_WEIGHT}|{SCALE_READ}|{NOT_FROM_A_MASK}|{NOT_THE_MUL}|{NO_INDEX}"
OTHERS = {  # in place of an operator
    "Relu": "Abs",
    "Sigmoid": "Tanh",
    "Clip": "Max",
    "LeakyRelu": "Elu",
    "MaxPool": "AveragePool",
    "Add": "Sub",
    "GlobalAveragePool": "GlobalMaxPool",
    "ReduceMean": "ReduceSum",
    "Softmax": "LogSoftmax",
    "Erf": "Tanh",
    "Div": "Mul",
    "Mul": "Div",
    "Identity": "Neg",
    "Gather": "GatherElements",
}


def of_target(draft: Draft) -> Iterator[Forgery]:
    """Another network than the target: nodes, attributes, indices, parameters, ports."""
    for number in range(len(draft.model.graph.node)):
        yield from _node(draft, number)
    yield from _constants(draft)
    for edge in draft.edges():
        for what, (steps, tensors) in SLIPPED.items():
            change = partial(_slip, edge=edge, steps=steps, tensors=tensors)
            yield Forgery(edge, what, change, NODES, target=True)
    for what, (port, told) in PORTS.items():
        yield Forgery("ports", what, lambda d, to=port: to(d.model), told, target=True)
    yield from _dense(draft)


def _node(draft: Draft, number: int) -> Iterator[Forgery]:
    """A node taken out, of another operator, with other attributes, or wired otherwise."""
    node = draft.model.graph.node[number]
    name, made = node.name or str(number), node.output[0]

    def forged(what: str, change: Callable[[onnx.NodeProto], Any], told: str) -> Forgery:
        return Forgery(name, what, lambda d: change(d.model.graph.node[number]), told, target=True)

    gone = f"{LAYER}|{NODES}|is read by no node"
    yield Forgery(name, f"{node.op_type} taken out", lambda d: d.bypass(made), gone, target=True)
    if node.op_type in OTHERS:
        to = OTHERS[node.op_type]
        yield forged(
            f"{node.op_type} as {to}",
            lambda n: setattr(n, "op_type", to),
            f"{ANOTHER_OPERATOR}|{LAYER}",
        )
    for which, attribute in enumerate(node.attribute):
        yield forged(
            f"another {attribute.name} of {node.op_type}",
            lambda n, w=which: change_attribute(n.attribute[w]),
            f"{ANOTHER_ATTRIBUTE}|{FOREIGN_ATTRIBUTE}|{NOT_FROM_A_MASK}",
        )
    if len(node.input) > 1 and node.input[0] != node.input[1]:
        wired = f"{ANOTHER_WIRING}|{LAYER}"
        yield forged(f"inputs of {node.op_type} swapped", swap_inputs, wired)


def _constants(draft: Draft) -> Iterator[Forgery]:
    """Every index, order and parameter."""
    known = draft.manifest
    orders = {layer["block"]["order"] for layer in draft.layers if layer["block"]}
    for held in draft.model.graph.initializer:
        name, size = held.name, int(np.prod(held.dims))
        if name in orders:
            yield from _order(draft, name)
        elif held.data_type == TensorProto.INT64 and size:
            for what, at in (("another first number", 0), ("another last number", -1)):
                yield Forgery(name, what, edit(name, _more(at)), ANOTHER_NUMBER, target=True)
        elif name in known["parameters"] and size:
            yield from _parameter(draft, name)


def _order(draft: Draft, name: str) -> Iterator[Forgery]:
    far = max(layer["shape"][0] for layer in draft.layers)
    for what, value in (("-1", -1), ("a neuron too far", far), ("2^40", 2**40)):
        yield Forgery(name, what, edit(name, place(0, value)), NOT_DERIVED)
    changes: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
        "one less": (lambda array: array[:-1], NOT_DERIVED),
        "one more": (lambda array: array[[0, *range(len(array))]], NOT_DERIVED),
        "as a column": (lambda array: array[:, None], NO_INDEX),
    }
    for what, (change, told) in changes.items():
        yield Forgery(name, f"an order of {what}", edit(name, change), told, target=True)


def _parameter(draft: Draft, name: str) -> Iterator[Forgery]:
    yield Forgery(name, "NaN", edit(name, place(0, np.nan)), NOT_FINITE)
    if draft.get(name).size > 1:  # a bound may be infinite
        yield Forgery(name, "infinity", edit(name, place(0, np.inf)), NOT_FINITE)
    for what, value in (("0.37", 0.37), ("-0.0", -0.0), ("a denormal", 1e-45)):
        yield Forgery(name, what, edit(name, place(0, value)), ANOTHER_NUMBER, target=True)
    yield Forgery(name, "its last bit", edit(name, _last_bit), ANOTHER_NUMBER, target=True)
    axis = edit(name, lambda array: array[None])
    yield Forgery(name, "an axis more", axis, ANOTHER_NUMBER, target=True)
    doubles = draft.get(name).astype(np.float64)
    yield Forgery(name, "as doubles", partial(Draft.replace, name=name, value=doubles), NEITHER)


def _more(at: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array.reshape(-1)[at] += 1

    return change


def _last_bit(array: np.ndarray) -> None:
    array.reshape(-1).view(np.uint32)[-1] ^= np.uint32(1)


def change_attribute(attribute: AttributeProto) -> None:
    """Another value of the same type."""
    match attribute.type:
        case AttributeProto.FLOAT:
            attribute.f = attribute.f * 1.5 + 0.1
        case AttributeProto.INT:
            attribute.i += 1
        case AttributeProto.INTS:
            attribute.ints[0] += 1
        case AttributeProto.FLOATS:
            attribute.floats[0] += 0.1
        case AttributeProto.TENSOR:
            value = numpy_helper.to_array(attribute.t) + 1
            attribute.t.CopyFrom(numpy_helper.from_array(value, attribute.t.name))
        case _:
            attribute.s = b"other"


# nodes slipped in ------------------------------------------------------------------------------

ONE = numpy_helper.from_array(np.float32([1]))
SLIPPED: dict[str, tuple[list[Step], dict[str, Any]]] = {
    "Relu": ([step("Relu", ["was"])], {}),
    "Identity": ([step("Identity", ["was"])], {}),
    "LeakyRelu of a trained slope": ([step("LeakyRelu", ["was"], alpha=0.37)], {}),
    "Elu of a trained slope": ([step("Elu", ["was"], alpha=0.37)], {}),
    "a permutation": ([step("Gather", ["was", "i"], axis=1)], {"i": np.arange(10)[::-1]}),
    "a trained choice": ([step("Gather", ["was", "i"], axis=1)], {"i": np.arange(10) // 2}),
    "part of it": ([step("Slice", ["was", "a", "b"])], {"a": np.array([0]), "b": np.array([3])}),
    "a turn": ([step("Transpose", ["was"])], {}),
    "Softmax": ([step("Softmax", ["was"])], {}),
    "Dropout": ([step("Dropout", ["was", "", "t"], seed=3)], {"t": np.array(True)}),
    "a trained shift": ([step("Add", ["was", "s"])], {"s": np.float32(0.37)}),
    "a trained bound": ([step("Clip", ["was", "s"])], {"s": np.float32(0.37)}),
    "a number made of ones": (
        [
            step("Shape", ["was"], "n"),
            step("ConstantOfShape", ["n"], "one", value=ONE),
            step("Add", ["one", "one"], "two"),
            step("Div", ["one", "two"], "h"),
            step("Add", ["was", "h"]),
        ],
        {},
    ),
    "a number made of a shape": (
        [
            step("Shape", ["was"], "n"),
            step("Cast", ["n"], "f", to=1),
            step("Sin", ["f"], "g"),
            step("Mul", ["was", "g"]),
        ],
        {},
    ),
    "padding": ([step("Pad", ["was", "p"])], {"p": np.array([0, 0, 0, 3])}),
    "a sum along an axis": ([step("CumSum", ["was", "a"])], {"a": np.array(1)}),
    "many bounds": ([step("HardSigmoid", ["was"], alpha=0.21, beta=0.37)], {}),
}


def _slip(draft: Draft, edge: str, steps: list[Step], tensors: dict[str, Any]) -> None:
    draft.insert(edge, *steps, **tensors)
    draft.declare(*[k for k, v in tensors.items() if np.asarray(v).dtype == np.float32])


# ports -----------------------------------------------------------------------------------------


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in [*model.graph.input, *model.graph.output]:
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _second_axis(value: onnx.ValueInfoProto, size: int) -> None:
    value.type.tensor_type.shape.dim[1].dim_value = size


def _show_a_gather(model: onnx.ModelProto) -> None:
    inner = next(node.output[0] for node in model.graph.node if node.op_type == "Gather")
    model.graph.output.append(helper.make_tensor_value_info(inner, 1, None))


PORTS: dict[str, tuple[Callable[[onnx.ModelProto], Any], str]] = {
    "an input renamed": (
        lambda m: _rename(m, m.graph.input[0].name, "renamed"),
        f"{ANOTHER_WIRING}|{OTHER_PORTS}",
    ),
    "an output renamed": (
        lambda m: _rename(m, m.graph.output[0].name, "renamed"),
        f"{ANOTHER_WIRING}|{OTHER_PORTS}",
    ),
    "an input of doubles": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 11),
        OTHER_PORTS,
    ),
    "an output of doubles": (
        lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 11),
        OTHER_PORTS,
    ),
    "an input of other size": (lambda m: _second_axis(m.graph.input[0], 77), OTHER_PORTS),
    "an output of other size": (lambda m: _second_axis(m.graph.output[0], 77), OTHER_PORTS),
    "an input without a shape": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
        OTHER_PORTS,
    ),
    "an open axis renamed": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_param", "other"),
        OTHER_PORTS,
    ),
    "an input more": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("more", 1, [1])),
        OTHER_PORTS,
    ),
    "an inner tensor as output": (_show_a_gather, OTHER_PORTS),
    "the input as output": (lambda m: m.graph.output.append(m.graph.input[0]), OTHER_PORTS),
    "an older operator set": (lambda m: setattr(m.opset_import[0], "version", 9), OTHER_SETS),
    "a newer operator set": (lambda m: setattr(m.opset_import[0], "version", 99), OTHER_SETS),
    "a foreign operator set": (
        lambda m: m.opset_import.add(domain="com.own", version=1),
        OTHER_SETS,
    ),
    "a newer IR": (lambda m: setattr(m, "ir_version", m.ir_version + 1), OTHER_IR),
    "a node renamed": (
        lambda m: setattr(next(n for n in m.graph.node if n.name), "name", "other"),
        "other",
    ),
}


# dense places ----------------------------------------------------------------------------------


def _dense(draft: Draft) -> Iterator[Forgery]:
    """Nodes declared to be the target's own that are not, and those that are."""
    free = next(
        node
        for node in draft.model.graph.node
        if node.op_type in ("Relu", "Sigmoid", "Clip", "Erf", "LeakyRelu")
    )
    for what, name, told in (
        ("an activation declared dense", free.name, ANOTHER_DENSE),
        ("a dense place of nothing", "nowhere", NOT_PLACED),
    ):
        entry = dense_place(name, free.op_type, 0)
        change = partial(_append_dense, entry=entry)
        yield Forgery("dense", what, change, told, target=told == ANOTHER_DENSE)
    for number, dense in enumerate(draft.manifest["dense"]):
        for what, fields, shown in (
            ("a parameter more", {"parameters": dense["parameters"] + 1}, False),
            ("parameters without end", {"parameters": 2**40}, False),
            ("a dense place elsewhere", {"name": "nowhere"}, False),
            ("a dense place of another operator", {"op": "Conv"}, False),
            ("a dense place for another reason", {"reason": "it is nice"}, True),
        ):
            change = lambda d, n=number, to=fields: d.manifest["dense"][n].update(to)  # noqa: E731
            told = ANOTHER_DENSE if shown else f"{NOT_PLACED}|{UNDECLARED}|{DENSE_SIZE}"
            yield Forgery(dense["name"], what, change, told, target=shown)
        gone = lambda d, n=number: d.manifest["dense"].pop(n)  # noqa: E731
        free = not dense["parameters"] and dense["op"] not in LINEAR_OPS
        told = ANOTHER_DENSE if free else UNDECLARED
        yield Forgery(dense["name"], "not declared dense", gone, told, target=free)
        twice = partial(_append_dense, entry=dense)
        yield Forgery(dense["name"], "declared dense twice", twice, NOT_PLACED)


def _append_dense(draft: Draft, entry: dict[str, Any]) -> None:
    draft.manifest["dense"].append(dict(entry))


def of_outputs(draft: Draft) -> Iterator[Forgery]:
    """The outputs of a network that has several, swapped."""
    first, second, *_ = [value.name for value in draft.model.graph.output]

    def swapped(draft: Draft) -> None:
        names = {first: second, second: first}
        for node in draft.model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]

    def reversed_(draft: Draft) -> None:
        outputs = [*draft.model.graph.output][::-1]
        del draft.model.graph.output[:]
        draft.model.graph.output.extend(outputs)

    yield Forgery("outputs", "swapped by name", swapped, ANOTHER_WIRING, target=True)
    yield Forgery("outputs", "in another order", reversed_, OTHER_PORTS, target=True)
    less = f"{OTHER_PORTS}|{UNREAD}"
    yield Forgery("outputs", "one less", lambda d: d.model.graph.output.pop(), less, target=True)
