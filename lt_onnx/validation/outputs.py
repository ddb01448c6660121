"""Compare a ticket with its target, output by output, on samples.

Statistics stream over batches; only class decisions are kept. NaN or infinity in a ticket's output
where the target has none is a failed validation, whatever the tolerance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lt_onnx.errors import InputError
from lt_onnx.reading.model_file import open_session
from lt_onnx.samples.samples import VALIDATION_BATCH, Samples
from lt_onnx.target import Array, Port
from lt_onnx.validation.fidelity import Fidelity, OutputFidelity
from lt_onnx.validation.limits import Limits, judge

PIECE = 1 << 20  # numbers that are compared at a time
POINTS = 400  # values of an output that a report shows, evenly spaced


@dataclass
class _Sums:
    error: float = 0.0
    signal: float = 0.0
    other: float = 0.0
    cross: float = 0.0
    absolute: float = 0.0
    largest: float = 0.0
    count: int = 0
    finite: bool = True
    decisions: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    points: list[tuple[float, float]] = field(default_factory=list)

    def add(self, true: Array, made: Array) -> None:
        """Count a batch of one output."""
        some = np.arange(0, true.size, max(1, true.size // POINTS))
        values = [value.reshape(-1)[some].astype(np.float64).tolist() for value in (true, made)]
        self.points += [(x, y) for x, y in zip(*values, strict=True) if math.isfinite(x - y)]
        if true.ndim == 2 and true.shape[1] > 1:
            self.decisions.append((true.argmax(1), made.argmax(1)))
        for start in range(0, true.size, PIECE):
            piece = slice(start, start + PIECE)
            self._add(true.reshape(-1)[piece], made.reshape(-1)[piece])

    def _add(self, true: Array, made: Array) -> None:
        a, b = true.astype(np.float64), made.astype(np.float64)
        self.finite &= bool(np.isfinite(b[np.isfinite(a)]).all())
        same = (np.isnan(a) & np.isnan(b)) | (a == b)
        difference = np.where(same, 0.0, a - b)
        good = np.isfinite(difference)
        difference = np.where(good, difference, 0.0)
        self.error += float(np.square(difference).sum())
        self.signal += float(np.square(a[np.isfinite(a)]).sum())
        self.other += float(np.square(b[np.isfinite(b)]).sum())
        both = np.isfinite(a) & np.isfinite(b)
        self.cross += float((a[both] * b[both]).sum())
        self.absolute += float(np.abs(difference).sum())
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))
        self.count += a.size


def validate(
    target: Path,
    ticket: Path,
    samples: Samples,
    ports: tuple[Port, ...],
    limits: Limits,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Fidelity:
    """Run both networks on `samples` and compare.

    Raises InputError when either cannot be run, or when their outputs do not correspond.
    """
    true, made = open_session(target, device), open_session(ticket, device)
    if true.output_names != made.output_names:
        raise InputError(
            f"{ticket}: its outputs {made.output_names} are not the target's {true.output_names}"
        )
    sums = {name: _Sums() for name in true.output_names}
    limits.refuse([Port(n, (), np.dtype(np.float32)) for n in sums], samples.labels is not None)
    batches = samples.batches(ports, VALIDATION_BATCH)
    if not batches:
        raise InputError(f"{samples.origin}: fewer samples than the batch that the model fixes")
    seen = 0
    for number, feeds in enumerate(batches):
        expected, got = true.run(feeds), made.run(feeds)
        for name, value in expected.items():
            if value.shape != got[name].shape:
                raise InputError(
                    f"{ticket}: output '{name}' has shape {list(got[name].shape)}, the target's "
                    f"has {list(value.shape)}"
                )
            sums[name].add(value, got[name])
        seen += len(next(iter(feeds.values())))
        if progress is not None:
            progress((number + 1) / len(batches))
    labels = None if samples.labels is None else samples.labels[:seen]
    outputs = [_summary(name, total, labels) for name, total in sums.items()]
    return Fidelity(outputs, seen, samples.origin, checks=judge(outputs, limits))


def _summary(name: str, sums: _Sums, labels: Array | None) -> OutputFidelity:
    relative = math.sqrt(sums.error / sums.signal) if sums.signal else math.sqrt(sums.error)
    norms = math.sqrt(sums.signal * sums.other)
    out = OutputFidelity(
        name=name,
        max_abs=sums.largest,
        mean_abs=sums.absolute / max(sums.count, 1),
        relative=relative,
        sqnr_db=-20 * math.log10(relative) if relative else math.inf,
        cosine=sums.cross / norms if norms else 1.0,
        finite=sums.finite,
        smallest_tolerance=relative if sums.finite else math.inf,
        points=sums.points[:: -(-len(sums.points) // POINTS) or 1],
    )
    if sums.decisions:
        true = np.concatenate([a for a, _ in sums.decisions])
        made = np.concatenate([b for _, b in sums.decisions])
        out.agreement = float((true == made).mean())
        if labels is not None and len(labels) == len(true):
            out.target_accuracy = float((true == labels).mean())
            out.ticket_accuracy = float((made == labels).mean())
    return out
