"""Where constants may go: that no integer, scalar or attribute becomes a weight.

In: the graph and its tensors. Out: the nodes that compute with constants as no ticket does. Of each
computed tensor is known whether it depends on data, numbers that the network is given, and whether
the value of an integer constant is in it. Shape arithmetic has integers in it and goes to shapes;
cast and brought together with data, it would be a trained number in disguise. Constants among
themselves are never computed with: the construction evaluates what is constant.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

from lt_onnx.reading.protobuf import node_title
from lt_onnx.target import is_standard_domain
from lt_onnx.verification.graph_index import GraphIndex
from lt_onnx.verification.tensors import Sparse, Tensor, Tensors

# inputs that are shapes, axes, indices, pads or sizes
INDEX_INPUTS: dict[str, frozenset[int]] = {
    **dict.fromkeys(
        "AffineGrid Compress CumSum Expand Gather GatherElements GatherND OneHot Pow ReduceL1 "
        "ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare Reshape ReverseSequence Scatter ScatterElements ScatterND Split Squeeze "
        "Tile TopK Trilu Unsqueeze Upsample CenterCropPad".split(),
        frozenset({1}),
    ),
    **dict.fromkeys("Col2Im DFT Dropout MaxUnpool".split(), frozenset({1, 2})),
    "ConstantOfShape": frozenset({0}),
    "NonMaxSuppression": frozenset({2, 3, 4}),
    "Pad": frozenset({1, 3}),
    "Resize": frozenset({1, 2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
}
SHAPE_OPS = frozenset("Shape Size".split())
PICKING_OPS = frozenset("Gather GatherElements GatherND OneHot".split())  # by data, from a table
SELECTING_OPS = PICKING_OPS | frozenset("Compress Scatter ScatterElements ScatterND Slice".split())
# operators that only put numbers elsewhere
MOVING_OPS = frozenset(
    "Cast CastLike Concat Expand Flatten Identity Pad Reshape Slice Split Squeeze Tile Transpose "
    "Trilu Unsqueeze Where".split()
)
# operators by which sizes of tensors become other sizes, or the factors that depend on them
SIZE_OPS = frozenset(
    "Abs Add Ceil Div Floor Gather GatherElements GatherND Max Min Mod Mul Neg Pow Reciprocal "
    "ReduceMax ReduceMin ReduceProd ReduceSum Size Shape Sqrt Sub Sum".split()
)
TRUTH_OPS = frozenset("And Or Xor Where".split())
COMPARISON_OPS = frozenset("Equal Less Greater LessOrEqual GreaterOrEqual And Or Not".split())
# operators that may read integers as data: they compute shapes
INTEGER_OPS = COMPARISON_OPS | frozenset(
    "Add Sub Mul Div Mod Concat Min Max Range Where Pow Sum".split()
)
# operators that may read a scalar of the target without being declared dense
SCALAR_OPS = (INTEGER_OPS - {"Not", "Concat"}) | frozenset(
    "Clip PRelu Pad Dropout Resize Upsample Mean NonMaxSuppression".split()
)
SOURCELESS_OPS = frozenset(
    "Constant RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli "
    "Multinomial".split()
)
RESIZE_OPS = frozenset("Resize Upsample".split())
LAYER_OPS = frozenset("Conv Gemm MatMul".split())
MAX_SHAPE_INTEGERS = 32  # that take part in shape arithmetic at once
MAX_PICKED_SIZES = 8  # of a shape
MAX_RESIZE_NUMBERS = 16  # scales and regions
FLOAT_ATTRIBUTES = {  # and the operators that have them
    "alpha": "Celu Elu HardSigmoid LRN LeakyRelu Selu Swish ThresholdedRelu",
    "beta": "HardSigmoid LRN",
    "bias": "LRN Shrink",
    "cubic_coeff_a": "Resize",
    "epsilon": "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization "
    "LpNormalization RMSNormalization",
    "extrapolation_value": "Resize",
    "gamma": "Selu",
    "lambd": "Shrink",
    "max": "Clip",
    "min": "Clip",
    "momentum": "BatchNormalization",
    "ratio": "Dropout",
    "scales": "Upsample",
    "spatial_scale": "RoiAlign",
    "value": "Pad",
}


@dataclass(frozen=True)
class _Content:
    """What the value of a computed tensor comes from; nothing of these for a shape.

    `data`: the network's inputs; `integers`: the values of constants; `offsets`: single integers
    only, which tell no more of a comparison or of what the graph makes than its scalars do;
    `filled`: zeros, ones or infinities that are placed where others are; `made`: floats that the
    graph makes otherwise, of shapes, counting or sums; `parameters`: the target's own floats,
    which are counted; `one_hot`: an identity matrix, which layers may read.
    """

    data: bool = False
    integers: bool = False
    offsets: bool = False
    filled: bool = False
    made: bool = False
    parameters: bool = False
    one_hot: bool = False


Contents = Mapping[str, _Content]


def check_constant_flow(index: GraphIndex, tensors: Tensors, of_layers: Set[str]) -> list[str]:
    """What is computed with constants and should not be; one line each.

    `of_layers` are the tensors that only layers may read.
    """
    contents = {name: _Content(data=True) for name in index.inputs}
    failures: list[str] = []
    for number, node in enumerate(index.nodes):
        content = _Content(data=True)
        problems: list[str] = []
        if number not in index.layers:
            dense = number in index.dense
            problems += _forbidden_reads(node, tensors, of_layers, dense=dense)
            problems += _own_numbers(node, dense=dense)
            problems += _mixtures(node, tensors, contents, dense=dense)
            content = _content(node, tensors, contents, dense=dense)
        elif node.op_type in LAYER_OPS:
            read = contents.get(node.input[0], _Content())
            if not (read.data or read.one_hot):
                problems.append("is a layer that reads no data")
        if not any(name in index.readers or name in index.outputs for name in node.output):
            problems.append("makes what nothing reads")
        failures += [f"{node_title(node)} {problem}" for problem in problems]
        contents.update(dict.fromkeys(filter(None, node.output), content))
    return failures


def computed_integers(node: onnx.NodeProto, tensors: Tensors, *, dense: bool) -> Iterator[str]:
    """Integers and truth values that a node computes with; of scalars those it joins to others.

    A node that is not declared dense may read few of them.
    """
    for position, name in enumerate(node.input):
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor) or tensor.dtype == np.float32:
            continue
        allowed = dense or (node.op_type in INTEGER_OPS and tensor.dtype != np.bool_)
        counted = tensor.size > 1 or node.op_type == "Concat"
        if allowed and counted and not _is_index(node, position, tensor):
            yield name


def _forbidden_reads(
    node: onnx.NodeProto, tensors: Tensors, of_layers: Set[str], *, dense: bool
) -> Iterator[str]:
    """Constants that a node reads and should not."""
    standard = is_standard_domain(node.domain)
    for position, name in enumerate(node.input):
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor):
            continue
        if name in of_layers:
            yield f"reads '{name}', which belongs to a layer"
        elif tensor.dtype == np.float32:
            sizes = node.op_type in RESIZE_OPS and position in _index_inputs(node)
            scalar = tensor.size == 1 and node.op_type in SCALAR_OPS and standard
            if not (dense or scalar or (sizes and tensor.size <= MAX_RESIZE_NUMBERS)):
                yield (
                    f"reads the parameter '{name}' ({tensor.size} values) and is not declared dense"
                )
        elif dense or _is_index(node, position, tensor):
            continue  # what is dense is counted
        elif tensor.dtype == np.bool_:
            if not (node.op_type in TRUTH_OPS and tensor.size == 1):
                yield f"reads the truth values '{name}' as data"
        elif node.op_type not in INTEGER_OPS or tensor.size > MAX_SHAPE_INTEGERS:
            yield f"reads the integers '{name}' ({tensor.size} values) as data"


def _own_numbers(node: onnx.NodeProto, *, dense: bool) -> Iterator[str]:
    """Numbers in a node itself."""
    if node.op_type in SOURCELESS_OPS or not any(node.input):
        yield "makes numbers of its own"
    standard = is_standard_domain(node.domain)
    for attribute in node.attribute:
        floats = attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS)
        known = standard and node.op_type in FLOAT_ATTRIBUTES.get(attribute.name, "").split()
        declared = dense and (attribute.type == AttributeProto.FLOAT or standard)
        if floats and not (known or declared):
            yield f"has a float attribute '{attribute.name}'"
        elif len(attribute.floats) > MAX_RESIZE_NUMBERS:
            yield f"has {len(attribute.floats)} numbers in its attribute '{attribute.name}'"
        elif attribute.type == AttributeProto.TENSOR and not _fills_plainly(attribute.t):
            yield f"fills a tensor with a number of its own in its attribute '{attribute.name}'"


def _fills_plainly(tensor: onnx.TensorProto) -> bool:
    """Whether the value of a ConstantOfShape is an integer, or a float 0, 1 or infinite."""
    raw, dims = len(tensor.raw_data), list(tensor.dims)
    if dims not in ([], [1]) or raw > 8 or raw == 0 or tensor.external_data:
        return False
    try:
        value = numpy_helper.to_array(tensor).reshape(())
    except (ValueError, TypeError, KeyError):
        return False
    plain = [np.float32(number).tobytes() for number in (0, 1, -np.inf, np.inf)]
    return value.dtype in (np.int64, np.int32, np.bool_) or value.tobytes() in plain


def _mixtures(
    node: onnx.NodeProto, tensors: Tensors, contents: Contents, *, dense: bool
) -> Iterator[str]:
    """Constants alone, or integers among data."""
    read = [name for name in node.input if name]
    if read and all(name in tensors for name in read):
        yield "computes with constants alone"
    if dense and node.op_type == "Where":
        return
    integers = set() if dense else {*computed_integers(node, tensors, dense=False)}
    operands = [
        _Content(integers=True) if name in integers else contents.get(name, _Content())
        for position, name in enumerate(node.input)
        if name and not _is_index(node, position, tensors.get(name))
    ]
    whole = [operand.integers or operand.offsets for operand in operands]
    data = any(operand.data and not own for operand, own in zip(operands, whole, strict=True))
    if node.op_type in SHAPE_OPS or not data:
        return
    if any(whole):
        yield "brings the integers of shapes into data"
    if not dense and any(operand.made for operand in operands):
        yield "brings numbers into data that the graph makes, and is not declared dense"


def _content(
    node: onnx.NodeProto, tensors: Tensors, contents: Contents, *, dense: bool
) -> _Content:
    """What the value of a node's output comes from; what a dense node declares is no disguise."""
    if node.op_type in SHAPE_OPS:
        return _Content()
    if node.op_type == "EyeLike":
        return _Content(made=True, one_hot=True)
    if node.op_type == "ConstantOfShape":
        kinds = [attribute.t.data_type for attribute in node.attribute if attribute.name == "value"]
        whole = any(kind != onnx.TensorProto.FLOAT for kind in kinds)
        return _Content(integers=whole, filled=not whole)
    data = integers = offsets = filled = made = parameters = False
    declared = {*computed_integers(node, tensors, dense=True)} if dense else set()
    for position, name in enumerate(node.input):
        tensor, content = tensors.get(name), contents.get(name, _Content())
        if position in _index_inputs(node):
            data |= node.op_type in PICKING_OPS and content.data
            integers |= _picks_numbers(node, tensor, contents)
            continue
        data |= content.data
        integers |= content.integers
        offsets |= content.offsets
        filled |= content.filled
        made |= content.made
        parameters |= content.parameters or isinstance(tensor, Tensor)
        if isinstance(tensor, Tensor) and tensor.dtype != np.float32 and name not in declared:
            integers |= tensor.size > 1 or node.op_type == "Concat"
            offsets |= not _counts_on(node, tensor)
    if node.op_type in COMPARISON_OPS:
        return _Content(data, integers)
    if data:  # with it a single integer is a scalar of the target's, as a float would be
        return _Content(data, integers)
    moved = node.op_type in MOVING_OPS
    made |= not (moved or node.op_type in SIZE_OPS) or (filled and not moved)
    return _Content(False, integers, offsets and not made, filled and moved, made, parameters)


