"""Numbers that pass through layers: from shapes alone."""

from pathlib import Path

import pytest
from graphs import Builder, save
from paths import MODELS
from planned import blueprint, builds

from lt_onnx.options import Options
from lt_onnx.planning import sizes
from lt_onnx.planning.plan import plan
from lt_onnx.planning.sizes import (
    activation_count,
    exposed_together,
    made_numbers,
    numbers,
    read_whole,
    traced_together,
    waiting_numbers,
)
from lt_onnx.reading.lowering import read_target


def test_numbers_of_a_layer_are_those_of_target_and_ticket(tmp_path: Path) -> None:
    """The neurons of a block are not among them."""
    residual = plan(read_target(MODELS / "residual.onnx"), Options())
    copied = next(step for step in builds(residual) if step.one_for_one)
    made, own = blueprint(tmp_path), (3 + 4) * 64
    block = builds(made)[0]
    assert block.expand is not None

    assert activation_count(made.target, None, block.linear) == 2 * own
    ticket = (3 + block.source.shape[0]) * 64
    assert activation_count(made.target, made, block.linear) == own + ticket
    ticket = sum(numbers(residual.target, copied))
    own = activation_count(residual.target, None, copied.linear) // 2
    assert activation_count(residual.target, residual, copied.linear) == own + ticket


def test_so_few_samples_are_traced_together_that_a_run_does_for_all_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizes, "MAX_EXPOSED", 100)

    assert [traced_together(counts) for counts in ([1, 2], [20, 13], [99, 99])] == [16, 3, 1]
    assert list(exposed_together([20, 13], 3)) == [slice(0, 2)]
    assert list(exposed_together([99, 99], 1)) == [slice(0, 1), slice(1, 2)]


def test_few_layers_are_exposed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MAX_EXPOSED", 160)
    parts = exposed_together([4, 6, 1, 11, 3, 3, 3, 3], 16)

    assert [(part.start, part.stop) for part in parts] == [(0, 2), (2, 3), (3, 4), (4, 7), (7, 8)]


def test_what_a_skip_connection_carries_waits(tmp_path: Path) -> None:
    b = Builder()
    start = b("Relu", b.conv("x", 3, 4, pads=[1] * 4))
    inner = b.conv(b("Relu", b.conv(start, 4, 4, pads=[1] * 4)), 4, 4, pads=[1] * 4)
    last = b.conv(b("Relu", b("Add", inner, start)), 4, 2, 1)
    target = read_target(save(b.model(last, ("N", 3, 8, 8)), tmp_path))
    made = plan(target, Options(base_size=5))
    first, second, third, fourth = builds(made)
    waiting = waiting_numbers(target, made)

    skip = first.source.shape[0] // 4 * 4 * 64  # all copies of four channels
    assert [waiting[step.name] for step in (first, second, third, fourth)] == [0, 0, skip, 0]


@pytest.mark.parametrize("group", [1, 4])
def test_of_a_block_one_neuron_of_each_feature_is_made_and_all_constants(
    tmp_path: Path, group: int
) -> None:
    b = Builder()
    x = b.conv(b("Relu", b.conv("x", 4, 4, 1)), 4, 4, 1, group=group)
    target = read_target(save(b.model(x, ("N", 4, 8, 8)), tmp_path))
    made = plan(target, Options(mode="2l"))  # type: ignore[arg-type]
    step = builds(made)[1]
    read, _ = made_numbers(target, step, whole=False)

    constants = int((step.in_layout.channel == -1).sum())
    assert constants >= group
    assert not read_whole(made)
    assert read == (4 + step.in_layout.constants) * 64 < numbers(target, step)[0]
    assert step.in_layout.constants == constants
    assert made_numbers(target, step, whole=True) == numbers(target, step)
