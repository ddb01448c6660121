"""Compare a ticket's outputs with its target's: both networks run, batch by batch, on samples.

Comes in: two model files and `Samples`. Goes out: a `Fidelity`. Sums are kept in double precision;
of class scores only the decisions. NaN or infinity that is not alike in both outputs is a failed
check, whatever the tolerance, and so is an output in which nothing finite was compared.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.reading.model_file import open_session
from lt_onnx.samples.samples import VALIDATION_BATCH, Samples
from lt_onnx.samples.variation import Variation
from lt_onnx.target import Array, Doubles, Port
from lt_onnx.validation.fidelity import Fidelity, Judged, OutputFidelity, relative_error, sqnr_of
from lt_onnx.validation.limits import Limits, judge

MAX_COMPARED = 1 << 20  # entries that are compared at a time
MIN_VARIATION = 1e-6  # of an output that varies: its deviation from its means, over its norm
MAX_POINTS = 400  # entries of an output that a report plots, evenly spaced


@dataclass
class OutputSums:
    """Running sums over the entries of one output: t of the target, t̂ of the ticket.

    Floats are summed where both are finite; of other types equal entries are counted.
    """

    sums: Doubles = field(default_factory=lambda: np.zeros(5))  # (t−t̂)², t², t̂², t t̂, |t−t̂|
    largest: float = 0.0  # max |t − t̂|
    count: int = 0  # entries compared
    equal: int | None = None  # of them, equal entries; None: floats
    non_finite: int = 0  # entries that are not finite, alike in both
    unlike: int = 0  # entries that are not finite, and not alike
    variation: Variation = field(default_factory=Variation)
    scores: bool = True  # False: its highest entry is no class
    decisions: list[tuple[Array, Array]] = field(default_factory=list)  # classes of t and t̂, [N]
    classes: float = math.inf  # of how many
    points: list[tuple[float, float]] = field(default_factory=list)  # (t, t̂)

    def add(self, target: Array, ticket: Array, inputs: int | None = None) -> None:
        """Add a batch of the output, [N, …] of both networks; of [N, classes] also decisions.

        `inputs` is N where the first axis may be another one; then the batch counts as one input.
        """
        if target.dtype.kind != "f":
            self.count += target.size
            self.equal = (self.equal or 0) + int((target == ticket).sum())
            if target.ndim == 1:
                self.decisions.append((target, ticket))
            return
        if self.scores and target.ndim == 2 and target.shape[1] > 1:
            self.classes = target.shape[1]
            self.decisions.append((_classes(target, none=-1), _classes(ticket, none=-2)))
        step = max(1, target.size // MAX_POINTS)
        pairs = np.stack([v.reshape(-1)[::step] for v in (target, ticket)], 1).astype(np.float64)
        self.points += [(x, y) for x, y in pairs.tolist() if math.isfinite(x - y)]
        if target.ndim == 0 or len(target) != (inputs or len(target)):
            target, ticket = target[None], ticket[None]
        rows = max(1, MAX_COMPARED * len(target) // max(target.size, 1))
        for start in range(0, len(target), rows):
            part = slice(start, start + rows)
            self._add(target[part].astype(np.float64), ticket[part].astype(np.float64))

    def _add(self, a: Doubles, b: Doubles) -> None:
        finite = np.isfinite(a) & np.isfinite(b)
        alike = ((np.isnan(a) & np.isnan(b)) | (a == b)) & ~finite
        self.non_finite += int(alike.sum())
        self.unlike += int((~finite & ~alike).sum())
        self.variation.add(a, finite)
        a, b = a[finite], b[finite]
        difference = np.abs(a - b)
        terms = difference**2, a**2, b**2, a * b, difference
        self.sums += [term.sum() for term in terms]
        self.largest = max(self.largest, float(difference.max(initial=0.0)))
        self.count += a.size

    def has(self, labels: Array) -> bool:
        """Whether `labels` [N] are numbers of its classes."""
        return bool(((labels >= 0) & (labels < self.classes) & (labels % 1 == 0)).all())

    def fidelity(self, name: str, labels: Array | None) -> OutputFidelity:
        """The figures of output `name`; `labels` [N] are the samples' true classes."""
        agreement = target_accuracy = ticket_accuracy = None
        if self.decisions:
            target, ticket = (np.concatenate(parts) for parts in zip(*self.decisions, strict=True))
            agreement = float((target == ticket).mean()) if len(target) else None
            if labels is not None and len(labels) == len(target) and self.has(labels):
                target_accuracy = float((target == labels).mean())
                ticket_accuracy = float((ticket == labels).mean())
        if self.equal is not None:
            agreement = self.equal / self.count if self.count else None
        finite = self.count > 0 and self.unlike == 0
        shared: dict[str, Any] = {
            "name": name,
            "finite": finite,
            "non_finite": self.non_finite,
            "agreement": agreement,
            "target_accuracy": target_accuracy,
            "ticket_accuracy": ticket_accuracy,
        }
        if self.equal is not None or self.count == 0:
            judged = Judged.VARIATION if self.equal is None else Judged.EQUALITY
            return OutputFidelity(judged=judged, **shared)
        error, signal, power, product, absolute = self.sums.tolist()
        relative, varying = relative_error(signal, error), self.variation.power
        norms = math.sqrt(signal * power)
        varies = varying > MIN_VARIATION**2 * signal
        return OutputFidelity(
            judged=Judged.VARIATION if varies else Judged.CONSTANT,
            max_abs=self.largest,
            mean_abs=absolute / self.count,
            relative=relative,
            sqnr_db=sqnr_of(relative),
            variation_db=sqnr_of(relative_error(varying, error)) if varies else None,
            cosine=product / norms if norms else 1.0,
            smallest_tolerance=relative if finite else math.inf,
            points=self.points[:: -(-len(self.points) // MAX_POINTS) or 1],
            **shared,
        )


def _classes(scores: Array, *, none: int) -> Array:
    """The class of the highest score of every row, [N]; `none` where a score is NaN."""
    return np.where(np.isnan(scores).any(1), none, scores.argmax(1))


def _check_labels(origin: str, labels: Array, sums: Mapping[str, OutputSums]) -> None:
    """Raise InputError where labels are given that are classes of no output."""
    telling = [(name, total) for name, total in sums.items() if total.decisions]
    if telling and not any(total.has(labels) for _, total in telling):
        name, total = telling[0]
        raise InputError(
            f"{origin}: 'labels' go from {labels.min():g} to {labels.max():g}, and output '{name}' "
            f"has {total.classes} classes; give whole numbers from 0 to {total.classes - 1:g}"
        )


def compare_outputs(
    target: Path,
    ticket: Path,
    samples: Samples,
    ports: tuple[Port, ...],
    limits: Limits,
    *,
    outputs: Sequence[Port] = (),
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Fidelity:
    """Run both networks on `samples` and compare their outputs.

    Args:
        target: model file of the target.
        ticket: model file of the ticket, or of any network with the same outputs.
        samples: the inputs; with `labels` [N], outputs of class scores also get an accuracy.
        ports: the target's inputs.
        limits: what must hold; each becomes a check of the result.
        outputs: the target's; () where nothing is known of them.
        device: `cpu` or `cuda`, where onnxruntime runs both.
        progress: called with the share done.

    Raises InputError when either cannot be run, their outputs do not correspond, labels are classes
    of none, or a limit cannot be judged.
    """
    networks = open_session(target, device), open_session(ticket, device, spare=True)
    names, other_names = (network.output_names for network in networks)
    if names != other_names:
        raise InputError(f"{ticket}: its outputs {other_names} are not the target's {names}")
    known = {port.name: port for port in outputs}
    unknown = (Port(name, (), np.dtype(np.float32)) for name in names if name not in known)
    limits.refuse([*outputs, *unknown], samples.labels is not None)
    batches = samples.batches(ports, VALIDATION_BATCH)
    if not batches:
        raise InputError(f"{samples.origin}: fewer samples than the batch that the model fixes")
    sums = {name: OutputSums(scores=name not in known or known[name].scores) for name in names}
    seen = 0
    for number, feeds in enumerate(batches):
        expected, actual = (network.run(feeds) for network in networks)
        inputs = len(next(iter(feeds.values())))
        for name, value in expected.items():
            if value.shape != actual[name].shape:
                raise InputError(
                    f"{ticket}: output '{name}' has shape {list(actual[name].shape)}, the target's "
                    f"has {list(value.shape)}"
                )
            sums[name].add(value, actual[name], inputs)
        seen += inputs
        if progress is not None:
            progress((number + 1) / len(batches))
    labels = None if samples.labels is None else samples.labels[:seen]
    if labels is not None:
        _check_labels(samples.origin, labels, sums)
    found = [total.fidelity(name, labels) for name, total in sums.items()]
    return Fidelity(found, seen, samples.origin, judge(found, limits))
