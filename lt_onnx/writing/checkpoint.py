"""What an interrupted conversion had finished, so that the same command goes on from there.

Kept beside the ticket as `.<name>.resume` while `resume` is asked for: frames of a length, a
CRC-32 and a message (msgpack). The first says what is being made, each further one is a finished
layer. What was torn by a kill fails its CRC and is cut off.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from lt_onnx.blueprint import Expand
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows, SavedLayer
from lt_onnx.files import cannot_write

FRAME_HEAD = struct.Struct("<QI")  # length and CRC-32 of what follows


Pieces: TypeAlias = dict[int, tuple[tuple[int, ...], bytes]]  # masks, as `SavedLayer` has them
Start: TypeAlias = tuple[str, frozenset[str]]  # key, tensors that constants were lost on
Layer: TypeAlias = tuple[str, Pieces, bytes, bytes, LayerStats]  # name, masks, scale and offset


def checkpoint_of(path: Path) -> Path:
    """Where the checkpoint of the ticket at `path` lies."""
    return path.with_name(f".{path.name}.resume")


class Checkpoint:
    """The finished layers of one conversion, by name; `key` stands for all that decides its bytes.

    A context manager: when the block ends well the file is removed, otherwise it stays. The ticket
    is reserved meanwhile. Raises InputError or ResourceError when it cannot be written.
    """

    def __init__(self, ticket: Path, key: str) -> None:
        self.path = checkpoint_of(ticket)
        self.saved: dict[str, SavedLayer] = {}
        self.constants_lost: frozenset[str] = frozenset()
        self._key = key
        self._pieces: Pieces = {}  # of the layer under way
        try:
            self._stream: BufferedRandom = open(self.path, "a+b")  # noqa: SIM115
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._read()

    def __enter__(self) -> "Checkpoint":
        return self

    def restart(self, constants_lost: frozenset[str]) -> None:
        """Forget all: constants were lost on the tensors, and another plan is followed."""
        self._cut(0)
        self.saved, self._pieces, self.constants_lost = {}, {}, constants_lost
        self._append((self._key, constants_lost))

    def note(self, piece: MaskedRows | BuiltLayer) -> None:
        """Note the masks of some rows, or that a layer is finished and need not be built again."""
        name = piece.step.name
        if isinstance(piece.step, Expand) or name in self.saved:  # univariate layers cost nothing
            return
        if isinstance(piece, MaskedRows):
            packed = np.packbits(piece.weight != 0).tobytes()
            self._pieces[piece.start] = piece.weight.shape, packed
        elif piece.scale is not None and piece.offset is not None:
            numbers = piece.scale.tobytes(), piece.offset.tobytes()
            self._append((name, self._pieces, *numbers, piece.stats))
            self._pieces = {}

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with contextlib.suppress(OSError):  # of a full disk, which was told before
            self._stream.close()
        if error is None:
            self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        """Take over the layers of the same conversion; start anew when the file is of another."""
        end = 0
        for stop, message in self._frames():
            if end == 0:
                key, constants_lost = msgspec.msgpack.decode(message, type=Start)
                if key != self._key:
                    break
                self.constants_lost = constants_lost
            else:
                name, pieces, scale, offset, stats = msgspec.msgpack.decode(message, type=Layer)
                numbers = np.frombuffer(scale), np.frombuffer(offset)
                self.saved[name] = SavedLayer(pieces, *numbers, stats)
            end = stop
        if end == 0:
            self.restart(frozenset())
        else:
            self._cut(end)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Whole frames: where each ends, and its message."""
        self._stream.seek(0)
        while len(head := self._stream.read(FRAME_HEAD.size)) == FRAME_HEAD.size:
            length, crc = FRAME_HEAD.unpack(head)
            if length > os.fstat(self._stream.fileno()).st_size:
                return
            message = self._stream.read(length)
            if len(message) != length or zlib.crc32(message) != crc:
                return
            yield self._stream.tell(), message

    def _append(self, message: Start | Layer) -> None:
        """Write a frame that outlives a power failure."""
        content = msgspec.msgpack.encode(message)
        try:
            self._stream.write(FRAME_HEAD.pack(len(content), zlib.crc32(content)) + content)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def _cut(self, end: int) -> None:
        self._stream.seek(end)
        self._stream.truncate(end)
