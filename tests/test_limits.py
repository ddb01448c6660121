"""Limits: one declared object each, from which checks, words and refusals follow."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lt_onnx.errors import InputError
from lt_onnx.target import Port
from lt_onnx.validation.fidelity import Judged, OutputFidelity
from lt_onnx.validation.limits import FIGURES, Limits, judge

SCORES = OutputFidelity(
    name="scores",
    judged=Judged.VARIATION,
    max_abs=0.5,
    mean_abs=0.1,
    relative=0.01,
    sqnr_db=60.0,
    variation_db=40.0,
    cosine=1.0,
    finite=True,
    agreement=0.9,
    target_accuracy=0.95,
    ticket_accuracy=0.85,
    smallest_tolerance=0.01,
    points=[],
)
IMAGE = replace(
    SCORES, name="image", agreement=None, target_accuracy=None, ticket_accuracy=None, max_abs=2.0
)
EMPTY = OutputFidelity("empty", Judged.VARIATION, finite=True)
# a limit that SCORES is exactly at, and one that it misses
EDGES = {
    "max_abs": (0.5, 0.49),
    "max_rel": (0.01, 0.009),
    "min_sqnr": (40.0, 40.1),
    "min_agreement": (0.9, 0.91),
    "max_accuracy_drop": (0.95 - 0.85, 0.09),
}


def limited(**words: Any) -> Limits:
    return Limits(**words)


def test_the_table_is_of_every_limit() -> None:
    assert list(FIGURES) == list(EDGES) == list(vars(Limits()))


@pytest.mark.parametrize("name", EDGES)
def test_a_limit_holds_at_its_edge_and_not_beyond(name: str) -> None:
    held, missed = (limited(**{name: edge}) for edge in EDGES[name])

    finite, check = judge([SCORES], held)
    assert finite.name == "finite: scores"
    assert check.passed, check.message
    assert check.name == f"{name.replace('_', '-')}: scores"
    assert f"{FIGURES[name].label} " in check.message
    assert not judge([SCORES], missed)[1].passed


def test_a_limit_of_one_output_is_of_no_other() -> None:
    checks = judge([SCORES, IMAGE], Limits(max_abs={"scores": 1.0, "": 3.0}, min_agreement=0.5))

    assert [(check.name, check.message[-8:]) for check in checks[2:]] == [
        ("max-abs: scores", " limit 1"),
        ("max-abs: image", " limit 3"),
        ("min-agreement: scores", "imit 0.5"),
    ]


def test_numbers_that_are_not_finite_fail_whatever_is_asked() -> None:
    check = judge([replace(SCORES, finite=False)], Limits())[0]
    nothing = judge([replace(EMPTY, finite=False)], Limits(min_sqnr=1))[0]
    alike = judge([replace(SCORES, non_finite=1234)], Limits())[0]

    assert (check.passed, nothing.passed, alike.passed) == (False, False, True)
    assert "NaN or infinite where the target's are not" in check.message
    assert "there is nothing finite to compare" in nothing.message
    assert "1,234 values are NaN or infinite, alike in both, and not compared" in alike.message


def test_an_output_that_does_not_vary_is_judged_by_its_plain_decibels() -> None:
    constant = replace(SCORES, judged=Judged.CONSTANT, variation_db=None, sqnr_db=40.0)
    (_, held), (_, missed) = (judge([constant], Limits(min_sqnr=least)) for least in (30, 50))

    assert (held.passed, missed.passed) == (True, False)


def test_integers_are_judged_by_their_equal_entries_alone() -> None:
    integers = replace(EMPTY, judged=Judged.EQUALITY, agreement=0.9)

    assert judge([integers], Limits(min_agreement=0.9))[1].passed
    assert not judge([integers], Limits(min_agreement=0.91))[1].passed
    assert len(judge([integers, SCORES], Limits(min_sqnr=30))) == 3
    with pytest.raises(InputError, match="`min_sqnr` needs an output of floats"):
        judge([integers], Limits(min_sqnr=30))
    ports = [Port("map", ("N", 4, 4), np.dtype(np.int64))]
    Limits(min_agreement=0.9).refuse(ports, labelled=False)


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), {"y": -1.0}])
def test_a_limit_is_a_number_that_is_not_negative(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"`{name}` is .*; give a number that is not negative"):
        limited(**{name: value})


@pytest.mark.parametrize(
    ("limits", "labelled", "said"),
    [
        (Limits(max_abs={"z": 1.0}), True, "`max_abs` names the output 'z'; there are scores"),
        (Limits(max_accuracy_drop=1.0), False, "`max_accuracy_drop` needs `samples` with 'labels'"),
    ],
)
def test_what_can_never_be_judged_is_refused_before_any_work(
    limits: Limits, labelled: bool, said: str
) -> None:
    ports = [Port("scores", ("N", 10), np.dtype(np.float32))]
    with pytest.raises(InputError) as raised:
        limits.refuse(ports, labelled)
    assert str(raised.value) == said

    image = [Port("scores", ("N", 3, 8, 8), np.dtype(np.float32))]
    with pytest.raises(InputError, match="needs an output of class scores"):
        Limits(min_agreement=0.5).refuse(image, labelled=True)
    Limits(min_agreement=0.5, max_rel=1.0).refuse(ports, labelled)
    with pytest.raises(InputError, match="`min_agreement` needs an output of class scores"):
        judge([IMAGE], Limits(min_agreement=0.5))


def test_words_are_those_of_the_command_line() -> None:
    words = Limits(min_sqnr=30, max_abs={"": 1.5, "a:b": 0.25}).arguments()

    assert words == {
        "max_abs": ["1.5", "a:b:0.25"],
        "max_rel": [],
        "min_sqnr": ["30"],
        "min_agreement": [],
        "max_accuracy_drop": [],
    }
