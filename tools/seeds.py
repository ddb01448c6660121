"""The files that `fuzz` starts from: small networks of every kind, tickets, packs, samples."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mutants.values import Files
from onnx import helper, numpy_helper, parser

from lt_onnx.reading.protobuf import names_read

MODELS = Path(__file__).resolve().parent.parent / "models"
Sizes = dict[str, tuple[int, ...]]

TINY = """
{ a = Conv<strides=[2,2]>(x, w, b)
  r = Relu(a)
  f = Flatten(r)
  y = Gemm<transB=1>(f, g) }
"""
GRAPHS: dict[str, tuple[str, Sizes, str]] = {  # graph, its weights, its output
    "tiny": (TINY, {"w": (3, 2, 3, 3), "b": (3,), "g": (3, 12)}, "float[N,3] y"),
    "bare": (
        """
{ a = Conv(x, w)
  r = Relu(a)
  y = Conv(r, k) }
""",
        {"w": (2, 2, 2, 2), "k": (2, 2, 1, 1)},
        "float[N,2,5,5] y",
    ),
    "norm": (
        """
{ a = Conv<pads=[1,1,1,1]>(x, w)
  n = BatchNormalization<epsilon=0.001>(a, s, s, b, v)
  r = Clip(n, zero, six)
  p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
  d = Conv<group=4>(p, k)
  e = Add(d, c)
  t = PRelu(e, c)
  l = GlobalAveragePool(t)
  q = Squeeze(l, axes)
  y = MatMul(q, g) }
""",
        {
            "w": (4, 2, 3, 3),
            "s": (4,),
            "b": (4,),
            "v": (4,),
            "k": (4, 1, 2, 2),
            "c": (4, 1, 1),
            "g": (4, 3),
        },
        "float[N,3] y",
    ),
    "skip": (
        """
{ a = Conv<pads=[1,1,1,1]>(x, w, b)
  s = Sigmoid(a)
  m = Mul(a, s)
  c = Conv<auto_pad="SAME_UPPER">(m, k)
  j = Conv(x, p)
  z = Add(c, j)
  h = HardSwish(z)
  o, u = Split<axis=1>(h, halves)
  i = Concat<axis=1>(u, o)
  e = Pad(i, pads)
  f = Slice(e, starts, ends, sliced, steps)
  y = Softmax<axis=1>(f) }
""",
        {"w": (4, 2, 3, 3), "b": (4,), "k": (4, 4, 3, 3), "p": (4, 2, 1, 1)},
        "float[N,4,6,6] y",
    ),
    "shapes": (
        """
{ k = Constant<value = int64[1] {-1}>()
  z = Shape(x)
  n = Gather(z, first)
  o = Concat<axis=0>(n, k)
  i = ConstantOfShape<value = float[1] {0.5}>(four)
  j = Expand(i, many)
  t = Tile(j, thrice)
  d = Range(one, seven, two)
  a = Conv(x, w)
  r = Tanh(a)
  u = Resize<mode="nearest">(r, , scales)
  f = Reshape(u, o)
  m = MatMul(f, g)
  q = Add(m, d)
  e = ReduceSum(t)
  y = Mul(q, e) }
""",
        {"w": (2, 2, 3, 3), "g": (128, 3)},
        "float[N,3] y",
    ),
    "up": (
        """
{ a = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]>(x, w, b)
  r = LeakyRelu<alpha=0.1>(a)
  c = DepthToSpace<blocksize=2, mode="CRD">(r)
  d = AveragePool<kernel_shape=[2,2]>(c)
  e = Transpose<perm=[0,2,3,1]>(d)
  l = LayerNormalization(e, s)
  y = MatMul(l, g) }
""",
        {"w": (2, 4, 3, 3), "b": (4,), "s": (1,), "g": (1, 2)},
        "float y",
    ),
    "turn": (
        """
{ a = Conv(x, w)
  z = Shape(a)
  n = Gather<axis=0>(z, last)
  c = Greater(n, first)
  r = If(c)<then_branch = t () => (float[N,3,4,4] o) { i = Mul(a, two) o = Relu(i) },
            else_branch = e () => (float[N,3,4,4] o) {
              o = If(c)<then_branch = f () => (float[N,3,4,4] u) { u = Neg(a) },
                        else_branch = g () => (float[N,3,4,4] u) { u = Abs(a) }> }>
  y = Conv(r, k) }
""",
        {"w": (3, 2, 3, 3), "k": (2, 3, 2, 2)},
        "float[N,2,3,3] y",
    ),
    "count": (
        """
{ a = Conv(x, w)
  z = Shape(a)
  n = Gather<axis=0>(z, first)
  s = Concat<axis=0>(n, width)
  o = ConstantOfShape<value = float[1] {1}>(s)
  p = CumSum(o, second)
  d = Div(p, seven)
  u = Unsqueeze(d, middle)
  t = Sin(u)
  m = Expand(counts, s)
  c = Cast<to=1>(m)
  e = Unsqueeze(c, middle)
  b = Add(a, t)
  y = Mul(b, e) }
