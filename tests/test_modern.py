"""Networks with attention and normalizations: nothing of them is dense, and exact weights hold."""

from pathlib import Path

import pytest
from modern import NETWORKS, export
from paths import MODES

from lt_onnx import convert
from lt_onnx.options import Select

# operator sets in which exporters write LayerNorm as a subgraph, and as an operator
CASES = [(name, mode, opset) for name in NETWORKS for mode in MODES for opset in (14, 17)]
TRIED = [case for number, case in enumerate(CASES) if number % 4 in (0, 3)]


@pytest.mark.parametrize(
    ("name", "mode", "opset"),
    [pytest.param(*case, marks=[] if case in TRIED else pytest.mark.long) for case in CASES],
)
def test_no_parameter_is_dense(tmp_path: Path, name: str, mode: str, opset: int) -> None:
    words = {"mode": mode, "base_size": 4, "select": Select.EXACT}
    ticket = convert(export(name, tmp_path, opset=opset), tmp_path / "t.onnx", **words)

    assert [place for place in ticket.report.dense if place.parameters] == []
    assert max(out.relative for out in ticket.report.fidelity.outputs) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_its_tickets_are_genuine(tmp_path: Path, name: str) -> None:
    path = export(name, tmp_path, opset=17)
    ticket = convert(path, tmp_path / "t.onnx", mode="2l", price=1e-4)

    assert ticket.report.proof.genuine
    assert ticket.report.proof.parameters == 0
