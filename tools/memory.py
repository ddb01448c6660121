"""Compare the memory that `plan` predicts with what a conversion really takes.

    python tools/memory.py TARGET ... [--modes l+1 2l] [--weights folded masked sparse]
                           [--no-validate] [--per-layer] [--bound] [--calibration FILE]

Every conversion runs in a process of its own, whose peak resident memory the system tells; the last
column is prediction over truth. Exits with 1 when one departs by more than a quarter, or takes more
than 1.15 of what was said: what --max-memory lets pass would not hold it.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lt_onnx.options import make_options
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import predict
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.choose import loaded


def peak(words: list[str]) -> tuple[int, int]:
    """Exit code of a command, and its peak resident bytes."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", type=Path)
    parser.add_argument("--modes", nargs="+", default=["l+1", "2l"])
    parser.add_argument("--weights", nargs="+", default=["folded"])
    parser.add_argument("--no-validate", action="store_true")
    parser.add_argument("--per-layer", action="store_true")
    parser.add_argument("--bound", action="store_true")
    parser.add_argument("--calibration", type=Path)
    given = parser.parse_args()
    least, most = 1 / 1.15, 1.25
    tool, ratios = [sys.executable, "-m", "lt_onnx"], []
    print(f"{'target':32}{'mode':>5} {'weights':8}{'said, MB':>10}{'used, MB':>10}{'ratio':>7}")
    for target, mode, weights in itertools.product(given.targets, given.modes, given.weights):
        options = make_options(mode=mode, weights=weights)
        network, samples = read_target(target), given.calibration
        inputs = None if samples is None else loaded(samples, network.inputs)
        said = predict(
            plan(network, options),
            validated=not given.no_validate,
            traced=given.per_layer,
            bounded=given.bound,
            most=None if inputs is None else inputs.count,
            sizes=None if inputs is None else inputs.sizes,
        ).memory_bytes
        words = ["--mode", mode, "--weights", weights]
        words += [] if samples is None else ["--calibration", str(samples)]
        for name in ("no_validate", "per_layer", "bound"):
            words += [f"--{name.replace('_', '-')}"] if getattr(given, name) else []
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "t.onnx")
            code, used = peak([*tool, "convert", str(target), "-o", out, "--quiet", *words])
        print(
            f"{target.stem[:31]:32}{mode:>5} {weights:8}{said / 1e6:10.0f}{used / 1e6:10.0f}"
            f"{said / used:7.2f}" + (f"  exit {code}" if code else ""),
            flush=True,
        )
        ratios.append(said / used if code == 0 else 0.0)
    print(f"said over used: {min(ratios):.2f} to {max(ratios):.2f}")
    sys.exit(not least <= min(ratios) <= max(ratios) <= most)


if __name__ == "__main__":
    main()
