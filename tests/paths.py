"""Where things are, and which of many cases are worth every run."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
TOOLS = ROOT / "tools"
TARGETS = ROOT.parent / "shared" / "targets"  # real networks, not in the repository
SHIPPED = sorted(path.stem for path in MODELS.glob("*.onnx"))
MODES = ("l+1", "2l")


def long_but(chosen: Sequence[Any], cases: Iterable[Any]) -> list[Any]:
    """All cases as parameters, of which those not chosen are left to `make test-long`."""
    known = list(cases)
    assert set(chosen) <= set(known), set(chosen) - set(known)
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[] if case in chosen else pytest.mark.long,
        )
        for case in known
    ]
