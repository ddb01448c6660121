"""The blocks of a collapsed ticket put back: each layer of sums becomes two layers again.

In: the graph behind a collapsed ticket's generator, and its manifest. Out: a graph in which every
layer stands as in a ticket: a univariate layer that follows from its record, the layer behind it,
their scales. Nothing runs it: it is what all that is proved of tickets is proved of.

The sums themselves are the generator's, see `generator_nodes`. That a layer of sums computes what
the two layers do, but for the order of the sums, follows from what is checked here: its block's
neurons multiply by one gain (`sigma=channel`); what they read is never negative, or stands beside
its positive part; constants are positive, and are kept only where no padding takes their place.
It also takes what a record says of its block's constants and range to be so, see `verify`.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lt_onnx.manifest import CollapsedLayer, LayerRecord, Manifest, doc_strings
from lt_onnx.options import Sigma
from lt_onnx.verification.flaw import Flaw
from lt_onnx.verification.generator_nodes import Mask
from lt_onnx.verification.generator_sums import is_apart
from lt_onnx.verification.graph_index import GraphIndex, edges_of
from lt_onnx.verification.signs import nonnegative_tensors
from lt_onnx.verification.univariate import MAX_CONSTANTS, derived, held_places


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
            and block.channels % block.group == 0
            and entry.outputs <= rows
            and 0 not in block.parts
            and (block.group == 1 or entry.inner == 1)
            and (constants > 0) == (block.constants is not None) == (entry.bias is not None)
            and (block.constants is None or block.constants.sign == 1)
            and 0 <= constants <= MAX_CONSTANTS
            and not layer.mirror_columns
            and entry.bias in (None, f"{layer.weight}/bias")
        )
        if not fits:
            raise Flaw(f"layer '{layer.weight}' is no sum over the block that it is said to read")


def put_back_blocks(
    model: onnx.ModelProto,
    manifest: Manifest,
    collapsed: Sequence[CollapsedLayer],
    masks: Sequence[Mask],
) -> list[Mask]:
    """Put the blocks back into the graph of `model`; the masks of their univariate layers.

    `masks` are those of the layers of sums, in order. Raises Flaw where a sum is not the weight of
    one layer, or a block cannot be.
    """
    index, texts = edges_of(model), doc_strings(manifest)
    nonnegative = nonnegative_tensors(model.graph)
    nodes = [[node] for node in index.nodes]  # what is put in the place of each
    opened: dict[int, tuple[str, str]] = {}  # by block: what it reads, and its neurons
    added: list[Mask] = []
    for entry, mask in zip(collapsed, (m for m in masks if not m.stream), strict=True):
        layer, univariate = manifest.layers[entry.layer], manifest.layers[entry.block]
        number = _reader(index, layer.weight, 1)
        node, width = index.nodes[number], layer.shape[1] // entry.inner * _group(univariate)
        if is_apart(layer, univariate):
            others, x = _apart(index, number, biases=_biases(entry)), node.input[0]
        else:
            others = _added(index, number, layer=layer, biases=_biases(entry))
            x = _joined(index, number, layer=layer) if _has_two_signs(univariate) else node.input[0]
        if not _has_two_signs(univariate) and x not in nonnegative:
            raise Flaw(f"layer '{layer.weight}' sums for one sign, but reads what may be negative")
        _check_constants(node, entry, mask, univariate)
        before: list[onnx.NodeProto] = []
        if entry.block not in opened:
            before, found = _univariate(model, univariate, manifest, width=width, x=x)
            before[0].doc_string = texts[univariate.weight] if node.doc_string else ""
            opened[entry.block] = x, before[-1].output[0]
            added += found
        if x != opened[entry.block][0]:
            raise Flaw(f"layer '{layer.weight}' reads another tensor than its block")
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        del plain.input[:], plain.output[:]
        plain.input.extend([opened[entry.block][1], layer.weight])
        plain.output.append(f"{layer.weight}/unscaled")
        outputs = list(index.nodes[[number, *others][-1]].output)
        nodes[number] = [
            *before,
            plain,
            helper.make_node("Mul", [plain.output[0], layer.scale], outputs),
        ]
        for other in others:
            nodes[other] = []
    put_back = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(_still_read(put_back, nodes))
    return added


def _still_read(
    held: Sequence[onnx.NodeProto], nodes: Sequence[Sequence[onnx.NodeProto]]
) -> list[onnx.NodeProto]:
    """What stands in the place of each node held, without what joined both signs for sums alone."""
    put = [node for group in nodes for node in group]
    before = {name for node in held for name in node.input}
    for op in ("Concat", "Relu"):
        after = {name for node in put for name in node.input}
        gone = before - after
        put = [n for n in put if n.op_type != op or not n.output or not gone.issuperset(n.output)]
    return put


def _joined(index: GraphIndex, number: int, *, layer: LayerRecord) -> str:
    """The x of which a layer of sums reads x and max(x, 0), side by side. Raises Flaw."""
    name = index.nodes[number].input[0]
    both = index.nodes[index.maker[name]] if name in index.maker else onnx.NodeProto()
    axis = -1 if layer.transposed else 1
    fits = len(both.input) == 2 and _is_just(both, "Concat", [*both.input], axis=axis)
    if not fits or not _is_positive(index, both):
        raise Flaw(f"layer '{layer.weight}' does not read a tensor and its positive part")
    return str(both.input[0])


def _is_just(node: onnx.NodeProto, op: str, inputs: Sequence[str], **attributes: int) -> bool:
    """Whether a node is this operator, and has nothing of its own but names: it is not put back."""
    just = helper.make_node(op, inputs, node.output[:1], node.name or None)
    just.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node == just


def _is_positive(index: GraphIndex, pair: onnx.NodeProto) -> bool:
    """Whether the second of two tensors is max(x, 0) of the first, x."""
    x, positive = pair.input
    return positive in index.maker and _is_just(index.nodes[index.maker[positive]], "Relu", [x])


def _check_constants(
    node: onnx.NodeProto, entry: CollapsedLayer, mask: Mask, univariate: LayerRecord
) -> None:
    """Raise Flaw where the weight of a constant may fall on padding, where it is a bias no more.

    Where every tap may, a ticket pads what its layer reads by the constants themselves.
    """
    layer, block, kernel = mask.layer, univariate.block, mask.layer.shape[2:]
    assert block is not None
    column = mask.places // math.prod(kernel) % layer.shape[1]
    places = mask.places[column >= block.slots // block.group * entry.inner]
    numbers, rank = {a.name: [*a.ints] for a in node.attribute}, len(kernel)
    dilations, pads = numbers.get("dilations", [1] * rank), numbers.get("pads", [0] * 2 * rank)
    same = next((a.s for a in node.attribute if a.name == "auto_pad"), b"")
    spans = []  # of each axis, the taps that never fall on padding
    for size, reach, *sides in zip(kernel, dilations, pads, pads[rank:], strict=False):
        if same in (b"SAME_UPPER", b"SAME_LOWER"):  # this much at most
            total = (size - 1) * reach
            sides = sorted([total // 2, total - total // 2], reverse=same == b"SAME_LOWER")
        first, last = (-(-side // max(reach, 1)) for side in sides)
        spans.append((first, size - 1 - last))
    if len(spans) == rank > 0 and all(first <= last for first, last in spans):
        taps = np.unravel_index(places % math.prod(kernel), kernel)
        for tap, (first, last) in zip(taps, spans, strict=True):
            if ((tap < first) | (tap > last)).any():
                raise Flaw(f"layer '{layer.weight}' keeps the weight of a constant on padding")


def _added(index: GraphIndex, number: int, *, layer: LayerRecord, biases: list[str]) -> list[int]:
    """The node, if any, that adds a bias to what node `number` makes. Raises Flaw."""
    node, others = index.nodes[number], list[int]()
    if layer.transposed and biases:
        others = [_sum(index, [node.output[0], *biases])]
        biases = []
    if list(node.input[1:]) != [layer.weight, *biases]:
        raise Flaw(f"tensor '{layer.weight}' is not the weight of a layer with its bias")
    return others


def _apart(index: GraphIndex, number: int, *, biases: list[str]) -> list[int]:
    """The nodes that weigh max(x, 0), where node `number` weighs x, and add both. Raises Flaw."""
    node = index.nodes[number]
    weight = node.input[1]
    more = _reader(index, f"{weight}/positive", 1)
    second, same = index.nodes[more], onnx.NodeProto()
    same.CopyFrom(node)
    same.name = second.name
    same.ClearField("doc_string")
    del same.input[:], same.output[:]
    same.input.extend([second.input[0], f"{weight}/positive", *biases])
    same.output.extend(second.output)
    pair = onnx.NodeProto(input=[node.input[0], second.input[0]])
    if len(node.input) != 2 or same != second or not _is_positive(index, pair):
        raise Flaw(f"tensor '{weight}/positive' does not weigh what is positive in a layer's input")
    return [more, _sum(index, [node.output[0], second.output[0]])]


def _sum(index: GraphIndex, parts: list[str]) -> int:
    """The node that adds two tensors that nothing else reads. Raises Flaw."""
    number = _reader(index, parts[0], 0)
    if not _is_just(index.nodes[number], "Add", parts):
        raise Flaw(f"tensor '{parts[1]}' is not added to what its layer makes")
    _reader(index, parts[1], 1)
    return number


def _reader(index: GraphIndex, name: str, position: int) -> int:
    """The one node that reads a tensor. Raises Flaw."""
    number = index.only_reader(name, position)
    if number is None or len(index.nodes[number].output) != 1:
        raise Flaw(f"tensor '{name}' is not read once, where its layer does")
    return number


def _has_two_signs(univariate: LayerRecord) -> bool:
    """Whether the channels of a block have neurons of either sign."""
    return univariate.block is not None and len(univariate.block.parts) == 2


def _biases(entry: CollapsedLayer) -> list[str]:
    return [entry.bias] if entry.bias is not None else []


def _group(univariate: LayerRecord) -> int:
    assert univariate.block is not None
    return univariate.block.group


def _univariate(
    model: onnx.ModelProto, layer: LayerRecord, manifest: Manifest, *, width: int, x: str
) -> tuple[list[onnx.NodeProto], list[Mask]]:
    """The nodes of a univariate layer on `x`, and its masks; its scales and order are added."""
    block, name = layer.block, layer.weight
    assert block is not None
    neurons = derived(layer, block, manifest, width=width, kept=layer.kept)
    scale = neurons.scale.reshape(-1, *[1] * len(layer.shape[2:]))
    for tensor, value in ((layer.scale, scale), (block.order, neurons.order)):
        model.graph.initializer.append(numpy_helper.from_array(value, tensor))
    places = np.sort(neurons.rows * math.prod(layer.shape[1:]) + neurons.columns)
    places = held_places(manifest.seed, layer, places)
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
