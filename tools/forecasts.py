"""Compare memory and time that `plan` predicts with what a conversion really takes.

    python tools/forecasts.py TARGET ... [--modes l+1 2l] [--weights folded masked sparse]
                              [--validate] [--per-layer] [--bound] [--calibration FILE]

Every conversion runs in a process of its own. Memory is its largest resident set, as Linux tells
it; ratios are prediction over truth. Of --calibration {} is a target's name. Seconds are those of
this machine. Exits with 1 when memory departs by more than a quarter, or takes more than 1.15 of
what was said: what --max-memory lets pass would not hold it.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

from timing import run_alone

from lt_onnx.budget.promise import promised
from lt_onnx.options import Options, make_options
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import Prediction, predict
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.choose import calibration_inputs, loaded
from lt_onnx.validation.promise import kept_out


def said(given: argparse.Namespace, target: Path, options: Options, samples: str) -> Prediction:
    """What is predicted of a target, when it is known how many copies the promise takes."""
    network = read_target(target)
    inputs = loaded(samples, network.inputs) if samples else None
    known = {
        "validated": given.validate,
        "traced": given.per_layer,
        "bounded": given.bound,
        "most": None if inputs is None else inputs.count,
        "sizes": None if inputs is None else inputs.sizes,
    }
    blueprint = plan(network, options)
    if inputs is not None:
        inputs, _ = kept_out(inputs, network, options)
    count = predict(blueprint, **known).calibration_count
    seen = calibration_inputs(inputs, network.inputs, count, options.seed)
    blueprint, _ = promised(blueprint, seen, given=known["most"])
    return predict(blueprint, **known)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", type=Path)
    parser.add_argument("--modes", nargs="+", default=["l+1", "2l"])
    parser.add_argument("--weights", nargs="+", default=["folded"])
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--per-layer", action="store_true")
    parser.add_argument("--bound", action="store_true")
    parser.add_argument("--calibration", default="")
    given = parser.parse_args()
    least, most = 1 / 1.15, 1.25
    ratios, paces = [], []
    print(f"{'target':26}{'mode':>5} {'weights':8}{'said, MB':>10}{'used':>7}{'ratio':>7}", end="")
    print(f"{'said, s':>10}{'took':>7}{'ratio':>7}", flush=True)
    for target, mode, weights in itertools.product(given.targets, given.modes, given.weights):
        options = make_options(mode=mode, weights=weights)
        samples = given.calibration.replace("{}", target.stem)
        samples = samples if Path(samples).is_file() else ""
        words = ["--mode", mode, "--weights", weights]
        words += [] if given.validate else ["--no-validate"]
        words += ["--calibration", samples] if samples else []
        for name in ("per_layer", "bound"):
            words += [f"--{name.replace('_', '-')}"] if getattr(given, name) else []
        prediction = said(given, target, options, samples)
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "t.onnx")
            code, took, used = run_alone(["convert", str(target), "-o", out, "--quiet", *words])
        ratio, pace = prediction.memory_bytes / used, prediction.seconds / took
        print(
            f"{target.stem[:25]:26}{mode:>5} {weights:8}{prediction.memory_bytes / 1e6:10.0f}"
            f"{used / 1e6:7.0f}{ratio:7.2f}{prediction.seconds:10.1f}{took:7.1f}{pace:7.2f}"
            + (f"  exit {code}" if code else ""),
            flush=True,
        )
        ratios.append(ratio if code == 0 else 0.0)
        paces.append(pace)
    print(f"said over used: memory {min(ratios):.2f} to {max(ratios):.2f}, ", end="")
    print(f"time {min(paces):.2f} to {max(paces):.2f}")
    sys.exit(not least <= min(ratios) <= max(ratios) <= most)


if __name__ == "__main__":
    main()
