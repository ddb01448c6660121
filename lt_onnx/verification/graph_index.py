"""The graph as a table: who makes a tensor, who reads it, which nodes are layers, which dense.

In: the model and its manifest. Out: a `GraphIndex`, and what is wrong with the layers' nodes.
"""

from dataclasses import dataclass, replace

import onnx

from lt_onnx.manifest import LayerRecord, Manifest
from lt_onnx.reading.protobuf import node_title
from lt_onnx.verification.flaw import Flaw
from lt_onnx.verification.masked_weights import source_tensor, stored_tensors

CONV_ATTRIBUTES = frozenset("strides dilations pads group kernel_shape auto_pad".split())


@dataclass(frozen=True)
class GraphIndex:
    """Nodes by number, in the file's order."""

    nodes: list[onnx.NodeProto]
    maker: dict[str, int]
    readers: dict[str, list[tuple[int, int]]]  # (node, position among its inputs)
    inputs: frozenset[str]
    outputs: frozenset[str]
    dense: frozenset[int]  # declared so
    layers: frozenset[int]  # nodes of a layer: its form, linear operator, bias and scale

    def only_reader(self, name: str, position: int) -> int | None:
        """The one node that reads `name`, if it does so once, there."""
        reads = self.readers.get(name, [])
        once = len(reads) == 1 and reads[0][1] == position and name not in self.outputs
        return reads[0][0] if once else None


def edges_of(model: onnx.ModelProto) -> GraphIndex:
    """The table of a graph of which no layers are known."""
    nodes = list(model.graph.node)
    readers: dict[str, list[tuple[int, int]]] = {}
    for number, node in enumerate(nodes):
        for position, name in enumerate(node.input):
            if name:
                readers.setdefault(name, []).append((number, position))
    return GraphIndex(
        nodes=nodes,
        maker={name: i for i, node in enumerate(nodes) for name in node.output if name},
        readers=readers,
        inputs=frozenset(value.name for value in model.graph.input),
        outputs=frozenset(value.name for value in model.graph.output),
        dense=frozenset(),
        layers=frozenset(),
    )


def index_graph(model: onnx.ModelProto, manifest: Manifest) -> tuple[GraphIndex, list[str]]:
    """The table of a ticket, and what is wrong with its layers."""
    index, declared = edges_of(model), {(place.name, place.op) for place in manifest.dense}
    dense = (i for i, n in enumerate(index.nodes) if (n.name, n.op_type) in declared)
    index = replace(index, dense=frozenset(dense))
    layers, failures = _find_layers(index, manifest)
    return replace(index, layers=layers), failures


def _find_layers(index: GraphIndex, manifest: Manifest) -> tuple[frozenset[int], list[str]]:
    """The nodes of all layers, and what is wrong with them."""
    layers: set[int] = set()
    failures, previous = [], -1
    for layer in manifest.layers:
        try:
            own = _layer(layer, index)
        except Flaw as flaw:
            failures.append(str(flaw))
            continue
        linear = own[0]
        title = node_title(index.nodes[linear])
        if linear < previous:
            failures.append(f"{title} stands before the layer that the manifest has before it")
        if (layers | index.dense) & {*own}:
            failures.append(f"{title} is also another layer, or declared dense")
        previous = linear
        layers |= {*own}
    return frozenset(layers), failures


