"""A checkpoint gives back what was noted, and nothing of another conversion or of a torn end."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from paths import MODELS

from lt_onnx import convert, pipeline
from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows
from lt_onnx.files import resumable
from lt_onnx.options import make_options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.writing.checkpoint import Checkpoint, checkpoint_of


class Stop(Exception):  # noqa: N818
    """Ends a conversion from within."""


@pytest.fixture(scope="module")
def blueprint() -> Blueprint:
    return plan(read_target(MODELS / "residual.onnx"), make_options(base_size=3))


@pytest.fixture
def ticket(tmp_path: Path) -> Path:
    return tmp_path / "t.onnx"


def steps_of(blueprint: Blueprint, kind: type) -> list[Build | Expand]:
    return [step for step in blueprint.steps if isinstance(step, kind)]


def rows_of(step: Build | Expand, start: int) -> MaskedRows:
    weight = np.random.default_rng(start).standard_normal((2, step.source.row_size))
    return MaskedRows(step, start, np.where(weight > 0, weight, 0).astype(np.float32))


def built(step: Build | Expand) -> BuiltLayer:
    stats = LayerStats(
        step.name, "one-for-one", "Conv", 10, 5, 20, 2, sqnr_db=1.5, size_counts=(1, 2)
    )
    return BuiltLayer(step, None, {}, stats, np.array([0.1, 0.2]), np.array([1.0, -1.0]))


def note(ticket: Path, pieces: list[MaskedRows | BuiltLayer], key: str = "key") -> None:
    """Note pieces of a conversion that is then stopped."""
    with contextlib.suppress(Stop), Checkpoint(ticket, key) as checkpoint:
        for piece in pieces:
            checkpoint.note(piece)
        raise Stop


def test_a_finished_layer_comes_back(blueprint: Blueprint, ticket: Path) -> None:
    step = steps_of(blueprint, Build)[0]
    pieces = [rows_of(step, 0), rows_of(step, 2)]
    note(ticket, [*pieces, built(step)])

    with Checkpoint(ticket, "key") as checkpoint:
        saved = checkpoint.saved
    assert saved.keys() == {step.name}
    assert saved[step.name].stats == built(step).stats
    assert saved[step.name].scale.tolist() == [0.1, 0.2]
    assert saved[step.name].offset.tolist() == [1.0, -1.0]
    for piece in pieces:
        np.testing.assert_array_equal(saved[step.name].kept(piece.start), piece.weight != 0)


def test_a_layer_that_was_not_finished_is_forgotten(blueprint: Blueprint, ticket: Path) -> None:
    first, second = steps_of(blueprint, Build)[:2]
    note(ticket, [rows_of(first, 0), built(first), rows_of(second, 0)])
    note(ticket, [rows_of(second, 2), built(second)])

    with Checkpoint(ticket, "key") as checkpoint:
        assert checkpoint.saved.keys() == {first.name, second.name}
        assert checkpoint.saved[second.name].pieces.keys() == {2}


def test_univariate_layers_are_not_noted(ticket: Path) -> None:
    blueprint = plan(read_target(MODELS / "residual.onnx"), make_options(mode="2l", base_size=3))
    step = steps_of(blueprint, Expand)[0]
    with contextlib.suppress(Stop), Checkpoint(ticket, "key") as checkpoint:
        before = checkpoint_of(ticket).stat().st_size
        checkpoint.note(rows_of(step, 0))
        checkpoint.note(built(step))
        raise Stop

    assert checkpoint_of(ticket).stat().st_size == before


def test_a_layer_that_came_back_is_not_noted_again(blueprint: Blueprint, ticket: Path) -> None:
    step = steps_of(blueprint, Build)[0]
    note(ticket, [rows_of(step, 0), built(step)])
    before = checkpoint_of(ticket).read_bytes()
    note(ticket, [rows_of(step, 0), built(step)])

    assert checkpoint_of(ticket).read_bytes() == before


def test_of_another_conversion_nothing_comes_back(blueprint: Blueprint, ticket: Path) -> None:
    step = steps_of(blueprint, Build)[0]
    note(ticket, [rows_of(step, 0), built(step)])

    with Checkpoint(ticket, "another") as checkpoint:
        assert not checkpoint.saved
    assert not checkpoint_of(ticket).exists()


def test_another_plan_starts_anew_and_is_remembered(blueprint: Blueprint, ticket: Path) -> None:
    step = steps_of(blueprint, Build)[0]
    with contextlib.suppress(Stop), Checkpoint(ticket, "key") as checkpoint:
        checkpoint.note(built(step))
        checkpoint.note(rows_of(step, 4))  # of a layer under way
        checkpoint.restart(frozenset({"a", "b"}))
        assert not checkpoint.saved
        raise Stop

    with Checkpoint(ticket, "key") as checkpoint:
        assert checkpoint.constants_lost == {"a", "b"}
        assert not checkpoint.saved


def test_rows_of_the_plan_before_are_forgotten(blueprint: Blueprint, ticket: Path) -> None:
    step = steps_of(blueprint, Build)[0]
    with contextlib.suppress(Stop), Checkpoint(ticket, "key") as checkpoint:
        checkpoint.note(rows_of(step, 4))
        checkpoint.restart(frozenset({"a"}))
        checkpoint.note(rows_of(step, 0))
        checkpoint.note(built(step))
        raise Stop

    with Checkpoint(ticket, "key") as checkpoint:
        assert checkpoint.saved[step.name].pieces.keys() == {0}


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_frame_is_cut_off(blueprint: Blueprint, ticket: Path, cut: int) -> None:
    first, second = steps_of(blueprint, Build)[:2]
    note(ticket, [rows_of(first, 0), built(first), rows_of(second, 0), built(second)])
    content = checkpoint_of(ticket).read_bytes()
    checkpoint_of(ticket).write_bytes(content[:-cut])

    with Checkpoint(ticket, "key") as checkpoint:
        assert checkpoint.saved.keys() == {first.name}


def test_a_changed_byte_ends_what_comes_back(blueprint: Blueprint, ticket: Path) -> None:
    first, second = steps_of(blueprint, Build)[:2]
    note(ticket, [built(first)])
    size = checkpoint_of(ticket).stat().st_size
    note(ticket, [built(second)])
    content = bytearray(checkpoint_of(ticket).read_bytes())
    content[size + 20] ^= 1
    checkpoint_of(ticket).write_bytes(bytes(content))

    with Checkpoint(ticket, "key") as checkpoint:
        assert checkpoint.saved.keys() == {first.name}


def test_after_an_interrupt_it_stays_and_is_told(
    ticket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the beginning of the run that would go on from it, whenever that is interrupted."""
    with pytest.raises(KeyboardInterrupt), Checkpoint(ticket, "key"):
        raise KeyboardInterrupt
    assert checkpoint_of(ticket).exists()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_prepared", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(MODELS / "plain-relu.onnx", ticket, resume=True)
    assert checkpoint_of(ticket) in resumable
