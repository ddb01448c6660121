"""Model files made to do harm: bombs, forged places and sizes, constants without end, names."""

from collections.abc import Callable

import numpy as np
import onnx
import seeds
from mutants.values import Files
from onnx import TensorProto, helper, numpy_helper, parser

from refused.case import Refused

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
TINY = seeds.network("tiny")


def text(graph: str, weights: bool = True) -> Files:
    """A model in ONNX's own notation, with the weight `w` of a convolution."""
    model = parser.parse_model(f"{HEAD} g {graph}")
    if weights:
        w = np.full((3, 2, 3, 3), 0.1, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(w, "w"))
    return {"t.onnx": model.SerializeToString()}


def constant(lines: str) -> Files:
    """A network that gives the constant `c`, which `lines` compute."""
    return text(f"(float[N,2,6,6] x) => (float y, float c) {{ {lines}\n y = Conv(x, w) }}")


def changed(change: Callable[[onnx.ModelProto], object], name: str = "tiny") -> Files:
    model = seeds.network(name)
    change(model)
    return {"t.onnx": model.SerializeToString()}


def weight(value: np.ndarray) -> Files:
    def put(model: onnx.ModelProto) -> None:
        kept = next(t for t in model.graph.initializer if t.name == "w")
        kept.CopyFrom(numpy_helper.from_array(value, "w"))

    return changed(put)


def w_of(**fields: object) -> Files:
    """The tiny network with other fields of its first weight."""

    def put(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "w")
        for key, entry in fields.items():
            if key == "dims":
                tensor.dims[:] = entry  # type: ignore[index]
            else:
                setattr(tensor, key, entry)

    return changed(put)


def external(**entries: str) -> Files:
    """Weights in a data file, the first one's place forged."""
    files = seeds.external(TINY)
    model = onnx.load_from_string(files["t.onnx"])
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    return {**files, "t.onnx": model.SerializeToString()}


def shared_place() -> Files:
    """A thousand tensors in one place of a data file."""
    files = seeds.external(TINY)
    model = onnx.load_from_string(files["t.onnx"])
    for number in range(1000):
        model.graph.initializer.append(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"more{number}"
    return {**files, "t.onnx": model.SerializeToString()}


def varint(number: int) -> bytes:
    data = b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def bomb(field: bytes) -> Files:
    """A graph of ten million parts of two bytes."""
    body = field * 10_000_000
    return {"t.onnx": b"\x3a" + varint(len(body)) + body}


def many(count: int, op: str = "Relu") -> Files:
    nodes = [helper.make_node("Conv", ["x", "w"], ["a0"])]
    nodes += [helper.make_node(op, [f"a{i}"], [f"a{i + 1}"]) for i in range(count)]

    def put(model: onnx.ModelProto) -> None:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(f"a{count}", 1, None))

    return changed(put)


