"""Nodes of an operator set as they are written in a later one, and back.

In: nodes, and the operator set that they are of. Out: the same nodes in the set SEEDED, with the
tensors that stand for what were attributes; or, of such nodes, the ones that they were.
`raised_nodes` and `lowered_nodes` do it for a model, `raised` and `lowered` node by node.

Most operators are written alike. What is `raised`:

- attributes that became inputs: the tensor is called `<output>/<attribute>.<its place>`, the place
  being that among the node's attributes;
- a Split that does not say into how many parts; Upsample and Resize as they were before the set 11;
- a Softmax over all axes from one on, as it was before the set 13: between Flatten and Reshape.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from lt_onnx.reading.protobuf import node_title
from lt_onnx.target import Array, is_standard_domain

SEEDED = 18  # the least that has what a generator needs: BitwiseAnd, BitwiseXor

# attributes that became inputs: since when, and at which place
INPUTS: dict[str, tuple[int, dict[str, int]]] = {
    **dict.fromkeys(
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSumSquare".split(),
        (18, {"axes": 1}),
    ),
    **dict.fromkeys("ReduceSum Squeeze Unsqueeze".split(), (13, {"axes": 1})),
    "Clip": (11, {"min": 1, "max": 2}),
    "Dropout": (12, {"ratio": 1}),
    "Pad": (11, {"pads": 1, "value": 2}),
    "Slice": (10, {"starts": 1, "ends": 2, "axes": 3}),
    "Split": (13, {"split": 1}),
}
AS_BEFORE_11 = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
CHANGED = {"BatchNormalization": 9, "RoiAlign": 16, "Scatter": 11, "TopK": 10, "Upsample": 9}
ALONG_LAST = frozenset("Softmax LogSoftmax Hardmax".split())  # flattened behind the axis before 13
NUMBERS = frozenset({AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.INTS})
MOVED_TYPES = frozenset({TensorProto.FLOAT, TensorProto.INT64})
PLACED = re.compile(r"\.(\d{1,3})\Z")


def changed_nodes(model: onnx.ModelProto, version: int) -> list[str]:
    """Titles of the nodes, of the set `version`, that cannot be written in the set SEEDED."""
    return [
        node_title(node)
        for node in model.graph.node
        if is_standard_domain(node.domain) and version < min(CHANGED.get(node.op_type, 0), SEEDED)
    ]


def flattened_nodes(model: onnx.ModelProto, version: int) -> frozenset[str]:
    """Outputs of the nodes, of the set `version`, that go along several axes, or may do so."""
    if version >= 13:
        return frozenset()
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    shapes, flattened = {tensor.name: tensor.dims for tensor in model.graph.initializer}, set()
    for node in model.graph.node:
        rank = [len(a.ints) for a in node.attribute if a.name == "perm"]
        shape = "".join(node.input[1:2])
        if node.op_type == "Reshape" and len(shapes.get(shape, ())) == 1:
            rank = [shapes[shape][0]]
        ranks.update(dict.fromkeys(node.output[:1], rank[0]) if rank else {})
    for node in model.graph.node:
        if node.op_type in ALONG_LAST and is_standard_domain(node.domain):
            attributes = {a.name: a.i for a in node.attribute}
            ends = (*node.output[:1], *node.input[:1])
            last = next((ranks[name] for name in ends if name in ranks), 0) - 1
            if attributes.get("axis", 1) != last and attributes.get("axis") != -1:
                flattened.update(node.output[:1])
    return frozenset(flattened)


def raised_nodes(
    model: onnx.ModelProto, version: int
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes of a model of the set `version` in the set SEEDED; tensors that they read more.

    None is of `changed_nodes`.
    """
    nodes, tensors = list[onnx.NodeProto](), dict[str, Array]()
    flattened = flattened_nodes(model, version)
    for node in model.graph.node:
        if flattened & {*node.output}:
            nodes += _flattened(node)
        else:
            out, more = raised(node, version)
            nodes.append(out)
            tensors |= more
    return nodes, tensors


def lowered_nodes(model: onnx.ModelProto, version: int) -> Iterator[str]:
    """Write a model's nodes as they are in the set `version`, those of `raised_nodes` back.

    Tensors that then fall away are taken out. Titles of the nodes that `raised_nodes` did not make.
    """
    graph, wrong = model.graph, list[str]()
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    held, nodes, gone, place = [*graph.node], list[onnx.NodeProto](), set[str](), 0
    whole = set[str]()  # outputs of what was flattened
    while place < len(held):
        node = _unflattened(held[place : place + 4]) if version < 13 else None
        if node is not None:
            whole |= {*node.output}
            place += 4
        else:
            before = lowered(held[place], version, tensors)
            if before is None:
                wrong.append(node_title(held[place]))
            node, more = (held[place], {}) if before is None else before
            gone |= more.keys()
            place += 1
        nodes.append(node)
    kept = [tensor for tensor in graph.initializer if tensor.name not in gone]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    flattened = flattened_nodes(model, version)
    yield from wrong
    yield from (node_title(n) for n in nodes if (flattened ^ whole) & {*n.output})


