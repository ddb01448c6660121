"""Make every ticket again as other kinds of processors would, as far as they can be played.

    python tools/processors.py [MODEL ...] [--base-size 6] [--calibration FILE]

The solver compiled for narrower vectors, NumPy without its widest loops, and the products and
factors of OpenBLAS in the order of an older processor; onnxruntime has no such setting. Prints how
many weights are chosen otherwise. The former two must change no byte: exit 1 where they do. For
x86 processors.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer
from onnx import numpy_helper

MODELS = Path(__file__).resolve().parent.parent / "models"
MODES = ("l+1", "2l")
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+bmi,+bmi2,+fma,+lzcnt,+popcnt"}
WIDE = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
SAME = {  # kinds that must not matter
    "solver with AVX2": AVX2,
    "solver with SSE2": {"NUMBA_CPU_NAME": "generic"},
    "NumPy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": WIDE},
}
OTHER = {
    "OpenBLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS for Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
}
MAKE = """
import sys
from pathlib import Path
from lt_onnx import convert
target, out, mode, base_size, calibration = sys.argv[1:]
keys = {"base_size": int(base_size) or None, "calibration": calibration or None}
convert(Path(target), Path(out), mode=mode, validate=False, **keys)
"""


def chosen_otherwise(one: Path, other: Path) -> tuple[int, int]:
    """Weights that one ticket has and the other not, of how many."""
    differ, count = 0, 0
    tensors = [onnx.load(path).graph.initializer for path in (one, other)]
    for pair in zip(*tensors, strict=True):
        first, second = (numpy_helper.to_array(tensor) for tensor in pair)
        if first.ndim > 1 and first.dtype == np.float32:
            differ += int(((first != 0) != (second != 0)).sum())
            count += first.size
    return differ, count


def main(
    models: Annotated[list[Path] | None, typer.Argument(help="Networks.")] = None,
    base_size: Annotated[int, typer.Option(help="Of all layers; 0: chosen.")] = 6,
    calibration: Annotated[Path | None, typer.Option(help="Calibration inputs.")] = None,
) -> None:
    """Compare what kinds of processors make."""
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        for model in models or [MODELS / "residual.onnx"]:
            for mode in MODES:
                made: dict[str, Path] = {}
                for kind, settings in {"": {}, **SAME, **OTHER}.items():
                    made[kind] = Path(folder) / f"{len(made)}.{mode}.{model.stem}.onnx"
                    words = [model, made[kind], mode, base_size, calibration or ""]
                    command = [sys.executable, "-c", MAKE, *map(str, words)]
                    subprocess.run(command, env={**os.environ, **settings}, check=True)
                    if not kind:
                        continue
                    told = "the same bytes"
                    if made[kind].read_bytes() != made[""].read_bytes():
                        wrong |= kind in SAME
                        differ, count = chosen_otherwise(made[""], made[kind])
                        told = f"{differ:,} of {count:,} weights chosen otherwise"
                    print(f"{model.stem:14} {mode:4} {kind:22} {told}", flush=True)
    sys.exit(wrong)


if __name__ == "__main__":
    typer.run(main)
