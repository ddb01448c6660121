"""The graph as a table: who makes a tensor, who reads it, which nodes are layers, which dense."""

from collections import Counter
from dataclasses import dataclass

import onnx

from lt_onnx.manifest import LayerRecord, Manifest
from lt_onnx.verification.masked_weights import Flaw, numbers_of

LINEAR = {
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Einsum",
    "DeformConv",
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "LSTM",
    "GRU",
    "RNN",
    "Attention",
}
CONV_ATTRIBUTES = {"strides", "dilations", "pads", "group", "kernel_shape", "auto_pad"}


@dataclass(frozen=True)
class Wiring:
    """Nodes by number, in the file's order."""

    nodes: list[onnx.NodeProto]
    maker: dict[str, int]
    readers: dict[str, list[tuple[int, int]]]  # (node, position among its inputs)
    inputs: frozenset[str]
    outputs: frozenset[str]
    dense: frozenset[int]  # declared so
    layers: frozenset[int]  # nodes that make a layer: its form, linear operator, bias and scale

    @staticmethod
    def of(model: onnx.ModelProto, manifest: Manifest) -> "tuple[Wiring, list[str]]":
        """The table, and what is wrong with the layers."""
        graph = model.graph
        nodes = list(graph.node)
        readers: dict[str, list[tuple[int, int]]] = {}
        for number, node in enumerate(nodes):
            for position, name in enumerate(node.input):
                if name:
                    readers.setdefault(name, []).append((number, position))
        declared = {(place.name, place.op) for place in manifest.dense}
        wiring = Wiring(
            nodes=nodes,
            maker={name: i for i, node in enumerate(nodes) for name in node.output if name},
            readers=readers,
            inputs=frozenset(value.name for value in graph.input),
            outputs=frozenset(value.name for value in graph.output),
            dense=frozenset(i for i, n in enumerate(nodes) if (n.name, n.op_type) in declared),
            layers=frozenset(),
        )
        found, failures, last = set(wiring.layers), [], -1
        for layer in manifest.layers:
            try:
                made = _layer(layer, wiring)
            except Flaw as flaw:
                failures.append(str(flaw))
                continue
            linear = made[0]
            if linear < last:
                failures.append(
                    f"{called(nodes[linear])} stands before the layer that the manifest has "
                    "before it"
                )
            last = linear
            if found & set(made) or wiring.dense & set(made):
                failures.append(f"{called(nodes[linear])} is also another layer, or declared dense")
            found |= set(made)
        return Wiring(**{**vars(wiring), "layers": frozenset(found)}), failures

    def only_reader(self, name: str, position: int) -> int | None:
        """The one node that reads `name`, if it does so once, there."""
        reads = self.readers.get(name, [])
        once = len(reads) == 1 and reads[0][1] == position and name not in self.outputs
        return reads[0][0] if once else None


def called(node: onnx.NodeProto) -> str:
    """A node as its user knows it."""
    return f"node '{node.name}' ({node.op_type})"


def _layer(layer: LayerRecord, wiring: Wiring) -> list[int]:
    """The nodes of a layer, its linear operator first. Raises Flaw."""
    reader = wiring.only_reader(layer.weight, 1)
    if reader is None:
        raise Flaw(f"tensor '{layer.weight}' is not the weight of one layer")
    node = wiring.nodes[reader]
    op = "Conv" if len(layer.shape) > 2 else "MatMul" if layer.transposed else "Gemm"
    inputs = 3 if layer.bias is not None and op != "MatMul" else 2
    if node.op_type != op or node.domain or len(node.input) != inputs or len(node.output) != 1:
        raise Flaw(
            f"{called(node)} is not the {op} of {inputs} inputs that layer '{layer.weight}' needs"
        )
    _check_attributes(layer, node)
    made, tensor = [reader], node.output[0]
    if layer.bias is not None:
        adds = op == "MatMul"
        at = wiring.only_reader(layer.bias, 1 if adds else 2)
        if adds and at is not None and wiring.only_reader(tensor, 0) == at:
            made.append(at)
            tensor = _plain(wiring.nodes[at], "Add")
        elif adds or at != reader:
            raise Flaw(f"tensor '{layer.bias}' is not the bias of {called(node)}")
    scaled = wiring.only_reader(layer.scale, 1)
    if scaled is None or wiring.only_reader(tensor, 0) != scaled:
        raise Flaw(
            f"tensor '{layer.scale}' is not read once, by a Mul on the output of {called(node)}"
        )
    _plain(wiring.nodes[scaled], "Mul")
    return [*made, scaled, *_form(layer, wiring)]


def _plain(node: onnx.NodeProto, op: str) -> str:
    """The output of a node of two inputs and no attributes. Raises Flaw."""
    fits = node.op_type == op and not node.domain and not node.attribute
    if not fits or len(node.input) != 2 or len(node.output) != 1:
        raise Flaw(f"{called(node)} is not the {op} that a layer needs")
    return str(node.output[0])


def _check_attributes(layer: LayerRecord, node: onnx.NodeProto) -> None:
    """Raise Flaw for a linear operator that computes otherwise than a layer."""
    held = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Conv":
        kernel = held.get("kernel_shape")
        group = held["group"].i if "group" in held else 1
        fits = held.keys() <= CONV_ATTRIBUTES and group > 0 and layer.shape[0] % group == 0
        fits &= kernel is None or tuple(kernel.ints) == layer.shape[2:]
    elif node.op_type == "Gemm":
        fits = held.keys() == {"transB"} and held["transB"].i == 1
    else:
        fits = not held
    if not fits:
        raise Flaw(f"{called(node)} has attributes that its layer has not")


def _form(layer: LayerRecord, wiring: Wiring) -> list[int]:
    """The nodes that make the weight: of the initializer, or that times its mask. Raises Flaw."""
    name, nodes = layer.weight, []
    wrong = Flaw(f"tensor '{name}' is not made of its source and mask")

    def maker(tensor: str, op: str, count: int, to: int | None = None) -> list[str]:
        number = wiring.maker.get(tensor)
        if number is None or len(wiring.readers.get(tensor, [])) != 1 or tensor in wiring.outputs:
            raise wrong
        node = wiring.nodes[number]
        casts = [a.i for a in node.attribute if a.name == "to"]
        if (
            node.op_type != op
            or node.domain
            or len(node.input) != count
            or len(node.output) != 1
            or len(node.attribute) != len(casts)
            or casts != ([] if to is None else [to])
        ):
            raise wrong
        nodes.append(number)
        return list(node.input)

    if layer.half:
        (name,) = maker(name, "Cast", 1, onnx.TensorProto.FLOAT)
    if layer.stored == "masked":
        kind = onnx.TensorProto.FLOAT16 if layer.half else onnx.TensorProto.FLOAT
        name, mask = maker(name, "Mul", 2)
        if maker(mask, "Cast", 1, kind) != [f"{layer.weight}/mask"]:
            raise wrong
    held = [numbers_of(layer), *([f"{layer.weight}/mask"] if layer.stored == "masked" else [])]
    for tensor in held:
        if len(wiring.readers.get(tensor, [])) != 1 or tensor in wiring.maker:
            raise wrong
        if tensor in wiring.outputs:
            raise wrong
    if name != numbers_of(layer):
        raise wrong
    return nodes


def duplicates(names: list[str]) -> list[str]:
    """Those that stand there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
