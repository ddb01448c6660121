"""Compile the kernels of solver and packs into Numba's cache, where what follows finds them.

    python tools/compile_kernels.py

A fresh clone compiles for half a minute; test workers that start together would each do so.
"""

import tempfile
from pathlib import Path

from lt_onnx import convert
from lt_onnx.packing.pack import pack

MODELS = Path(__file__).resolve().parent.parent / "models"


def main() -> None:
    """Convert a small network in both modes, by every rule, and pack it."""
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("l+1", "2l"):
            for select in ("noise", "smallest", "best"):
                ticket = Path(folder) / f"{mode}.{select}.onnx"
                convert(
                    MODELS / "plain-relu.onnx",
                    ticket,
                    mode=mode,
                    select=select,
                    base_size=3,
                    validate=False,
                )
            pack(ticket, ticket.with_suffix(".ltz"))


if __name__ == "__main__":
    main()
