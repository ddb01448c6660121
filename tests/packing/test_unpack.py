"""A pack that contradicts itself is refused with what is wrong in it, before a ticket appears."""

import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from paths import MODELS

from lt_onnx import convert
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.manifest import METADATA_KEY, LayerRecord
from lt_onnx.options import Weights
from lt_onnx.packing.archive import write_members
from lt_onnx.packing.format import PackedLayer, initializers_of, layers_of
from lt_onnx.packing.pack import pack
from lt_onnx.packing.unpack import ticket_name, unpack, unpacked_if_packed
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.source.layer import draw_bias, draw_rows

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def ticket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "t.onnx"
    convert(MODELS / "plain-relu.onnx", path, base_size=3, validate=False)
    return path


@pytest.fixture(scope="module")
def packed(ticket: Path) -> Path:
    path = ticket.with_suffix(".ltz")
    assert pack(ticket, path) == (path.stat().st_size, ticket.stat().st_size)
    return path


def members_of(packed: Path) -> Members:
    with zipfile.ZipFile(packed) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members) -> Path:
    with path.open("w+b") as stream:
        write_members(stream, members)
    return path


def about(**changes: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        known = json.loads(members["pack.json"])
        members["pack.json"] = json.dumps({**known, **changes}).encode()

    return change


def file(**changes: Any) -> Callable[[Members], None]:
    """Another description of the ticket's file."""

    def change(members: Members) -> None:
        known = json.loads(members["pack.json"])
        known["files"] = [{**known["files"][0], **changes}]
        if "name" in changes:
            known["name"] = changes["name"]
        members["pack.json"] = json.dumps(known).encode()

    return change


def content(name: str, value: bytes) -> Callable[[Members], None]:
    return lambda members: members.update({name: value})


def masks(edit: Callable[[bytes], bytes]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members["masks.bin"] = edit(members["masks.bin"])

    return change


def graph(edit: Callable[[onnx.ModelProto], object]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        model = onnx.load_from_string(members["graph.onnx"])
        edit(model)
        members["graph.onnx"] = model.SerializeToString(deterministic=True)

    return change


def nameless_bias(model: onnx.ModelProto) -> None:
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    manifest = json.loads(entry.value)
    manifest["layers"][0]["bias"] = ""
    entry.value = json.dumps(manifest, sort_keys=True, separators=(",", ":"))


def outside(model: onnx.ModelProto) -> None:
    held = model.graph.initializer[0]
    held.data_location = onnx.TensorProto.EXTERNAL


def named(model: onnx.ModelProto, end: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name.endswith(end))


def removed(model: onnx.ModelProto, end: str) -> None:
    model.graph.initializer.remove(named(model, end))


def many_neurons(members: Members) -> None:
    """A block of far more channels than its layer reads, and neurons for each."""
    count = 1 << 17

    def change(model: onnx.ModelProto) -> None:
        (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
        manifest = json.loads(entry.value)
        layer = manifest["layers"][0]
        layer["shape"][0] = count + 64
        layer["block"] |= {"channels": count, "neurons": 1, "parts": [1], "reads": [[-1, count]]}
        entry.value = json.dumps(manifest, sort_keys=True, separators=(",", ":"))

    size = json.loads(members["pack.json"])["files"][0]["bytes"]
    graph(change)(members)
    file(bytes=size + 4 * count)(members)


def resized(model: onnx.ModelProto, end: str) -> None:
    named(model, end).dims[0] = 1 << 40


SECRET = np.random.default_rng(0).bytes(5000)


def nearly(members: Members) -> None:
    file(bytes=json.loads(members["pack.json"])["files"][0]["bytes"] + 5)(members)


def commented(model: onnx.ModelProto) -> None:
    model.graph.node[0].doc_string = SECRET.hex()


def absent(model: onnx.ModelProto) -> None:
    next(t for t in model.graph.initializer if t.raw_data == b"").ClearField("raw_data")


NO_PACK = "not a pack of lt-onnx, or damaged"
FORGED: dict[str, tuple[Callable[[Members], object], str]] = {
    "a later format": (about(format=9), "is a pack of format 9; this .*: update lt-onnx"),
    "an earlier format": (about(format=1), "is a pack of format 1; this .*: convert and pack its"),
    "version of another type": (about(format="1"), NO_PACK),
    "no files": (about(files=[]), NO_PACK),
    "files of null": (about(files=[None]), NO_PACK),
    "another name": (about(name="u.onnx"), NO_PACK),
    "a name with a folder": (file(name="../t.onnx"), NO_PACK),
    "an empty name": (file(name=""), NO_PACK),
    "a name that prints nothing": (file(name="a\x00b"), NO_PACK),
    "a size below 0": (file(bytes=-1), NO_PACK),
    "a size that is a float": (file(bytes=1.5), NO_PACK),
    "a digest that is none": (file(sha256=None), NO_PACK),
    "a list": (content("pack.json", b"[]"), NO_PACK),
    "no JSON": (content("pack.json", b"{"), NO_PACK),
    "deep JSON": (content("pack.json", b"[" * 60_000), NO_PACK),
    "a long description": (content("pack.json", b" " * (1 << 17)), NO_PACK),
    "no description": (lambda members: members.pop("pack.json"), NO_PACK),
    "a note": (about(note="0.7 0.3"), NO_PACK),
    "a note about a file": (file(note="0.7 0.3"), NO_PACK),
    "one member more": (content("notes.txt", b"0.7 0.3"), NO_PACK),
    "no masks": (lambda members: members.pop("masks.bin"), NO_PACK),
    "no model": (content("graph.onnx", b"\xff" * 9), "its graph is no ONNX model"),
    "another model": (
        content("graph.onnx", (MODELS / "plain-relu.onnx").read_bytes()),
        "its graph is no ticket",
    ),
    "another digest": (file(sha256="0" * 64), "'t.onnx' comes out otherwise"),
    "a small size": (file(bytes=10), "the sizes of its layers and of its files disagree"),
    "a large size": (file(bytes=10**9), "the sizes of its layers and of its files disagree"),
    "a size that is near": (nearly, "'t.onnx' comes out otherwise"),
    "a text in the graph": (graph(commented), "its graph says what the ticket says"),
    "a tensor without bytes": (graph(absent), "is not empty as pack leaves it"),
    "masks cut": (masks(lambda coded: coded[:-9]), "masks that are truncated"),
    "masks that go on": (masks(lambda coded: coded + b"\0"), "more masks than its layers need"),
    "masks more": (masks(lambda coded: b"\0" * len(coded)), "keeps more than it says"),
    "masks less": (
        masks(lambda coded: b"\xff" * len(coded)),
        "no encoder writes|otherwise|are searched",
    ),
    "a bit of the masks": (
        masks(lambda coded: coded[:200] + bytes([coded[200] ^ 4]) + coded[201:]),
        "keeps more than it says|truncated|otherwise|no encoder|layers need|layer cannot have",
    ),
    "more members than are searched": (masks(lambda coded: b"\xfe" + coded), "are searched"),
    "no scales": (graph(lambda model: removed(model, "univariate/sigma")), "has no scales"),
    "another order": (graph(lambda model: resized(model, "univariate/order")), "order of layer"),
    "neurons that take minutes": (
        many_neurons,
        "layers and of its files disagree|blocks are larger",
    ),
    "masks that are none": (content("masks.bin", b"none"), "masks that are truncated"),
    "a tensor less": (graph(lambda model: model.graph.initializer.pop(0)), "it has no tensor"),
    "a bias without a name": (graph(nameless_bias), "it has no tensor ''"),
    "a tensor elsewhere": (graph(outside), "sizes of its layers and of its files disagree"),
}


def rezipped(content: bytes, **fields: Any) -> bytes:
    """The same members, of which the archive says more."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as held, zipfile.ZipFile(stream, "w") as archive:
        for entry in held.infolist():
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.writestr(entry, held.read(entry.filename))
    return stream.getvalue()


def between(content: bytes) -> bytes:
    """Bytes before the directory, which says so."""
    directory = content.index(b"PK\1\2")
    end = bytearray(content[-22:])
    end[16:20] = struct.pack("<L", directory + len(SECRET))
    return content[:directory] + SECRET + content[directory:-22] + bytes(end)


def behind_a_stream(content: bytes) -> bytes:
    """Bytes behind the end of a compressed member, that count as its own."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        first, second, third = archive.infolist()
        directory = archive.start_dir
    start = second.header_offset
    made, grown = bytearray(content), second.compress_size + len(SECRET)
    made[start + 18 : start + 22] = struct.pack("<L", grown)
    at = directory + 46 + len(first.filename)
    made[at + 20 : at + 24] = struct.pack("<L", grown)
    at += 46 + len(second.filename)
    made[at + 42 : at + 46] = struct.pack("<L", third.header_offset + len(SECRET))
    made[-6:-2] = struct.pack("<L", directory + len(SECRET))
    return bytes(made[: third.header_offset]) + SECRET + bytes(made[third.header_offset :])


def number(at: int) -> Callable[[bytes], bytes]:
    """Another byte in a header, that unzip reads past."""
    return lambda content: content[:at] + b"\x07" + content[at + 1 :]


def with_lzma(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        start = 30 + len("pack.json")
        return content[:start] + change(content[start:])

    return changed


def lengths(content: bytes) -> bytes:
    """The last entry says that it goes on behind the end, as zipfile does not notice."""
    at = content.rindex(b"PK\1\2") + 28
    return content[:at] + struct.pack("<3H", 9, 0, 50_494) + content[at + 6 :]


# a pack that becomes the very same ticket, and holds more than that
FULLER: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: content,
    "bytes before it": lambda content: SECRET + content,
    "bytes behind it": lambda content: content + SECRET,
    "bytes between": between,
    "bytes behind a stream": behind_a_stream,
    "comments": partial(rezipped, comment=SECRET),
    "fields": partial(rezipped, extra=b"\x99\x99" + struct.pack("<H", len(SECRET)) + SECRET),
    "a time": partial(rezipped, date_time=(2001, 2, 3, 4, 5, 6)),
    "rights": partial(rezipped, external_attr=0o777 << 16),
    "another system": partial(rezipped, create_system=7),
    "a time in a header": number(10),
    "a disk": number(-18),
    "lengths in the directory": lengths,
    "a version of LZMA": with_lzma(lambda held: b"\x07" + held[1:]),
}


@pytest.mark.parametrize("name", FULLER)
def test_a_pack_holds_nothing_besides_its_members(packed: Path, tmp_path: Path, name: str) -> None:
    fuller = tmp_path / "t.ltz"
    fuller.write_bytes(FULLER[name](packed.read_bytes()))
    with zipfile.ZipFile(fuller) as archive:
        assert {n: archive.read(n) for n in archive.namelist()} == members_of(packed)

    if name == "nothing":
        assert unpack(fuller, tmp_path / "t.onnx")
        return
    with pytest.raises(InputError, match=NO_PACK):
        unpack(fuller, tmp_path / "t.onnx")
    assert run(["verify", str(fuller)]) == 2


def numbers(end: str) -> Callable[[Members], None]:
    return graph(lambda model: setattr(named(model, end), "raw_data", SECRET))


def another_end(coded: bytes) -> bytes:
    """Another number of those by which a range coder may say the same symbols."""
    return coded[:-8] + (int.from_bytes(coded[-8:], "big") + 1).to_bytes(8, "big")


EMPTY = "is not empty"
FULLER_MEMBERS: dict[str, tuple[Callable[[Members], object], str]] = {
    "numbers of a weight": (numbers("univariate/weight"), EMPTY),
    "numbers of a bias": (numbers("weight/bias"), EMPTY),
    "numbers of scales": (numbers("univariate/sigma"), EMPTY),
    "blanks": (lambda m: m.update({"pack.json": m["pack.json"].replace(b",", b",  ")}), NO_PACK),
    "a graph that says things twice": (
        lambda m: m.update({"graph.onnx": b"\x08\x07" + m["graph.onnx"]}),
        "says things twice or out of order",
    ),
    "another end of the masks": (masks(another_end), "more masks than its layers need"),
}


@pytest.mark.parametrize("name", FULLER_MEMBERS)
def test_members_hold_nothing_that_becomes_nothing(packed: Path, tmp_path: Path, name: str) -> None:
    change, message = FULLER_MEMBERS[name]
    members = members_of(packed)
    change(members)

    with pytest.raises(InputError, match=message):
        unpack(write(tmp_path / "bad.ltz", members), tmp_path / "t.onnx")


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_pack_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    change, message = FORGED[name]
    members = members_of(packed)
    change(members)

    with pytest.raises(InputError, match=message):
        unpack(write(tmp_path / "bad.ltz", members), tmp_path / "t.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ltz"]


def test_a_pack_gives_its_ticket_and_its_name(ticket: Path, packed: Path, tmp_path: Path) -> None:
    assert ticket_name(packed) == "t.onnx"
    assert unpack(packed, tmp_path / "u.onnx") == [tmp_path / "u.onnx"]
    assert (tmp_path / "u.onnx").read_bytes() == ticket.read_bytes()


def test_a_pack_is_unpacked_for_as_long_as_it_is_needed(ticket: Path, packed: Path) -> None:
    with unpacked_if_packed(packed) as path:
        assert path.read_bytes() == ticket.read_bytes()
    assert not path.exists()
    with unpacked_if_packed(ticket) as path:
        assert path == ticket
    assert ticket.exists()


def test_a_pack_is_compared_as_its_ticket_and_names_tell_what_is_in_a_file(
    ticket: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", str(ticket), str(packed), "--count", "2", "--max-abs", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("PASSED")
    for words, told in {
        ("pack", packed, "x.ltz"): "is a pack already",
        ("pack", ticket, "x.onnx"): "end it in .ltz",
        ("unpack", packed, "x.ltz"): "end it in .onnx",
        ("deploy", ticket, "x.ltz"): "end it in .onnx",
    }.items():
        command, path, name = map(str, words)
        assert run([command, path, "-o", str(tmp_path / name)]) == 2
        assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_told_before_anything_is_drawn(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("lt_onnx.packing.unpack.shutil.disk_usage", lambda path: usage)

    with pytest.raises(ResourceError, match="are needed, 10 B are free"):
        unpack(packed, tmp_path / "t.onnx")


def test_what_is_not_genuine_is_not_packed(ticket: Path, tmp_path: Path) -> None:
    model = onnx.load(ticket)
    model.producer_name = "another"
    onnx.save(model, tmp_path / "t.onnx")

    with pytest.raises(InputError, match="is not genuine"):
        pack(tmp_path / "t.onnx", tmp_path / "t.ltz")
    assert not (tmp_path / "t.ltz").exists()


def test_a_packs_graph_has_no_random_numbers(ticket: Path, packed: Path) -> None:
    manifest = read_manifest(ticket)
    assert manifest is not None
    held = initializers_of(onnx.load_from_string(members_of(packed)["graph.onnx"]))
    names = {name for layer in layers_of(manifest) for name in (*layer.names, *layer.derived)}

    assert names < held.keys()
    assert all(not held[name].raw_data for name in names)
    assert all(held[name].raw_data for name in held.keys() - names)


def test_a_layer_is_drawn_as_its_record_says() -> None:
    record = LayerRecord(
        "w", 3, (5, 2, 3), 0.5, 0, False, 2, 1, "w/bias", 0, "s", Weights.MASKED, False, None
    )
    layer = PackedLayer.of(record)
    drawn = np.concatenate([rows for _, rows in layer.rows(seed=9)])

    assert layer.names == ["w/source", "w/mask", "w/bias"]
    unit = draw_rows(9, layer.spec, start=0, stop=5).reshape(5, 6)
    np.testing.assert_array_equal(drawn, unit)
    np.testing.assert_array_equal(layer.scaled(drawn), unit * np.float32(0.5))
    np.testing.assert_array_equal(drawn[2:4], -drawn[:2])
    np.testing.assert_array_equal(layer.biases(9), draw_bias(9, layer.spec) * np.float32(0.5))
