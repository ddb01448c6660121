"""Members of packs, and arrays in npz files."""

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from lt_onnx.packing.archive import MAX_MEMBER_BYTES, write_members
from mutants.models import of_json, of_model
from mutants.values import TEXTS, Random, of_bytes, raw


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
    if [name for name, _ in members] != [*MAX_MEMBER_BYTES]:
        return zipped(members)
    stream = io.BytesIO()  # as packs are: else nobody looks into it
    write_members(stream, dict(members))
    return stream.getvalue()


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
