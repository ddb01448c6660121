"""Some hundred mutants of every kind, and again every one that ever did harm.

In processes apart: one that has run threads, as pytest's has here, is no good to fork from.
"""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fuzz import TARGETS

TOOL = Path(__file__).parent.parent / "tools" / "fuzz.py"
CUT_OFF = ["--seconds", "600"]  # ends what hangs, on a busy machine too; no verdict is its own


def fuzz(*words: str) -> Any:
    command = [sys.executable, str(TOOL), *words, *CUT_OFF]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return json.loads(made.stdout)


@pytest.mark.parametrize("target", TARGETS)
def test_no_mutant_gets_through(target: str) -> None:
    figures = fuzz("--target", target, "--cases", "300", "--seed", "2026")

    assert figures["findings"] == {}
    assert figures["cases"] == 300
    assert figures["codes"].keys() <= {"0", "1", "2"}
    assert 300 - figures["codes"].get("0", 0) > 100  # mutants do reach the checks


def test_what_was_found_stays_mended() -> None:
    assert fuzz("--again", str(Path(__file__).parent / "corpus")) == {}


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux who is there")
def test_a_campaign_that_is_killed_leaves_nobody_behind() -> None:
    words = [sys.executable, str(TOOL), "--target", "reader", "--cases", "100000"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = subprocess.Popen(words, start_new_session=True, **quiet)

    def of_it() -> set[str]:
        there = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                state, _, group, *_ = stat.read_text().rpartition(")")[2].split()
                there |= {state} - {"Z"} if int(group) == killed.pid else set()
        return there

    time.sleep(15)  # in the midst of its cases
    assert of_it()
    killed.kill()
    killed.wait()
    deadline = time.monotonic() + 30
    while of_it() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not of_it()