def _picks_numbers(node: onnx.NodeProto, index: Tensor | Sparse | None, contents: Contents) -> bool:
    """Whether constants pick numbers out of what the graph makes: these are then the constants'.

    Of shapes, zeros and ones a few may be picked.
    """
    if node.op_type not in SELECTING_OPS or not isinstance(index, Tensor):
        return False
    table = contents.get(node.input[0], _Content(data=True))
    many = index.size > MAX_PICKED_SIZES and not table.parameters
    return not table.data and (table.made or many)


def _counts_on(node: onnx.NodeProto, tensor: Tensor) -> bool:
    """Whether a Range counts from 0 or 1, or by one: that tells nothing."""
    return node.op_type == "Range" and tensor.size == 1 and tensor.array().item() in (0, 1)


def _index_inputs(node: onnx.NodeProto) -> frozenset[int]:
    """The inputs of a node that are shapes, axes, indices, pads or sizes."""
    standard = is_standard_domain(node.domain)
    return INDEX_INPUTS.get(node.op_type, frozenset()) if standard else frozenset()


def _is_index(node: onnx.NodeProto, position: int, tensor: Tensor | Sparse | None) -> bool:
    """Whether an input says where or how many; exponents count too, where one is for all."""
    many = isinstance(tensor, Tensor) and tensor.size > 1
    return position in _index_inputs(node) and not (node.op_type == "Pow" and many)
