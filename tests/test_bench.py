"""`tools/bench.py` believes no figure that its own limit contradicts."""

import subprocess
import sys

import pytest
from bench import check_shares
from borders import SIZES
from paths import TOOLS


@pytest.mark.parametrize("part", ["solver", "real"])
def test_a_rate_above_the_limit_is_an_error(part: str) -> None:
    line = {"rule": "smallest", "m": 15, "share_of_limit": 1.0}
    check_shares({part: [line], "rows": [{"rule": "rows", "m": 10}]})

    with pytest.raises(SystemExit, match=r"smallest, m = 15: 217% of the machine's limit"):
        check_shares({part: [line, line | {"share_of_limit": 2.17}]})


@pytest.mark.long
def test_the_table_of_borders_holds_what_two_searches_agree_on() -> None:
    """It ends in an error where sorted halves and pairs of halves differ."""
    words = [sys.executable, str(TOOLS / "borders.py"), "--count", "20"]
    made = subprocess.run(words, capture_output=True, text=True)

    assert made.returncode == 0, made.stderr[-2000:]
    assert [line.split()[0] for line in made.stdout.splitlines()[2:]] == [*map(str, SIZES)]
