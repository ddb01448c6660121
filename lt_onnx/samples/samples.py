"""Inputs for construction and validation, as the caller gives them.

An npz file holds one array [N, …] per input of the model, named as the input, and optionally
`labels` [N] (class numbers). Nothing in it is ever unpickled. Inputs that do not lead with a common
batch, as a recurrent network's state, have N in front of their whole shape.
"""

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import IO

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write, check_file
from lt_onnx.options import Pictures
from lt_onnx.samples.images import load_images
from lt_onnx.target import Array, Indices, Port

# what zipfile, zlib and numpy raise on malformed files
_GENERAL_ERRORS = ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, SyntaxError
_LIBRARY_ERRORS = struct.error, zipfile.BadZipFile, zlib.error, tokenize.TokenError
READ_ERRORS = (*_GENERAL_ERRORS, RuntimeError, MemoryError, OverflowError, *_LIBRARY_ERRORS)
MAX_UNPACKED_BYTES = 1 << 28  # of an npz file, and …
MAX_EXPANSION = 64  # … so many more for each of its own
GIVEN_ORIGIN = "arrays given"
RANDOM_ORIGIN = "random (seed"  # how the origin of random inputs begins
AS_THEY_ARE = Pictures()
VALIDATION_BATCH = 8  # samples that both networks run at a time
# inputs of a batch: the activations inside a network may be a hundred times as many numbers
MAX_BATCH_NUMBERS = 1 << 18


