"""The lowest setting that is good enough, found with few trials."""

from dataclasses import replace
from pathlib import Path

import pytest
from paths import MODELS, MODES, long_but

from lt_onnx import convert
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Options, Output
from lt_onnx.pipeline import Job
from lt_onnx.search.ladder import LADDERS, Goal, Rung, lowest
from lt_onnx.search.trials import find_settings
from lt_onnx.validation.fidelity import Fidelity, Judged, OutputFidelity


def found(sqnr: float, agreement: float | None = None) -> Fidelity:
    figures = dict.fromkeys("max_abs mean_abs relative cosine smallest_tolerance".split(), 0.0)
    accuracies = {"target_accuracy": None, "ticket_accuracy": None, "agreement": agreement}
    out = OutputFidelity(
        "y", Judged.VARIATION, variation_db=sqnr, finite=True, points=[], **figures, **accuracies
    )  # type: ignore[arg-type]
    return Fidelity([out], 1, "made up", [])


@pytest.mark.parametrize("mode", list(Mode))
def test_the_lowest_rung_that_reaches_the_goal_is_found_for_every_goal(mode: Mode) -> None:
    """A ladder on which every rung adds 2 dB."""
    ladder = LADDERS[mode]
    for wanted in range(len(ladder)):
        tried: list[Rung] = []

        def attempt(rung: Rung, tried: list[Rung] = tried) -> Fidelity:
            tried.append(rung)
            return found(2.0 * (1 + ladder.index(rung)))

        goal = Goal(target_sqnr=2.0 * (1 + wanted))
        assert lowest(mode, goal, attempt) == ladder[wanted]
        assert len(tried) <= 4
    assert lowest(mode, Goal(target_sqnr=120), attempt) == ladder[-1]


def test_a_goal_is_reached_at_every_output() -> None:
    both = Goal(target_sqnr=20, target_agreement=0.9)

    assert both.reached(found(20, 0.9))
    assert not both.reached(found(19.9, 1.0))
    assert not both.reached(found(30, 0.89))
    assert both.reached(found(20, None))  # no classifier
    assert not both.reached(Fidelity([*found(30, 1).outputs, *found(10, 1).outputs], 1, "", []))
    assert not Goal()


def test_what_a_search_finds_itself_is_not_given(tmp_path: Path) -> None:
    job = Job(MODELS / "residual.onnx", Options(base_size=5), Output(tmp_path / "t.onnx"))
    goal = Goal(target_sqnr=20)

    with pytest.raises(InputError, match="finds `base_size` and `price` itself"):
        find_settings(job, goal)
    with pytest.raises(InputError, match="finds `base_size` and `price` itself"):
        find_settings(replace(job, options=Options(price=0.1)), goal)
    with pytest.raises(InputError, match="its folder does not exist"):
        find_settings(Job(job.target, Options(), Output(tmp_path / "no" / "t.onnx")), goal)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", long_but(["2l"], MODES))
def test_a_target_finds_the_smallest_setting(tmp_path: Path, mode: str) -> None:
    made = {
        wish: convert(
            MODELS / "residual.onnx",
            tmp_path / "t.onnx",
            mode=mode,
            target_sqnr=wish,
            force=True,
            calibration=MODELS / "digits.calibration.npz",
            samples=MODELS / "digits.samples.npz",
        ).report
        for wish in (18.0, 30.0)
    }

    assert made[18.0].kept < made[30.0].kept
    for wish, report in made.items():
        assert report.fidelity.outputs[0].sqnr_db > wish - 3
    assert [p.name for p in tmp_path.iterdir()] == ["t.onnx"]


def test_a_target_excludes_settings_of_ones_own(tmp_path: Path) -> None:
    for words in ({"target_sqnr": 20.0, "base_size": 5}, {"target_agreement": 1.5}):
        with pytest.raises(InputError):
            convert(MODELS / "residual.onnx", tmp_path / "t.onnx", **words)
