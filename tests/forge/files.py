"""Whatever a protobuf can say besides: of the model, of every tensor and node, of the bytes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from forge.draft import Draft, Forgery
from forge.hidden import FLOATS, KERNEL, WHOLE, C, sparse_constant, subgraph
from forge.reasons import (
    ATTRIBUTE_FLOAT,
    ATTRIBUTE_LONG,
    ATTRIBUTE_TENSOR,
    BYTES,
    DEFINED_TWICE,
    EXTERNAL,
    FOREIGN_ATTRIBUTE,
    FOREIGN_FIELD,
    MISSING,
    MORE_THAN_ITS_TYPE,
    NAMELESS,
    NEITHER,
    NO_INDEX,
    NO_LAYERS_WEIGHT,
    NO_MODEL,
    NO_OPERATOR,
    NO_PLACE,
    NO_SUCH_TENSOR,
    NO_TENSOR,
    NO_TEXT,
    NO_TICKET,
    NOT_A_WEIGHT,
    NOT_FROM_A_MASK,
    NOT_THE_MUL,
    NOTHING_MAKES,
    OLD_IR,
    OUT_OF_ORDER,
    OWN_NAME,
    SAID_TWICE,
    SAYS_NOTHING,
    SCALE_READ,
    TWO_ATTRIBUTES,
    UNFIT,
    UNKNOWN_FIELD,
    UNKNOWN_TYPE,
    UNREAD,
    UNREAD_TENSOR,
)


def of_file(draft: Draft) -> Iterator[Forgery]:
    """Fields of the model, of every tensor and of every fifth node, and the file's bytes."""
    names = [t.name for t in draft.model.graph.initializer] + [t.name for t in draft.values()]
    for name in names:
        yield from _tensor(draft, name)
    for what, (change, told) in MODEL.items():
        yield Forgery("model", what, lambda d, to=change: to(d.model), told)
    for what, (ending, told) in ENDINGS.items():
        yield Forgery("bytes", what, lambda d, to=ending: setattr(d, "ending", to), told)
    for number in range(0, len(draft.model.graph.node), 5):
        yield from _node(draft, number)


def _value(array: Any, name: str = "") -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def _sparse(name: str) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        _value(FLOATS, name), _value(np.arange(C), f"{name}/places"), [C]
    )


def _port(name: str, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


Told = tuple[Callable[[Any], Any], str]  # a change, and what is told of it


def _tensor(draft: Draft, name: str) -> Iterator[Forgery]:
    """Fields of a tensor, and others of its name."""
    held = draft.proto(name)
    where = f"tensor {name}"
    fields: dict[str, Callable[[TensorProto], Any]] = {
        "float_data too": lambda t: t.float_data.extend([1.0, 2.0]),
        "int64_data too": lambda t: t.int64_data.append(1),
        "string_data too": lambda t: t.string_data.append(b"1"),
        "a segment": lambda t: setattr(t.segment, "end", 1),
        "its doc_string": lambda t: setattr(t, "doc_string", "0.1 0.2"),
        "metadata": lambda t: t.metadata_props.add(key="k", value="v"),
    }
    for what, change in fields.items():
        yield Forgery(where, what, lambda d, to=change: to(d.proto(name)), FOREIGN_FIELD)
    places: dict[str, Told] = {
        "bytes more": (lambda t: setattr(t, "raw_data", t.raw_data + b"\0" * 4), BYTES),
        "no name": (lambda t: setattr(t, "name", ""), NAMELESS),
        "another name": (
            lambda t: setattr(t, "name", f"{t.name}/other"),
            f"{NO_SUCH_TENSOR}|{OWN_NAME}",
        ),
        "said to be external": (lambda t: setattr(t, "data_location", 1), f"{EXTERNAL}|{NO_PLACE}"),
        "a place outside": (lambda t: t.external_data.add(key="location", value="x"), NO_PLACE),
    }
    if held.raw_data:
        places["bytes less"] = (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), BYTES)
        places["no bytes"] = (lambda t: t.ClearField("raw_data"), f"{BYTES}|{NO_PLACE}")
    for dims in ([-1], [2**50], [2**31, 2**31, 2**31], [2**62, 4], [0], [1] * 100, [2, 3, 5]):
        shaped = lambda t, to=dims: t.dims.__setitem__(slice(None), to)  # noqa: E731
        places[f"dims {dims[:3]}"] = (shaped, f"{BYTES}|{NO_TENSOR}|{UNFIT}")
    for kind in (0, 99, -1, TensorProto.STRING, TensorProto.DOUBLE, TensorProto.UINT4):
        typed = lambda t, to=kind: setattr(t, "data_type", to)  # noqa: E731
        told = f"{BYTES}|{NO_TENSOR}|{UNKNOWN_TYPE}"
        if kind == TensorProto.DOUBLE:  # as wide as whole numbers are
            told += f"|{NEITHER}|{UNFIT}"
        places[f"type {kind}"] = (typed, told)
    for what, (change, told) in places.items():
        yield Forgery(where, what, lambda d, to=change: to(d.proto(name)), told)
    again: dict[str, Callable[[onnx.GraphProto], Any]] = {
        "there twice": lambda g: g.initializer.append(held),
        "a sparse one too": lambda g: g.sparse_initializer.append(_sparse(name)),
        "a graph input too": lambda g: g.input.append(_port(name)),
        "made by a node too": lambda g: g.node.insert(
            0, helper.make_node("Relu", [g.input[0].name], [name])
        ),
    }
    for what, add in again.items():
        yield Forgery(where, what, lambda d, to=add: to(d.model.graph), DEFINED_TWICE)