@dataclass(frozen=True)
class Samples:
    """`count` inputs: arrays [count, …] by input name; `labels` [count] or None; where from."""

    arrays: Mapping[str, Array]
    labels: Array | None
    origin: str

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))

    @property
    def is_random(self) -> bool:
        """Whether they were drawn, and stand in for real ones."""
        return self.origin.startswith(RANDOM_ORIGIN)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Sizes of one sample, by input."""
        return {name: value.shape[1:] for name, value in self.arrays.items()}

    @property
    def numbers(self) -> int:
        """Numbers of one sample, in all inputs together."""
        return sum(value.size // max(len(value), 1) for value in self.arrays.values())

    def first(self, count: int) -> "Samples":
        """The first `count` samples."""
        return self._part(slice(count))

    def spread(self, count: int) -> "Samples":
        """At most `count` samples, taken at even distances over all of them."""
        if count >= self.count:
            return self
        chosen = self._part(self._places(count))
        origin = f"{self.origin} ({count:,} of {self.count:,} samples)"
        return replace(chosen, origin=origin)

    def others(self, count: int, *, most: int) -> "Samples | None":
        """At most `most` of those that `spread(count)` leaves, at even distances; None: too few."""
        left = np.delete(np.arange(self.count), self._places(min(count, self.count)))
        return self._part(left).spread(most) if len(left) else None

    def _places(self, count: int) -> Indices:
        return np.arange(count) * self.count // count

    def _part(self, part: slice | Indices) -> "Samples":
        labels = None if self.labels is None else self.labels[part]
        return Samples({k: v[part] for k, v in self.arrays.items()}, labels, self.origin)

    def split(
        self, ports: tuple[Port, ...], *, wanted: int = 0
    ) -> tuple["Samples", "Samples | None"]:
        """Four of five samples, and every fifth; of few, all and none. A model's batches stay.

        Two of five are kept out where fewer than `wanted` would be, and these are as many; or where
        none would be, and any are wanted.
        """
        sizes = [p.shape[0] for p in ports if p.shape and isinstance(p.shape[0], int)]
        place = np.arange(self.count) // max(sizes, default=1) % 5
        kept, two = place == 4, np.isin(place, (1, 4))
        if kept.sum() < wanted <= two.sum() or (wanted and not kept.any()):
            kept = two
        if not kept.any():
            return self, None
        return self._part(np.flatnonzero(~kept)), self._part(np.flatnonzero(kept))

    def batches(self, ports: tuple[Port, ...], size: int) -> list[dict[str, Array]]:
        """Feeds of at most `size` samples, fewer large ones, or of the batch that a model fixes."""
        if are_whole(ports):
            return [{k: v[i] for k, v in self.arrays.items()} for i in range(self.count)]
        fixed = fixed_batch(ports)
        size = fixed or batch_size(self.numbers, size)
        stop = self.count - self.count % size if fixed else self.count
        return [{k: v[i : i + size] for k, v in self.arrays.items()} for i in range(0, stop, size)]


def load_samples(path: Path, ports: tuple[Port, ...], pictures: Pictures = AS_THEY_ARE) -> Samples:
    """Read inputs and check them against the model's. Raises InputError.

    `path` is an npz file, an npy file for a model of one input, or a folder of images, of which
    `pictures` says how they become inputs.
    """
    arrays, labels = _read(path, ports, pictures)
    checked = _checked(path, arrays, labels, ports)
    return Samples(checked, labels, f"{path} ({pictures})" if path.is_dir() else str(path))


def samples_of(arrays: Mapping[str, Array] | Array, ports: tuple[Port, ...]) -> Samples:
    """Inputs in memory, checked against the model's. Raises InputError.

    `arrays` are [N, …] by input, with `labels` [N] if there are any; of a model of one input, the
    array alone will do.
    """
    if not isinstance(arrays, Mapping):
        if len(ports) != 1:
            raise InputError(
                f"{GIVEN_ORIGIN}: one array; the model has {len(ports)} inputs: give a dict of "
                f"{', '.join(port.name for port in ports)}"
            )
        arrays = {ports[0].name: arrays}
    try:
        held = {name: np.asarray(value) for name, value in arrays.items()}
    except ValueError:
        names = ", ".join([*(port.name for port in ports), "labels"])
        raise InputError(f"{GIVEN_ORIGIN}: are not of one shape; give a dict of {names}") from None
    _refuse_near_labels(GIVEN_ORIGIN, held, [port.name for port in ports])
    labels = held.pop("labels", None) if "labels" not in {p.name for p in ports} else None
    missing = [port.name for port in ports if port.name not in held]
    if missing:
        raise _missing(GIVEN_ORIGIN, missing[0], held)
    return Samples(_checked(GIVEN_ORIGIN, held, labels, ports), labels, GIVEN_ORIGIN)


def _checked(
    title: Path | str, arrays: Mapping[str, Array], labels: Array | None, ports: tuple[Port, ...]
) -> dict[str, Array]:
    """The arrays as the model wants them. Raises InputError where they or the labels do not fit."""
    whole = are_whole(ports)
    checked = {port.name: _check(title, port, arrays[port.name], whole=whole) for port in ports}
    counts = {len(value) for value in checked.values()}
    if counts == {0}:
        raise InputError(f"{title}: holds no samples; give one at least")
    if len(counts) > 1:
        raise InputError(f"{title}: its arrays hold {sorted(counts)} samples; give as many in each")
    if labels is not None and (
        labels.ndim != 1 or len(labels) not in counts or labels.dtype.kind not in "iuf"
    ):
        raise InputError(
            f"{title}: 'labels' is {labels.dtype} {list(labels.shape)}; one number per sample is "
            "wanted"
        )
    return checked


def _refuse_near_labels(title: Path | str, held: Iterable[str], ports: Sequence[str]) -> None:
    """Raises InputError for a `label` that would be passed over."""
    rest = {*held} - {*ports}
    near = [] if "labels" in held else get_close_matches("labels", rest, 1, 0.7)
    if near:
        raise InputError(f"{title}: '{near[0]}' is no input of the model; are 'labels' meant?")


def _missing(title: Path | str, name: str, held: Iterable[str]) -> InputError:
    """What to raise where an input has no array."""
    return InputError(
        f"{title}: no array for the model's input '{name}'; it holds "
        f"{', '.join(sorted(held)[:20]) or 'nothing'}: name each array as the input"
    )


def _read(
    path: Path, ports: tuple[Port, ...], pictures: Pictures
) -> tuple[dict[str, Array], Array | None]:
    """Arrays by name, not yet checked against the ports, and labels."""
    if path.is_dir():
        if len(ports) != 1:
            raise InputError(f"{path}: the model has {len(ports)} inputs; give an npz file of them")
        images, labels = load_images(path, ports[0], pictures)
        return {ports[0].name: images}, labels
    check_file(path)
    names = [port.name for port in ports]
    try:
        if zipfile.is_zipfile(path):
            arrays = _members(path, [*names, "labels"])
            return arrays, arrays.pop("labels", None)
        if len(ports) != 1:
            raise InputError(f"{path}: one array; the model has {len(ports)} inputs")
        with path.open("rb") as stream:
            return {names[0]: _array(stream, path.stat().st_size)}, None
    except READ_ERRORS:
        raise InputError(
            f"{path}: not an npz file of plain arrays; write it with numpy.savez"
        ) from None


def _members(path: Path, names: list[str]) -> dict[str, Array]:
    """The arrays `names` of an npz file, `labels` if it has them."""
    with zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        missing = [name for name in names if name not in members and name != "labels"]
        if missing:
            raise _missing(path, missing[0], members)
        _refuse_near_labels(path, members, names)
        members = {name: members[name] for name in names if name in members}
        size = sum(info.file_size for info in members.values())
        if size > MAX_UNPACKED_BYTES + MAX_EXPANSION * path.stat().st_size:
            raise InputError(f"{path}: unpacks to {size / 1e9:.1f} GB; write it uncompressed")
        arrays = {}
        for name, info in members.items():
            with archive.open(info) as stream:
                arrays[name] = _array(stream, info.file_size)
    return arrays


def _array(stream: IO[bytes], size: int) -> Array:
    """An array of `size` bytes, header included; no more is ever allocated."""
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        header = np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size or dtype.hasobject:
        raise ValueError("shape")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def save_samples(path: Path, samples: Samples, *, force: bool = False) -> None:
    """Write samples as an npz file that `load_samples` reads; `force` lets it replace a file.

    Raises InputError and ResourceError.
    """
    arrays = dict(samples.arrays)
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    with atomic_write(path, force=force) as (stream,):
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _check(path: Path | str, port: Port, value: Array, *, whole: bool) -> Array:
    if whole and value.ndim == len(port.shape) and port.shape[:1] == (1,):
        value = value[:, None]
    sizes = zip(value.shape[1:], port.shape if whole else port.shape[1:], strict=False)
    fixed = all(have == want for have, want in sizes if isinstance(want, int))
    if not 0 < value.ndim == len(port.shape) + whole or not fixed:
        raise InputError(
            f"{path}: '{port.name}' has shape {list(value.shape)}, "
            f"the model wants {shape_text(port)}"
        )
    if value.dtype != port.dtype:
        if not np.can_cast(value.dtype, port.dtype, "same_kind"):
            raise InputError(
                f"{path}: '{port.name}' is {value.dtype}, the model wants {port.dtype}: convert it"
            )
        with np.errstate(over="ignore"):  # told below
            value = value.astype(port.dtype)
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
        raise InputError(f"{path}: '{port.name}' holds NaN or infinity")
    return value


def shape_text(port: Port) -> str:
    """The shape that a model asks for, in words."""
    return "[" + ", ".join("?" if d is None else str(d) for d in port.shape) + "]"


def batch_size(numbers: int, most: int) -> int:
    """How many samples of `numbers` numbers each make a batch, `most` at most."""
    return max(1, min(most, MAX_BATCH_NUMBERS // max(numbers, 1)))


def fixed_batch(ports: tuple[Port, ...]) -> int | None:
    """The batch that a model fixes; None: any."""
    if are_whole(ports) or any(port.alone for port in ports):
        return 1
    fixed = [p.shape[0] for p in ports if p.shape and isinstance(p.shape[0], int)]
    return max(min(fixed), 1) if fixed else None


def are_whole(ports: tuple[Port, ...]) -> bool:
    """Whether a sample of each input is a whole tensor, of which one at a time is run.

    So it is where inputs do not lead with a common batch, as a recurrent network's state: their
    leading sizes are fixed and differ, or one's name is that of an axis within another input.
    """
    leading = {port.shape[0] for port in ports if port.shape}
    inner = {size for p in ports for size in p.shape[1:] if p.shape[0] != size}
    fixed = [size for size in leading if isinstance(size, int)]
    return len(fixed) > 1 or any(isinstance(size, str) and size in inner for size in leading)
