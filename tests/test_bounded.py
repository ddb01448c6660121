"""Whatever a small file claims, the answer takes seconds, less than 1 GB, and one line."""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from handmade import Handmade, handmade
from measured import Bench
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.manifest import METADATA_KEY, SEAL_KEY, BlockRecord, DenseReason
from lt_onnx.options import Weights
from lt_onnx.packing.archive import write_members
from lt_onnx.packing.pack import pack
from lt_onnx.verification.generator import deviation, weights_at

MAX_SECONDS = 20
MAX_BYTES = 10**9
Builder = Callable[[Path], Path]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def sparse_file(path: Path, size: int, head: bytes = b"") -> Path:
    """A file of holes."""
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
    return path


def repacked(
    folder: Path, change: Callable[[dict[str, bytes]], object], *, deflated: str = ""
) -> Path:
    """A pack of a genuine sparse ticket with other members, or one of them deflated."""
    path = folder / "t.ltz"
    pack(handmade(Weights.SPARSE).write(folder / "t.onnx"), path, force=True)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if not deflated:
        with path.open("w+b") as stream:
            write_members(stream, members)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            kind = zipfile.ZIP_DEFLATED if name == deflated else zipfile.ZIP_STORED
            archive.writestr(name, content, kind, 1)
    return path


def claiming(members: dict[str, bytes], shape: tuple[int, ...], size: int) -> None:
    """The pack's first layer becomes one of that shape, the file as many bytes."""
    model = onnx.load_from_string(members["graph.onnx"])
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    manifest = json.loads(entry.value)
    manifest["layers"][0] |= {"shape": shape, "mirror_rows": 0, "mirror_columns": 0}
    entry.value = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    members["graph.onnx"] = model.SerializeToString(deterministic=True)
    about = json.loads(members["pack.json"])
    about["files"][0]["bytes"] = size
    members["pack.json"] = json.dumps(about).encode()


def many_sparse_weights(folder: Path) -> Path:
    path = repacked(folder, lambda members: claiming(members, (2**7, 2**28), 2**26))
    assert path.stat().st_size < 5000
    return path


def many_masks(folder: Path) -> Path:
    def change(members: dict[str, bytes]) -> None:
        members["masks.bin"] = b"\xff" * 2**15  # none is kept
        claiming(members, (2**14, 2**15), 2**24)

    return repacked(folder, change)


def many_masks_deflated(folder: Path) -> Path:
    big = {"masks.bin": b"\0" * 2**29}
    path = repacked(folder, lambda members: members.update(big), deflated="masks.bin")
    assert path.stat().st_size < 3 * 2**20
    return path


def graph_of_parts(folder: Path) -> Path:
    """A protobuf bomb in a pack: two bytes ask for 150 of memory."""
    bomb = b"\x3a" + bytes([0x80, 0x80, 0x80, 0x09]) + b"\x0a\x00" * (9 << 20)  # empty nodes

    def change(members: dict[str, bytes]) -> None:
        members["graph.onnx"] = bomb

    return repacked(folder, change)


def long_name(folder: Path) -> Path:
    ticket = handmade()
    node = ticket.model.graph.node[0]
    node.name = "n" * 4_000_000
    node.attribute.extend(
        onnx.AttributeProto(name=f"a{i}", type=onnx.AttributeProto.INT, f=1.0) for i in range(2000)
    )
    return ticket.write(folder / "t.onnx")


def long_name_of_many_nodes(folder: Path) -> Path:
    model = handmade().model
    model.graph.node[0].domain = "d" * 4_000_000
    for _ in range(2000):
        model.graph.node.add(op_type="If", name="n")
    path = folder / "t.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def many_layers(folder: Path) -> Path:
    ticket = handmade()
    first = ticket.manifest.layers[0]
    invented = [
        msgspec.structs.replace(
            first, weight=f"w{i}", index=i, shape=(2**10, 2**10), mirror_rows=0, mirror_columns=0
        )
        for i in range(3000)
    ]
    ticket.note(layers=(*ticket.manifest.layers, *invented))
    return ticket.write(folder / "t.onnx")


def entries(key: str) -> Builder:
    def build(folder: Path) -> Path:
        ticket = handmade()
        for _ in range(150_000):
            ticket.model.metadata_props.add(key=key, value="x")
        return ticket.write(folder / "t.onnx")

    return build


def dense_places(folder: Path) -> Path:
    ticket, size = handmade(), 4_000_000
    ticket.put("table", np.arange(size, dtype=np.float32).reshape(1, size))
    for i in range(300):
        ticket.model.graph.node.add(
            op_type="MatMul", name=f"m{i}", input=["y", "table"], output=[f"z{i}"]
        )
        ticket.declare_dense(f"m{i}", "MatMul", 1, DenseReason.REPEATED)
    ticket.note(parameters=("table",))
    return ticket.write(folder / "t.onnx")