def _node(draft: Draft, number: int) -> Iterator[Forgery]:
    """Fields of a node, and where it stands."""
    where = f"node {draft.model.graph.node[number].name or number}"
    typed = AttributeProto.SPARSE_TENSOR
    changes: dict[str, Told] = {
        "its doc_string": (lambda n: setattr(n, "doc_string", "0.1"), FOREIGN_FIELD),
        "an overload": (lambda n: setattr(n, "overload", "own"), FOREIGN_FIELD),
        "metadata": (lambda n: n.metadata_props.add(key="k", value="v"), FOREIGN_FIELD),
        "tensors": (
            lambda n: n.attribute.add(name="t", type=9, tensors=[_value(FLOATS)]),
            FOREIGN_FIELD,
        ),
        "a sparse tensor": (
            lambda n: n.attribute.add(name="t", type=typed, sparse_tensor=sparse_constant()),
            FOREIGN_FIELD,
        ),
        "a reference": (lambda n: n.attribute.add(name="t", ref_attr_name="x"), FOREIGN_FIELD),
        "floats as integers": (
            lambda n: n.attribute.add(name="f", type=AttributeProto.INT, floats=[0.1]),
            MORE_THAN_ITS_TYPE,
        ),
        "a type of no attribute": (lambda n: n.attribute.add(name="u"), MORE_THAN_ITS_TYPE),
        "an attribute twice": (
            lambda n: n.attribute.extend([helper.make_attribute("a", 1)] * 2),
            TWO_ATTRIBUTES,
        ),
        "reads what is not there": (lambda n: n.input.__setitem__(0, "nowhere"), NOTHING_MAKES),
        "makes what it reads": (lambda n: n.output.__setitem__(0, n.input[0]), DEFINED_TWICE),
        "its output twice": (lambda n: n.output.append(n.output[0]), DEFINED_TWICE),
        "an operator nobody knows": (lambda n: setattr(n, "op_type", "Conv2"), NO_OPERATOR),
        "no operator": (lambda n: setattr(n, "op_type", ""), NO_OPERATOR),
        "of a foreign domain": (lambda n: setattr(n, "domain", "com.own"), NO_OPERATOR),
    }
    for what, value, told in (
        ("a graph", subgraph("g"), FOREIGN_FIELD),
        ("a tensor", _value(FLOATS), ATTRIBUTE_TENSOR),
        ("floats", [0.1, 0.2], f"{ATTRIBUTE_FLOAT}|{FOREIGN_ATTRIBUTE}|{NOT_THE_MUL}"),
        ("integers without end", list(range(5000)), ATTRIBUTE_LONG),
        ("a long text", "x" * 5000, ATTRIBUTE_LONG),
    ):
        attribute = helper.make_attribute("own", value)
        changes[what] = (lambda n, a=attribute: n.attribute.append(a), told)
    for what, (change, told) in changes.items():
        yield Forgery(where, what, lambda d, to=change: to(d.model.graph.node[number]), told)
    gone = f"{NOT_A_WEIGHT}|{SCALE_READ}|{NOT_FROM_A_MASK}|{NO_INDEX}|{NOTHING_MAKES}"
    moved: dict[str, Told] = {
        "a node twice": (lambda nodes: nodes.append(nodes[number]), DEFINED_TWICE),
        "a node gone": (lambda nodes: nodes.pop(number), f"{gone}|{UNREAD}"),
    }
    if number + 1 < len(draft.model.graph.node):
        move = lambda nodes: nodes.append(nodes.pop(number))  # noqa: E731
        moved["a node at the end"] = (move, f"{OUT_OF_ORDER}|{NOTHING_MAKES}")
    for what, (move, told) in moved.items():
        yield Forgery(where, what, lambda d, to=move: to(d.model.graph.node), told)


