"""What the graph is made of besides random weights, and that it is as the manifest has it.

In: the model, its manifest and its tensors. Out: counts of scales and parameters, and every tensor
or node that is neither a layer's, an index, nor a parameter or dense place that the manifest names.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Set

import numpy as np
import onnx
from numpy.typing import NDArray

from lt_onnx.manifest import DensePlace, DenseReason, LayerRecord, Manifest, doc_strings
from lt_onnx.options import Sigma
from lt_onnx.reading.protobuf import node_title, operator_sets
from lt_onnx.target import Floats, is_standard_domain
from lt_onnx.verification.allowed_operators import check_operator, check_operator_sets
from lt_onnx.verification.constant_flow import check_constant_flow, computed_integers
from lt_onnx.verification.graph_index import GraphIndex
from lt_onnx.verification.masked_weights import stored_tensors
from lt_onnx.verification.tensors import Tensor, Tensors

MIN_IR_VERSION = 4  # from there on initializers are no inputs
MAX_SCALES = 2  # under sigma=layer: the layer's, and that of the constants it hands on
MASKING_OPS = frozenset("Add Clip Max Min Pad Where".split())  # that infinity may bound
INDEX_DTYPES = (np.int64, np.int32, np.bool_)
LINEAR_OPS = frozenset(
    "Attention Conv ConvInteger ConvTranspose DeformConv Einsum GRU Gemm LSTM MatMul MatMulInteger "
    "QLinearConv QLinearMatMul RNN".split()
)


def check_structure(
    model: onnx.ModelProto, manifest: Manifest, tensors: Tensors, index: GraphIndex
) -> tuple[dict[str, int], list[str]]:
    """Counts of numbers that are no weights, and every tensor or node that is not accounted for."""
    failures: list[str] = []
    if len({(layer.stored, layer.half) for layer in manifest.layers}) > 1:
        failures.append("its layers are stored in different forms")
    stored = [name for layer in manifest.layers for name in stored_tensors(layer)]
    scales = [layer.scale for layer in manifest.layers]
    of_layers = {*stored, *scales}
    weights = [layer.weight for layer in manifest.layers]
    for name in _repeated([*stored, *scales]) or _repeated(weights):
        failures.append(f"tensor '{name}' belongs to two layers, or is two things of one")
    for number, layer in enumerate(manifest.layers):
        if layer.index != number:
            failures.append(
                f"layer '{layer.weight}' is number {number}, but drawn from {layer.index}"
            )
        failures += _check_scale(layer, tensors, manifest.options.sigma)
        if not layer.kept + layer.kept_bias and _bits(_scale(layer, tensors)).any():
            failures.append(f"layer '{layer.weight}' keeps nothing, and has scales for it")
    if not any(layer.kept + layer.kept_bias for layer in manifest.layers if layer.block is None):
        failures.append("its layers keep nothing")
    parameters = {
        name: tensor
        for name in manifest.parameters
        if isinstance(tensor := tensors.get(name), Tensor)
        and tensor.dtype == np.float32
        and name not in of_layers
    }
    failures += _check_tensors(manifest, index, tensors, of_layers, parameters=parameters)
    for name in sorted(tensors.keys() - index.readers.keys() - index.outputs):
        failures.append(f"tensor '{name}' is read by no node")
    failures += _check_orders(manifest, index)
    failures += _check_dense(manifest, index, tensors)
    failures += _check_options(manifest, index)
    failures += _check_nodes(model, manifest, index, tensors)
    failures += check_constant_flow(index, tensors, of_layers)
    in_places = {name for number in index.dense for name in index.nodes[number].input}
    others = (t.size for name, t in parameters.items() if t.size == 1 or name not in in_places)
    counts = {
        "scales": sum(int(np.count_nonzero(_scale(layer, tensors))) for layer in manifest.layers),
        "parameters": sum(place.parameters for place in manifest.dense),
        "scalars": sum(others),
    }
    return counts, failures


def _repeated(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _scale(layer: LayerRecord, tensors: Tensors) -> Floats:
    """A layer's scales, none where they are not one float per channel."""
    tensor = tensors.get(layer.scale)
    shape = (layer.shape[0], *[1] * len(layer.shape[2:]))
    if not isinstance(tensor, Tensor) or tensor.dtype != np.float32 or tensor.shape != shape:
        return np.zeros(0, np.float32)
    return tensor.array()


