"""The blocks of a collapsed ticket put back: each layer of sums becomes two layers again.

In: the graph behind a collapsed ticket's generator, and its manifest. Out: a graph in which every
layer stands as in a ticket: a univariate layer that follows from its record, the layer behind it,
their scales. Nothing runs it: it is what all that is proved of tickets is proved of.

The sums themselves are the generator's, see `generator_nodes`. That a layer of sums computes what
the two layers do, but for the order of the sums, follows from what is checked here: its block's
neurons multiply by one gain (`sigma=channel`) and its constants are positive, so that φ is the
identity of both.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lt_onnx.manifest import CollapsedLayer, LayerRecord, Manifest, doc_strings
from lt_onnx.options import Sigma
from lt_onnx.verification.flaw import Flaw
from lt_onnx.verification.generator import weights_at
from lt_onnx.verification.generator_nodes import Mask, is_apart
from lt_onnx.verification.univariate import check_size, derived


def check_entries(collapsed: Sequence[CollapsedLayer], manifest: Manifest) -> None:
    """Raise Flaw unless the entries name every layer behind a block once, and fit the records."""
    layers = manifest.layers
    if manifest.options.sigma is not Sigma.CHANNEL:
        raise Flaw("it is collapsed, though its neurons have one scale for all")
    if [entry.layer for entry in collapsed] != [
        number for number, layer in enumerate(layers) if layer.block is None
    ]:
        raise Flaw("its collapsed layers are not all those that stand behind a block")
    blocks = {number for number, layer in enumerate(layers) if layer.block is not None}
    if {entry.block for entry in collapsed} != blocks:
        raise Flaw("its collapsed layers do not read all of its blocks")
    for entry in collapsed:
        layer, block = layers[entry.layer], layers[entry.block].block
        assert block is not None
        width, rows = layer.shape[1] // entry.inner, layer.shape[0] // block.group
        constants = width - block.slots // block.group
        fits = (
            width * entry.inner == layer.shape[1]
            and rows * block.group == layer.shape[0]
            and entry.outputs <= rows
            and 0 not in block.parts
            and (block.group == 1 or entry.inner == 1)
            and (constants > 0) == (block.constants is not None) == (entry.bias is not None)
            and (block.constants is None or block.constants.sign == 1)
            and constants >= 0
            and not layer.mirror_columns
            and entry.bias in (None, f"{layer.weight}/bias")
        )
        if not fits:
            raise Flaw(f"layer '{layer.weight}' is no sum over the block that it is said to read")


def put_back_blocks(
    model: onnx.ModelProto, manifest: Manifest, collapsed: Sequence[CollapsedLayer]
) -> list[Mask]:
    """Put the blocks back into the graph of `model`; the masks of their univariate layers.

    Raises Flaw where a sum is not the weight of one layer, or a block cannot be.
    """
    readers: dict[str, list[int]] = {}
    texts = doc_strings(manifest)
    for number, node in enumerate(model.graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(number)
    nodes = [[node] for node in model.graph.node]  # what is put in the place of each
    opened: dict[int, tuple[str, str]] = {}  # by block: what it reads, and its neurons
    masks: list[Mask] = []
    for entry in collapsed:
        layer, univariate = manifest.layers[entry.layer], manifest.layers[entry.block]
        number = _only(readers, layer.weight)
        node, width = model.graph.node[number], layer.shape[1] // entry.inner * _group(univariate)
        if is_apart(layer, univariate):
            others = _apart(model, readers, number, biases=_biases(entry))
        else:
            others = _added(model, readers, number, layer=layer, biases=_biases(entry))
        before: list[onnx.NodeProto] = []
        if entry.block not in opened:
            before, found = _univariate(model, univariate, manifest, width=width, x=node.input[0])
            before[0].doc_string = texts[univariate.weight] if node.doc_string else ""
            opened[entry.block] = node.input[0], before[-1].output[0]
            masks += found
        x, neurons = opened[entry.block]
        if x != node.input[0]:
            raise Flaw(f"layer '{layer.weight}' reads another tensor than its block")
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        del plain.input[:], plain.output[:]
        plain.input.extend([neurons, layer.weight])
        plain.output.append(f"{layer.weight}/unscaled")
        outputs = list(model.graph.node[[number, *others][-1]].output)
        scaled = helper.make_node("Mul", [plain.output[0], layer.scale], outputs)
        nodes[number] = [*before, plain, scaled]
        for other in others:
            nodes[other] = []
    _drop_positive(model, readers, nodes)
    del model.graph.node[:]
    model.graph.node.extend(node for group in nodes for node in group)
    return masks


def _added(
    model: onnx.ModelProto,
    readers: dict[str, list[int]],
    number: int,
    *,
    layer: LayerRecord,
    biases: list[str],
) -> list[int]:
    """The node, if any, that adds a bias to what node `number` makes. Raises Flaw."""
    node, others = model.graph.node[number], list[int]()
    if layer.transposed and biases:
        others = [_only(readers, biases[0])]
        _check_sum(model, readers, others[0], parts=[node.output[0], *biases])
        biases = []
    if list(node.input[1:]) != [layer.weight, *biases]:
        raise Flaw(f"tensor '{layer.weight}' is not the weight of a layer with its bias")
    return others


def _apart(
    model: onnx.ModelProto, readers: dict[str, list[int]], number: int, *, biases: list[str]
) -> list[int]:
    """The nodes that weigh max(x, 0), where node `number` weighs x, and add both. Raises Flaw."""
    node = model.graph.node[number]
    weight = node.input[1] if len(node.input) == 2 else ""
    more = _only(readers, f"{weight}/positive")
    second = model.graph.node[more]
    inputs, same = list(second.input), onnx.NodeProto()
    same.CopyFrom(node)
    same.name = second.name
    same.ClearField("doc_string")
    del same.input[:], same.output[:]
    same.input.extend([inputs[0], f"{weight}/positive", *biases])
    same.output.extend(second.output)
    positive = (model.graph.node[n] for n in readers.get(node.input[0], ()))
    if same != second or not any(
        n.op_type == "Relu" and n.output[0] == inputs[0] for n in positive
    ):
        raise Flaw(f"tensor '{weight}/positive' does not weigh what is positive in a layer's input")
    total = _only(readers, node.output[0])
    _check_sum(model, readers, total, parts=[node.output[0], second.output[0]])
    return [more, total]


def _check_sum(
    model: onnx.ModelProto, readers: dict[str, list[int]], number: int, *, parts: list[str]
) -> None:
    """Raise Flaw unless node `number` adds two tensors that nothing else reads."""
    node = model.graph.node[number]
    if node.op_type != "Add" or list(node.input) != parts or len(readers[parts[0]]) != 1:
        raise Flaw(f"tensor '{parts[1]}' is not added to what its layer makes")
    _only(readers, parts[1])


def _drop_positive(
    model: onnx.ModelProto, readers: dict[str, list[int]], nodes: list[list[onnx.NodeProto]]
) -> None:
    """Take out what made max(x, 0) for layers that are no sums any more."""
    for number, node in enumerate(model.graph.node):
        read = [nodes[n] for name in node.output for n in readers.get(name, ())]
        if node.op_type == "Relu" and read and not any(read):
            nodes[number] = []


def _biases(entry: CollapsedLayer) -> list[str]:
    return [entry.bias] if entry.bias is not None else []


def _only(readers: dict[str, list[int]], name: str) -> int:
    """The one node that reads a tensor. Raises Flaw."""
    if len(readers.get(name, [])) != 1:
        raise Flaw(f"tensor '{name}' is not read once")
    return readers[name][0]


def _group(univariate: LayerRecord) -> int:
    assert univariate.block is not None
    return univariate.block.group


def _univariate(
    model: onnx.ModelProto, layer: LayerRecord, manifest: Manifest, *, width: int, x: str
) -> tuple[list[onnx.NodeProto], list[Mask]]:
    """The nodes of a univariate layer on `x`, and its masks; its scales and order are added."""
    block, name = layer.block, layer.weight
    assert block is not None
    check_size(layer, block, kept=layer.kept)
    neurons = derived(layer, block, manifest, width=width)
    scale = neurons.scale.reshape(-1, *[1] * len(layer.shape[2:]))
    for tensor, value in ((layer.scale, scale), (block.order, neurons.order)):
        model.graph.initializer.append(numpy_helper.from_array(value, tensor))
    places = np.sort(neurons.rows * math.prod(layer.shape[1:]) + neurons.columns)
    if layer.half:
        places = places[weights_at(manifest.seed, layer, places).astype(np.float16) != 0]
    masks = [Mask(name, layer, 0, 1, len(places), places)]
    if layer.bias is not None:
        masks.append(Mask(layer.bias, layer, 1, 1, len(neurons.biased), neurons.biased))
    return [*_nodes(layer, block.order, x)], masks


def _nodes(layer: LayerRecord, order: str, x: str) -> Iterator[onnx.NodeProto]:
    name = layer.weight
    op = "Conv" if len(layer.shape) > 2 else "MatMul" if layer.transposed else "Gemm"
    total, scaled, ordered = (f"{name}/{key}" for key in ("unscaled", "unordered", "ordered"))
    biases = [layer.bias] if layer.bias is not None else []
    if op == "MatMul" and biases:
        yield helper.make_node("MatMul", [x, name], [f"{name}/product"])
        yield helper.make_node("Add", [f"{name}/product", *biases], [total])
    else:
        node = helper.make_node(op, [x, name, *biases], [total])
        if op == "Gemm":
            node.attribute.append(helper.make_attribute("transB", 1))
        yield node
    yield helper.make_node("Mul", [total, layer.scale], [scaled])
    axis = -1 if op == "MatMul" else 1
    yield helper.make_node("Gather", [scaled, order], [ordered], axis=axis)
