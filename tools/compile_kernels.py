"""Compile the solver's kernels into Numba's cache, so that what follows finds them there.

    python tools/compile_kernels.py

A fresh clone compiles for half a minute; test workers that start together would each do so.
"""

import tempfile
from pathlib import Path

from lt_onnx import convert

MODELS = Path(__file__).resolve().parent.parent / "models"


def main() -> None:
    """Convert a small network in both modes, by every rule."""
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("l+1", "2l"):
            for select in ("noise", "smallest", "best"):
                convert(
                    MODELS / "plain-relu.onnx",
                    Path(folder) / f"{mode}.{select}.onnx",
                    mode=mode,
                    select=select,
                    base_size=3,
                    validate=False,
                )


if __name__ == "__main__":
    main()
