from pathlib import Path

import pytest
from paths import TARGETS


@pytest.fixture(scope="session")
def shared() -> Path:
    if not TARGETS.is_dir():
        pytest.skip(f"no real targets at {TARGETS}")
    return TARGETS
