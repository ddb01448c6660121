"""Files for `fuzz`: small seeds of every kind, and what turns them into hostile ones.

A mutant is a dictionary of file names and contents; its first file is the one to be opened. All
mutators draw from the `random.Random` that they are given, so that a number makes a mutant again.
"""

import hashlib
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message

from lt_onnx.writing.ticket import METADATA_KEY, SEAL_KEY

Files: TypeAlias = dict[str, bytes]
Random: TypeAlias = random.Random

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    16,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    -(1 << 31),
    (1 << 62),
    (1 << 63) - 1,
    -(1 << 63),
)
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 3e38, -3e38, float("inf"), float("nan"), 1e300)
TEXTS = (
    "",
    "x",
    "y",
    "w",
    "../up",
    "/etc/hostname",
    "a/b",
    "a\\b",
    ".",
    "..",
    "\x1b[2J\x07",
    "N",
    "new\nline",
    "data.bin",
    "0",
    "-1",
    "4096",
    "99999999999999999999",
    "nan",
    "é" * 40,
    "long" * 5000,
    "\0",
    "Conv",
    "Relu",
    "Gemm",
    "If",
    "Loop",
    "Reshape",
    "ConstantOfShape",
    "Tile",
    "Expand",
    "Range",
    "Resize",
    "Pad",
    "Slice",
    "Concat",
    "Split",
    "Gather",
    "Softmax",
    "Einsum",
    "ConvTranspose",
    "BatchNormalization",
    "MatMul",
    "AveragePool",
    "GlobalAveragePool",
    "PRelu",
    "LRN",
    "com.microsoft",
)


def mutate(rng: Random, seeds: list[Files], resealed: bool = False) -> Files:
    """A mutant of one of the seeds; of a ticket with its seal renewed, where that can be."""
    files = dict(rng.choice(seeds))
    kinds = {".onnx": of_model, ".ltz": of_pack, ".npz": of_arrays, ".npy": of_bytes}
    name = next(iter(files)) if len(files) == 1 or rng.random() < 0.8 else rng.choice([*files])
    change = kinds.get(name[name.rfind(".") :], of_bytes)
    if change is of_model and not resealed and rng.random() < 0.15:
        change = of_bytes
    files[name] = change(rng, files[name], [seed.get(name, b"") for seed in seeds])
    if resealed:
        first = next(iter(files))
        files[first] = seal(files[first], [files[name] for name in [*files][1:]])
    return files


def seal(content: bytes, data: list[bytes]) -> bytes:
    """The ticket with the seal that `convert` would have given it."""
    model = parsed(content)
    if model is None:
        return content
    kept = [entry for entry in model.metadata_props if entry.key != SEAL_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for piece in data:
        digest.update(piece)
    model.metadata_props.add(key=SEAL_KEY, value=digest.hexdigest())
    return bytes(model.SerializeToString(deterministic=True))


def parsed(content: bytes) -> onnx.ModelProto | None:
    """The model in `content`; None where there is none."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return None
    return model


# bytes ----------------------------------------------------------------------------------------


def of_bytes(rng: Random, content: bytes, others: list[bytes]) -> bytes:
    """Bits flipped, pieces cut out, doubled, moved or taken from another file."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        size = rng.choice((1, 2, 8, 100, 4096))
        match rng.randrange(7):
            case 0 | 1 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size]
            case 5:
                other = rng.choice(others) or content
                start = rng.randrange(len(other) + 1)
                data[at : at + size] = other[start : start + size]
            case _:
                data[at : at + 8] = struct.pack("<q", rng.choice(NUMBERS))
    return bytes(data)


# protobuf -------------------------------------------------------------------------------------


def of_model(rng: Random, content: bytes, others: list[bytes]) -> bytes:
    """Fields of the model changed, dropped, doubled, moved or taken from another one."""
    model = parsed(content)
    if model is None:
        return of_bytes(rng, content, others)
    other = parsed(rng.choice(others) or content) or model
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.15 and any(p.key == METADATA_KEY for p in model.metadata_props):
            entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
            entry.value = of_json(rng, entry.value)
        elif rng.random() < 0.9:
            change(rng, model.graph, other.graph)
        else:
            change(rng, model, other)
    try:
        return bytes(model.SerializeToString())
    except ValueError:  # nested deeper than protobuf writes
        return content


