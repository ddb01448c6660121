"""Compare a ticket's outputs with its target's: both networks run, batch by batch, on samples.

Comes in: two model files and `Samples`. Goes out: a `Fidelity`. Sums are kept in double precision;
of class scores only the decisions. NaN or infinity in a ticket's output where the target has none
is a failed check, whatever the tolerance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.reading.model_file import open_session
from lt_onnx.samples.samples import VALIDATION_BATCH, Samples
from lt_onnx.target import Array, Port
from lt_onnx.validation.fidelity import Fidelity, OutputFidelity, relative_error, sqnr_of
from lt_onnx.validation.limits import Limits, judge

MAX_COMPARED = 1 << 20  # entries that are compared at a time
MAX_POINTS = 400  # entries of an output that a report plots, evenly spaced


@dataclass
class OutputSums:
    """Running sums over the entries of one output: t of the target, t̂ of the ticket."""

    error: float = 0.0  # Σ (t − t̂)²
    signal: float = 0.0  # Σ t²
    power: float = 0.0  # Σ t̂²
    product: float = 0.0  # Σ t t̂
    absolute: float = 0.0  # Σ |t − t̂|
    largest: float = 0.0  # max |t − t̂|
    count: int = 0
    finite: bool = True
    decisions: list[tuple[Array, Array]] = field(default_factory=list)  # argmax of t and t̂, [N]
    points: list[tuple[float, float]] = field(default_factory=list)  # (t, t̂)

    def add(self, target: Array, ticket: Array) -> None:
        """Add a batch of the output, [N, …] of both networks; of [N, classes] also decisions."""
        if target.ndim == 2 and target.shape[1] > 1:
            self.decisions.append((target.argmax(1), ticket.argmax(1)))
        target, ticket = target.reshape(-1), ticket.reshape(-1)
        step = max(1, target.size // MAX_POINTS)
        pairs = np.stack([target[::step], ticket[::step]], 1).astype(np.float64).tolist()
        self.points += [(x, y) for x, y in pairs if math.isfinite(x - y)]
        for start in range(0, target.size, MAX_COMPARED):
            part = slice(start, start + MAX_COMPARED)
            self._add(target[part].astype(np.float64), ticket[part].astype(np.float64))

    def _add(self, a: Array, b: Array) -> None:
        known_a, known_b = np.isfinite(a), np.isfinite(b)
        self.finite &= bool(known_b[known_a].all())
        equal = (np.isnan(a) & np.isnan(b)) | (a == b)
        with np.errstate(invalid="ignore"):  # of infinities
            difference = np.where(equal, 0.0, a - b)
        difference = np.where(np.isfinite(difference), difference, 0.0)
        both = known_a & known_b
        self.error += float(np.square(difference).sum())
        self.signal += float(np.square(a[known_a]).sum())
        self.power += float(np.square(b[known_b]).sum())
        self.product += float((a[both] * b[both]).sum())
        self.absolute += float(np.abs(difference).sum())
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))
        self.count += a.size

    def fidelity(self, name: str, labels: Array | None) -> OutputFidelity:
        """The figures of output `name`; `labels` [N] are the samples' true classes."""
        relative = relative_error(self.signal, self.error)
        norms = math.sqrt(self.signal * self.power)
        agreement = target_accuracy = ticket_accuracy = None
        if self.decisions:
            target, ticket = (np.concatenate(parts) for parts in zip(*self.decisions, strict=True))
            agreement = float((target == ticket).mean())
            if labels is not None and len(labels) == len(target):
                target_accuracy = float((target == labels).mean())
                ticket_accuracy = float((ticket == labels).mean())
        return OutputFidelity(
            name=name,
            max_abs=self.largest,
            mean_abs=self.absolute / max(self.count, 1),
            relative=relative,
            sqnr_db=sqnr_of(relative),
            cosine=self.product / norms if norms else 1.0,
            finite=self.finite,
            agreement=agreement,
            target_accuracy=target_accuracy,
            ticket_accuracy=ticket_accuracy,
            smallest_tolerance=relative if self.finite else math.inf,
            points=self.points[:: -(-len(self.points) // MAX_POINTS) or 1],
        )


def validate(
    target: Path,
    ticket: Path,
    samples: Samples,
    ports: tuple[Port, ...],
    limits: Limits,
    *,
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
        device: `cpu` or `cuda`, where onnxruntime runs both.
        progress: called with the share done.

    Raises InputError when either cannot be run, their outputs do not correspond, or a limit cannot
    be judged.
    """
    networks = open_session(target, device), open_session(ticket, device)
    names, other_names = (network.output_names for network in networks)
    if names != other_names:
        raise InputError(f"{ticket}: its outputs {other_names} are not the target's {names}")
    limits.refuse([Port(n, (), np.dtype(np.float32)) for n in names], samples.labels is not None)
    batches = samples.batches(ports, VALIDATION_BATCH)
    if not batches:
        raise InputError(f"{samples.origin}: fewer samples than the batch that the model fixes")
    sums = {name: OutputSums() for name in names}
    seen = 0
    for number, feeds in enumerate(batches):
        expected, actual = (network.run(feeds) for network in networks)
        for name, value in expected.items():
            if value.shape != actual[name].shape:
                raise InputError(
                    f"{ticket}: output '{name}' has shape {list(actual[name].shape)}, the target's "
                    f"has {list(value.shape)}"
                )
            sums[name].add(value, actual[name])
        seen += len(next(iter(feeds.values())))
        if progress is not None:
            progress((number + 1) / len(batches))
    labels = None if samples.labels is None else samples.labels[:seen]
    outputs = [total.fidelity(name, labels) for name, total in sums.items()]
    return Fidelity(outputs, seen, samples.origin, judge(outputs, limits))
