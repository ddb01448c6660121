"""Files made to do harm: one line, an exit code, bounded time and memory, nothing written.

`attempts.attempt` asks all of that of every case here, as it does of its own.
"""

import io
import os
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import seeds
from attempts import Case, Outcome, attempt
from mutants.archives import zipped
from mutants.values import Files
from onnx import TensorProto, helper, numpy_helper, parser

from lt_onnx import convert

CUT_OFF = 600  # seconds: ends what hangs, on a busy machine too; it decides nothing


class NoAnswer(BaseException):
    """Nothing that lt-onnx catches."""


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """The alarm of `attempt` is a failure here, not the end of the process."""

    def stop(number: int, frame: object) -> None:
        raise NoAnswer

    known = signal.signal(signal.SIGALRM, stop)
    yield
    signal.signal(signal.SIGALRM, known)


def tried(case: Case, folder: Path) -> Outcome:
    return attempt(case, 0, folder, seconds=CUT_OFF)


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
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
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
REFUSED: dict[str, tuple[Callable[[], Files], str]] = {
    "empty file": (lambda: {"t.onnx": b""}, "not an ONNX model"),
    "another format": (lambda: {"t.onnx": b"\x89PNG\r\n\x1a\n" * 40}, "not an ONNX model"),
    "truncated": (lambda: {"t.onnx": SEED[: len(SEED) // 2]}, "not an ONNX model"),
    "bomb of nodes": (lambda: bomb(b"\x0a\x00"), "parts"),
    "bomb of weights": (lambda: bomb(b"\x2a\x00"), "parts"),
    "bomb of value infos": (lambda: bomb(b"\x6a\x00"), "parts"),
    "a hundred thousand nodes": (lambda: many(100_000), "100,001"),
    "an absolute path": (lambda: external(location="/etc/hostname"), "'w': external data"),
    "a path upwards": (lambda: external(location="../data.bin"), "'w': external data"),
    "a path in and upwards": (lambda: external(location="a/../../data.bin"), "'w': external"),
    "a path with backslashes": (lambda: external(location="..\\data.bin"), "'w': external data"),
    "a drive": (lambda: external(location="C:data.bin"), "'w': external data"),
    "a folder as data": (lambda: external(location="."), "'w': external data"),
    "no path": (lambda: external(location=""), "'w': external data"),
    "data that is not there": (lambda: external(location="other.bin"), "missing"),
    "an offset past the end": (lambda: external(offset="99999999"), "truncated"),
    "an offset before the start": (lambda: external(offset="-8"), "'w': external data"),
    "an offset that is no number": (lambda: external(offset="many"), "'w': external data"),
    "a length that is too large": (lambda: external(length="1000000000000"), "disagree"),
    "a length that is too small": (lambda: external(length="4"), "disagree"),
    "many tensors in one place": (shared_place, "larger than its files"),
    "sizes whose product overflows": (lambda: w_of(dims=[1 << 31, 1 << 31, 4, 1]), "'w'"),
    "a negative size": (lambda: w_of(dims=[-1, 2, 3, 3]), "'w'"),
    "fewer numbers than sizes say": (lambda: w_of(dims=[3, 2, 3, 4]), "'w'"),
    "a type nobody knows": (lambda: w_of(data_type=99), "'w'"),
    "a type of other size": (lambda: w_of(data_type=TensorProto.DOUBLE), "'w'"),
    "a weight of strings": (lambda: weight(np.full((3, 2, 3, 3), "x", object)), "Conv"),
    "an empty weight": (lambda: weight(np.zeros((0, 2, 3, 3), np.float32)), "t.onnx"),
    "a kernel of no size": (lambda: weight(np.zeros((3, 2, 0, 3), np.float32)), ""),
    "infinite weights": (lambda: weight(np.full((3, 2, 3, 3), np.inf, np.float32)), "'w'"),
    "an input of no size": (
        lambda: text("(float[N,0,6,6] x) => (float y) { y = Conv(x, w) }"),
        "x",
    ),
    "an input of all sizes": (
        lambda: text("(float[4000000000,2,4000000000,9000000] x) => (float y) { y = Conv(x, w) }"),
        "'x'",
    ),
    "ConstantOfShape": (
        lambda: constant(f"s = Constant<value={FAR}>()\nc = ConstantOfShape(s)"),
        "'c'",
    ),
    "Expand": (
        lambda: constant(
            f"s = Constant<value={FAR}>()\no = Constant<value_float=1.0>()\nc = Expand(o, s)"
        ),
        "'c'",
    ),
    "Tile": (
        lambda: constant(
            f"s = Constant<value={FAR}>()\no = Constant<value=float[1,1] {{1}}>()\nc = Tile(o, s)"
        ),
        "'c'",
    ),
    "Range": (
        lambda: constant(
            "a = Constant<value_float=0.0>()\nb = Constant<value_float=1e9>()\n"
            "s = Constant<value_float=0.01>()\nc = Range(a, b, s)"
        ),
        "'c'",
    ),
    "Range without end": (
        lambda: constant(
            "a = Constant<value_float=0.0>()\nb = Constant<value_float=3e38>()\n"
            "s = Constant<value_float=1e-38>()\nc = Range(a, b, s)"
        ),
        "",
    ),
    "Pad": (
        lambda: constant(
            "s = Constant<value=int64[2] {100000000, 100000000}>()\n"
            "o = Constant<value=float[1] {1}>()\nc = Pad(o, s)"
        ),
        "c",
    ),
    "many large constants": (
        lambda: constant(
            "s = Constant<value=int64[2] {4000, 4000}>()\n"
            "o = Constant<value_float=1.0>()\na0 = Expand(o, s)\n"
            + "\n".join(f"a{i + 1} = Sqrt(a{i})" for i in range(90))
            + "\nc = Sqrt(a90)"
        ),
        "constants",
    ),
    "multiplications without end": (
        lambda: constant(
            "s = Constant<value=int64[2] {5700, 5700}>()\n"
            "o = Constant<value_float=1.0>()\na = Expand(o, s)\nc = MatMul(a, a)"
        ),
        "multiply-adds",
    ),
    "a constant that doubles": (
        lambda: constant(doubling(50, "Constant<value=float[1] {1}>()") + "\nc = Identity(a50)"),
        "",
    ),
    "a shape that doubles": (
        lambda: constant(doubling(50, "Shape(x)") + "\nc = Cast<to=1>(a50)"),
        "",
    ),
    "a division by zero": (
        lambda: constant(
            "o = Constant<value=int64[1] {1}>()\nz = Constant<value=int64[1] {0}>()\n"
            "d = Div(o, z)\nc = Cast<to=1>(d)"
        ),
        "Div",
    ),
    "a network that divides by zero": (
        lambda: text(
            "(float[N,2,6,6] x) => (float y) { z = Constant<value=int64[1] {0}>()\n s = Shape(x)\n"
            "q = Div(s, z)\n f = Cast<to=1>(q)\n a = Conv(x, w)\n y = Add(a, f) }"
        ),
        "Div",
    ),
    "constants without end": (
        lambda: constant(
            "a0 = Constant<value=float[1] {1}>()\n"
            + "\n".join(f"a{i + 1} = Sqrt(a{i})" for i in range(25_000))
            + "\nc = Sqrt(a25000)"
        ),
        "constants",
    ),
    "If in If": (lambda: nested(40), "control flow"),
    "a function that calls itself": (lambda: changed(recursive), "Again"),
    "a name that steers terminals": (lambda: renamed("\x1b[2J\x1b]0;owned\x07"), "\\x1b[2J"),
    "a name of a megabyte": (lambda: renamed("n" * (1 << 20)), "nnn"),
    "a name like a path": (lambda: renamed("../../etc/passwd"), "../../etc/passwd"),
    "a name that is no text": (
        lambda: {"t.onnx": SEED.replace(b"\x0a\x01a", b"\x0a\x01\xff")},
        "UTF-8",
    ),
    "no variance": (lambda: normed(v=0.0), "BatchNormalization"),
    "a negative variance": (lambda: normed(v=-1.0), "BatchNormalization"),
    "a scale past all numbers": (lambda: normed(v=1e-30, s=1e38), "float32"),
    "an operator set to come": (
        lambda: changed(lambda m: setattr(m.opset_import[0], "version", 9999)),
        "operator set 9999",
    ),
    "a version of ONNX to come": (lambda: changed(lambda m: setattr(m, "ir_version", 9999)), ""),
    "no operator set": (lambda: changed(lambda m: m.ClearField("opset_import")), "ONNX model"),
    "an attribute of another type": (
        lambda: changed(
            lambda m: m.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("strides", "far"))
        ),
        "",
    ),
    "a stride of zero": (
        lambda: changed(lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, 0)),
        "Conv",
    ),
    "a sparse weight": (
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


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_model_is_refused(tmp_path: Path, name: str) -> None:
    make, named = REFUSED[name]
    outcome = tried(Case(make(), ["inspect", "{}/t.onnx"]), tmp_path)

    assert outcome.wrong == ""
    assert outcome.code == 2, outcome
    assert named in outcome.said
    assert list(tmp_path.iterdir()) == []


ODD: dict[str, Callable[[], Files]] = {
    "dead layers": lambda: weight(np.zeros((3, 2, 3, 3), np.float32)),
    "one weight": lambda: weight(np.eye(54, dtype=np.float32)[0].reshape(3, 2, 3, 3)),
    "a dead channel": lambda: weight(
        np.ones((3, 2, 3, 3), np.float32) * np.array([0, 1, 1], np.float32).reshape(3, 1, 1, 1)
    ),
    "deep constants": lambda: text(
        "(float[N,2,6,6] x) => (float y) { a0 = Constant<value=float[1] {1}>()\n"
        + "\n".join(f"a{i + 1} = Sqrt(a{i})" for i in range(3000))
        + "\nc = Conv(x, w)\n y = Add(c, a3000) }"
    ),
}
SIZES = {"denormal weights": 1e-42, "tiny weights": 1e-30, "huge weights": 1e30, "vast": 3e38}


@pytest.fixture(scope="module")
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is compiled at the first conversion is none of a case's time."""
    place = tmp_path_factory.mktemp("compiled")
    (place / "t.onnx").write_bytes(SEED)
    for mode in ("l+1", "2l"):
        convert(place / "t.onnx", place / f"{mode}.onnx", base_size=3, mode=mode)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_but_sound_converts(tmp_path: Path, name: str) -> None:
    words = ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "--base-size", "3", "-q"]
    outcome = tried(Case(ODD[name](), words, "out.onnx"), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 0), outcome


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_no_size_of_weights_is_a_crash(tmp_path: Path, name: str, mode: str) -> None:
    value = np.random.default_rng(0).normal(0, 1, (3, 2, 3, 3)).clip(-1, 1) * SIZES[name]
    words = ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "--base-size", "3", "-q", "--mode", mode]
    outcome = tried(Case(weight(value.astype(np.float32)), words, "out.onnx"), tmp_path)

    assert outcome.wrong == "", outcome


def test_bits_flipped_anywhere_never_crash(tmp_path: Path) -> None:
    for at in range(0, 400):
        data = bytearray(SEED)
        data[at % len(data)] ^= 1 << at % 8
        outcome = tried(Case({"t.onnx": bytes(data)}, ["inspect", "{}/t.onnx"]), tmp_path)
        assert outcome.wrong == "", (at, outcome)


# samples --------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(4, 2, 6, 6)).astype(np.float32)


def npz(**arrays: np.ndarray) -> Files:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return {"s.npz": stream.getvalue()}


def header(described: str, data: bytes = b"") -> bytes:
    line = (described.ljust(117) + "\n").encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + data


def claimed(described: str) -> Files:
    return {"s.npz": zipped([("x.npy", header(described, X.tobytes()))])}


def zip_bomb() -> Files:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (2000000, 2, 6, 6), }"
        member.write(header(shape))
        for _ in range(36):
            member.write(bytes(16_000_000))
    return {"s.npz": stream.getvalue()}


