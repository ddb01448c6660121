"""Which inputs a ticket is constructed with, and which it is judged by.

Comes in: what the caller gave, a file or `Samples` or nothing, and the ports of the network. Goes
out: `Samples`; where nothing was given, random ones, as many as can be afforded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lt_onnx.errors import InputError
from lt_onnx.options import Pictures
from lt_onnx.samples.random_inputs import drawn_sizes, random_samples
from lt_onnx.samples.samples import AS_THEY_ARE, Samples, load_samples, samples_of
from lt_onnx.samples.variation import MIN_AVERAGED
from lt_onnx.target import Array, Port

GivenSamples: TypeAlias = str | Path | Samples | Mapping[str, Array] | Array
Given: TypeAlias = GivenSamples | None
Ports: TypeAlias = tuple[Port, ...]

# what validation on random inputs may cost: multiply-adds of the ticket, and numbers drawn
MAX_VALIDATION_WORK, MAX_VALIDATION_NUMBERS = 3e11, 1 << 21
MAX_SPARE = 128  # inputs beside those of the calibration
OTHERS = 3  # from one seed to that of other inputs
MAX_RANDOM_SAMPLES = 256  # for validation; of fewer than MIN_AVERAGED no place has a mean


@dataclass(frozen=True)
class Calibration:
    """Inputs that a ticket's layers are made from, and others, that the whole may be judged by."""

    inputs: Samples
    spare: Samples | None = None


def check_apart(calibration: Given, samples: Given) -> None:
    """Raises InputError where layers would be judged by the inputs that they are made from."""
    both = [Path(given) for given in (calibration, samples) if isinstance(given, str | Path)]
    if len(both) == 2 and both[0].resolve() == both[1].resolve():
        raise InputError(
            f"{samples}: layers are made from these: leave `samples` out, and some are kept to "
            "judge by"
        )


def calibration_inputs(given: Given, ports: Ports, count: int, seed: int) -> Calibration:
    """`count` of the inputs given, evenly taken, or as many random ones; and some of the others.

    Raises InputError for inputs that are all the same: they do not tell what others do.
    """
    count = whole_batches(ports, count)
    if given is None:
        return Calibration(_random(ports, count, seed), _random(ports, count, seed + OTHERS))
    samples, batch = loaded(given, ports), whole_batches(ports, 1)
    if samples.count > 1 and all((array == array[:1]).all() for array in samples.arrays.values()):
        raise InputError(f"{samples.origin}: all inputs are the same; give inputs that differ")
    spare = samples.others(count, most=MAX_SPARE)
    whole = spare.count // batch * batch if spare is not None else 0
    return Calibration(samples.spread(count), spare.first(whole) if spare and whole else None)


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
    count = min(max(count, min(MIN_AVERAGED, calibrated)), MAX_RANDOM_SAMPLES)
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