def _flattened(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A Softmax over all axes from its own on, as one over the last axis."""
    (x,), (y,) = node.input, node.output
    flat = helper.make_node("Flatten", [x], [f"{y}/flat"])
    flat.attribute.extend(node.attribute)
    along = helper.make_node(node.op_type, [f"{y}/flat"], [f"{y}/along"], axis=1)
    shape = helper.make_node("Shape", [x], [f"{y}/shape"])
    return [
        flat,
        along,
        shape,
        helper.make_node("Reshape", [f"{y}/along", f"{y}/shape"], [y], node.name),
    ]


def _unflattened(nodes: Sequence[onnx.NodeProto]) -> onnx.NodeProto | None:
    """The node that `_flattened` made these of; None where it was made of none."""
    if len(nodes) < 4 or nodes[0].op_type != "Flatten" or nodes[1].op_type not in ALONG_LAST:
        return None
    node = onnx.NodeProto(op_type=nodes[1].op_type, name=nodes[3].name)
    if len(nodes[0].input) != 1 or len(nodes[3].output) != 1:
        return None
    node.input.extend(nodes[0].input)
    node.output.extend(nodes[3].output)
    node.attribute.extend(nodes[0].attribute)
    return node if _flattened(node) == [*nodes] else None


def raised(node: onnx.NodeProto, version: int) -> tuple[onnx.NodeProto, dict[str, Array]]:
    """A node of the set `version` as it is in the set SEEDED, and the tensors that it reads more.

    It is none of `changed_nodes` and `flattened_nodes`.
    """
    out, tensors = onnx.NodeProto(), {}
    out.CopyFrom(node)
    if not is_standard_domain(node.domain) or version >= SEEDED:
        return out, {}
    if node.op_type in ("Resize", "Upsample") and version < 11:
        out.op_type = "Resize"
        del out.input[:]
        out.input.extend([*node.input[:1], "", *node.input[1:]])
        out.attribute.extend(helper.make_attribute(k, v) for k, v in AS_BEFORE_11.items())
        return out, {}
    since, places = INPUTS.get(node.op_type, (0, {}))
    if version < since:
        inputs = [*node.input]
        for number, attribute in enumerate(node.attribute):
            if attribute.name not in places or attribute.type not in NUMBERS:
                continue
            place = places[attribute.name]
            inputs += [""] * (place + 1 - len(inputs))
            inputs[place] = f"{''.join(node.output[:1])}/{attribute.name}.{number}"
            floats = attribute.type == onnx.AttributeProto.FLOAT
            value = helper.get_attribute_value(attribute)
            tensors[inputs[place]] = np.array(value, np.float32 if floats else np.int64)
        del out.input[:], out.attribute[:]
        out.input.extend(inputs)
        out.attribute.extend(a for a in node.attribute if a.name not in places)
    if node.op_type == "Split" and len(out.input) < 2:
        out.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
    return out, tensors


def lowered(
    node: onnx.NodeProto, version: int, tensors: Mapping[str, onnx.TensorProto]
) -> tuple[onnx.NodeProto, dict[str, Array]] | None:
    """The node of the set `version` that `raised` made this of, and the tensors that fall away.

    None where it was made of none.
    """
    out, inputs, attributes = onnx.NodeProto(), [*node.input], [*node.attribute]
    out.CopyFrom(node)
    if is_standard_domain(node.domain) and version < SEEDED:
        since, places = INPUTS.get(node.op_type, (0, {}))
        if node.op_type == "Resize" and version < 11:
            out.op_type = "Resize" if version == 10 else "Upsample"
            del inputs[1:2]
            attributes = [a for a in attributes if a.name not in AS_BEFORE_11]
        if node.op_type == "Split":
            attributes = [a for a in attributes if a.name != "num_outputs"]
        if version < since:
            inputs = inputs[:1]
            for number, attribute in sorted(_moved(node, places, tensors), key=itemgetter(0)):
                attributes.insert(number, attribute)
    del out.input[:], out.attribute[:]
    out.input.extend(inputs)
    out.attribute.extend(attributes)
    again, more = raised(out, version)
    same = again.SerializeToString(deterministic=True) == node.SerializeToString(deterministic=True)
    held = all(
        name in tensors and tensors[name] == numpy_helper.from_array(value, name)
        for name, value in more.items()
    )
    return (out, more) if same and held else None


def _moved(
    node: onnx.NodeProto, places: Mapping[str, int], tensors: Mapping[str, onnx.TensorProto]
) -> Iterator[tuple[int, onnx.AttributeProto]]:
    """Attributes that became inputs, each with its place among the attributes."""
    for key, place in places.items():
        name = node.input[place] if len(node.input) > place else ""
        match = PLACED.search(name)
        if match is None or name not in tensors:
            continue
        tensor = tensors[name]
        if tensor.data_type not in MOVED_TYPES or tensor.external_data:
            continue  # no such tensor was made of an attribute
        try:
            value = numpy_helper.to_array(tensor).tolist()
            yield int(match[1]), helper.make_attribute(key, value)
        except (ValueError, TypeError):
            continue