def change(rng: Random, message: Message, other: Message) -> None:
    """Go down from `message` at random and change one field there."""
    while True:
        fields = message.ListFields()
        inner = [(f, v) for f, v in fields if f.type == Field.TYPE_MESSAGE]
        if not inner or rng.random() < 0.2:
            break
        field, value = rng.choice(inner)
        if repeated(field):
            if rng.random() < 0.2:
                return shuffle(rng, value, getattr(other, field.name, value))
            value = rng.choice(value)
            theirs = getattr(other, field.name, None)
            other = rng.choice(theirs) if theirs else value
        else:
            other = getattr(other, field.name, value)
        message = value
    field = rng.choice(
        [f for f, _ in fields] if fields and rng.random() < 0.9 else message.DESCRIPTOR.fields
    )
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif repeated(field):
        shuffle(rng, getattr(message, field.name), getattr(other, field.name, []))
    elif field.type == Field.TYPE_MESSAGE:
        theirs = getattr(other, field.name, None)
        if isinstance(theirs, Message) and type(theirs) is type(getattr(message, field.name)):
            getattr(message, field.name).MergeFrom(theirs)
    else:
        setattr(message, field.name, scalar(rng, field, getattr(message, field.name)))
    return None


def repeated(field: Any) -> bool:
    """Whether a field holds many."""
    return bool(field.is_repeated)


def shuffle(rng: Random, values: Any, theirs: Any) -> None:
    """Drop, double, swap, change or take over elements of a repeated field."""
    if not len(values):
        if len(theirs):
            values.append(rng.choice(theirs))
        return
    at = rng.randrange(len(values))
    match rng.randrange(6):
        case 0:
            del values[at]
        case 1:
            values.append(values[at])
        case 2:
            kept = list(values)
            b = rng.randrange(len(kept))
            kept[at], kept[b] = kept[b], kept[at]
            del values[:]
            values.extend(kept)
        case 3 if len(theirs) and type(theirs[0]) is type(values[0]):
            values.append(rng.choice(theirs))
        case 4:
            del values[rng.randrange(len(values)) :]
        case _ if isinstance(values[at], Message):
            change(rng, values[at], values[rng.randrange(len(values))])
        case _:
            values[at] = _like(rng, values[at])


def scalar(rng: Random, field: Any, value: Any) -> Any:
    """Another value that the field can hold."""
    if field.type == Field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type in (Field.TYPE_INT32, Field.TYPE_ENUM):
        return rng.choice([n for n in NUMBERS if abs(n) < 1 << 31])
    if field.type == Field.TYPE_BYTES and isinstance(value, bytes):
        return raw(rng, value)
    return _like(rng, value)


