"""Is the source random? Tests of the numbers that the seed gives to a ticket's layers.

In: a ticket, of which only the manifest is read. Out: p-values. The proof shows that a ticket's
weights are the generator's; this shows that the generator's numbers are independent and uniform,
for this seed and these layers. Tested are, of each layer, or of a sample where it is large, without
mirror images:

- u = w/σ against the uniform law on [-1, 1), by Kolmogorov and Smirnov;
- the correlation of neighbouring rows;
- the correlation with the layer before.

The probability of failing by chance is `SIGNIFICANCE` for all tests together (Bonferroni). The
masks are not tested: they are chosen, and what they keep is not uniform.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lt_onnx.manifest import LayerRecord, Manifest
from lt_onnx.target import Doubles
from lt_onnx.verification.generator import weights_at
from lt_onnx.verification.ticket_file import manifest_of, read_model

SIGNIFICANCE = 1e-4
MAX_SAMPLE = 1 << 18  # weights of a layer that are tested …
MAX_TESTED = 1 << 24  # … and of all layers together
MIN_SAMPLE = 1 << 8
MIN_PAIRS = 8  # of numbers, for a correlation


@dataclass(frozen=True)
class LayerStatistics:
    """Tests of one layer; p-values before correction, None where there is too little to test."""

    weight: str
    tested: int
    deviation: float  # largest distance of the distribution functions
    p_uniform: float
    rows: float | None  # correlation of neighbouring rows
    p_rows: float | None
    before: float | None  # correlation with the layer before
    p_before: float | None

    @property
    def p(self) -> float:
        """The smallest p-value."""
        return min(p for p in (self.p_uniform, self.p_rows, self.p_before) if p is not None)


@dataclass(frozen=True)
class Statistics:
    """Tests of all layers of a ticket."""

    layers: list[LayerStatistics]
    tests: int
    threshold: float  # below which a p-value fails: the significance over the number of tests

    @property
    def failures(self) -> list[str]:
        """One line for each layer whose numbers are not random."""
        return [
            f"layer '{layer.weight}' is not random: p = {layer.p:.1e} is below {self.threshold:.1e}"
            for layer in self.layers
            if not layer.p >= self.threshold
        ]

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "passed": not self.failures,
            "tests": self.tests,
            "threshold": self.threshold,
            "layers": [asdict(layer) for layer in self.layers],
        }


def source_statistics(path: Path) -> Statistics:
    """Test the source of the ticket at `path`. Raises InputError when it is none."""
    manifest = manifest_of(path, read_model(path)[0])
    layers: list[LayerStatistics] = []
    most = min(MAX_SAMPLE, max(MAX_TESTED // len(manifest.layers), MIN_SAMPLE))
    last = np.zeros(0)
    for layer in manifest.layers:
        sample, width = _sample(manifest, layer, most)
        layers.append(_test(layer, sample, width, last))
        last = sample
    tests = sum(1 + (layer.p_rows is not None) + (layer.p_before is not None) for layer in layers)
    return Statistics(layers, tests, SIGNIFICANCE / tests)


def _sample(manifest: Manifest, layer: LayerRecord, most: int) -> tuple[Doubles, int]:
    """Unit weights u of some rows, `most` at most, and how many there are in a row.

    The rows are spread over the layer.
    """
    taps, half = math.prod(layer.shape[2:]), layer.mirror_columns * math.prod(layer.shape[2:])
    width = min(layer.shape[1] * taps - half, most // 2)
    columns = np.arange(width)
    columns[half:] += half  # the mirror images stand between
    own, wanted = layer.shape[0] - layer.mirror_rows, most // width
    if own <= wanted:
        rows = np.arange(own)
    else:  # pairs of neighbours
        rows = np.linspace(0, own - 2, max(1, wanted // 2)).astype(np.int64)
        rows = np.unique(np.stack([rows, rows + 1], axis=1))
    rows[rows >= layer.mirror_rows] += layer.mirror_rows
    places = rows[:, None] * math.prod(layer.shape[1:]) + columns[None, :]
    drawn = weights_at(manifest.seed, layer, places.reshape(-1))
    return drawn.astype(np.float64) / float(np.float32(layer.sigma)), width


def _test(layer: LayerRecord, sample: Doubles, width: int, last: Doubles) -> LayerStatistics:
    """The tests of one layer's sample, `width` numbers in a row; `last` is the layer before."""
    uniform = stats.kstest(sample, "uniform", args=(-1.0, 2.0))
    common = min(len(last), len(sample))
    return LayerStatistics(
        layer.weight,
        len(sample),
        float(uniform.statistic),
        float(uniform.pvalue),
        *_correlation(sample[:-width], sample[width:]),
        *_correlation(last[:common], sample[:common]),
    )


def _correlation(first: Doubles, second: Doubles) -> tuple[float | None, float | None]:
    """Correlation of two samples, and its p-value; None where they are too small."""
    if len(first) < MIN_PAIRS:
        return None, None
    pearson = stats.pearsonr(first, second)
    return float(pearson.statistic), float(pearson.pvalue)
