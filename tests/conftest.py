from pathlib import Path

import pytest
from paths import TARGETS


@pytest.fixture(scope="session")
def shared() -> Path:
    if not TARGETS.is_dir():
        pytest.skip(f"no real targets at {TARGETS}")
    return TARGETS


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test prints is folded at no width but its own: runners may set COLUMNS."""
    monkeypatch.delenv("COLUMNS", raising=False)