def _bits(scale: Floats) -> NDArray[np.uint32]:
    """Scales as they are stored: -0 is one like others."""
    return np.ascontiguousarray(scale, np.float32).view(np.uint32)


def _check_scale(layer: LayerRecord, tensors: Tensors, sigma: Sigma) -> Iterator[str]:
    """What is wrong with a layer's scales, those of blocks apart, which follow from the seed."""
    scale = _scale(layer, tensors)
    if layer.scale in tensors and not scale.size:  # `masked_weights` tells what is missing
        yield f"tensor '{layer.scale}' is not one scale per channel"
    if not np.isfinite(scale).all():
        yield f"tensor '{layer.scale}' holds a scale that is not finite"
    if layer.block is not None or (scale == 1).all():
        return
    if math.prod(layer.shape[1:]) == 1:
        yield (
            f"layer '{layer.weight}' has a single input and is no block's: a free scale for every "
            "weight is no ticket"
        )
    bits = _bits(scale)
    if sigma is Sigma.LAYER and len(np.unique(bits[bits != 0])) > MAX_SCALES:
        yield f"tensor '{layer.scale}' holds several scales; `sigma=layer` has one"


def _check_tensors(
    manifest: Manifest,
    index: GraphIndex,
    tensors: Tensors,
    of_layers: Set[str],
    *,
    parameters: Mapping[str, Tensor],
) -> Iterator[str]:
    """Every tensor that is no layer's is a parameter that the manifest names, or an index."""
    named = {*manifest.parameters}
    for name, tensor in tensors.items():
        if name in of_layers:
            if name in named:
                yield f"tensor '{name}' of a layer is named as a parameter too"
        elif not isinstance(tensor, Tensor):
            yield f"sparse tensor '{name}' is no layer's weight"
        elif name in parameters:
            value = tensor.array()
            ops = {index.nodes[number].op_type for number, _ in index.readers.get(name, [])}
            if ops <= MASKING_OPS:
                value = value[~np.isinf(value)]
            if not np.isfinite(value).all():
                yield f"tensor '{name}' holds a parameter that is not finite"
        elif tensor.dtype not in INDEX_DTYPES or name in named:
            yield (
                f"tensor '{name}' ({tensor.dtype}, {tensor.size} values) is neither source, "
                "scale, index nor a named parameter"
            )
    for name in sorted(named - tensors.keys()):
        yield f"parameter '{name}' of the manifest is not in the file"


def _check_orders(manifest: Manifest, index: GraphIndex) -> Iterator[str]:
    """Every tensor that reorders neurons is the index of one Gather."""
    for name in (layer.block.order for layer in manifest.layers if layer.block is not None):
        reader = index.only_reader(name, 1)
        if reader is None or index.nodes[reader].op_type != "Gather":
            yield f"tensor '{name}' is not the order of a block's neurons"


def _check_dense(manifest: Manifest, index: GraphIndex, tensors: Tensors) -> Iterator[str]:
    """Every place declared dense is there, once, with as many parameters as declared."""
    there = Counter((node.name, node.op_type) for node in index.nodes)
    declared = Counter((place.name, place.op) for place in manifest.dense)
    for (name, op), count in declared.items():
        if there[name, op] != count:
            yield (
                f"node '{name}' ({op}) is declared dense {count} times and stands there "
                f"{there[name, op]} times"
            )
    nodes: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    for node in (index.nodes[i] for i in sorted(index.dense)):
        nodes.setdefault((node.name, node.op_type), []).append(node)
    distinct: dict[str, int] = {}
    for place in manifest.dense:  # of one name, they are declared in their order
        alike = nodes.get((place.name, place.op), [])
        if not alike:
            continue
        node = alike.pop(0)
        count, fits = _count_parameters(place, node, tensors, distinct)
        if not fits:
            yield f"{node_title(node)} has {count} parameters, declared are {place.parameters}"


