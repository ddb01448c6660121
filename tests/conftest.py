import os
from pathlib import Path

import pytest

EXAMPLES = int(os.environ.get("LT_ONNX_EXAMPLES", "100"))  # random graphs; make oracle takes more
MODELS = Path(__file__).parent.parent / "models"
SHARED = Path(__file__).parent.parent.parent / "shared" / "targets"

# another case of what CI tries already, and a minute long: `make long`
long = pytest.mark.skipif("LT_ONNX_LONG" not in os.environ, reason="long: make long runs it")


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no real targets at {SHARED}")
    return SHARED
