"""A promise that is missed says by how much, and which layers took more than their part."""

from dataclasses import replace

import numpy as np
from documents import LAYERS, OUTPUT, fidelity

from lt_onnx.options import Options
from lt_onnx.target import Port
from lt_onnx.validation.promise import promise_checks, telling_samples


def test_what_is_held_and_what_is_missed_is_told() -> None:
    out = replace(OUTPUT, variation_db=28.25, agreement=0.995)
    sqnr, agreement = promise_checks(
        fidelity(variation_db=out.variation_db, agreement=out.agreement), Options(), LAYERS
    )

    assert (sqnr.passed, agreement.passed) == (False, True)
    assert sqnr.name == "promise of sqnr: scores"
    assert sqnr.message == (
        "output 'scores': 28.2 dB of variation; 30 were promised; "
        "calibrate with more inputs like these, or build to 32 dB"
    )
    assert agreement.message == "output 'scores': 99.50 % agree; 99.00 % were promised"


def test_too_few_samples_to_tell_a_share_are_named() -> None:
    few = replace(fidelity(variation_db=None, agreement=50 / 51), samples=51)
    (missed,) = promise_checks(few, Options(), [])
    some = replace(fidelity(variation_db=None, agreement=100 / 102), samples=102)
    (chance,) = promise_checks(some, Options(), [])
    (enough,) = promise_checks(replace(some, samples=1020), Options(), [])
    (every,) = promise_checks(few, Options(agreement=1.0), [])

    said = "output 'scores': 98.04 % agree; 99.00 % were promised"
    assert missed.message == f"{said} (51 samples are too few to tell: give 459)"
    assert chance.message == f"{said} (102 samples are too few to tell: give 510)"
    assert enough.message == (
        f"{said}; calibrate with more inputs like these, or build to more decibels"
    )
    assert "too few" not in every.message
    assert not any(check.passed for check in (missed, chance, enough, every))


def test_layers_that_took_more_than_their_part_are_named() -> None:
    out = replace(OUTPUT, variation_db=20.0, agreement=None)
    taken = [
        replace(layer, allowed=1e-3, error=error)
        for layer, error in zip(LAYERS, (1e-3, 4e-3), strict=True)
    ]
    (check,) = promise_checks(
        fidelity(variation_db=out.variation_db, agreement=out.agreement), Options(), taken
    )

    assert check.message.endswith(f"; layer '{taken[1].name}' has 24.0 of 30.0 dB")


def test_layers_that_explain_little_of_a_miss_are_named_beside_what_mends_it() -> None:
    taken = [replace(layer, allowed=1e-3, error=1.5e-3) for layer in LAYERS[:1]]
    (check,) = promise_checks(fidelity(variation_db=23.0, agreement=None), Options(), taken)

    mend = "calibrate with more inputs like these, or build to 37 dB"
    assert check.message.endswith(f"; layer '{taken[0].name}' has 28.2 of 30.0 dB; {mend}")


def test_what_does_not_vary_is_not_promised_and_prices_promise_nothing() -> None:
    assert promise_checks(fidelity(variation_db=None, agreement=None), Options(), []) == []
    assert promise_checks(fidelity(), Options(price=0.1), []) == []


def test_what_class_random_inputs_are_of_is_not_promised() -> None:
    drawn = replace(fidelity(variation_db=31.0), origin="random (seed 1)")

    assert [check.name for check in promise_checks(drawn, Options(), [])] == [
        "promise of sqnr: scores"
    ]


def test_where_classes_are_told_apart_samples_have_to_be_enough() -> None:
    floats, integers = np.dtype(np.float32), np.dtype(np.int64)
    told = [Port("y", ("N", 10), floats), Port("y", ("N", 4, 4), integers), Port("y", (), floats)]
    told[-1] = replace(told[-1], ranked=False)
    others = [Port("y", ("N", 1), floats), Port("y", ("N", 3, 8, 8), floats)]

    assert all(port.tells_classes for port in told)
    assert not any(port.tells_classes for port in [*others, replace(told[0], scores=False)])
    assert [telling_samples(share) for share in (0.99, 0.9, 0.995, 1.0)] == [100, 10, 200, 1]


def test_no_agreement_is_promised_where_none_is_asked_for() -> None:
    given = fidelity(agreement=0.5)

    assert [check.name for check in promise_checks(given, Options(agreement=0), [])] == [
        "promise of sqnr: scores"
    ]
    assert len(promise_checks(given, Options(), [])) == 2
