"""How near a ticket is to its target on given samples, measured apart from lt_onnx.

    python tools/measure.py TARGET.onnx TICKET.onnx SAMPLES.npz

NumPy and onnxruntime alone: nothing is shared with `lt_onnx.validation`, which
`tests/test_measure.py` compares with this. All outputs are held, sums are taken in two passes.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

BATCH = 8  # samples that are run at a time, where the model leaves that open
MIN_AVERAGED = 8  # values behind a mean
Arrays = Mapping[str, np.ndarray[Any, Any]]


def measure(target: Path, ticket: Path, samples: Path | Arrays) -> dict[str, Any]:
    """Decibels and agreement of every output, and of the worst.

    Args:
        target: ONNX file of the target.
        ticket: ONNX file of the ticket.
        samples: arrays [N, …] by input name, or an npz file of them.

    Returns:
        `samples`, the number of those that were run; `outputs`, by name a dict of figures; and the
        least of each figure over the outputs that have it, else None: `variation_db` and `sqnr_db`
        (signal over error in dB, with the target's mean at each place taken off and without; of
        float outputs, `variation_db` of those that vary) and `agreement` (share of equal top-1 of
        [N, classes], of equal entries of outputs that are no floats).

    Raises ValueError where the outputs do not correspond.
    """
    if isinstance(samples, str | Path):
        with np.load(samples) as file:
            samples = {name: file[name] for name in file.files}
    true, other = (_run(Path(path), samples) for path in (target, ticket))
    if true.keys() != other.keys():
        raise ValueError(f"outputs {sorted(true)} and {sorted(other)} do not correspond")
    outputs = {name: _compare(true[name], other[name]) for name in true}
    worst = {}
    for figure in ("variation_db", "sqnr_db", "agreement"):
        values = [out[figure] for out in outputs.values() if out[figure] is not None]
        worst[figure] = min(values, default=None)
    return {"samples": _count(Path(target), samples), "outputs": outputs, **worst}


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _batch(session: onnxruntime.InferenceSession) -> int | None:
    """The batch that the model fixes, if it does."""
    fixed = [i.shape[0] for i in session.get_inputs() if i.shape and isinstance(i.shape[0], int)]
    return min(fixed, default=None)


def _count(path: Path, samples: Arrays) -> int:
    """Samples that are run: whole batches where the model fixes their size."""
    session = _session(path)
    count = len(samples[session.get_inputs()[0].name])
    return count - count % (_batch(session) or 1)


def _run(path: Path, samples: Arrays) -> dict[str, list[Any]]:
    """All outputs by name, batch by batch."""
    session = _session(path)
    names, size = [i.name for i in session.get_inputs()], _batch(session) or BATCH
    types = {i.name: np.float16 for i in session.get_inputs() if i.type == "tensor(float16)"}
    made: dict[str, list[Any]] = {output.name: [] for output in session.get_outputs()}
    for start in range(0, _count(path, samples), size):
        feeds = {name: samples[name][start : start + size] for name in names}
        feeds = {name: value.astype(types.get(name, value.dtype)) for name, value in feeds.items()}
        for name, value in zip(made, session.run(None, feeds), strict=True):
            made[name].append(value)
    return made


def _compare(true: list[Any], other: list[Any]) -> dict[str, Any]:
    """Figures of one output, from its batches."""
    t, u = np.concatenate(true), np.concatenate(other)
    if t.shape != u.shape:
        raise ValueError(f"an output has shape {t.shape}, the ticket's has {u.shape}")
    found: dict[str, Any] = dict.fromkeys(("variation_db", "sqnr_db", "agreement"))
    found |= {"compared": t.size, "alike": True}
    if t.dtype.kind != "f":
        return {**found, "agreement": float(np.mean(t == u))}
    if t.ndim == 2 and t.shape[1] > 1:
        known = ~(np.isnan(t).any(1) | np.isnan(u).any(1))
        found["agreement"] = float(np.mean((t.argmax(1) == u.argmax(1)) & known))
    finite = np.isfinite(t) & np.isfinite(u)
    found["alike"] = bool(np.array_equal(t[~finite], u[~finite], equal_nan=True))
    found["compared"] = int(finite.sum())
    if not found["compared"]:
        return found
    a, b = (np.where(finite, v.astype(np.float64), 0.0) for v in (t, u))
    error, signal = np.sum((a - b) ** 2), np.sum(a**2)
    for axes in ((0,), tuple(i for i in range(a.ndim) if i != 1), tuple(range(a.ndim))):
        count = finite.sum(axes, keepdims=True)
        if count[count > 0].min() >= MIN_AVERAGED:
            break
    mean = a.sum(axes, keepdims=True) / np.maximum(count, 1)
    variation = np.sum(np.where(finite, a - mean, 0.0) ** 2)
    found["sqnr_db"] = _decibels(signal, error)
    if variation > 1e-12 * signal:
        found["variation_db"] = _decibels(variation, error)
    return found


def _decibels(signal: float, error: float) -> float:
    if signal == 0 or error == 0:
        return float("inf") if error == 0 else float("-inf")
    return float(10 * (np.log10(signal) - np.log10(error)))


if __name__ == "__main__":
    print(json.dumps(measure(*map(Path, sys.argv[1:4])), indent=1))
