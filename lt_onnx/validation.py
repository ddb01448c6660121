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
from lt_onnx.runtime import Session
from lt_onnx.samples import Samples
from lt_onnx.target import Array, Port

BATCH = 32


@dataclass
class OutputFidelity:
    """How close one output is. Relative error is ‖f_t − f_ε‖ / ‖f_t‖ over all samples."""

    name: str
    max_abs: float = 0.0
    mean_abs: float = 0.0
    relative: float = 0.0
    sqnr_db: float = math.inf
    cosine: float = 1.0
    finite: bool = True
    agreement: float | None = None  # share of samples with equal top-1
    target_accuracy: float | None = None
    ticket_accuracy: float | None = None
    smallest_tolerance: float = 0.0  # least --max-rel that would pass


@dataclass(frozen=True)
class Limits:
    """What must hold for the exit code 0; None is not asked."""

    max_rel: float | None = None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                option = name.replace("_", "-")
                raise InputError(f"--{option} is {value}; give a number that is not negative")


@dataclass
class Fidelity:
    """Outcome of a validation; `failures` says which limits were missed, in words."""

    outputs: list[OutputFidelity]
    samples: int
    origin: str
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every limit held."""
        return not self.failures


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

    def add(self, true: Array, made: Array) -> None:
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
        if a.ndim == 2 and a.shape[1] > 1:
            self.decisions.append((a.argmax(1), b.argmax(1)))


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
    true, made = Session(target, device), Session(ticket, device)
    if true.output_names != made.output_names:
        raise InputError(
            f"{ticket}: its outputs {made.output_names} are not the target's {true.output_names}"
        )
    sums = {name: _Sums() for name in true.output_names}
    batches = samples.batches(ports, BATCH)
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
    fidelity = Fidelity(outputs, seen, samples.origin)
    _judge(fidelity, limits)
    return fidelity


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
    )
    if sums.decisions:
        true = np.concatenate([a for a, _ in sums.decisions])
        made = np.concatenate([b for _, b in sums.decisions])
        out.agreement = float((true == made).mean())
        if labels is not None and len(labels) == len(true):
            out.target_accuracy = float((true == labels).mean())
            out.ticket_accuracy = float((made == labels).mean())
    return out


def _judge(fidelity: Fidelity, limits: Limits) -> None:
    """Fill in the failures."""
    for out in fidelity.outputs:
        if not out.finite:
            fidelity.failures.append(f"output '{out.name}': the ticket gives NaN or infinity")
        if limits.max_rel is not None and out.relative > limits.max_rel:
            fidelity.failures.append(
                f"output '{out.name}': relative error {out.relative:.3g} > {limits.max_rel:g}"
            )
    if limits.min_agreement is not None:
        known = [out for out in fidelity.outputs if out.agreement is not None]
        if not known:
            raise InputError("--min-agreement needs an output of class scores [N, classes]")
        for out in known:
            if out.agreement is not None and out.agreement < limits.min_agreement:
                fidelity.failures.append(
                    f"output '{out.name}': agreement {out.agreement:.4f} < {limits.min_agreement:g}"
                )
    if limits.max_accuracy_drop is not None:
        labelled = [
            (out.name, out.target_accuracy - out.ticket_accuracy)
            for out in fidelity.outputs
            if out.target_accuracy is not None and out.ticket_accuracy is not None
        ]
        if not labelled:
            raise InputError("--max-accuracy-drop needs --samples with 'labels'")
        for name, drop in labelled:
            if drop > limits.max_accuracy_drop:
                fidelity.failures.append(
                    f"output '{name}': accuracy drops by {drop:.4f} > {limits.max_accuracy_drop:g}"
                )
