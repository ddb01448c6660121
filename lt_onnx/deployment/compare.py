"""Target, ticket and deployed form on the same inputs: how far apart, and how long."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt_onnx.reading.graph import read_graph
from lt_onnx.reading.model_file import open_session
from lt_onnx.runtime import Session
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.target import Array

COMPARED = 16  # inputs
MAX_SECONDS = 1.0  # that are spent on timing one of them, or two by turns
MIN_ROUNDS = 3
MAX_DIFFERENCE = 1e-3  # that the order of sums may make, in deep networks


@dataclass(frozen=True)
class Comparison:
    """Figures of one run; milliseconds are of an input alone, the fastest of several rounds."""

    difference: float  # of form and ticket: largest, over the ticket's largest number
    target_ms: float
    ticket_ms: float
    form_ms: float
    load_seconds: float  # until the form is opened

    @property
    def same(self) -> bool:
        """Whether form and ticket differ by no more than rounding may come to."""
        return self.difference <= MAX_DIFFERENCE


def compare(target: Path, ticket: Path, form: Path) -> Comparison:
    """Compare a deployed form with its ticket, on random inputs of the target.

    Raises InputError when one of them cannot be run.
    """
    ports = read_graph(target).inputs
    networks = [open_session(target), open_session(ticket)]
    start = time.perf_counter()
    networks.append(open_session(form))
    load = time.perf_counter() - start
    fixed = [port.shape[0] for port in ports if port.shape]
    count = max(COMPARED, *(size for size in fixed if isinstance(size, int)), 0)
    samples = random_samples(ports, count, 0)
    feeds = samples.batches(ports, 1)
    worst = 0.0
    for feed in feeds:
        wanted, made = (network.run(feed) for network in networks[1:])
        for name, value in wanted.items():
            if value.dtype.kind == "f" and value.size:
                scale = float(np.abs(value).max()) or 1.0
                worst = max(worst, float(np.abs(value - made[name]).max()) / scale)
    target_ms, form_ms = _milliseconds([networks[0], networks[2]], feeds[0])
    (ticket_ms,) = _milliseconds([networks[1]], feeds[0])
    return Comparison(worst, target_ms, ticket_ms, form_ms, load)


def _milliseconds(networks: list[Session], feed: Mapping[str, Array]) -> list[float]:
    """The fastest run of each; by turns, so that what else runs hits all alike."""
    best, rounds, start = [np.inf] * len(networks), 0, time.perf_counter()
    while rounds < MIN_ROUNDS or time.perf_counter() - start < MAX_SECONDS:
        for place, network in enumerate(networks):
            begin = time.perf_counter()
            network.run(feed)
            best[place] = min(best[place], 1000 * (time.perf_counter() - begin))
        rounds += 1
    return best