def large_parameters(folder: Path) -> Path:
    ticket, size = handmade(), 2**31
    proto = ticket.model.graph.initializer.add(
        name="large", dims=[size], data_type=TensorProto.FLOAT
    )
    proto.data_location = TensorProto.EXTERNAL
    where = {"location": "t.onnx.data", "offset": "0", "length": str(4 * size)}
    for key, value in where.items():
        proto.external_data.add(key=key, value=value)
    ticket.model.graph.node.append(helper.make_node("Add", ["y", "large"], ["z"]))
    ticket.note(parameters=("large",))
    sparse_file(folder / "t.onnx.data", 4 * size)
    return ticket.write(folder / "t.onnx")


def large_block(folder: Path) -> Path:
    """A univariate layer of 2^30 random weights, of which one is kept."""
    ticket, size = handmade(Weights.SPARSE), (2**20, 2**10, 1, 1)
    block = BlockRecord(
        channels=2**10,
        neurons=1,
        parts=(1, -1),
        group=1,
        reads=((0, 2**10),),
        gain=1.0,
        constants=None,
        order="order",
    )
    sigma = float(deviation("kaiming", size))
    ticket.layer(0, shape=size, sigma=sigma, kept=1, block=block, mirror_rows=0, mirror_columns=0)
    layer = ticket.manifest.layers[0]
    kept = weights_at(ticket.manifest.seed, layer, np.zeros(1, np.int64))
    sparse = ticket.model.graph.sparse_initializer[0]
    sparse.values.CopyFrom(numpy_helper.from_array(kept, "a"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "a/places"))
    sparse.dims[:] = size
    ticket.put("a_scale", np.zeros((size[0], 1, 1), np.float32))
    ticket.put("order", np.zeros(2**11, np.int64))
    return ticket.write(folder / "t.onnx")


def many_parts(folder: Path) -> Path:
    """Data split into as many parts as no network has, and put together in another order."""
    ticket, parts = handmade(), [f"part{n}" for n in range(40_000)]
    ticket.model.graph.node.extend(
        [
            helper.make_node("Split", ["y"], parts, "s", axis=1),
            helper.make_node("Concat", parts[::-1], ["z"], "c", axis=1),
        ]
    )
    ticket.model.graph.output[0].name = "z"
    ticket.layer(0, kept=1)  # found at the end
    return ticket.write(folder / "t.onnx")


CASES: dict[str, tuple[str, Builder, str]] = {
    "sparse weights": ("unpack", many_sparse_weights, "damaged, or forged"),
    "masks": ("unpack", many_masks, "damaged, or forged"),
    "masks, deflated": ("unpack", many_masks_deflated, "not a pack of lt-onnx, or damaged"),
    "a graph of parts": ("unpack", graph_of_parts, "made of more parts than any network"),
    "a long name": ("verify", long_name, "node 'nnn"),
    "a long name, often": ("inspect", long_name_of_many_nodes, "is control flow"),
    "layers": ("verify --statistics", many_layers, "FAILED"),
    "seals": ("verify", entries(SEAL_KEY), "FAILED"),
    "metadata": ("verify", entries("x"), "FAILED"),
    "manifests": ("verify", entries(METADATA_KEY), "FAILED"),
    "dense places": ("verify", dense_places, "FAILED"),
    "a block": ("verify", large_block, "has more neurons than its block needs"),
    "parts": ("verify", many_parts, "FAILED"),
    "parameters": ("verify", large_parameters, "lies in external data"),
    "a large file": (
        "inspect",
        lambda folder: sparse_file(folder / "t.onnx", 6 << 30),
        "larger than protobuf's 2 GiB",
    ),
    "a file of zeros": (
        "inspect",
        lambda folder: sparse_file(folder / "t.onnx", 1 << 29),
        "not an ONNX model",
    ),
}


SLOW = ("layers", "masks, deflated", "manifests", "metadata")  # seconds of the processor each


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in SLOW else []) for name in CASES]
)
def test_a_small_file_takes_little_time_and_memory(bench: Bench, tmp_path: Path, name: str) -> None:
    words, build, told = CASES[name]
    path = build(tmp_path)
    before = sorted(tmp_path.iterdir())
    command = [*words.split(), path]
    if words == "unpack":
        command += ["-o", tmp_path / "out.onnx"]
    found = bench.run(*command)

    assert found.code in (1, 2), found
    assert told in found.out + found.err
    assert "Traceback" not in found.err
    assert max(len(line) for line in (found.out + found.err).splitlines()) < 2200
    assert found.seconds < MAX_SECONDS
    assert found.bytes < MAX_BYTES
    assert sorted(tmp_path.iterdir()) == before


def test_handmade_tickets_are_genuine_before_they_are_changed(bench: Bench, tmp_path: Path) -> None:
    ticket: Handmade = handmade()
    assert bench.run("verify", ticket.write(tmp_path / "t.onnx"), "-q").code == 0