def nested(depth: int) -> Files:
    """If in If in If …"""
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["y"], ["z"])], "leaf", [], [out])
    for _ in range(depth):
        node = helper.make_node("If", ["yes"], ["z"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [out])
        if graph.ByteSize() > 1 << 20:
            break

    def put(model: onnx.ModelProto) -> None:
        model.graph.node.add(op_type="ReduceMax", input=["y"], output=["m"])
        model.graph.node.add(op_type="Cast", input=["m"], output=["yes"])
        model.graph.node[-1].attribute.append(helper.make_attribute("to", TensorProto.BOOL))
        model.graph.node.extend(graph.node)
        model.graph.output[0].name = "z"

    return changed(put)


def recursive(model: onnx.ModelProto) -> None:
    """A function that calls itself."""
    node = helper.make_node("Again", ["a"], ["b"], domain="own")
    model.functions.append(
        helper.make_function("own", "Again", ["a"], ["b"], [node], [helper.make_opsetid("own", 1)])
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Again", "own"


def renamed(name: str) -> Files:
    """A node and a tensor of that name, and something wrong with them."""

    def put(model: onnx.ModelProto) -> None:
        model.graph.node[0].name = name
        model.graph.node[0].attribute[0].ints[:] = [0, 0]

    return changed(put)


def normed(**values: float) -> Files:
    """A BatchNormalization with one number everywhere."""

    def put(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name in values:
                value = np.full(4, values[tensor.name], np.float32)
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        node = next(n for n in model.graph.node if n.op_type == "BatchNormalization")
        node.attribute[0].f = values.get("epsilon", 0.0)

    return changed(put, "norm")


def doubling(steps: int, start: str) -> str:
    lines = [f"a0 = {start}"]
    lines += [f"a{i + 1} = Concat<axis=0>(a{i}, a{i})" for i in range(steps)]
    return "\n".join(lines)


SEED = TINY.SerializeToString()
FAR = "int64[2] {1000000, 1000000}"
MODELS: dict[str, Refused] = {
    "empty file": Refused(lambda: {"t.onnx": b""}, "not an ONNX model"),
    "another format": Refused(lambda: {"t.onnx": b"\x89PNG\r\n\x1a\n" * 40}, "not an ONNX model"),
    "truncated": Refused(lambda: {"t.onnx": SEED[: len(SEED) // 2]}, "not an ONNX model"),
    "bomb of nodes": Refused(lambda: bomb(b"\x0a\x00"), "parts"),
    "bomb of weights": Refused(lambda: bomb(b"\x2a\x00"), "parts"),
    "bomb of value infos": Refused(lambda: bomb(b"\x6a\x00"), "parts"),
    "a hundred thousand nodes": Refused(lambda: many(100_000), "100,001"),
    "an absolute path": Refused(lambda: external(location="/etc/hostname"), "'w': external data"),
    "a path upwards": Refused(lambda: external(location="../data.bin"), "'w': external data"),
    "a path in and upwards": Refused(
        lambda: external(location="a/../../data.bin"), "'w': external"
    ),
    "a path with backslashes": Refused(
        lambda: external(location="..\\data.bin"), "'w': external data"
    ),
    "a drive": Refused(lambda: external(location="C:data.bin"), "'w': external data"),
    "a folder as data": Refused(lambda: external(location="."), "'w': external data"),
    "no path": Refused(lambda: external(location=""), "'w': external data"),
    "data that is not there": Refused(lambda: external(location="other.bin"), "missing"),
    "an offset past the end": Refused(lambda: external(offset="99999999"), "truncated"),
    "an offset before the start": Refused(lambda: external(offset="-8"), "'w': external data"),
    "an offset that is no number": Refused(lambda: external(offset="many"), "'w': external data"),
    "a length that is too large": Refused(lambda: external(length="1000000000000"), "disagree"),
    "a length that is too small": Refused(lambda: external(length="4"), "disagree"),
    "many tensors in one place": Refused(shared_place, "larger than its files"),
    "sizes whose product overflows": Refused(lambda: w_of(dims=[1 << 31, 1 << 31, 4, 1]), "'w'"),
    "a negative size": Refused(lambda: w_of(dims=[-1, 2, 3, 3]), "'w'"),
    "fewer numbers than sizes say": Refused(lambda: w_of(dims=[3, 2, 3, 4]), "'w'"),
    "a type nobody knows": Refused(lambda: w_of(data_type=99), "'w'"),
    "a type of other size": Refused(lambda: w_of(data_type=TensorProto.DOUBLE), "'w'"),
    "a weight of strings": Refused(lambda: weight(np.full((3, 2, 3, 3), "x", object)), "Conv"),
    "an empty weight": Refused(lambda: weight(np.zeros((0, 2, 3, 3), np.float32)), "t.onnx"),
    "a kernel of no size": Refused(lambda: weight(np.zeros((3, 2, 0, 3), np.float32)), ""),
    "infinite weights": Refused(lambda: weight(np.full((3, 2, 3, 3), np.inf, np.float32)), "'w'"),
    "an input of no size": Refused(
        lambda: text("(float[N,0,6,6] x) => (float y) { y = Conv(x, w) }"), "x"
    ),
    "an input of all sizes": Refused(
        lambda: text("(float[4000000000,2,4000000000,9000000] x) => (float y) { y = Conv(x, w) }"),
        "'x'",
    ),
    "ConstantOfShape": Refused(
        lambda: constant(f"s = Constant<value={FAR}>()\nc = ConstantOfShape(s)"), "'c'"
    ),
    "Expand": Refused(
        lambda: constant(
            f"s = Constant<value={FAR}>()\no = Constant<value_float=1.0>()\nc = Expand(o, s)"
        ),
        "'c'",
    ),
    "Tile": Refused(
        lambda: constant(
            f"s = Constant<value={FAR}>()\no = Constant<value=float[1,1] {{1}}>()\nc = Tile(o, s)"
        ),
        "'c'",
    ),
    "Range": Refused(
        lambda: constant(
            "a = Constant<value_float=0.0>()\nb = Constant<value_float=1e9>()\n"
            "s = Constant<value_float=0.01>()\nc = Range(a, b, s)"
        ),
        "'c'",
    ),
    "Range without end": Refused(
        lambda: constant(
            "a = Constant<value_float=0.0>()\nb = Constant<value_float=3e38>()\n"
            "s = Constant<value_float=1e-38>()\nc = Range(a, b, s)"
        ),
        "",
    ),
    "Pad": Refused(
        lambda: constant(
            "s = Constant<value=int64[2] {100000000, 100000000}>()\n"
            "o = Constant<value=float[1] {1}>()\nc = Pad(o, s)"
        ),
        "c",
    ),
    "many large constants": Refused(
        lambda: constant(
            "s = Constant<value=int64[2] {4000, 4000}>()\n"
            "o = Constant<value_float=1.0>()\na0 = Expand(o, s)\n"
            + "\n".join(f"a{i + 1} = Sqrt(a{i})" for i in range(90))
            + "\nc = Sqrt(a90)"
        ),
        "constants",
    ),
    "multiplications without end": Refused(
        lambda: constant(
            "s = Constant<value=int64[2] {5700, 5700}>()\n"
            "o = Constant<value_float=1.0>()\na = Expand(o, s)\nc = MatMul(a, a)"
        ),
        "multiply-adds",
    ),
    "a constant that doubles": Refused(
        lambda: constant(doubling(50, "Constant<value=float[1] {1}>()") + "\nc = Identity(a50)"), ""
    ),
    "a shape that doubles": Refused(
        lambda: constant(doubling(50, "Shape(x)") + "\nc = Cast<to=1>(a50)"), ""
    ),
    "a division by zero": Refused(
        lambda: constant(
            "o = Constant<value=int64[1] {1}>()\nz = Constant<value=int64[1] {0}>()\n"
            "d = Div(o, z)\nc = Cast<to=1>(d)"
        ),
        "Div",
    ),
    "a network that divides by zero": Refused(
        lambda: text(
            "(float[N,2,6,6] x) => (float y) { z = Constant<value=int64[1] {0}>()\n s = Shape(x)\n"
            "q = Div(s, z)\n f = Cast<to=1>(q)\n a = Conv(x, w)\n y = Add(a, f) }"
        ),
        "Div",
    ),
    "constants without end": Refused(
        lambda: constant(
            "a0 = Constant<value=float[1] {1}>()\n"
            + "\n".join(f"a{i + 1} = Sqrt(a{i})" for i in range(25_000))
            + "\nc = Sqrt(a25000)"
        ),
        "constants",
    ),
    "If in If": Refused(lambda: nested(40), "control flow"),
    "a function that calls itself": Refused(lambda: changed(recursive), "Again"),
    "a name that steers terminals": Refused(lambda: renamed("\x1b[2J\x1b]0;owned\x07"), "\\x1b[2J"),
    "a name of a megabyte": Refused(lambda: renamed("n" * (1 << 20)), "nnn"),
    "a name like a path": Refused(lambda: renamed("../../etc/passwd"), "../../etc/passwd"),
    "a name that is no text": Refused(
        lambda: {"t.onnx": SEED.replace(b"\x0a\x01a", b"\x0a\x01\xff")}, "UTF-8"
    ),
    "no variance": Refused(lambda: normed(v=0.0), "BatchNormalization"),
    "a negative variance": Refused(lambda: normed(v=-1.0), "BatchNormalization"),
    "a scale past all numbers": Refused(lambda: normed(v=1e-30, s=1e38), "float32"),
    "an operator set to come": Refused(
        lambda: changed(lambda m: setattr(m.opset_import[0], "version", 9999)), "operator set 9999"
    ),
    "a version of ONNX to come": Refused(
        lambda: changed(lambda m: setattr(m, "ir_version", 9999)), ""
    ),
    "no operator set": Refused(
        lambda: changed(lambda m: m.ClearField("opset_import")), "ONNX model"
    ),
    "an attribute of another type": Refused(
        lambda: changed(
            lambda m: m.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("strides", "far"))
        ),
        "",
    ),
    "a stride of zero": Refused(
        lambda: changed(lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, 0)), "Conv"
    ),
    "a sparse weight": Refused(
        lambda: changed(
            lambda m: m.graph.sparse_initializer.add(
                values=numpy_helper.from_array(np.ones(1, np.float32), "few"),
                indices=numpy_helper.from_array(np.zeros(1, np.int64), "at"),
                dims=[1 << 40],
            )
        ),
        "'few'",
    ),
}
