"""Random inputs, which stand in for real ones where none are given."""

import math

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.samples.samples import RANDOM_ORIGIN, Samples, are_whole, shape_text
from lt_onnx.target import Array, Floats, Normal, Port

MAX_RANDOM_BYTES = 1 << 30
MAX_BYTE = 255
MIN_OF_BYTES, MAX_OF_BYTES = 16, 1024  # what a network takes off bytes, or divides them by
MIN_OF_SHARES, MAX_OF_SHARES = 1 / 1024, 1 / 16  # what numbers from 0 to 1 are divided by
UNKNOWN = Normal(np.zeros((), np.float32), np.ones((), np.float32), measured=False)
OPEN_AXIS = 32  # size given to an axis that the model leaves open


def drawn_sizes(port: Port, ports: tuple[Port, ...] = ()) -> list[int]:
    """The sizes of one random input; of `ports` together, where their samples are whole."""
    if not are_whole(ports):
        return [d if isinstance(d, int) and d > 0 else OPEN_AXIS for d in port.shape[1:]]
    leading = {port.shape[0] for port in ports if port.shape}
    single = [axis == 0 or size in leading for axis, size in enumerate(port.shape)]
    sizes = zip(port.shape, single, strict=True)
    return [d if isinstance(d, int) and d > 0 else 1 if one else OPEN_AXIS for d, one in sizes]


def random_samples(ports: tuple[Port, ...], count: int, seed: int) -> Samples:
    """Seeded inputs, smooth and white noise and pictures by turns; they stand in for real ones.

    Smooth noise, of several resolutions, has a 1/f-like spectrum as natural images have that are
    normalised; pictures are the same from 0 to 1, as images are that are not. White noise is what a
    network is often tried with. Whole numbers pick from all of a table, or are 0 or 1; bytes are
    pictures. What the network itself normalises has the mean and deviation that this takes off, or
    is pictures where these are of bytes or of shares. Raises InputError for too many bytes.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for port in ports:
        shape = (count, *(sizes := drawn_sizes(port, ports)))
        if 4 * math.prod(shape) > MAX_RANDOM_BYTES:
            raise InputError(
                f"'{port.name}' of shape {shape_text(port)}: {count} random inputs would be "
                f"{4 * math.prod(shape) / 1e9:.1f} GB; ask for fewer, or give inputs"
            )
        if not np.issubdtype(port.dtype, np.floating):
            if port.dtype == np.uint8 and len(sizes) > 1 and port.entries is None:
                whole = np.rint(MAX_BYTE * _pictures(rng, shape))
            else:
                whole = rng.integers(0, port.entries or 2, shape)
            arrays[port.name] = whole.astype(port.dtype)
            continue
        arrays[port.name] = _drawn(rng, shape, port).astype(port.dtype)
    return Samples(arrays, None, f"{RANDOM_ORIGIN} {seed})")


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], port: Port) -> Floats:
    """Floats for an input of any size."""
    mean, deviation, measured = port.normal or UNKNOWN
    if len(shape) > 2 and not measured:
        largest, width = float((np.abs(mean) + deviation).max()), float(deviation.max())
        if MIN_OF_BYTES < largest < MAX_OF_BYTES:
            return _pictures(rng, shape) * np.float32(MAX_BYTE)
        if MIN_OF_SHARES < width < MAX_OF_SHARES:
            return _pictures(rng, shape)
        if width <= MIN_OF_SHARES:  # of a sound, say, whose samples are made whole numbers
            mean, deviation, _ = UNKNOWN
    drawn = rng.standard_normal(shape, np.float32)
    if len(shape) > 2:
        drawn[::3] = _smooth(rng, drawn[::3].shape)
    if all(n in (1, d) for n, d in zip(mean.shape[::-1], shape[::-1], strict=False)):
        drawn = mean + deviation * drawn
    if len(shape) > 2 and not measured:
        drawn[2::3] = _pictures(rng, drawn[2::3].shape)
    return drawn


def _pictures(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Smooth noise from 0 to 1 in every sample."""
    noise = _smooth(rng, shape)
    axes = tuple(range(1, noise.ndim))
    low, high = noise.min(axes, keepdims=True), noise.max(axes, keepdims=True)
    stretched: Floats = ((noise - low) / np.maximum(high - low, 1e-6)).astype(np.float32)
    return stretched


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
