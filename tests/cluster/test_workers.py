"""Who is asked for: what contradicts itself is refused; rows on a terminal come and go."""

import io
import re
import sys
from pathlib import Path

import pytest

from lt_onnx.errors import InputError
from lt_onnx.options import Workers
from lt_onnx.progress import rows


def test_workers_here_and_elsewhere_are_two_things() -> None:
    assert not Workers(4, memory=1).elsewhere
    assert Workers(scheduler="tcp://there:8786").elsewhere
    for words, said in (
        ({"workers": 0}, "`workers` is 0; give 1 or more"),
        ({"workers": 2, "scheduler": "tcp://there:8786"}, "`workers` is of this machine"),
        ({"memory": 2, "scheduler_file": Path("s.json")}, "`memory` is of this machine"),
        ({"memory": 2}, "`memory` is shared out among `workers`: give 2 or more"),
        ({"scheduler": "there", "scheduler_file": Path("s.json")}, "are two clusters; give one"),
    ):
        with pytest.raises(InputError, match=said):
            Workers(**words)  # type: ignore[arg-type]


def test_what_is_under_way_has_a_row_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    drawn = Terminal()
    monkeypatch.setattr(sys, "stderr", drawn)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with rows(2) as (tell, end):
        tell("", "read", 0.5)
        tell("first [b]", "plan", 0.0)
        tell("first [b]", "construct", 0.5)
        tell("second", "plan", 0.0)
        end("first [b]")
        end("never told")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.getvalue())

    assert "all" in shown
    assert "2 of 2" in shown
    assert re.search(r"all +read 50 %", shown)
    assert re.search(r"second +plan", shown)