def _like(rng: Random, value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((*NUMBERS, value + 1, value - 1, value * 2)) & (2**63 - 1)
    if isinstance(value, float):
        return rng.choice((*REALS, value * 2, -value))
    if isinstance(value, bytes):
        return raw(rng, value)
    return rng.choice((*TEXTS, value + "'"))


def raw(rng: Random, value: bytes) -> bytes:
    """Numbers of a tensor: one made another, some more or fewer, or a bit flipped."""
    data = bytearray(value)
    at = rng.randrange(len(data) // 4 + 1) * 4
    match rng.randrange(6):
        case 0:
            data[at : at + 4] = struct.pack("<f", min(rng.choice(REALS), 3e38))
        case 1:
            data[at : at + 8] = struct.pack("<q", rng.choice(NUMBERS))
        case 2:
            del data[at:]
        case 3:
            data += data[at : at + 64] or b"\0\0\0\0"
        case 4:
            data[:] = bytes(len(data))
        case _ if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


# JSON, packs, arrays --------------------------------------------------------------------------


def of_json(rng: Random, text: str) -> str:
    """A document with one value changed, dropped, or of another type."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    at, here = document, document
    key: Any = None
    while isinstance(here, dict | list) and len(here) and (key is None or rng.random() < 0.8):
        at, key = here, rng.choice([*here] if isinstance(here, dict) else range(len(here)))
        here = at[key]
    if key is None:
        return json.dumps(rng.choice(_VALUES))
    match rng.randrange(4):
        case 0:
            del at[key]
        case 1 if isinstance(at, list):
            at.append(here)
        case 1:
            at[rng.choice(TEXTS)] = here
        case 2 if isinstance(here, int | float | str):
            at[key] = _like(rng, here)
        case _:
            at[key] = rng.choice(_VALUES)
    return json.dumps(document)


_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**64,
    10**400,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../x",
    [],
    [0],
    [[]],
    {},
    {"a": 1},
    [2**40, 2**40],
    "folded",
    "masked",
    "sparse",
)


def of_pack(rng: Random, content: bytes, others: list[bytes]) -> bytes:
    """A pack with one member changed, dropped, doubled or claimed to be larger."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError):
        members = []
    if not members or rng.random() < 0.15:
        return of_bytes(rng, content, others)
    at = rng.randrange(len(members))
    name, inner = members[at]
    if rng.random() < 0.1:
        members[at : at + 1] = rng.choice(([], [members[at]] * 2, [(rng.choice(TEXTS), inner)]))
    elif name.endswith(".json"):
        members[at] = name, of_json(rng, inner.decode()).encode()
    elif name.endswith(".onnx"):
        members[at] = name, of_model(rng, inner, [inner])
    else:
        members[at] = name, of_bytes(rng, inner, [inner])
    return zipped(members)


def zipped(members: list[tuple[str, bytes]]) -> bytes:
    """A zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, inner in members:
            archive.writestr(zipfile.ZipInfo(name.replace("\0", "0") or "empty"), inner)
    return stream.getvalue()


_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2, 6, 6), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3000000000,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '|S1000000', 'fortran_order': False, 'shape': (1000,), }",
    "{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': (8, 2, 6, 6), }",
    "{'descr': '<c16', 'fortran_order': True, 'shape': (4, 2, 6, 6), }",
    "{'descr': '<M8[s]', 'fortran_order': True, 'shape': (4, 2, 6, 6), }",
    "{'descr': '<f4', 'fortran_order': 3}",
    "(" * 200 + ")" * 200,
    "{",
    "",
)


def of_arrays(rng: Random, content: bytes, others: list[bytes]) -> bytes:
    """An npz file with one array of another shape or type, missing, renamed, or no array."""
    if rng.random() < 0.2:
        return of_bytes(rng, content, others)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(members))
    name, inner = members[at]
    match rng.randrange(5):
        case 0:
            members[at] = name, of_bytes(rng, inner, [inner])
        case 1:
            members[at] = name, _array(_odd(rng, np.load(io.BytesIO(inner))))
        case 2:
            header = (rng.choice(_HEADERS).ljust(117) + "\n").encode("latin1")
            members[at] = (
                name,
                b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + inner[128:],
            )
        case 3:
            members[at : at + 1] = rng.choice(([], [members[at]] * 2, [(rng.choice(TEXTS), inner)]))
        case _:
            members[at] = name, raw(rng, inner)
    return zipped(members)


def _odd(rng: Random, value: Any) -> Any:
    """An array of another type, shape or with other numbers."""
    changes: tuple[Callable[[Any], Any], ...] = (
        lambda v: v.astype(rng.choice(["f8", "f2", "i8", "u1", "c8", "U3", "?"])),
        lambda v: v[:0],
        lambda v: v[:1],
        lambda v: v.reshape(-1),
        lambda v: v[None],
        lambda v: v[..., :0],
        lambda v: v.T,
        lambda v: v * np.nan,
        lambda v: v * 3e38,
        lambda v: v * 0,
        lambda v: np.array(3.0),
        lambda v: -v,
        lambda v: v.swapaxes(0, -1),
        lambda v: v + 1000,
    )
    with np.errstate(all="ignore"):
        return rng.choice(changes)(value)


def _array(value: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value)
    return stream.getvalue()
