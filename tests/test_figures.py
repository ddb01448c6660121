"""`tools/figures.py`: what is worse than the page is told."""

from dataclasses import replace

import pytest
from figures import HEAD, RULE, Row, read
from paths import ROOT

ROW = Row("plain-relu", "2l", "its own", 0, 1.25, 32.6, 0.998)


def test_a_row_is_read_as_it_is_written() -> None:
    bare = Row("scaler", "l+1", "random", 1, 3.5, None, None)
    page = "\n".join(["# Title", "", HEAD, RULE, str(ROW), str(bare), "", "| a | table |"])

    assert read(page) == {ROW.key: ROW, bare.key: bare}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"variation_db": 29.0}, "32.6 dB before"),
        ({"variation_db": None}, "32.6 dB before"),
        ({"agreement": 0.98}, "99.80% agreed before"),
        ({"per_weight": 1.4}, "1.25 weights before"),
        ({"variation_db": 30.1}, None),  # the promise is 30: more may be lost
        ({"per_weight": 1.0, "agreement": 1.0}, None),
    ],
)
def test_what_got_worse_is_told(change: dict[str, float | None], why: str | None) -> None:
    assert replace(ROW, **change).worse(ROW) == why  # type: ignore[arg-type]


def test_the_page_has_every_shipped_network_in_both_modes() -> None:
    rows = read((ROOT / "docs" / "figures.md").read_text())
    shipped = {path.stem for path in (ROOT / "models").glob("*.onnx")}

    assert {(name, mode) for name in shipped for mode in ("l+1", "2l")} <= {k[:2] for k in rows}
