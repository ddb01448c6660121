"""What an interrupted conversion had finished, so that the same command goes on from there.

Kept beside the ticket as `.<name>.resume` while `resume` is asked for: frames of a length, a
CRC-32, a line of JSON and bytes, appended as layers come. The first says what is being made; then
come a layer's masks, a frame for every piece of rows, and one that closes the layer. What was torn
by a kill fails its CRC and is cut off.
"""

import contextlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from io import BufferedRandom
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lt_onnx.blueprint import Expand
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows, SavedLayer
from lt_onnx.errors import InputError, Interrupted
from lt_onnx.files import cannot_write, try_lock

FRAME_HEAD = struct.Struct("<QI")  # length and CRC-32 of what follows


def checkpoint_of(path: Path) -> Path:
    """Where the checkpoint of the ticket at `path` lies."""
    return path.with_name(f".{path.name}.resume")


def discard(ticket: Path) -> None:
    """Remove the checkpoint of a conversion that is not to be gone on with, unless it runs."""
    with contextlib.suppress(OSError), checkpoint_of(ticket).open("r+b") as stream:
        if try_lock(stream):
            checkpoint_of(ticket).unlink(missing_ok=True)


class Checkpoint:
    """The finished layers of one conversion, by name; `key` stands for all that decides its bytes.

    A context manager: when the block ends well the file is removed, otherwise it stays. Raises
    InputError when it cannot be written or another process writes the same ticket.
    """

    def __init__(self, ticket: Path, key: str) -> None:
        self.path = checkpoint_of(ticket)
        self.saved: dict[str, SavedLayer] = {}
        self.constants_lost: frozenset[str] = frozenset()
        self._key = key
        try:
            self._stream: BufferedRandom = open(self.path, "a+b")  # noqa: SIM115
        except OSError as error:
            raise cannot_write(self.path, error) from None
        if not try_lock(self._stream):
            self._stream.close()
            raise InputError(f"{ticket}: is being made by another process; wait for it")
        self._read()

    def __enter__(self) -> "Checkpoint":
        return self

    def restart(self, constants_lost: frozenset[str]) -> None:
        """Forget all: constants were lost on the tensors, and another plan is followed."""
        self._cut(0)
        self.saved, self.constants_lost = {}, constants_lost
        self._append({"key": self._key, "fresh": sorted(constants_lost)}, b"", to_disk=True)

    def note(self, piece: MaskedRows | BuiltLayer) -> None:
        """Note the masks of some rows, or that a layer is finished and need not be built again."""
        name = piece.step.name
        if isinstance(piece.step, Expand) or name in self.saved:  # univariate layers cost nothing
            return
        if isinstance(piece, MaskedRows):
            rows = {"layer": name, "start": piece.start, "shape": piece.weight.shape}
            self._append(rows, np.packbits(piece.weight != 0).tobytes(), to_disk=False)
        elif piece.scale is not None and piece.offset is not None:
            layer = {"layer": name, "stats": asdict(piece.stats)}
            numbers = piece.scale.tobytes() + piece.offset.tobytes()
            self._append(layer, numbers, to_disk=True)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with contextlib.suppress(OSError):  # of a full disk, which was told before
            self._stream.close()
        if error is None:
            self.path.unlink(missing_ok=True)
        elif isinstance(error, KeyboardInterrupt):
            raise Interrupted("interrupted; the same command with `resume=True` goes on from there")

    def _read(self) -> None:
        """Take over the layers of the same conversion; start anew when the file is of another."""
        pieces: dict[str, dict[int, tuple[tuple[int, ...], bytes]]] = {}
        end, first = 0, True
        for stop, about, content in self._frames():
            if first and about.get("key") != self._key:
                break
            if first:
                self.constants_lost, first = frozenset(about["fresh"]), False
            elif "stats" in about:
                scale, offset = np.split(np.frombuffer(content, np.float64), 2)
                stats = msgspec.convert(about["stats"], LayerStats)
                masks = pieces.pop(about["layer"], {})
                self.saved[about["layer"]] = SavedLayer(masks, scale, offset, stats)
            else:
                rows = tuple(about["shape"]), content
                pieces.setdefault(about["layer"], {})[about["start"]] = rows
                continue  # a layer that is not closed is cut off
            end = stop
        if first:
            self.restart(frozenset())
        else:
            self._cut(end)

    def _frames(self) -> Iterator[tuple[int, dict[str, Any], bytes]]:
        """Whole frames: where each ends, its line, its bytes."""
        self._stream.seek(0)
        while len(head := self._stream.read(FRAME_HEAD.size)) == FRAME_HEAD.size:
            length, crc = FRAME_HEAD.unpack(head)
            if length > os.fstat(self._stream.fileno()).st_size:
                return
            payload = self._stream.read(length)
            if len(payload) != length or zlib.crc32(payload) != crc:
                return
            line, _, content = payload.partition(b"\n")
            yield self._stream.tell(), json.loads(line), content

    def _append(self, about: dict[str, Any], content: bytes, *, to_disk: bool) -> None:
        """Write a frame; with `to_disk` it and those before it outlive a power failure."""
        payload = json.dumps(about).encode() + b"\n" + content
        try:
            self._stream.write(FRAME_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
            if to_disk:
                self._stream.flush()
                os.fsync(self._stream.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def _cut(self, end: int) -> None:
        self._stream.seek(end)
        self._stream.truncate(end)
