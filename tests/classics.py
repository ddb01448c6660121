"""The model zoo's classics, as the onnx package ships them without weights, with weights drawn."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = [
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
]
CLASSES = 1000


def path_of(name: str) -> str:
    """The network as the onnx package ships it."""
    return str(DATA / f"light_{name}.onnx")


def redrawn(name: str, folder: Path) -> Path:
    """The network with He-normal weights and a quarter of its channels (ShuffleNet: all)."""
    model = onnx.load(path_of(name))
    factor = 1 if name == "shufflenet" else 4
    rng = np.random.default_rng(len(name))
    held = {t.name: t for t in model.graph.initializer}
    readers = {n: (node, i) for node in model.graph.node for i, n in enumerate(node.input)}

    def fewer(size: int) -> int:
        return size if size in (1, 3, CLASSES) else size // factor

    made, filled = [], set()
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            continue
        shape = numpy_helper.to_array(held[node.input[0]]).tolist()
        reader, place = readers[node.output[0]]
        wide = (0, 1) if reader.op_type != "Reshape" else (3,)
        shape = [fewer(d) if i in wide else d for i, d in enumerate(shape)]
        if len(shape) > 1:
            value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif (reader.op_type, place) in (("BatchNormalization", 1), ("BatchNormalization", 4)) or (
            reader.op_type == "Mul"
        ):
            value = rng.uniform(0.7, 1.4, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        made.append(numpy_helper.from_array(value.astype(np.float32), node.output[0]))
        filled.add(node.input[0])
        node.op_type = ""
    for node in list(model.graph.node):
        if not node.op_type:
            model.graph.node.remove(node)
        elif node.op_type == "Reshape" and node.input[1] in held:
            goal = numpy_helper.to_array(held[node.input[1]]).copy()
            if len(goal) == 2:
                goal[1] = fewer(int(goal[1]))
                held[node.input[1]].CopyFrom(numpy_helper.from_array(goal, node.input[1]))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 1:
            value = numpy_helper.to_array(tensor)[: fewer(tensor.dims[0])]
            tensor.CopyFrom(numpy_helper.from_array(value.copy(), tensor.name))
    last = model.graph.node[-1]
    if last.op_type == "Softmax":  # which would hide all but the largest score
        model.graph.output[0].name = last.input[0]
        model.graph.node.remove(last)
    read = {name for node in model.graph.node for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *made])
    given = {tensor.name for tensor in model.graph.initializer} | filled
    inputs = [v for v in model.graph.input if v.name not in given]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    del model.graph.value_info[:]
    path = folder / f"{name}.onnx"
    onnx.save(model, str(path))
    return path
