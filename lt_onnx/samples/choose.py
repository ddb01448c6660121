"""Which inputs a ticket is constructed with, and which it is judged by.

Comes in: what the caller gave, a file or `Samples` or nothing, and the ports of the network. Goes
out: `Samples`; where nothing was given, random ones, as many as can be afforded.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from lt_onnx.options import Pictures
from lt_onnx.samples.samples import (
    AS_THEY_ARE,
    Samples,
    drawn_sizes,
    load_samples,
    random_samples,
    samples_of,
)
from lt_onnx.target import Array, Port

GivenSamples: TypeAlias = str | Path | Samples | Mapping[str, Array] | Array
Given: TypeAlias = GivenSamples | None
Ports: TypeAlias = tuple[Port, ...]

# what validation on random inputs may cost: multiply-adds of the ticket, and numbers drawn
MAX_VALIDATION_WORK, MAX_VALIDATION_NUMBERS = 3e11, 1 << 21
MIN_RANDOM_SAMPLES, MAX_RANDOM_SAMPLES = 4, 256  # for validation


def calibration_inputs(given: Given, ports: Ports, count: int, seed: int) -> Samples:
    """`count` of the inputs given, evenly taken, or as many random ones."""
    if given is None:
        return _random(ports, count, seed)
    return loaded(given, ports).spread(whole_batches(ports, count))


def validation_inputs(
    given: Given,
    ports: Ports,
    *,
    multiply_adds: int,
    calibrated: int,
    seed: int,
    most: int | None = None,
    pictures: Pictures = AS_THEY_ARE,
) -> Samples:
    """The inputs given, `most` of them at most, or random ones.

    `multiply_adds` is the ticket's work per sample; of few samples for calibration (`calibrated`)
    follow as few here.
    """
    if given is not None:
        samples = loaded(given, ports, pictures)
        return samples if most is None else samples.spread(whole_batches(ports, most))
    numbers = sum(math.prod(drawn_sizes(port)) for port in ports)
    count = min(
        MAX_VALIDATION_WORK / max(multiply_adds, 1), MAX_VALIDATION_NUMBERS / max(numbers, 1)
    )
    count = min(max(count, min(MIN_RANDOM_SAMPLES, calibrated)), MAX_RANDOM_SAMPLES)
    return _random(ports, int(count), seed)


def loaded(given: GivenSamples, ports: Ports, pictures: Pictures = AS_THEY_ARE) -> Samples:
    """The inputs given, read from their file or folder where they are in one. Raises InputError."""
    if isinstance(given, Samples):
        return given
    if isinstance(given, str | Path):
        return load_samples(Path(given), ports, pictures)
    return samples_of(given, ports)


def _random(ports: Ports, count: int, seed: int) -> Samples:
    """Random inputs, whole batches where a model fixes their size."""
    return random_samples(ports, whole_batches(ports, count), seed)


def whole_batches(ports: Ports, count: int) -> int:
    """`count`, or so many more that they fill the batches that a model fixes."""
    batch = max((p.shape[0] for p in ports if p.shape and isinstance(p.shape[0], int)), default=1)
    step = batch or 1
    return -(-count // step) * step
