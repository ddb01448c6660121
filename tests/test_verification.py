"""The proof: no forgery passes it, sealed again or not, and no genuine ticket fails it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import MODELS
from graphs import Builder, save
from onnx import TensorProto, helper, numpy_helper

from lt_onnx import convert, verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.manifest import METADATA_KEY, SEAL_KEY
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.verification.statistics import statistics

RESIDUAL, SIGMOID = MODELS / "residual.onnx", MODELS / "plain-sigmoid.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "t.onnx"
    convert(RESIDUAL, path, base_size=3, validate=False)
    return path


def seal(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model with a seal that holds."""
    kept = [entry for entry in model.metadata_props if entry.key != SEAL_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    data = path.with_name(f"{path.name}.data")
    if data.exists():
        digest.update(data.read_bytes())
    model.metadata_props.add(key=SEAL_KEY, value=digest.hexdigest())
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def manifest_of(model: onnx.ModelProto) -> dict[str, Any]:
    (text,) = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    known: dict[str, Any] = json.loads(text)
    return known


def write_manifest(model: onnx.ModelProto, known: Any) -> None:
    """Put a manifest into the metadata, in the form that the writer gives it."""
    write_entry(model, json.dumps(known, sort_keys=True, separators=(",", ":")))


def write_entry(model: onnx.ModelProto, text: str) -> None:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = text


def tensor(model: onnx.ModelProto, name: str) -> TensorProto:
    (found,) = [t for t in model.graph.initializer if t.name == name]
    return found


def first(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op)


def last_read(model: onnx.ModelProto) -> tuple[onnx.NodeProto, str]:
    """The last node, made to write elsewhere, and where it wrote before."""
    node = model.graph.node[-1]
    out = node.output[0]
    node.output[0] = "before"
    return node, out


def hidden(model: onnx.ModelProto, *nodes: onnx.NodeProto, **tensors: Any) -> None:
    """Put nodes between the last one (`before`) and the output (`out`), with their tensors."""
    _, out = last_read(model)
    for node in nodes:
        names = [out if name == "out" else name for name in node.output]
        del node.output[:]
        node.output.extend(names)
        model.graph.node.append(node)
    for name, value in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def node(op: str, inputs: list[str], output: str = "out", **keys: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=f"forged_{output}", **keys)


TEN = np.eye(10, dtype=np.float32)
WHOLE = np.arange(100, dtype=np.int64).reshape(10, 10)


def add_function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="own", output=["y"])


def add_training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "a"


def second_field(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].float_data.append(1.0)


def same_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def initializer_as_input(model: onnx.ModelProto) -> None:
    held = model.graph.initializer[0]
    model.graph.input.append(
        helper.make_tensor_value_info(held.name, held.data_type, list(held.dims))
    )


def minus_zero(model: onnx.ModelProto) -> None:
    held = tensor(model, manifest_of(model)["layers"][1]["weight"])
    value = numpy_helper.to_array(held).copy()
    value.reshape(-1)[np.flatnonzero(value == 0)[0]] = -0.0
    held.CopyFrom(numpy_helper.from_array(value, held.name))


def denormal(model: onnx.ModelProto) -> None:
    held = tensor(model, manifest_of(model)["layers"][1]["weight"])
    value = numpy_helper.to_array(held).copy()
    value.reshape(-1)[np.flatnonzero(value == 0)[0]] = np.float32(1e-45)
    held.CopyFrom(numpy_helper.from_array(value, held.name))


def infinite_scale(model: onnx.ModelProto) -> None:
    held = tensor(model, manifest_of(model)["layers"][0]["scale"])
    value = numpy_helper.to_array(held).copy()
    value.reshape(-1)[0] = np.inf
    held.CopyFrom(numpy_helper.from_array(value, held.name))


def record(key: str, change: Callable[[Any], Any]) -> Callable[[onnx.ModelProto], None]:
    """Change one entry of the second layer's record."""

    def forge(model: onnx.ModelProto) -> None:
        known = manifest_of(model)
        known["layers"][1][key] = change(known["layers"][1][key])
        write_manifest(model, known)

    return forge


def entry(key: str, value: Any) -> Callable[[onnx.ModelProto], None]:
    def forge(model: onnx.ModelProto) -> None:
        write_manifest(model, {**manifest_of(model), key: value})

    return forge


def swapped_layers(model: onnx.ModelProto) -> None:
    known = manifest_of(model)
    known["layers"][1:3] = known["layers"][2:0:-1]
    write_manifest(model, known)