def test_an_input_past_all_memory_needs_samples(tmp_path: Path) -> None:
    files = text("(float[N,2,6,90000000] x) => (float y) { y = Conv(x, w) }")
    words = ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "-q"]
    outcome = tried(Case(files, words), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert "'x'" in outcome.said


SAMPLES: dict[str, tuple[Callable[[], Files], str]] = {
    "pickled": (lambda: npz(x=np.array([{"a": 1}], object)), "plain arrays"),
    "a zip bomb": (zip_bomb, "unpacks to"),
    "a shape past all memory": (
        lambda: claimed(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 2, 6, 6), }"
        ),
        "arrays",
    ),
    "a negative shape": (
        lambda: claimed("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 2, 6, 6), }"),
        "arrays",
    ),
    "a header of parentheses": (lambda: claimed("(" * 110), "arrays"),
    "no header": (lambda: {"s.npz": zipped([("x.npy", b"")])}, "arrays"),
    "no array": (lambda: {"s.npz": zipped([("x", X.tobytes())])}, "'x'"),
    "another name": (lambda: npz(z=X), "'x'; it holds z"),
    "strings": (lambda: npz(x=X.astype("U3")), "'x' is"),
    "complex": (lambda: npz(x=X.astype(np.complex64)), "'x' is complex64"),
    "dates": (lambda: npz(x=X.astype("M8[s]")), "'x' is"),
    "another rank": (lambda: npz(x=X[0]), "shape"),
    "another size": (lambda: npz(x=X[:, :, :5]), "shape"),
    "no samples": (lambda: npz(x=X[:0]), "samples"),
    "NaN": (lambda: npz(x=X * np.float32(np.nan)), "NaN"),
    "past float32": (lambda: npz(x=X.astype(np.float64) * 1e200), "infinity"),
    "labels of strings": (lambda: npz(x=X, labels=np.array(list("abcd"))), "labels"),
    "labels of another count": (lambda: npz(x=X, labels=np.arange(3)), "labels"),
    "an empty file": (lambda: {"s.npz": b""}, "arrays"),
    "no zip file": (lambda: {"s.npz": b"PK\x03\x04" + bytes(100)}, "arrays"),
    "a pickle": (lambda: {"s.npy": b"\x80\x04\x95" + bytes(40)}, "arrays"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_hostile_samples_are_refused(tmp_path: Path, name: str) -> None:
    make, named = SAMPLES[name]
    files = make()
    (tmp_path / "t.onnx").write_bytes(SEED)
    words = ["validate", "{}/t.onnx", "{}/t.onnx", "--samples", f"{{}}/{next(iter(files))}"]
    outcome = tried(Case(files, words), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert named in outcome.said


def png(width: int, height: int) -> bytes:
    """A picture that claims a size."""
    import zlib

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(9)))


