"""`tools/bench.py` believes no figure that its own limit contradicts."""

import pytest
from bench import check_shares


@pytest.mark.parametrize("part", ["solver", "real"])
def test_a_rate_above_the_limit_is_an_error(part: str) -> None:
    line = {"rule": "smallest", "m": 15, "share_of_limit": 1.0}
    check_shares({part: [line], "rows": [{"rule": "rows", "m": 10}]})

    with pytest.raises(SystemExit, match=r"smallest, m = 15: 217% of the machine's limit"):
        check_shares({part: [line, line | {"share_of_limit": 2.17}]})
