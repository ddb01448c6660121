"""Report documents of every kind, made from values that no network had to give."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from lt_onnx.construct.results import LayerStats
from lt_onnx.fitting.scales import ScaleFit
from lt_onnx.manifest import DensePlace
from lt_onnx.options import Options
from lt_onnx.report.document import Report, collection, validation
from lt_onnx.report.schema import Model
from lt_onnx.validation.bound.certify import Bound
from lt_onnx.validation.fidelity import Check, Fidelity, Judged, OutputFidelity
from lt_onnx.validation.per_layer import LayerError
from lt_onnx.verification.account import Account
from lt_onnx.verification.verify import Proof

OUTPUT = OutputFidelity(
    name="scores",
    judged=Judged.VARIATION,
    max_abs=0.5,
    mean_abs=0.125,
    relative=0.02,
    sqnr_db=33.98,
    variation_db=30.46,
    cosine=0.9998,
    finite=True,
    agreement=0.75,
    target_accuracy=1.0,
    ticket_accuracy=0.75,
    smallest_tolerance=0.02,
    points=[(1.0, 1.25), (-2.0, -2.5)],
)
HELD = Check("max-rel: scores", True, "output 'scores': relative error 0.02, limit 0.1")
MISSED = Check("max-abs: scores", False, "output 'scores': largest error 0.5, limit 0.25")
DENSE = (DensePlace("norm", "LRN", "is dense", 16),)
PROOF = Proof(
    *(2, 80, 460, 400, 25, 16, 0),
    dense=1,
    dense_places=DENSE,
    seed=3,
    account=Account(masks=900, scales=50, integers=30, dense=20),
    planned=False,
    failures=[],
    genuine=True,
)
TRACE = [
    LayerError("stem", "t1", 0.01, 0.0, 0.0, 0.01, 40.0, 40.0, None),
    LayerError("head", "t2", 0.02, 0.01, 0.015, 0.005, 34.0, 46.0, 1.5),
]
LAYERS = [
    LayerStats("x/univariate", "univariate", "Relu", 0, 30, 60, 20, base_size=20),
    LayerStats(
        *("stem", "two-for-one", "Conv", 20, 50, 400, 5),
        problems=20,
        misses=3,
        mean_size=2.5,
        mean_error=0.004,
        sqnr_db=41.0,
        base_size=8,
        lam=0.001,
        size_counts=(0, 4, 6, 6, 4),
        error_counts=(0,) * 15 + (20,) + (0,) * 16,
    ),
]


def fidelity(*checks: Check, **figures: Any) -> Fidelity:
    return Fidelity([replace(OUTPUT, **figures)], 100, "samples.npz", list(checks))


def report(**fields: Any) -> Report:
    """A conversion that missed one limit."""
    values: dict[str, Any] = {
        "target": "net.onnx",
        "target_sha256": "ab" * 32,
        "ticket": "net.ticket.onnx",
        "command": "lt-onnx convert net.onnx --seed 3",
        "options": Options(price=0.1),
        "layers": LAYERS,
        "fit": ScaleFit(96, 24, 20.0, 21.5),
        "dense": DENSE,
        "proof": PROOF,
        "fidelity": fidelity(HELD, MISSED),
        "trace": TRACE,
        "bound": Bound({"stem": 0.5, "head": math.inf}, {"scores": math.inf}, "why", "the box"),
        "target_weights": 40,
        "calibration": "random (seed 3)",
        "seconds": {"solve": 1.5, "verify": 0.25},
        "weight_bytes": 1840,
    }
    return Report(**{**values, **fields})


def compared(*checks: Check, trace: list[LayerError] | None = None) -> dict[str, Any]:
    """The document of a validation."""
    paths = Path("net.onnx"), Path("t.onnx")
    return validation(*paths, command="lt-onnx validate", fidelity=fidelity(*checks), trace=trace)


MODEL = Model(
    name="sub/net",
    target="zoo/sub/net.onnx",
    ticket="out/sub/net.ticket.onnx",
    verdict="passed",
    message="3 checks hold",
    agreement=0.99,
    sqnr_db=math.inf,
    kept=80,
    density=0.125,
    per_target_weight=2.0,
    bytes=2_000_000,
    seconds=12.4,
)
BROKEN = Model("bad", "zoo/bad.onnx", message="no model", seconds=0.4)


def zoo(*models: Model) -> dict[str, Any]:
    return collection("lt-onnx zoo", list(models or (MODEL, BROKEN)))
