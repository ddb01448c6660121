"""Compare a ticket with its target, output by output, on samples.

Statistics stream over batches; only class decisions are kept. NaN or infinity in a ticket's output
where the target has none is a failed validation, whatever the tolerance.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_onnx.errors import InputError
from lt_onnx.runtime import Session
from lt_onnx.samples.samples import VALIDATION_BATCH, Samples
from lt_onnx.target import Array, Port

PIECE = 1 << 20  # numbers that are compared at a time
POINTS = 400  # values of an output that a report shows, evenly spaced


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
    points: list[tuple[float, float]] = field(default_factory=list)  # (target, ticket) values


Limit: TypeAlias = float | Mapping[str, float] | None  # by output; "" stands for every other one


@dataclass(frozen=True)
class Limits:
    """What must hold for the exit code 0; None is not asked.

    A limit is a number for every output, or numbers by output name. Raises InputError for negative
    ones.
    """

    max_abs: Limit = None
    max_rel: Limit = None
    min_sqnr: Limit = None
    min_agreement: Limit = None
    max_accuracy_drop: Limit = None

    def __post_init__(self) -> None:
        for name in vars(self):
            for value in self.of(name).values():
                if not (math.isfinite(value) and value >= 0):
                    option = name.replace("_", "-")
                    raise InputError(f"--{option} is {value}; give a number that is not negative")

    def refuse(self, outputs: Sequence[Port], labelled: bool) -> None:
        """Raises InputError for limits that these outputs and samples can never be judged by."""
        names = [port.name for port in outputs]
        for name, (_, _, needs) in FIGURES.items():
            asked, option = self.of(name), f"--{name.replace('_', '-')}"
            unknown = [output for output in asked if output and output not in names]
            if unknown:
                raise InputError(
                    f"{option} names the output '{unknown[0]}'; there are {', '.join(names)}"
                )
            scored = any(len(port.shape) in (0, 2) for port in outputs)
            if asked and (
                (name == "max_accuracy_drop" and not (labelled and scored))
                or (name == "min_agreement" and not scored)
            ):
                raise InputError(f"{option} needs {needs}")

    def of(self, name: str) -> Mapping[str, float]:
        """One limit by output."""
        limit: Limit = getattr(self, name)
        return {} if limit is None else limit if isinstance(limit, Mapping) else {"": limit}


@dataclass(frozen=True)
class Check:
    """One thing that was asked and whether it holds: a case of the JUnit report."""

    name: str
    passed: bool
    message: str


@dataclass
class Fidelity:
    """Outcome of a validation; `checks` says of every limit whether it holds, in words."""

    outputs: list[OutputFidelity]
    samples: int
    origin: str
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What does not hold."""
        return [check.message for check in self.checks if not check.passed]

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
    true, made = Session(target, device), Session(ticket, device)
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


def _judge(fidelity: Fidelity, limits: Limits) -> None:
    """Fill in the checks: finite numbers, then every limit at every output that it is for."""
    for out in fidelity.outputs:
        word = "are finite numbers" if out.finite else "hold NaN or infinity where the target's are"
        fidelity.checks.append(
            Check(f"finite: {out.name}", out.finite, f"output '{out.name}': its values {word}")
        )
    for name, (figure, least, needs) in FIGURES.items():
        option, asked = f"--{name.replace('_', '-')}", limits.of(name)
        found = 0
        for out in fidelity.outputs:
            limit, value = asked.get(out.name, asked.get("")), figure(out)
            if limit is None or value is None:
                continue
            found += 1
            good = value >= limit if least else value <= limit
            fidelity.checks.append(
                Check(
                    f"{name.replace('_', '-')}: {out.name}",
                    good,
                    f"output '{out.name}': {LABELS[name]} {value:.4g}, limit {limit:g}",
                )
            )
        if asked and not found:
            raise InputError(f"{option} needs {needs}")


def _drop(out: OutputFidelity) -> float | None:
    if out.target_accuracy is None or out.ticket_accuracy is None:
        return None
    return out.target_accuracy - out.ticket_accuracy


# limit: its figure, whether that must be at least so much, and what it needs to exist
FIGURES: dict[str, tuple[Callable[[OutputFidelity], float | None], bool, str]] = {
    "max_abs": (lambda out: out.max_abs, False, "an output"),
    "max_rel": (lambda out: out.relative, False, "an output"),
    "min_sqnr": (lambda out: out.sqnr_db, True, "an output"),
    "min_agreement": (lambda out: out.agreement, True, "an output of class scores [N, classes]"),
    "max_accuracy_drop": (_drop, False, "--samples with 'labels'"),
}
LABELS = {
    "max_abs": "largest error",
    "max_rel": "relative error",
    "min_sqnr": "SQNR in dB",
    "min_agreement": "agreement",
    "max_accuracy_drop": "accuracy drops by",
}