def scale_read_twice(model: onnx.ModelProto) -> None:
    scale = manifest_of(model)["layers"][-1]["scale"]
    hidden(model, node("Mul", ["before", scale]))


def weight_read_twice(model: onnx.ModelProto) -> None:
    weight = manifest_of(model)["layers"][-1]["weight"]
    hidden(model, node("Mul", ["before", weight]))


def constant_node(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(TEN)
    made = helper.make_node("Constant", [], ["k"], name="forged", value=value)
    hidden(model, made, node("MatMul", ["before", "k"]))


FORGERIES: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "dense layer": (lambda m: hidden(m, node("MatMul", ["before", "w"]), w=TEN), "'w'"),
    "dense bias": (lambda m: hidden(m, node("Add", ["before", "w"]), w=TEN[0]), "'w'"),
    "whole numbers cast": (
        lambda m: hidden(
            m, node("Cast", ["w"], "c", to=1), node("Mul", ["before", "c"]), w=WHOLE[0]
        ),
        "forged_c",
    ),
    "whole numbers looked up": (
        lambda m: hidden(
            m,
            node("Shape", ["before"], "s"),
            node("Gather", ["w", "s"], "g"),
            node("Cast", ["g"], "c", to=1),
            node("Mul", ["before", "c"]),
            w=WHOLE[0],
        ),
        "'w'",
    ),
    "whole numbers among shapes": (
        lambda m: hidden(
            m,
            node("Shape", ["before"], "s"),
            node("Mul", ["s", "z"], "o"),
            node("Add", ["o", "w"], "g"),
            node("Cast", ["g"], "c", to=1),
            node("Mul", ["before", "c"]),
            z=np.zeros(2, np.int64),
            w=np.array([3, 5]),
        ),
        "shapes into data",
    ),
    "bytes": (
        lambda m: hidden(
            m, node("Cast", ["w"], "c", to=1), node("Mul", ["before", "c"]), w=np.ones(10, np.uint8)
        ),
        "'w'",
    ),
    "truth values": (
        lambda m: hidden(m, node("Where", ["w", "before", "before"]), w=TEN[0] > 0),
        "'w'",
    ),
    "half precision": (
        lambda m: hidden(
            m,
            node("Cast", ["w"], "c", to=1),
            node("Mul", ["before", "c"]),
            w=TEN[0].astype(np.float16),
        ),
        "'w'",
    ),
    "sum of products": (
        lambda m: hidden(m, node("Einsum", ["before", "before"], equation="ij,ij->ij")),
        "Einsum",
    ),
    "constant node": (constant_node, "forged"),
    "random numbers": (
        lambda m: hidden(
            m, node("RandomNormalLike", ["before"], "r", seed=3.0), node("Add", ["before", "r"])
        ),
        "RandomNormalLike",
    ),
    "filled tensor": (
        lambda m: hidden(
            m,
            node("Shape", ["before"], "s"),
            node("ConstantOfShape", ["s"], "f", value=numpy_helper.from_array(np.float32([0.7]))),
            node("Mul", ["before", "f"]),
        ),
        "ConstantOfShape",
    ),
    "foreign operator": (
        lambda m: hidden(m, node("Gelu", ["before"], domain="com.microsoft")),
        "com.microsoft",
    ),
    "float attribute": (
        lambda m: first(m, "Relu").attribute.append(helper.make_attribute("alpha", 0.3)),
        "alpha",
    ),
    "function": (add_function, "functions"),
    "training info": (add_training, "training_info"),
    "second data field": (second_field, "float_data"),
    "duplicate initializer": (same_name, "defined 2 times"),
    "initializer as input": (initializer_as_input, "defined 2 times"),
    "duplicate metadata": (lambda m: m.metadata_props.append(m.metadata_props[0]), "2 times"),
    "minus zero": (minus_zero, "-0.0"),
    "denormal": (denormal, "1e-45"),
    "infinite scale": (infinite_scale, "not finite"),
    "unread tensor": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(WHOLE, "w")),
        "'w'",
    ),
    "unread node": (
        lambda m: m.graph.node.append(node("Relu", [m.graph.input[0].name], "nowhere")),
        "forged_nowhere",
    ),
    "more kept": (record("kept", lambda kept: kept + 1), "keeps"),
    "another source layer": (record("index", lambda index: index + 1), "drawn from"),
    "another sigma": (record("sigma", lambda sigma: sigma * 2), "σ"),
    "another mirror": (record("mirror_columns", lambda half: half + 1), "the source has"),
    "a bias": (record("bias", lambda _: "nowhere"), "nowhere"),
    "another scale": (record("scale", lambda _: "nowhere"), "nowhere"),
    "another form": (record("stored", lambda _: "sparse"), "sparse"),
    "another seed": (entry("seed", 1), "the source has"),
    "another scheme": (entry("options", None), ""),
    "dense nowhere": (
        entry("dense", [{"name": "n", "op": "Conv", "reason": "", "parameters": 0}]),
        "'n'",
    ),
    "parameter nowhere": (entry("parameters", ["n"]), "'n'"),
    "order nowhere": (entry("order", ["n"]), "'n'"),
    "layers swapped": (swapped_layers, "drawn from"),
    "scale read twice": (scale_read_twice, "sigma"),
    "weight read twice": (weight_read_twice, "weight"),
    "stride of a layer": (
        lambda m: first(m, "Conv").attribute.append(helper.make_attribute("alpha", 2)),
        "attributes",
    ),
    "old IR": (lambda m: setattr(m, "ir_version", 3), "IR 3"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_that_is_sealed_again_is_caught(made: Path, tmp_path: Path, name: str) -> None:
    forge, told = FORGERIES[name]
    model = onnx.load(made)
    forge(model)
    path = seal(model, tmp_path / "t.onnx")

    try:
        failures = verify(path).failures
    except InputError as error:
        failures = [str(error)]
    assert failures
    assert told in " ".join(failures), failures
    assert all(len(failure.splitlines()) == 1 for failure in failures)
    assert SEAL_KEY not in " ".join(failures)


def test_a_broken_seal_is_told(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made)
    model.producer_version = "0.0.9"
    (tmp_path / "changed.onnx").write_bytes(model.SerializeToString(deterministic=True))
    del model.metadata_props[-1]
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString(deterministic=True))

    assert ["broken" in failure for failure in verify(tmp_path / "changed.onnx").failures] == [True]
    assert ["missing" in failure for failure in verify(tmp_path / "bare.onnx").failures] == [True]


