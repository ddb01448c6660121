"""Inputs for construction and validation: from files, or random and seeded.

An npz file holds one array per input of the model, named as the input, batch first, and optionally
`labels` (class numbers). Nothing in it is ever unpickled.
"""

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.files import check_file, whole
from lt_onnx.samples.images import Pictures, load_images
from lt_onnx.target import Array, Floats, Port

# what zipfile, zlib and numpy raise for what is none of theirs
UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    AttributeError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
UNPACKED = 1 << 28  # bytes that an npz file may unpack to, and …
DENSEST = 64  # … so many for each of its own
MOST_DRAWN = 1 << 30  # bytes of random inputs
OPEN_AXIS = 32  # size given to an axis that the model leaves open
# input numbers of a batch: what a network makes of them inside may be a hundred times as many
VALIDATION_BATCH = 8  # samples that both networks run at a time
BATCH_NUMBERS = 1 << 18


@dataclass(frozen=True)
class Samples:
    """`count` inputs: arrays [count, …] by input name; `labels` [count] or None."""

    arrays: Mapping[str, Array]
    labels: Array | None
    origin: str

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))

    @property
    def numbers(self) -> int:
        """How many numbers one sample has, in all inputs together."""
        return sum(value.size // max(len(value), 1) for value in self.arrays.values())

    def first(self, count: int) -> "Samples":
        """The first `count` samples."""
        labels = None if self.labels is None else self.labels[:count]
        return Samples({k: v[:count] for k, v in self.arrays.items()}, labels, self.origin)

    def last(self, count: int) -> "Samples":
        """The last `count` samples, which is at least one."""
        labels = None if self.labels is None else self.labels[-count:]
        return Samples({k: v[-count:] for k, v in self.arrays.items()}, labels, self.origin)

    def blended(self, share: float) -> "Samples":
        """Each sample mixed with the one before it: inputs between classes, harder to agree on."""
        arrays = {
            name: (share * v + (1 - share) * np.roll(v, 1, 0)).astype(v.dtype)
            if np.issubdtype(v.dtype, np.floating)
            else v
            for name, v in self.arrays.items()
        }
        return Samples(arrays, None, f"{self.origin} (blended)")

    def batches(self, ports: tuple[Port, ...], size: int) -> list[dict[str, Array]]:
        """Feeds of at most `size` samples, fewer large ones, or of the batch a model fixes."""
        fixed = {p.shape[0] for p in ports if p.shape and isinstance(p.shape[0], int)}
        size = min(fixed) if fixed else batch_size(self.numbers, size)
        stop = self.count - self.count % size if fixed else self.count
        return [{k: v[i : i + size] for k, v in self.arrays.items()} for i in range(0, stop, size)]


def load_samples(path: Path, ports: tuple[Port, ...], pictures: Pictures | None = None) -> Samples:
    """Read inputs and check them against the model's. Raises InputError.

    `path` is an npz file, an npy file for a model of one input, or a folder of images.
    """
    arrays, labels = _read(path, ports, pictures or Pictures())
    checked = {port.name: _check(path, port, arrays[port.name]) for port in ports}
    counts = {len(value) for value in checked.values()}
    if len(counts) > 1 or 0 in counts:
        raise InputError(f"{path}: its arrays hold {sorted(counts)} samples; give as many in each")
    if labels is not None and (
        labels.ndim != 1 or len(labels) not in counts or labels.dtype.kind not in "iuf"
    ):
        raise InputError(
            f"{path}: 'labels' is {labels.dtype} {list(labels.shape)}; one number per sample is "
            "wanted"
        )
    return Samples(checked, labels, str(path))


def _read(
    path: Path, ports: tuple[Port, ...], pictures: Pictures
) -> tuple[dict[str, Array], Array | None]:
    """Arrays by name, and labels, whatever the model wants."""
    if path.is_dir():
        if len(ports) != 1:
            raise InputError(f"{path}: the model has {len(ports)} inputs; give an npz file of them")
        images, labels = load_images(path, ports[0], pictures)
        return {ports[0].name: images}, labels
    check_file(path)
    wanted = [port.name for port in ports]
    try:
        if zipfile.is_zipfile(path):
            arrays = _members(path, [*wanted, "labels"])
            return arrays, arrays.pop("labels", None)
        if len(ports) != 1:
            raise InputError(f"{path}: one array; the model has {len(ports)} inputs")
        with path.open("rb") as stream:
            return {wanted[0]: _array(stream, path.stat().st_size)}, None
    except UNREADABLE:
        raise InputError(
            f"{path}: not an npz file of plain arrays; write it with numpy.savez"
        ) from None


def _members(path: Path, wanted: list[str]) -> dict[str, Array]:
    """The arrays of an npz file that are wanted; of a single one that is not, the name."""
    with zipfile.ZipFile(path) as archive:
        held = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        found = {name: held[name] for name in wanted if name in held}
        missing = [name for name in wanted if name not in held and name != "labels"]
        if missing:
            raise InputError(
                f"{path}: no array for the model's input '{missing[0]}'; it holds "
                f"{', '.join(sorted(held)[:20]) or 'nothing'}: name each array as the input"
            )
        size = sum(info.file_size for info in found.values())
        if size > UNPACKED + DENSEST * path.stat().st_size:
            raise InputError(f"{path}: unpacks to {size / 1e9:.1f} GB; write it uncompressed")
        arrays = {}
        for name, info in found.items():
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


def save_samples(path: Path, samples: Samples) -> None:
    """Write samples as an npz file that `load_samples` reads. Raises InputError, ResourceError."""
    arrays = dict(samples.arrays)
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    with whole(path) as (stream,):
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _check(path: Path, port: Port, value: Array) -> Array:
    if value.ndim == 0 or value.ndim != len(port.shape):
        raise InputError(
            f"{path}: '{port.name}' has shape {list(value.shape)}, the model wants {_text(port)}"
        )
    for axis, (have, want) in enumerate(zip(value.shape, port.shape, strict=True)):
        if axis and isinstance(want, int) and want != have:
            raise InputError(
                f"{path}: '{port.name}' has shape {list(value.shape)}, the model wants "
                f"{_text(port)}"
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


def _text(port: Port) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in port.shape) + "]"


def batch_size(numbers: int, most: int) -> int:
    """How many samples of so many numbers each make a batch."""
    return max(1, min(most, BATCH_NUMBERS // max(numbers, 1)))


def drawn_sizes(port: Port) -> list[int]:
    """The sizes of one random input."""
    return [d if isinstance(d, int) and d > 0 else OPEN_AXIS for d in port.shape[1:]]


def random_samples(ports: tuple[Port, ...], count: int, seed: int, smooth: bool) -> Samples:
    """Seeded normal inputs; `smooth` sums noise of several resolutions, as images have it.

    Smooth noise stands in for calibration data: 1/f-like spectra excite a network much as natural
    images do. White noise is for validation without samples.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for port in ports:
        shape = (count, *(sizes := drawn_sizes(port)))
        if 4 * math.prod(shape) > MOST_DRAWN:
            raise InputError(
                f"'{port.name}' of shape {_text(port)}: {count} random inputs would be "
                f"{4 * math.prod(shape) / 1e9:.1f} GB; give inputs with `calibration` and `samples`"
            )
        if not np.issubdtype(port.dtype, np.floating):
            arrays[port.name] = rng.integers(0, 2, shape).astype(port.dtype)
        elif smooth and len(sizes) > 1:
            arrays[port.name] = _smooth(rng, shape)
        else:
            arrays[port.name] = rng.standard_normal(shape, np.float32).astype(port.dtype)
    return Samples(arrays, None, f"random ({'smooth' if smooth else 'normal'}, seed {seed})")


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal noise at resolutions 1, 1/2, 1/4, …, upsampled, summed, scaled to unit variance."""
    total = np.zeros(shape, np.float32)
    step, levels = 1, 0
    while step <= max(shape[2:]):
        coarse = rng.standard_normal((*shape[:2], *[-(-d // step) for d in shape[2:]]), np.float32)
        for axis in range(2, len(shape)):  # no further than a short axis goes
            coarse = np.repeat(coarse, min(step, shape[axis]), axis)
        total += coarse[tuple(slice(d) for d in shape)]
        step, levels = step * 2, levels + 1
    return (total / np.float32(np.sqrt(levels))).astype(np.float32)