def _layer(layer: LayerRecord, index: GraphIndex) -> list[int]:
    """The nodes of a layer, its linear operator first. Raises Flaw."""
    linear = index.only_reader(layer.weight, 1)
    if linear is None:
        raise Flaw(f"tensor '{layer.weight}' is not the weight of one layer")
    node = index.nodes[linear]
    op = "Conv" if len(layer.shape) > 2 else "MatMul" if layer.transposed else "Gemm"
    inputs = 3 if layer.bias is not None and op != "MatMul" else 2
    if node.op_type != op or node.domain or len(node.input) != inputs or len(node.output) != 1:
        raise Flaw(
            f"{node_title(node)} is not the {op} of {inputs} inputs that layer '{layer.weight}' "
            "needs"
        )
    _check_attributes(layer, node)
    numbers, tensor = [linear], node.output[0]
    if layer.bias is not None:
        adds = op == "MatMul"
        reader = index.only_reader(layer.bias, 1 if adds else 2)
        if adds and reader is not None and index.only_reader(tensor, 0) == reader:
            numbers.append(reader)
            tensor = _binary_output(index.nodes[reader], "Add")
        elif adds or reader != linear:
            raise Flaw(f"tensor '{layer.bias}' is not the bias of {node_title(node)}")
    scaled = index.only_reader(layer.scale, 1)
    if scaled is None or index.only_reader(tensor, 0) != scaled:
        raise Flaw(
            f"tensor '{layer.scale}' is not read once, by a Mul on the output of {node_title(node)}"
        )
    _binary_output(index.nodes[scaled], "Mul")
    return [*numbers, scaled, *_form(layer, index)]


def _binary_output(node: onnx.NodeProto, op: str) -> str:
    """The output of an `op` of two inputs and no attributes. Raises Flaw."""
    fits = node.op_type == op and not node.domain and not node.attribute
    if not fits or len(node.input) != 2 or len(node.output) != 1:
        raise Flaw(f"{node_title(node)} is not the {op} that a layer needs")
    return str(node.output[0])


def _check_attributes(layer: LayerRecord, node: onnx.NodeProto) -> None:
    """Raise Flaw for a linear operator that computes otherwise than a layer."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Conv":
        kernel = attributes.get("kernel_shape")
        group = attributes["group"].i if "group" in attributes else 1
        fits = attributes.keys() <= CONV_ATTRIBUTES and group > 0 and layer.shape[0] % group == 0
        fits &= kernel is None or tuple(kernel.ints) == layer.shape[2:]
    elif node.op_type == "Gemm":
        fits = attributes.keys() == {"transB"} and attributes["transB"].i == 1
    else:
        fits = not attributes
    if not fits:
        raise Flaw(f"{node_title(node)} has attributes that its layer has not")


def _form(layer: LayerRecord, index: GraphIndex) -> list[int]:
    """The nodes that make the weight: of the initializer, or that times its mask. Raises Flaw."""
    tensor, numbers, mask = layer.weight, [], f"{layer.weight}/mask"
    wrong = Flaw(f"tensor '{tensor}' is not made of its source and mask")

    def inputs(tensor: str, op: str, cast: int | None = None) -> list[str]:
        """What the node reads that makes `tensor` and must be this operator."""
        number = index.maker.get(tensor)
        if number is None or len(index.readers.get(tensor, [])) != 1 or tensor in index.outputs:
            raise wrong
        node = index.nodes[number]
        casts = [attribute.i for attribute in node.attribute if attribute.name == "to"]
        if (node.op_type, node.domain, len(node.output)) != (op, "", 1):
            raise wrong
        if len(node.attribute) != len(casts) or casts != ([] if cast is None else [cast]):
            raise wrong
        if len(node.input) != (2 if op == "Mul" else 1):
            raise wrong
        numbers.append(number)
        return list(node.input)

    if layer.half:
        (tensor,) = inputs(tensor, "Cast", onnx.TensorProto.FLOAT)
    if layer.stored == "masked":
        kind = onnx.TensorProto.FLOAT16 if layer.half else onnx.TensorProto.FLOAT
        tensor, factor = inputs(tensor, "Mul")
        if inputs(factor, "Cast", kind) != [mask]:
            raise wrong
    if tensor != source_tensor(layer):
        raise wrong
    for stored in stored_tensors(layer):
        read_once = len(index.readers.get(stored, [])) == 1
        if stored in index.maker or stored in index.outputs or not read_once:
            raise wrong
    return numbers