def test_a_file_that_says_things_twice_is_no_ticket(made: Path, tmp_path: Path) -> None:
    twice = onnx.ModelProto(ir_version=8).SerializeToString() + made.read_bytes()
    (tmp_path / "t.onnx").write_bytes(twice)

    assert "twice" in verify(tmp_path / "t.onnx").failures[0]


def test_what_cannot_be_read_is_refused_in_one_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = made.read_bytes().replace(b"residual_ticket", b"residual_tick\xff\xfe")
    many = (
        made.read_bytes()
        + onnx.ModelProto(
            graph=onnx.GraphProto(node=[onnx.NodeProto()] * 600_000)
        ).SerializeToString()
    )
    for content in (b"", b"text", made.read_bytes()[:-9], name, many):
        (tmp_path / "t.onnx").write_bytes(content)
        assert run(["verify", str(tmp_path / "t.onnx")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no object": lambda m: [m],
    "a field too many": lambda m: {**m, "more": 1},
    "a field too few": lambda m: {key: value for key, value in m.items() if key != "order"},
    "seed of words": lambda m: {**m, "seed": "0"},
    "seed below zero": lambda m: {**m, "seed": -1},
    "seed too large": lambda m: {**m, "seed": 2**64},
    "seed of truth": lambda m: {**m, "seed": True},
    "no layers": lambda m: {**m, "layers": []},
    "layers of null": lambda m: {**m, "layers": [None]},
    "order twice": lambda m: {**m, "order": ["a", "a"]},
    "a parameter of null": lambda m: {**m, "parameters": [None]},
    "dense of numbers": lambda m: {**m, "dense": [1]},
    "another generator": lambda m: {**m, "generator": "mt19937"},
    "options too few": lambda m: {**m, "options": {}},
    "m of 2^40": lambda m: {**m, "options": {**m["options"], "base_size": 2**40}},
    "tolerance NaN": lambda m: {**m, "options": {**m["options"], "tolerance": float("nan")}},
    "price of words": lambda m: {**m, "options": {**m["options"], "price": "dear"}},
    **{
        f"{key} = {value!r:.20}": lambda m, key=key, value=value: {
            **m,
            "layers": [{**m["layers"][0], key: value}, *m["layers"][1:]],
        }
        for key, value in [
            ("shape", [2**25, 2**25]),
            ("shape", [2**50, 1]),
            ("shape", [0, 3]),
            ("shape", [-4, 3]),
            ("shape", [4.0, 3]),
            ("shape", [True, 3]),
            ("shape", "43"),
            ("shape", [3]),
            ("shape", [2] * 9),
            ("shape", []),
            ("index", -1),
            ("index", 2**32),
            ("index", 0.0),
            ("kept", -1),
            ("kept", 2**40),
            ("kept", None),
            ("sigma", 0.0),
            ("sigma", float("inf")),
            ("sigma", 1),
            ("sigma", "1.0"),
            ("mirror_rows", 2**20),
            ("mirror_rows", True),
            ("mirror_columns", -1),
            ("half", 0),
            ("transposed", None),
            ("stored", "somehow"),
            ("stored", ["folded"]),
            ("weight", 3),
            ("bias", 3),
            ("scale", None),
            ("more", 1),
        ]
    },
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused_at_once(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    model = onnx.load(made)
    write_manifest(model, MANIFESTS[name](manifest_of(model)))
    path = seal(model, tmp_path / "t.onnx")

    assert run(["verify", str(path)]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "metadata is damaged" in said
    with pytest.raises(InputError):
        read_manifest(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"seed":1,"seed":2}', '{"seed":NaN}', "9" * 5000, "null"]
)
def test_metadata_that_is_no_manifest_is_refused(made: Path, tmp_path: Path, text: str) -> None:
    model = onnx.load(made)
    write_entry(model, text)

    with pytest.raises(InputError, match="metadata is damaged"):
        verify(seal(model, tmp_path / "t.onnx"))


def test_a_sparse_layer_that_claims_to_be_huge_costs_nothing(tmp_path: Path) -> None:
    convert(RESIDUAL, tmp_path / "s.onnx", base_size=3, weights="sparse", validate=False)
    model = onnx.load(tmp_path / "s.onnx")
    known = manifest_of(model)
    layer = known["layers"][1]
    shape = [2**20, 2**14, *[1] * (len(layer["shape"]) - 2)]
    (held,) = [t for t in model.graph.sparse_initializer if t.values.name == layer["weight"]]
    held.dims[:] = shape
    layer.update(shape=shape, mirror_rows=0, mirror_columns=0)
    write_manifest(model, known)

    assert layer["scale"] in " ".join(verify(seal(model, tmp_path / "t.onnx")).failures)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket with external data."""
    path = tmp_path_factory.mktemp("outside") / "t.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lt_onnx.files.INLINE_LIMIT", 1000)
        convert(RESIDUAL, path, base_size=3, validate=False)
    return path


LOCATIONS = {
    "absolute": ("location", "/etc/hostname"),
    "parent": ("location", "../t.onnx.data"),
    "folder": ("location", "a/t.onnx.data"),
    "backslash": ("location", "a\\t.onnx.data"),
    "none": ("location", ""),
    "itself": ("location", "t.onnx"),
    "dot": ("location", "."),
    "link": ("location", "link"),
    "copy": ("location", "copy"),
    "absent": ("location", "absent"),
    "control sign": ("location", "t\n"),
    "drive": ("location", "c:t.onnx.data"),
    "negative": ("offset", "-4096"),
    "far": ("offset", str(2**40)),
    "huge": ("offset", "9" * 30),
    "words": ("offset", "first"),
    "overlap": ("offset", "4"),
    "short": ("length", "4"),
    "checksum": ("checksum", "0"),
}


@pytest.mark.parametrize("name", LOCATIONS)
def test_external_data_elsewhere_is_refused(outside: Path, tmp_path: Path, name: str) -> None:
    key, value = LOCATIONS[name]
    data = outside.with_name("t.onnx.data").read_bytes()
    (tmp_path / "t.onnx.data").write_bytes(data)
    (tmp_path / "copy").write_bytes(data)
    (tmp_path / "link").symlink_to("t.onnx.data")
    model = onnx.load(outside, load_external_data=False)
    held = [t for t in model.graph.initializer if t.external_data][1]
    kept = [e for e in held.external_data if e.key != key]
    del held.external_data[:]
    held.external_data.extend([*kept, onnx.StringStringEntryProto(key=key, value=value)])

    with pytest.raises(InputError, match=r"external data|overlap|offset|holds bytes"):
        verify(seal(model, tmp_path / "t.onnx"))


def test_external_data_is_sealed_and_holds_nothing_else(outside: Path, tmp_path: Path) -> None:
    assert verify(outside, target=RESIDUAL).genuine
    data = bytearray(outside.with_name("t.onnx.data").read_bytes())
    (tmp_path / "t.onnx").write_bytes(outside.read_bytes())
    (tmp_path / "t.onnx.data").write_bytes(data + b"more")
    with pytest.raises(InputError, match="goes on"):
        verify(tmp_path / "t.onnx")

    model = onnx.load(outside, load_external_data=False)
    ends = [
        int(at["offset"]) + int(at["length"])
        for t in model.graph.initializer
        if (at := {e.key: e.value for e in t.external_data})
    ]
    gap = next(end for end in ends if end % 4096)
    data[gap] = 1  # between two tensors
    (tmp_path / "t.onnx.data").write_bytes(data)
    assert any("broken" in failure for failure in verify(tmp_path / "t.onnx").failures)


# with the target -------------------------------------------------------------------------------


def target_with_all(folder: Path) -> Path:
    """A target with an index, an attribute and a parameter of each kind."""
    b = Builder()
    x = b("LeakyRelu", b.conv("x", 3, 4, pads=[1, 1, 1, 1]), alpha=0.1)
    x = b("Clip", b.conv(x, 4, 4), b.constant(0.0), b.constant(6.0))
    x = b("PRelu", x, b.constant(b.rng.random((4, 1, 1))))
    x = b.reshape(b("MaxPool", x, kernel_shape=[2, 2]), [-1, 4 * 25])
    x = b("LayerNormalization", x, b.constant(b.rng.random(100)))
    return save(b.model(b.gemm(x, 100, 5)), folder, "target.onnx")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("planned")
    target = target_with_all(folder)
    made = convert(target, folder / "t.onnx", mode="2l", base_size=4, validate=False)
    assert verify(made.path, target=target).genuine
    return target, made.path


def set_number(op: str, position: int, value: float) -> Callable[[onnx.ModelProto], None]:
    """Change the first number of a constant that an operator reads."""

    def forge(model: onnx.ModelProto) -> None:
        held = tensor(model, first(model, op).input[position])
        array = numpy_helper.to_array(held).copy()
        array.reshape(-1)[0] = value
        held.CopyFrom(numpy_helper.from_array(array, held.name))

    return forge


def set_attribute(op: str, name: str, value: Any) -> Callable[[onnx.ModelProto], None]:
    def forge(model: onnx.ModelProto) -> None:
        changed = first(model, op)
        kept = [a for a in changed.attribute if a.name != name]
        del changed.attribute[:]
        changed.attribute.extend([*kept, helper.make_attribute(name, value)])

    return forge


def skip(op: str) -> Callable[[onnx.ModelProto], None]:
    """Take an operator out of the graph."""

    def forge(model: onnx.ModelProto) -> None:
        gone = first(model, op)
        for node in model.graph.node:
            names = [gone.input[0] if name == gone.output[0] else name for name in node.input]
            node.input[:] = names
        model.graph.node.remove(gone)

    return forge


def other_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "other"


OTHERS: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "slope": (set_attribute("LeakyRelu", "alpha", 0.2), "alpha"),
    "pads": (set_attribute("Conv", "pads", [0, 0, 2, 2]), "pads"),
    "strides": (set_attribute("Conv", "strides", [2, 2]), "strides"),
    "pooling": (set_attribute("MaxPool", "kernel_shape", [3, 3]), "kernel_shape"),
    "bound": (set_number("Clip", 2, 5.0), "other numbers"),
    "slopes": (set_number("PRelu", 1, 5.0), "other numbers"),
    "norm": (set_number("LayerNormalization", 1, 5.0), "other numbers"),
    "shape": (set_number("Reshape", 1, 1), "other numbers"),
    "activation": (lambda m: setattr(first(m, "LeakyRelu"), "op_type", "Elu"), "Elu"),
    "missing operator": (skip("MaxPool"), "nodes"),
    "operator set": (lambda m: setattr(m.opset_import[0], "version", 16), "operator sets"),
    "input": (other_shape, "inputs"),
    "renamed node": (lambda m: setattr(first(m, "MaxPool"), "name", "other"), "other"),
    "another mode": (
        entry(
            "options",
            {
                "mode": "l+1",
                "base_size": 4,
                "tolerance": 0.01,
                "select": "noise",
                "sigma": "channel",
                "init": "unit",
                "price": None,
                "dearness": 0.7,
                "prices": [],
                "base_sizes": [],
            },
        ),
        "planned",
    ),
    "another target": (entry("target_sha256", "0" * 64), "SHA-256"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_ticket_of_another_network_is_caught_with_the_target(
    planned: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    target, made = planned
    forge, told = OTHERS[name]
    model = onnx.load(made)
    forge(model)
    path = seal(model, tmp_path / "t.onnx")

    failures = verify(path, target=target).failures
    assert told in " ".join(failures), failures
    assert run(["verify", str(path), "--target", str(target), "-q"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_another_target_is_not_the_tickets(planned: tuple[Path, Path]) -> None:
    assert "another target" in verify(planned[1], target=RESIDUAL).failures[0]


# genuine tickets -------------------------------------------------------------------------------

FORMS: list[dict[str, Any]] = [
    {"weights": "folded"},
    {"weights": "masked"},
    {"weights": "sparse"},
    {"weights": "folded", "fp16": True},
    {"weights": "masked", "fp16": True},
    {"weights": "sparse", "fp16": True, "init": "kaiming"},
    {"init": "lecun", "sigma": "layer"},
]


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_genuine_tickets_of_every_form_pass(
    tmp_path: Path, form: dict[str, Any], mode: str
) -> None:
    made = convert(SIGMOID, tmp_path / "t.onnx", mode=mode, base_size=3, validate=False, **form)

    assert verify(made.path, target=SIGMOID).failures == []


def test_the_source_itself_is_genuine(tmp_path: Path) -> None:
    made = convert(RESIDUAL, tmp_path / "t.onnx", base_size=3, validate=False, emit_source=True)
    assert made.source is not None
    assert verify(made.source).genuine


def small(name: str) -> onnx.ModelProto:
    """Networks with constants in places where a proof might look for hidden weights."""
    b = Builder()
    x = b("Relu", b.conv("x", 3, 4))
    match name:
        case "spatial constant":
            x = b("Relu", b.conv(b("Add", x, b.constant(b.rng.random((1, 1, 6, 6)))), 4, 4))
        case "whole exponent":
            x = b.conv(b("Pow", x, b.constant(2, np.int64)), 4, 4)
        case "products of data":
            y = b.reshape(x, [0, 4, -1])
            x = b("MatMul", y, b("Transpose", y, perm=[0, 2, 1]))
        case "truth values":
            x = b("Where", b.constant(b.rng.random((6, 6)) > 0.5, np.bool_), x, b.constant(0.0))
        case "thresholds":
            x = b("Cast", b("Greater", x, b.constant(b.rng.random((1, 4, 1, 1)))), to=1)
        case "mean by hand":
            sizes = b("Gather", b("Shape", x), b.constant([2, 3], np.int64))
            count = b("Cast", b("ReduceProd", sizes, keepdims=0), to=1)
            x = b("Div", b("ReduceSum", x, b.constant([2, 3], np.int64)), count)
            x = b.conv(x, 4, 4, 1)
    return b.model(x)


@pytest.mark.parametrize(
    "name",
    [
        "spatial constant",
        "whole exponent",
        "products of data",
        "truth values",
        "thresholds",
        "mean by hand",
    ],
)
def test_no_false_alarm(tmp_path: Path, name: str) -> None:
    target = save(small(name), tmp_path, "target.onnx")
    for mode in ("l+1", "2l"):
        made = convert(target, tmp_path / f"{mode}.onnx", mode=mode, base_size=3, validate=False)
        assert verify(made.path, target=target).failures == []


# statistics ------------------------------------------------------------------------------------


def test_the_source_is_random(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tested = statistics(made)

    assert tested.failures == []
    assert len(tested.layers) == len(manifest_of(onnx.load(made))["layers"])
    assert run(["verify", str(made), "--statistics"]) == 0
    shown = capsys.readouterr().out
    assert "random: yes" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    assert run(["verify", str(made), "--statistics", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["passed"] is True


def test_numbers_that_are_not_random_fail(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def equal(seed: int, layer: Any, places: Any) -> Any:
        return np.float32(layer.sigma) * (places % 7 / 7).astype(np.float32)

    monkeypatch.setattr("lt_onnx.verification.statistics.weights_at", equal)

    assert len(statistics(made).failures) == len(statistics(made).layers)
    assert run(["verify", str(made), "--statistics", "-q"]) == 1
    assert "is not random" in capsys.readouterr().err


def test_statistics_of_a_huge_layer_are_a_sample(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made)
    record("shape", lambda _: [2**26, 2**10])(model)
    record("mirror_columns", lambda _: 2**8)(model)

    tested = statistics(seal(model, tmp_path / "t.onnx"))
    assert tested.failures == []
    assert 2**17 <= tested.layers[1].tested <= 2**18