# the model -------------------------------------------------------------------------------------


def _function(domain: str) -> onnx.FunctionProto:
    node, opset = helper.make_node("Neg", ["x"], ["y"]), helper.make_opsetid("", 17)
    return helper.make_function(domain, "Relu", ["x"], ["y"], [node], [opset])


def _type(model: onnx.ModelProto) -> onnx.TypeProto:
    return model.graph.input[0].type


def _no_tensors(model: onnx.ModelProto) -> None:
    model.graph.ClearField("initializer")
    model.graph.ClearField("sparse_initializer")


def _unread_layer(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Conv", [model.graph.input[0].name, "w"], ["y"]))
    model.graph.initializer.append(_value(KERNEL, "w"))


def _reverse_nodes(model: onnx.ModelProto) -> None:
    nodes = [*model.graph.node][::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _say_nothing(of: Callable[[onnx.ModelProto], Any], field: str) -> Told:
    """A field that is there and empty: one bit that no reader sees."""

    def change(model: onnx.ModelProto) -> None:
        for part in of(model):
            setattr(part, field, 0 if field == "data_location" else "")

    return change, SAYS_NOTHING


def _axes(model: onnx.ModelProto) -> Any:
    return _type(model).tensor_type.shape.dim


MODEL: dict[str, Told] = {
    "no domain of nodes, said": _say_nothing(lambda m: m.graph.node[::2], "domain"),
    "no text of nodes, said": _say_nothing(
        lambda m: [n for n in m.graph.node if not n.doc_string][::2], "doc_string"
    ),
    "no name of a node, said": _say_nothing(lambda m: m.graph.node[-1:], "name"),
    "where tensors always are, said": _say_nothing(
        lambda m: m.graph.initializer[:1], "data_location"
    ),
    "what an input is not, said": _say_nothing(lambda m: [_type(m)], "denotation"),
    "what axes are not, said": _say_nothing(lambda m: _axes(m)[::2], "denotation"),
    "no name of an axis, said": _say_nothing(lambda m: _axes(m)[1:2], "dim_param"),
    "doc_string of the model": (lambda m: setattr(m, "doc_string", "0.1"), FOREIGN_FIELD),
    "domain of the model": (lambda m: setattr(m, "domain", "own"), FOREIGN_FIELD),
    "model_version": (lambda m: setattr(m, "model_version", 7), FOREIGN_FIELD),
    "another entry": (lambda m: m.metadata_props.add(key="lt_onnx", value="{}"), DEFINED_TWICE),
    "training": (lambda m: m.training_info.add(), FOREIGN_FIELD),
    "a function": (lambda m: m.functions.append(_function("own")), FOREIGN_FIELD),
    "a function in place of an operator": (
        lambda m: m.functions.append(_function("")),
        FOREIGN_FIELD,
    ),
    "doc_string of the graph": (lambda m: setattr(m.graph, "doc_string", "0.1"), FOREIGN_FIELD),
    "value_info": (lambda m: m.graph.value_info.append(_port("x", [1])), FOREIGN_FIELD),
    "quantisation": (lambda m: m.graph.quantization_annotation.add(tensor_name="x"), FOREIGN_FIELD),
    "metadata of the graph": (
        lambda m: m.graph.metadata_props.add(key="k", value="v"),
        FOREIGN_FIELD,
    ),
    "doc_string of an input": (
        lambda m: setattr(m.graph.input[0], "doc_string", "0.1"),
        FOREIGN_FIELD,
    ),
    "a sequence as input": (
        lambda m: _type(m).sequence_type.elem_type.SetInParent(),
        FOREIGN_FIELD,
    ),
    "an optional input": (lambda m: _type(m).optional_type.elem_type.SetInParent(), FOREIGN_FIELD),
    "a sparse input": (lambda m: _type(m).sparse_tensor_type.SetInParent(), FOREIGN_FIELD),
    "an input twice": (lambda m: m.graph.input.append(m.graph.input[0]), DEFINED_TWICE),
    "an output twice": (lambda m: m.graph.output.append(m.graph.output[0]), DEFINED_TWICE),
    "an output of nothing": (lambda m: m.graph.output.append(_port("nowhere")), NOTHING_MAKES),
    "an output without a name": (lambda m: m.graph.output.append(_port("")), NAMELESS),
    "no outputs": (lambda m: m.graph.ClearField("output"), UNREAD),
    "no graph": (lambda m: m.ClearField("graph"), MISSING),
    "no nodes": (lambda m: m.graph.ClearField("node"), NOT_A_WEIGHT),
    "no tensors": (_no_tensors, MISSING),
    "nodes the other way": (_reverse_nodes, OUT_OF_ORDER),
    "IR 3": (lambda m: setattr(m, "ir_version", 3), OLD_IR),
    "no IR": (lambda m: m.ClearField("ir_version"), OLD_IR),
    "negative IR": (lambda m: setattr(m, "ir_version", -1), OLD_IR),
    "no operator set": (lambda m: m.ClearField("opset_import"), OLD_IR),
    "an operator set twice": (lambda m: m.opset_import.append(m.opset_import[0]), DEFINED_TWICE),
    "an operator set by two names": (
        lambda m: m.opset_import.add(domain="ai.onnx", version=9),
        DEFINED_TWICE,
    ),
    "an unread tensor": (lambda m: m.graph.initializer.append(_value(FLOATS, "w")), NEITHER),
    "unread whole numbers": (
        lambda m: m.graph.initializer.append(_value(WHOLE, "w")),
        UNREAD_TENSOR,
    ),
    "an unread sparse tensor": (
        lambda m: m.graph.sparse_initializer.append(_sparse("w")),
        NO_LAYERS_WEIGHT,
    ),
    "an empty sparse tensor": (lambda m: m.graph.sparse_initializer.add(), NAMELESS),
    "an unread node": (
        lambda m: m.graph.node.append(helper.make_node("Relu", [m.graph.input[0].name], ["w"])),
        UNREAD,
    ),
    "a node of nothing": (lambda m: m.graph.node.add(), NO_OPERATOR),
    "a node without outputs": (
        lambda m: m.graph.node.append(helper.make_node("Relu", ["x"], [])),
        NOTHING_MAKES,
    ),
    "an unread dense layer": (_unread_layer, NEITHER),
}


# bytes -----------------------------------------------------------------------------------------


def _bytes(**fields: Any) -> bytes:
    return onnx.ModelProto(**fields).SerializeToString()


HIDDEN = onnx.GraphProto(initializer=[_value(FLOATS, "w")])
ENDINGS: dict[str, Told] = {
    "a second graph behind": (
        lambda b: b + _bytes(graph=onnx.GraphProto(name="other")),
        SAID_TWICE,
    ),
    "a second IR behind": (lambda b: b + _bytes(ir_version=8), SAID_TWICE),
    "a first IR before": (lambda b: _bytes(ir_version=7) + b, SAID_TWICE),
    "a hidden tensor before": (lambda b: _bytes(graph=HIDDEN) + b, SAID_TWICE),
    "an unknown field": (lambda b: b + b"\xfa\x7f\x04data", UNKNOWN_FIELD),
    "an unknown field in the graph": (lambda b: b + b"\x3a\x07\xfa\x7f\x04data", UNKNOWN_FIELD),
    "bytes behind": (lambda b: b + b"\0" * 16, NO_MODEL),
    "cut": (lambda b: b[:-40], NO_MODEL),
    "half of it": (lambda b: b[: len(b) // 2], NO_MODEL),
    "nothing": (lambda b: b"", NO_TICKET),
    "a bare text": (lambda b: b"ONNX", NO_MODEL),
    "a name of no text": (lambda b: b.replace(b"lt-onnx", b"lt\xff\xfe\xfdnx"), NO_TEXT),
    "a long number": (lambda b: b.replace(b"\x08", b"\x88\x00", 1), SAID_TWICE),
    "more nodes than any ticket has": (
        lambda b: b + _bytes(graph=onnx.GraphProto(node=[onnx.NodeProto()] * 600_000)),
        NO_TEXT,
    ),
}