@pytest.mark.parametrize(
    "picture", [png(100_000, 100_000), png(12_000, 12_000), b"", b"GIF89a\xff\xff\xff\xff\0\0\0,"]
)
def test_hostile_images_are_refused(tmp_path: Path, picture: bytes) -> None:
    model = parser.parse_model(
        f"{HEAD} g (float[N,1,8,8] x) => (float[N,1,8,8] y) {{ y = Relu(x) }}"
    )
    (tmp_path / "t.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(picture)
    words = ["validate", "{}/t.onnx", "{}/t.onnx", "--samples", "{}/images"]
    outcome = tried(Case({}, words), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert "one.png" in outcome.said


# what is no file ------------------------------------------------------------------------------

COMMANDS = {
    "inspect": ["inspect", "{}/it"],
    "plan": ["plan", "{}/it"],
    "source": ["source", "{}/it"],
    "convert": ["convert", "{}/it", "-o", "{}/out.onnx", "-q"],
    "validate": ["validate", "{}/it", "{}/t.onnx"],
    "validate ticket": ["validate", "{}/t.onnx", "{}/it"],
    "validate samples": ["validate", "{}/t.onnx", "{}/t.onnx", "--samples", "{}/it"],
    "calibration": ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "-q", "--calibration", "{}/it"],
    "verify": ["verify", "{}/it"],
    "verify target": ["verify", "{}/t.onnx", "--target", "{}/it"],
    "pack": ["pack", "{}/it", "-o", "{}/out.ltz"],
    "unpack": ["unpack", "{}/it"],
}


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to nothing", "empty"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_model_is_refused(tmp_path: Path, command: str, kind: str) -> None:
    (tmp_path / "t.onnx").write_bytes(SEED)
    place = tmp_path / "it"
    match kind:
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "device":
            place.symlink_to("/dev/zero")
        case "link to nothing":
            place.symlink_to(tmp_path / "nothing")
        case _:
            place.write_bytes(b"")
    outcome = tried(Case({}, COMMANDS[command]), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert "it" in outcome.said


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    files = seeds.external(TINY)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data.bin").write_bytes(files.pop("data.bin"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data.bin").symlink_to(tmp_path / "elsewhere" / "data.bin")
    (tmp_path / "here" / "t.onnx").write_bytes(files["t.onnx"])
    (tmp_path / "here" / "sub").symlink_to(tmp_path / "elsewhere")
    model = onnx.load_from_string(files["t.onnx"])
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "sub/data.bin"
    (tmp_path / "here" / "u.onnx").write_bytes(model.SerializeToString())
    for name in ("t.onnx", "u.onnx"):
        outcome = tried(Case({}, ["inspect", f"{{}}/here/{name}"]), tmp_path)

        assert (outcome.wrong, outcome.code) == ("", 2), outcome
        assert "'w': external data" in outcome.said
