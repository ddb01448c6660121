"""The file of a pack: a zip of three members, and not a byte besides.

In: the members. Out: a file that is the same on every machine, or from a file, by whomever, the
members. Headers are compared with those that are written, byte for byte: what else a zip may hold,
nobody would count. Descriptions are compressed by LZMA; masks are already.
"""

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from lt_onnx.errors import InputError
from lt_onnx.files import check_file

SUFFIX = ".ltz"
MAX_GRAPH_BYTES = 256 << 20  # without its random tensors
MAX_MEMBER_BYTES = {"pack.json": 1 << 16, "graph.onnx": MAX_GRAPH_BYTES, "masks.bin": 1 << 30}
STORED = frozenset(["masks.bin"])
UNIX, RIGHTS, ENDED = 3, 0o600 << 16, 2  # of an entry; ENDED: its LZMA stream says where it ends
DIRECTORY_ENTRY, DIRECTORY_END = 46, 22  # bytes, names apart
LENGTHS = 28  # where an entry of the directory has those of its name, extra field and comment
LZMA_HEAD = bytes.fromhex("090405005d00008000")  # version and length of properties, these
UNKNOWN_SIZE = b"\xff" * 8  # in the header of an LZMA file
FIELDS = (
    "filename date_time compress_type comment extra create_system create_version extract_version "
    "reserved flag_bits volume internal_attr external_attr header_offset CRC compress_size "
    "file_size".split()
)
# what zipfile and its decompressors raise for what is none of theirs
ZIP_ERRORS = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError)
DAMAGED = (*ZIP_ERRORS, RuntimeError, ValueError, KeyError, TypeError, OverflowError, struct.error)


def write_members(stream: BinaryIO, members: Mapping[str, bytes]) -> None:
    """Write the members of a pack, in their order."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(_entry(name), content)


def read_members(packed: Path, *names: str) -> list[bytes]:
    """Members of a pack. Raises InputError where the file is none, or holds anything besides."""
    check_file(packed)
    try:
        with packed.open("rb") as stream:
            found = _entries(stream, packed.stat().st_size)
            return [_content(stream, found[name]) for name in names]
    except OSError as error:
        raise InputError(f"{packed}: cannot be read: {error.strerror or error}") from None
    except DAMAGED:
        raise InputError(f"{packed}: not a pack of lt-onnx, or damaged") from None


def _entry(name: str) -> zipfile.ZipInfo:
    """What a pack says of a member before its content is known."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = UNIX, RIGHTS
    entry.compress_type = zipfile.ZIP_STORED if name in STORED else zipfile.ZIP_LZMA
    return entry


def _entries(stream: BinaryIO, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members of a file of `size` bytes, which has nothing else. Raises ValueError."""
    with zipfile.ZipFile(stream) as archive:
        found = archive.infolist()
    if [entry.filename for entry in found] != [*MAX_MEMBER_BYTES]:
        raise ValueError("other members")
    place = directory = 0
    for entry in found:
        plain = _entry(entry.filename)
        plain.flag_bits = 0 if entry.filename in STORED else ENDED
        plain.header_offset, plain.CRC = place, entry.CRC
        plain.compress_size, plain.file_size = entry.compress_size, entry.file_size
        header = plain.FileHeader(zip64=False)
        if _read(stream, place, len(header)) != header:
            raise ValueError("another header")
        if any(getattr(entry, field) != getattr(plain, field) for field in FIELDS):
            raise ValueError("another entry")
        place += len(header) + entry.compress_size
        directory += DIRECTORY_ENTRY + len(entry.filename)
    at = place
    for entry in found:  # zipfile reads past the lengths that the last entry says
        lengths = struct.pack("<3H", len(entry.filename), 0, 0)
        if _read(stream, at + LENGTHS, len(lengths)) != lengths:
            raise ValueError("another entry")
        at += DIRECTORY_ENTRY + len(entry.filename)
    count = len(found)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, directory, place, 0)
    if size != place + directory + len(end) or _read(stream, place + directory, size) != end:
        raise ValueError("more than its members")
    return {entry.filename: entry for entry in found}


def _content(stream: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """The content of a member. Raises ValueError and LZMAError."""
    most = MAX_MEMBER_BYTES[entry.filename]
    start = entry.header_offset + len(entry.FileHeader(zip64=False))
    if max(entry.file_size, entry.compress_size) > most:
        raise ValueError("too large")
    held = _read(stream, start, entry.compress_size)
    if entry.filename not in STORED:
        head, properties = LZMA_HEAD, LZMA_HEAD[4:]
        if not held.startswith(head):
            raise ValueError("compressed otherwise")
        reader = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
        held = reader.decompress(properties + UNKNOWN_SIZE + held[len(head) :], entry.file_size)
        if not reader.eof or reader.unused_data:
            raise ValueError("more than it says")
    if len(held) != entry.file_size or zlib.crc32(held) != entry.CRC:
        raise ValueError("damaged")
    return held


def _read(stream: BinaryIO, start: int, size: int) -> bytes:
    stream.seek(start, io.SEEK_SET)
    return stream.read(size)