""",
        {"w": (3, 2, 1, 1)},
        "float y",
    ),
}
GIVEN = {
    "zero": np.float32(0),
    "six": np.float32(6),
    "axes": np.array([2, 3]),
    "halves": np.array([2, 2]),
    "counts": np.array([[1, 2, 3, 4, 5, 6]]),
    "width": np.array([6]),
    "second": np.int64(1),
    "middle": np.array([1, 2]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "starts": np.array([1, 1]),
    "ends": np.array([-1, -1]),
    "sliced": np.array([2, 3]),
    "steps": np.array([1, 1]),
    "first": np.array([0]),
    "last": np.array([3]),
    "four": np.array([4]),
    "many": np.array([3, 4]),
    "thrice": np.array([1, 3]),
    "one": np.float32(1),
    "seven": np.float32(7),
    "two": np.float32(2),
    "scales": np.array([1, 1, 2, 2], np.float32),
}


def network(name: str) -> onnx.ModelProto:
    """One of the small graphs, its weights drawn."""
    text, sizes, output = GRAPHS[name]
    head = '<ir_version: 8, opset_import: ["" : 17]>'
    model = parser.parse_model(f"{head}\n{name} (float[N,2,6,6] x) => ({output})\n{text}")
    rng = np.random.default_rng(len(name))
    weights = {
        key: rng.normal(0, 1 / math.sqrt(math.prod(size[1:])), size) for key, size in sizes.items()
    }
    if "v" in weights:
        weights["v"] = np.abs(weights["v"])
    read = {key for node in model.graph.node for key in names_read(node)}
    for key, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), key))
    for key in sorted(read & GIVEN.keys()):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(GIVEN[key]), key))
    return model


def external(model: onnx.ModelProto) -> Files:
    """The model with its weights in a file of their own."""
    made, data = onnx.ModelProto(), b""
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        content = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, entry in (
            ("location", "data.bin"),
            ("offset", len(data)),
            ("length", len(content)),
        ):
            tensor.external_data.add(key=key, value=str(entry))
        data += content
    return {"t.onnx": made.SerializeToString(), "data.bin": data}


def _branching() -> onnx.ModelProto:
    """A graph with an If and a function of its own."""
    model = network("tiny")
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["y"], ["z"])],
            op,
            [],
            [helper.make_tensor_value_info("z", 1, None)],
        )
        for op in ("Relu", "Neg")
    ]
    choice = numpy_helper.from_array(np.array(True), "choice")
    model.graph.initializer.append(choice)
    model.graph.node.append(
        helper.make_node(
            "If", ["choice"], ["out"], then_branch=branches[0], else_branch=branches[1]
        )
    )
    model.graph.output[0].name = "out"
    own = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    model.functions.append(own)
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.append(helper.make_node("Twice", ["y"], ["unused"], domain="own"))
    return model


def readers() -> list[Files]:
    """Networks for `inspect`, `plan` and `convert`."""
    models = [network(name) for name in GRAPHS if name != "bare"] + [_branching()]
    shipped = [MODELS / f"plain-{kind}.onnx" for kind in ("relu", "sigmoid")]
    return (
        [{"t.onnx": model.SerializeToString()} for model in models]
        + [external(network("tiny")), external(network("norm"))]
        + [{"t.onnx": path.read_bytes()} for path in [*shipped, MODELS / "depthwise.onnx"]]
    )


def samples() -> list[Files]:
    """Inputs for `validate` against the tiny network."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 2, 6, 6)).astype(np.float32)
    kinds = ({"x": x}, {"x": x, "labels": np.arange(4) % 3}, {"x": x, "other": np.arange(9)})
    made = []
    for arrays in kinds:
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        made.append({"s.npz": stream.getvalue()})
    stream = io.BytesIO()
    np.save(stream, x)
    return [*made, {"s.npy": stream.getvalue()}]


FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"mode": "2l"},
    {"mode": "2l", "weights": "masked"},
    {"mode": "2l", "weights": "sparse"},
    {"mode": "2l", "fp16": True},
    {"mode": "2l", "weights": "masked", "fp16": True},
    {"mode": "2l", "price_bits": 0.1},
    {"mode": "2l", "weights": "seeded"},
    {"mode": "2l", "weights": "seeded", "collapse": True},
    {"mode": "l+k", "price": 1e-3},
    {},  # in external data
)
LAST = {"tiny": "Gemm_3", "norm": "MatMul_9"}  # the layer that opens a block in mode l+k


def tickets(folder: Path) -> list[Files]:
    """Small tickets of every form. Runs the whole of lt-onnx: to be called in a process apart."""
    from lt_onnx import convert, files

    made = []
    inline = files.INLINE_LIMIT
    for name, last in LAST.items():
        target = folder / f"{name}.onnx"
        target.write_bytes(network(name).SerializeToString())
        for number, form in enumerate(FORMS):
            files.INLINE_LIMIT = 0 if number == len(FORMS) - 1 else inline
            out = folder / f"{name}{number}" / "t.onnx"
            out.parent.mkdir(exist_ok=True)
            between: dict[str, Any] = {"base_sizes": {last: 3}} if form.get("mode") == "l+k" else {}
            convert(target, out, base_size=3, **form, **between)
            made.append({file.name: file.read_bytes() for file in sorted(out.parent.iterdir())})
    files.INLINE_LIMIT = inline
    return made


def packs(folder: Path, made_tickets: list[Files]) -> list[Files]:
    """The packs of those tickets that have their weights; likewise."""
    from lt_onnx.packing.pack import pack

    made = []
    for number, files in enumerate(made_tickets):
        if FORMS[number % len(FORMS)].get("weights") == "seeded":
            continue
        place = folder / f"pack{number}"
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        pack(place / "t.onnx", place / "t.ltz")
        made.append({"t.ltz": (place / "t.ltz").read_bytes()})
    return made
