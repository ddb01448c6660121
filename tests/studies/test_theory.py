"""What Theorems 3.1 and 3.2 ask for, against their formulas."""

import math
from pathlib import Path

import pytest
from graphs import Builder, save

from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.options import make_options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.studies.theory import MEASURED_C, required_widths


def test_the_theorems_widths_for_a_network_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the formulas of Theorems 3.1 and 3.2, written out for two layers."""
    b = Builder()
    path = save(b.model(b.conv(b("Relu", b.conv("x", 3, 4)), 4, 2)), tmp_path)
    n = [4 * 27 + 4, 2 * 36 + 2]
    epsilon, delta, c, gamma = 0.1, 0.05, 2.0, 0.5
    found = {}
    for mode in ("l+1", "2l"):
        blueprint = plan(read_target(path), make_options(mode=mode))
        found[mode] = required_widths(blueprint, epsilon, delta=delta, constant=c, gamma=gamma)

    first = epsilon / (9 * n[0] * n[1])
    wanted = math.ceil(c * math.log(sum(n) / min(first, delta)))
    assert found["2l"][0].base_size == wanted
    errors = [epsilon / (2 * n[0] * 2 * n[1]), epsilon / (2 * n[1])]
    rho = c * n[0] ** (1 + gamma) * math.log(1 / min(*errors, delta))
    wanted = math.ceil(c * math.log(1 / min(errors[0], delta / (rho * n[0]))))
    assert found["l+1"][0].base_size == wanted
    assert run(["plan", str(path), "--epsilon", "0.1"]) == 0
    assert "Theorem 3.1" in capsys.readouterr().out
    assert run(["plan", str(path), "--epsilon", "3"]) == 2


def test_less_error_and_less_risk_ask_for_more(tmp_path: Path) -> None:
    b = Builder()
    path = save(b.model(b.conv(b("Relu", b.conv("x", 3, 4)), 4, 2)), tmp_path)
    blueprint = plan(read_target(path), make_options(base_size=5))

    def sizes(epsilon: float, delta: float, **words: float) -> list[int]:
        rows = required_widths(blueprint, epsilon, delta=delta, **words)
        return [row.base_size for row in rows]

    usual = sizes(0.1, 0.05)
    assert usual == sizes(0.1, 0.05, constant=MEASURED_C)
    for more in (
        sizes(1e-30, 0.05),
        sizes(0.1, 1e-6),
        sizes(0.1, 0.05, gamma=3.0),
        sizes(0.1, 0.05, lipschitz=1e12),
        sizes(0.1, 0.05, constant=2 * MEASURED_C),
    ):
        assert all(m >= n for m, n in zip(more, usual, strict=True))
        assert more != usual
    rows = required_widths(blueprint, 0.1, delta=0.05)
    assert [row.parameters for row in rows] == [112, 74]


@pytest.mark.parametrize(
    ("epsilon", "delta", "constant", "message"),
    [
        (1.5, 0.1, None, "`epsilon` is 1.5; give a number between 0 and 1"),
        (0.5, 0.0, None, "`delta` is 0; give a number between 0 and 1"),
        (0.5, 0.1, -1.0, "`constant` is -1; give a positive number"),
    ],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, epsilon: float, delta: float, constant: float | None, message: str
) -> None:
    b = Builder()
    blueprint = plan(read_target(save(b.model(b.conv("x", 3, 4)), tmp_path)), make_options())
    with pytest.raises(InputError, match=message):
        required_widths(blueprint, epsilon, delta=delta, constant=constant)


def test_no_theorem_is_about_what_lies_between_the_modes(tmp_path: Path) -> None:
    b = Builder()
    path = save(b.model(b.conv(b("Relu", b.conv("x", 3, 4)), 4, 2)), tmp_path)
    blueprint = plan(read_target(path), make_options(mode="l+k"))

    with pytest.raises(InputError, match="of modes l\\+1 and 2l"):
        required_widths(blueprint, 0.1, delta=0.01)
