"""Groups of words: what they take, what they refuse, and that Python has all of them."""

import inspect
from dataclasses import MISSING, fields

import numpy as np
import pytest

from lt_onnx import convert
from lt_onnx.errors import InputError
from lt_onnx.options import (
    Device,
    Init,
    Mode,
    Options,
    Output,
    Select,
    Sigma,
    Weights,
    choices,
    choose,
    make_options,
    params_of,
)
from lt_onnx.validation.limits import Limits

GROUPS = (Options, Output, Limits)


def test_words_become_members_and_mappings_sorted_pairs() -> None:
    made = make_options(
        mode="2l",
        select="best",
        sigma="layer",
        init="lecun",
        weights="sparse",
        prices={"b": 0.1, "a": 0.2},
        base_sizes={"c": 3},
    )

    assert (made.mode, made.select, made.sigma) == (Mode.TWO_L, Select.BEST, Sigma.LAYER)
    assert (made.init, made.weights) == (Init.LECUN, Weights.SPARSE)
    assert made.prices == (("a", 0.2), ("b", 0.1))
    assert made.base_sizes == (("c", 3),)
    assert make_options() == Options()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"mode": "3l"}, "`mode` is '3l'; choose one of l+1, l+k, 2l"),
        ({"select": "exact"}, "`select` is 'exact'; choose one of noise, smallest, best"),
        ({"sigma": "row"}, "`sigma` is 'row'; choose one of channel, layer"),
        ({"init": "he"}, "`init` is 'he'; choose one of unit, kaiming, xavier, lecun"),
        (
            {"weights": "dense"},
            "`weights` is 'dense'; choose one of folded, masked, sparse, seeded",
        ),
        ({"base_size": 1}, "`base_size` is 1; give 2 to 32"),
        ({"base_sizes": {"a": 33}}, "`base_size` is 33; give 2 to 32"),
        ({"tolerance": 1.0}, "`tolerance` is 1.0; give a number between 0 and 1"),
        ({"seed": 2**64}, f"`seed` is {2**64}; give 0 to 2^64 - 1"),
        ({"price": -0.1}, "`price` is -0.1; give 0 or more, below 1"),
        ({"prices": {"a": 1.0}}, "`price` is 1.0; give 0 or more, below 1"),
        ({"price_bits": 0.001, "mode": "2l"}, "`price_bits` is 0.001; give 0, or 0.01 to 100"),
        ({"price_bits": 1.0}, "`price_bits` needs `mode=2l` and `select=noise`"),
        ({"sqnr": 0}, "`sqnr` is 0; give decibels, above 0 up to 60"),
        ({"sqnr": 61.5}, "`sqnr` is 61.5; give decibels, above 0 up to 60"),
        (
            {"price": 0.1, "sqnr": 20},
            "`sqnr` is a promise, and `price` or another `select` stand in its place: leave one "
            "out",
        ),
        ({"agreement": 1.01}, "`agreement` is 1.01; give a share, as 0.99 or 99%; 0 is none"),
        ({"agreement": -0.1}, "`agreement` is -0.1; give a share, as 0.99 or 99%; 0 is none"),
    ],
)
def test_what_is_out_of_range_names_its_argument(words: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as raised:
        make_options(**words)  # type: ignore[arg-type]

    assert str(raised.value) == said


def test_the_oracle_is_offered_to_nobody_and_taken_from_code() -> None:
    assert choices(Select) == ["noise", "smallest", "best"]
    assert make_options(select=Select.EXACT).select is Select.EXACT
    with pytest.raises(InputError):
        choose(Select, "select", "exact")


@pytest.mark.parametrize("kind", [Mode, Sigma, Init, Weights, Device])
def test_every_choice_stands_for_itself(kind: type[Mode]) -> None:
    assert [choose(kind, "x", word) for word in choices(kind)] == list(kind)


def test_every_field_of_a_group_has_a_word_or_is_the_other_half_of_one() -> None:
    for group in GROUPS:
        words = params_of(group)
        halves = {word.singles for _, word in words.values()}
        assert {field.name for field in fields(group)} == set(words) | (halves - {None})
        assert all(word.help for _, word in words.values())


def test_python_takes_every_word_with_the_groups_defaults() -> None:
    """All of them keyword-only, except the model and the output."""
    parameters = inspect.signature(convert).parameters
    for group in (Options, Output):
        for field in fields(group):
            name = "output" if field.name == "path" else field.name
            default = None if field.default == () else field.default
            assert default is not MISSING
            assert parameters[name].default == default, name

    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["model", "output"]
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())


def test_copies_follow_the_mode() -> None:
    assert (Options().copies, Options(base_size=5).copies) == (11, 5)
    assert Options(Mode.TWO_L, base_size=5).copies == 1


def test_prices_and_the_papers_rules_promise_nothing() -> None:
    assert Options().promises
    assert Options(prices=(("a", 0.1),)).promises
    assert not Options(price=0.0).promises
    assert not Options(select=Select.SMALLEST).promises
    given = Options(price=0.25, prices=(("a", 0.5),))
    assert (given.price_of("a"), given.price_of("b")) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", True, "a whole number"),
        ("seed", "7", "a whole number"),
        ("seed", 1.5, "a whole number"),
        ("sqnr", "30", "a number"),
        ("agreement", False, "a number"),
        ("agreement", None, "a number"),
        ("seed", None, "a whole number"),
        ("fp16", 1, "True or False"),
        ("base_size", 3.5, "a whole number"),
    ],
)
def test_values_of_another_type_are_refused_before_any_work(
    name: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError, match=f"`{name}` is {value!r}; give {expected}"):
        Options(**{name: value})  # type: ignore[arg-type]


def test_bytes_are_a_number_and_limits_are() -> None:
    with pytest.raises(InputError, match="`max_memory` is '8G'; give a whole number"):
        Output(max_memory="8G")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`min_sqnr` is y:1; give a number"):
        Limits(min_sqnr="y:1")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"give lt_onnx\.Limits"):
        convert("net.onnx", limits={"min_sqnr": 20})  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    options = Options(seed=np.int64(7), sqnr=np.float32(20))  # type: ignore[arg-type]
    assert (options.seed, options.sqnr) == (7, 20.0)
    assert (type(options.seed), type(options.sqnr)) == (int, float)
