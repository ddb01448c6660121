"""What ONNX's shape inference says of a model's tensors."""

from collections.abc import Mapping

import onnx
from onnx import helper, shape_inference

from lt_onnx.errors import InputError
from lt_onnx.reading.protobuf import all_graphs
from lt_onnx.target import Shape

MAX_PROPAGATED = 1 << 12  # numbers of a shape tensor; inference carries each of them on its own
# operators whose output has the shape of their first input, by domain
SAME_SHAPE = frozenset(
    [("", "GroupNormalization"), ("ai.onnx.ml", "Normalizer"), ("com.microsoft", "BiasGelu")]
    + [("com.microsoft", op) for op in "FastGelu Gelu QuickGelu".split()]
)
FLOATS = (onnx.TensorProto.UNDEFINED, onnx.TensorProto.FLOAT)


def shape_of(value: onnx.ValueInfoProto) -> Shape:
    """Sizes of a tensor: an int, a symbol or None per axis."""
    return tuple(
        dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value >= 0
        else (dim.dim_param or None)
        for dim in value.type.tensor_type.shape.dim
    )


def infer_shapes(content: bytes, told: Mapping[str, Shape] | None = None) -> bytes:
    """The graph of a serialised model with what inference finds, and nothing else in it.

    `told` are shapes that are known already, of some tensors.
    """
    model = onnx.ModelProto()
    model.ParseFromString(content)
    for graph in all_graphs(model):
        del graph.value_info[:]
        for value in graph.output:  # exporters state some wrongly, runtimes do not mind
            value.type.tensor_type.ClearField("shape")
    for node in model.graph.node:
        node.name = node.name or next(iter(node.output), "")  # complaints tell names
        if (node.domain, node.op_type) in SAME_SHAPE:  # inference knows no more of them
            inputs, cast = node.input[:1], helper.make_attribute("to", FLOATS[1])
            node.CopyFrom(onnx.NodeProto(op_type="Cast", input=inputs, output=node.output[:1]))
            node.attribute.append(cast)
    outputs = {value.name: value for value in model.graph.output}
    constants = {tensor.name for tensor in model.graph.initializer}  # which have shapes
    for name, shape in (told or {}).items():
        if name in constants:
            continue
        value = outputs[name] if name in outputs else model.graph.value_info.add(name=name)
        value.type.CopyFrom(helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shape))
    inferred = _inferred(model, data_prop=False)
    values = values_of(inferred).values()
    integers = [v for v in values if v.type.tensor_type.elem_type not in FLOATS]
    longest = max((d for v in integers for d in shape_of(v) if isinstance(d, int)), default=0)
    if longest <= MAX_PROPAGATED:
        inferred = _inferred(model, data_prop=True)
    fields = {key: getattr(inferred, key) for key in ("value_info", "input", "output")}
    return bytes(onnx.GraphProto(**fields).SerializeToString())


def _inferred(model: onnx.ModelProto, *, data_prop: bool) -> onnx.GraphProto:
    """Raises InputError naming the node whose inputs and attributes contradict each other."""
    try:
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=data_prop).graph
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        if "instead is null" in str(error):  # behind an operator that inference knows nothing of
            return shape_inference.infer_shapes(model, data_prop=data_prop).graph
        raise InputError(_first_complaint(str(error))) from None


def _first_complaint(text: str) -> str:
    """Of what inference says, with its node."""
    text = text.partition("Inference error(s):")[2] or text
    first = next((line for line in text.splitlines() if line.strip()), "")
    for word in ("[ShapeInferenceError]", "[TypeInferenceError]", "(op_type:"):
        first = first.replace(word, "")
    return " ".join(first.replace(", node name: ", " '").replace("): ", "': ").split())


def values_of(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    """What is said of each tensor, by name."""
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
