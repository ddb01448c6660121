"""Where constants may go: that no integer, scalar or attribute becomes a weight.

Each tensor computed in the graph carries two marks: `data`, it depends on numbers that the network
is given, and `counted`, the value of an integer constant is in it. Shape arithmetic is counted and
goes to shapes; a counted tensor that is cast and meets data would be a trained number in disguise.
Constants among themselves are never computed with: the construction evaluates what is constant.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

from lt_onnx.target import is_standard_domain
from lt_onnx.verification.graph_index import Wiring, called
from lt_onnx.verification.tensors import Sparse, Tensor, Tensors

# inputs that are shapes, axes, indices, pads or sizes
PLACES: dict[str, set[int]] = {
    "Gather": {1},
    "GatherElements": {1},
    "GatherND": {1},
    "Slice": {1, 2, 3, 4},
    "Pad": {1, 3},
    "Reshape": {1},
    "Squeeze": {1},
    "Unsqueeze": {1},
    "Expand": {1},
    "Tile": {1},
    "Split": {1},
    "TopK": {1},
    "Resize": {1, 2, 3},
    "Upsample": {1},
    "ConstantOfShape": {0},
    "CumSum": {1},
    "OneHot": {1},
    "ScatterND": {1},
    "ScatterElements": {1},
    "Scatter": {1},
    "Compress": {1},
    "Trilu": {1},
    "CenterCropPad": {1},
    "AffineGrid": {1},
    "NonMaxSuppression": {2, 3, 4},
    "MaxUnpool": {1, 2},
    "Col2Im": {1, 2},
    "DFT": {1, 2},
    "ReverseSequence": {1},
    "Dropout": {1, 2},
    "Pow": {1},
    **{
        f"Reduce{kind}": {1}
        for kind in (
            "Mean",
            "Sum",
            "Max",
            "Min",
            "Prod",
            "L1",
            "L2",
            "LogSum",
            "LogSumExp",
            "SumSquare",
        )
    },
}
SHAPES = {"Shape", "Size"}
ARITHMETIC = {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Concat",
    "Min",
    "Max",
    "Range",
    "Where",
    "Pow",
    "Sum",
}
COMPARISONS = {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Not"}
MOST_COUNTED = 32  # integers that take part in shape arithmetic at once
# operators that may read a scalar of the target without being declared dense
SCALARS = (ARITHMETIC | COMPARISONS) - {"Not", "Concat"} | {
    "Clip",
    "PRelu",
    "Pad",
    "Dropout",
    "Resize",
    "Upsample",
    "Mean",
    "NonMaxSuppression",
}
MOST_SCALES = 16  # scales and regions of a Resize
RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
}
FLOAT_ATTRIBUTES = {
    "BatchNormalization": "epsilon momentum",
    "Celu": "alpha",
    "Clip": "min max",
    "Dropout": "ratio",
    "Elu": "alpha",
    "GroupNormalization": "epsilon",
    "HardSigmoid": "alpha beta",
    "InstanceNormalization": "epsilon",
    "LRN": "alpha beta bias",
    "LayerNormalization": "epsilon",
    "LeakyRelu": "alpha",
    "LpNormalization": "epsilon",
    "Pad": "value",
    "RMSNormalization": "epsilon",
    "Resize": "cubic_coeff_a extrapolation_value",
    "RoiAlign": "spatial_scale",
    "Selu": "alpha gamma",
    "Shrink": "bias lambd",
    "Swish": "alpha",
    "ThresholdedRelu": "alpha",
    "Upsample": "scales",
}
CONSTANTS = {"Constant", *RANDOM}


@dataclass(frozen=True)
class _Marks:
    data: bool = False
    counted: bool = False


def check_flow(wiring: Wiring, tensors: Tensors, of_layers: set[str]) -> list[str]:
    """What is computed with constants and should not be; one line each."""
    marks = {name: _Marks(data=True) for name in wiring.inputs}
    failures: list[str] = []
    for number, node in enumerate(wiring.nodes):
        made = _Marks(data=True)
        if number not in wiring.layers:
            failures += [
                f"{called(node)} {why}" for why in _reads(number, wiring, tensors, of_layers)
            ]
            failures += [f"{called(node)} {why}" for why in _holds(node, number in wiring.dense)]
            failures += [
                f"{called(node)} {why}" for why in _mixes(node, number, wiring, tensors, marks)
            ]
            made = _marks(node, tensors, marks)
        if not any(name in wiring.readers or name in wiring.outputs for name in node.output):
            failures.append(f"{called(node)} makes what nothing reads")
        linear = number in wiring.layers and node.op_type in ("Conv", "Gemm", "MatMul")
        if linear and not marks.get(node.input[0], _Marks()).data:
            failures.append(f"{called(node)} is a layer that reads no data")
        marks.update(dict.fromkeys((name for name in node.output if name), made))
    return failures


def _reads(number: int, wiring: Wiring, tensors: Tensors, of_layers: set[str]) -> Iterator[str]:
    """Constants that a node reads and should not."""
    node, dense = wiring.nodes[number], number in wiring.dense
    places = _places(node)
    for position, name in enumerate(node.input):
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor):
            continue
        if name in of_layers:
            yield f"reads '{name}', which belongs to a layer"
        elif tensor.dtype == np.float32:
            sizes = node.op_type in ("Resize", "Upsample") and position in places
            scalar = (
                tensor.size == 1 and node.op_type in SCALARS and is_standard_domain(node.domain)
            )
            if not (dense or scalar or (sizes and tensor.size <= MOST_SCALES)):
                yield (
                    f"reads the parameter '{name}' ({tensor.size} values) and is not declared dense"
                )
        elif _is_place(node, position, tensor):
            continue
        elif tensor.dtype == np.bool_:
            if not (node.op_type == "Where" and position == 0 and (dense or tensor.size == 1)):
                yield f"reads the truth values '{name}' as data"
        elif node.op_type not in ARITHMETIC | COMPARISONS or tensor.size > MOST_COUNTED:
            yield f"reads the integers '{name}' ({tensor.size} values) as data"


def _holds(node: onnx.NodeProto, dense: bool) -> Iterator[str]:
    """Numbers in a node itself."""
    if node.op_type in CONSTANTS or not any(node.input):
        yield "makes numbers of its own"
    known = (
        FLOAT_ATTRIBUTES.get(node.op_type, "").split() if is_standard_domain(node.domain) else []
    )
    for attribute in node.attribute:
        floats = attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS)
        declared = dense and (
            attribute.type == AttributeProto.FLOAT or is_standard_domain(node.domain)
        )
        if floats and attribute.name not in known and not declared:
            yield f"has a float attribute '{attribute.name}'"
        elif len(attribute.floats) > MOST_SCALES:
            yield f"has {len(attribute.floats)} numbers in its attribute '{attribute.name}'"
        elif attribute.type == AttributeProto.TENSOR and not _fills_plainly(attribute.t):
            yield f"fills a tensor with a number of its own in its attribute '{attribute.name}'"


def _places(node: onnx.NodeProto) -> set[int]:
    """The inputs of a node that are shapes, axes, indices, pads or sizes."""
    return PLACES.get(node.op_type, set()) if is_standard_domain(node.domain) else set()


def whole_data(node: onnx.NodeProto, tensors: Tensors) -> Iterator[str]:
    """Integer constants that a node computes with; of scalars only those it joins to others."""
    if node.op_type not in ARITHMETIC | COMPARISONS:
        return  # it may read none as data
    for position, name in enumerate(node.input):
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor) or tensor.dtype in (np.float32, np.bool_):
            continue
        scalar = tensor.size == 1 and node.op_type in SCALARS
        if not scalar and not _is_place(node, position, tensor):
            yield name


def _is_place(node: onnx.NodeProto, position: int, tensor: Tensor | Sparse | None) -> bool:
    """Whether what a node reads there says where or how many; exponents do, one for all."""
    many = isinstance(tensor, Tensor) and tensor.size > 1
    return position in _places(node) and not (node.op_type == "Pow" and many)


def _fills_plainly(tensor: onnx.TensorProto) -> bool:
    """Whether the value of a ConstantOfShape is an integer, or a float 0 or 1."""
    raw, dims = len(tensor.raw_data), list(tensor.dims)
    if dims not in ([], [1]) or raw > 8 or raw == 0 or tensor.external_data:
        return False
    try:
        value = numpy_helper.to_array(tensor).reshape(())
    except (ValueError, TypeError, KeyError):
        return False
    return value.dtype in (np.int64, np.int32, np.bool_) or value.tobytes() in (
        np.float32(0).tobytes(),
        np.float32(1).tobytes(),
    )


def _mixes(
    node: onnx.NodeProto, number: int, wiring: Wiring, tensors: Tensors, marks: dict[str, _Marks]
) -> Iterator[str]:
    """Constants alone, or counted numbers among data."""
    read = [name for name in node.input if name]
    if read and all(name in tensors for name in read):
        yield "computes with constants alone"
    dense = number in wiring.dense
    if dense and node.op_type == "Where":
        return
    whole = {} if dense else {name: _Marks(counted=True) for name in whole_data(node, tensors)}
    values = [
        whole.get(name, marks.get(name, _Marks()))
        for i, name in enumerate(node.input)
        if name and not _is_place(node, i, tensors.get(name))
    ]
    pure = any(value.data and not value.counted for value in values)
    if node.op_type not in SHAPES and pure and any(value.counted for value in values):
        yield "brings the integers of shapes into data"


def _marks(node: onnx.NodeProto, tensors: Tensors, marks: dict[str, _Marks]) -> _Marks:
    """The marks of what a node makes."""
    if node.op_type in SHAPES:
        return _Marks()
    places = _places(node)
    data = counted = False
    for position, name in enumerate(node.input):
        tensor, known = tensors.get(name), marks.get(name, _Marks())
        if position in places and node.op_type not in ("OneHot", "ConstantOfShape"):
            continue
        data |= known.data
        counted |= known.counted and position not in places
        if isinstance(tensor, Tensor) and tensor.dtype != np.float32 and position not in places:
            counted |= node.op_type not in COMPARISONS or tensor.size > 1
    filled = [a.t.data_type for a in node.attribute if a.name == "value"]
    if node.op_type == "ConstantOfShape":
        return _Marks(False, any(kind != onnx.TensorProto.FLOAT for kind in filled))
    return _Marks(data, counted)