def _check_options(manifest: Manifest, index: GraphIndex) -> Iterator[str]:
    """Prices and base sizes are of layers that there are."""
    weights = {layer.weight for layer in manifest.layers if layer.block is None}
    readers = [index.readers.get(weight, []) for weight in weights]
    layers = {index.nodes[reads[0][0]].name for reads in readers if reads}
    given = (*manifest.options.prices, *manifest.options.base_sizes)
    for name in dict.fromkeys(name for name, _ in given):
        if name not in layers:
            yield f"its options name '{name}', which is no layer of it"


def _count_parameters(
    place: DensePlace, node: onnx.NodeProto, tensors: Tensors, distinct: dict[str, int]
) -> tuple[int, bool]:
    """How many parameters a dense node has, and whether that is what is declared.

    `distinct` takes the different numbers of each tensor, which many nodes may read.
    """
    read = [tensors[name] for name in node.input if name in tensors]
    floats = [t for t in read if isinstance(t, Tensor) and t.dtype == np.float32]
    floats = [t for t in floats if t.size > 1 or node.op_type == "Concat"]
    names = computed_integers(node, tensors, dense=True)
    integers = sum(math.prod(tensors[name].shape) for name in names)
    count = sum(tensor.size for tensor in floats) + integers
    fits = count == place.parameters
    if not fits and place.reason == DenseReason.REPEATED:  # zeros stand for constants
        for tensor in (t for t in floats if t.proto.name not in distinct):
            distinct[tensor.proto.name] = len(np.unique(tensor.array())) - 1
        least = sum(distinct[tensor.proto.name] for tensor in floats)
        fits = least <= place.parameters <= count
    return count, fits


def _check_nodes(
    model: onnx.ModelProto, manifest: Manifest, index: GraphIndex, tensors: Tensors
) -> Iterator[str]:
    """Order, operators, linear ones that are nobody's, and what operators say to people."""
    sets = operator_sets(model)
    texts = doc_strings(manifest) if model.graph.doc_string else {}
    yield from check_operator_sets(sets)
    standard = [is_standard_domain(operators.domain) for operators in model.opset_import]
    if not MIN_IR_VERSION <= model.ir_version <= onnx.IR_VERSION or not any(standard):
        yield f"the model is of IR {model.ir_version}, or names no operator set"
    computed = {value.name for value in model.graph.input}
    computed |= {tensor.name for tensor in model.graph.initializer}
    computed |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    for number, node in enumerate(index.nodes):
        missing = next((name for name in node.input if name and name not in computed), None)
        if missing is not None:
            yield f"{node_title(node)} reads '{missing}', which nothing before it makes"
        computed.update(node.output)
        if node.doc_string != texts.get((*node.input, "", "")[1], ""):
            yield f"{node_title(node)} has a 'doc_string' of its own, or none, which no ticket has"
        for problem in check_operator(node, sets, tensors):
            yield f"{node_title(node)} {problem}"
        if number in index.layers or number in index.dense:
            continue
        if not is_standard_domain(node.domain):
            yield f"{node_title(node)} is of domain '{node.domain}' and not declared dense"
        elif node.op_type in LINEAR_OPS:
            yield f"{node_title(node)} is neither a layer nor declared dense"
    for value in model.graph.output:
        if value.name not in index.maker and value.name not in index.inputs:
            yield f"graph output '{value.name}' is made by no node"
