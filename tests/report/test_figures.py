"""Figures in words: each says what its document says, and another thing of another document."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents import BROKEN, HELD, MISSED, MODEL, TRACE, compared, fidelity, report, zoo
from perturbed import CHANGES, network, perturbed, weight_of

from lt_onnx.reading.lowering import read_target
from lt_onnx.report import figures
from lt_onnx.report.document import plain, validation
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.validation.fidelity import Check, Judged
from lt_onnx.validation.limits import Limits
from lt_onnx.validation.outputs import compare_outputs
from lt_onnx.validation.per_layer import trace


def conversion(**fields: Any) -> dict[str, Any]:
    return dict(plain(report(**fields).to_dict()))


def test_numbers() -> None:
    assert figures.number(None) == "–"
    assert (figures.number(0.12345), figures.number(0.12345, 2)) == ("0.123", "0.12")
    assert (figures.decibels(None), figures.decibels(33.98)) == ("∞", "34.0")
    assert (figures.percent(None), figures.percent(0.98765)) == ("–", "98.77 %")


def test_titles() -> None:
    assert figures.title(compared()) == "net.onnx → t.onnx"
    assert figures.title(zoo()) == "2 networks: sub/net, bad"


def test_the_summary_sets_target_and_ticket_side_by_side() -> None:
    rows = {what: (target, ticket) for what, target, ticket in figures.summary(conversion())}

    assert rows["weights"] == ("40", "80 (2.00 per target weight)")
    assert rows["random source"] == ("", "460 weights, density 0.1739")
    assert rows["accuracy of scores"] == ("100.00 %", "75.00 %")
    assert rows["top-1 agreement of scores"] == ("", "75.00 %")
    assert rows["SQNR of scores"] == ("", "30.5 dB of variation, 34.0 plain")
    assert rows["error of scores"] == ("", "relative 0.02, largest 0.5")
    assert rows["certified error of scores"] == ("", "none found")
    assert figures.summary(zoo()) == []


def test_an_output_that_does_not_vary_or_holds_no_floats_says_so() -> None:
    constant = fidelity(HELD, judged=Judged.CONSTANT, variation_db=None)
    none: dict[str, Any] = dict.fromkeys(["relative", "max_abs", "sqnr_db", "variation_db"])
    integers = fidelity(HELD, judged=Judged.EQUALITY, **none)
    rows = [
        {what: ticket for what, _, ticket in figures.summary(conversion(fidelity=found))}
        for found in (constant, integers)
    ]

    assert rows[0]["SQNR of scores"] == "does not vary; 34.0 dB plain"
    said = figures.verdict_of(conversion(fidelity=replace(constant, checks=[HELD])))
    assert said.endswith(", outputs that do not vary over these samples")
    assert "do not vary" not in figures.verdict_of(conversion(fidelity=integers))
    assert rows[1]["equal entries of scores"] == "75.00 %"
    assert not {"SQNR of scores", "error of scores"} & rows[1].keys()


def test_the_verdict_says_what_holds_or_what_does_not() -> None:
    held = conversion(fidelity=fidelity(HELD))

    assert figures.verdict_of(held) == "PASSED: genuine, 30.5 dB of variation, 75.00 % agreement"
    assert figures.verdict_of(compared(HELD)) == "PASSED: 30.5 dB of variation, 75.00 % agreement"
    unlimited = compared(Check("finite: scores", True, "output 'scores': finite"))
    assert figures.verdict_of(unlimited) == (
        "PASSED: 30.5 dB of variation, 75.00 % agreement, no limits given"
    )
    assert figures.verdict_of(conversion(fidelity=None)) == (
        "PASSED: genuine, not compared with its target"
    )
    assert figures.verdict_of(compared(HELD, MISSED)) == f"FAILED: {MISSED.message}"
    assert figures.verdict_of(compared(MISSED, HELD, MISSED)) == (
        f"FAILED: {MISSED.message} (and 1 more)"
    )


def test_figures_that_are_not_there_have_no_row() -> None:
    unlabelled = fidelity(HELD, target_accuracy=None, ticket_accuracy=None, agreement=None)
    for fields in ({"fidelity": unlabelled, "bound": None}, {"fidelity": None}):
        rows = [row[0] for row in figures.summary(conversion(**fields))]
        assert not any(row.startswith(("accuracy", "top-1", "certified")) for row in rows)


def test_tables_of_a_conversion() -> None:
    layers, traced, dense, account = figures.tables(conversion())

    assert [layers.title, traced.title, dense.title, account.title] == [
        "Layers",
        "Where error enters",
        "What stays dense",
        "Bits that the seed does not fix",
    ]
    assert list(account.rows[0].values()) == ["masks", "900", "90.00 %"]
    univariate, stem = layers.rows
    assert (
        list(univariate.values())
        == ["x/univariate", "univariate", "20", "–"] + ["", "30"] + [""] * 4
    )
    assert list(stem.values()) == [
        *("stem", "two-for-one", "8", "0.001", "20", "50", "3", "2.50", "40.0", "40.0")
    ]
    assert list(dense.rows[0].values()) == ["norm", "LRN", "is dense", "16"]
    assert [table.title for table in figures.tables(compared())] == []


def test_a_layer_that_was_not_traced_has_its_constructions_sqnr() -> None:
    _, stem = figures.tables(conversion(trace=None))[0].rows

    assert (stem["own dB"], stem["out dB"]) == ("", "41.0")


def test_trace_rows_in_the_digits_asked_for() -> None:
    layers = [vars(replace(TRACE[1], own=0.0123456, sqnr_db=math.inf))]

    assert list(figures.trace_rows(layers)[0]) == list(figures.TRACE_HEAD)
    assert [row["own"] for row in figures.trace_rows(layers)] == ["0.0123"]
    assert [row["own"] for row in figures.trace_rows(layers, digits=2)] == ["0.012"]
    assert [row["SQNR dB"] for row in figures.trace_rows(layers)] == ["∞"]
    assert [row["SQNR dB"] for row in figures.trace_rows(plain(layers))] == ["∞"]


def test_the_table_of_a_zoo_has_dashes_where_there_is_no_ticket() -> None:
    (table,) = figures.tables(plain(zoo(MODEL, BROKEN)))
    good, bad = table.rows

    assert list(good.values()) == [
        *("sub/net", "passed", "99.00 %", "–", "∞", "2.00", "0.1250", "2 MB", "12")
    ]
    assert list(bad.values()) == ["bad", "error", "–", "–", "–", "–", "–", "–", "0"]


def test_the_weakest_layers_are_named() -> None:
    assert figures.weakest(conversion()) == (
        "Most error enters at 'stem' (0.01 of its output); 'head' amplifies it most, ×1.5."
    )
    quiet = [replace(TRACE[0]), replace(TRACE[1], amplification=0.5)]
    assert figures.weakest(conversion(trace=quiet)) == (
        "Most error enters at 'stem' (0.01 of its output)."
    )
    assert figures.weakest(conversion(trace=None)) == ""


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_weight_shows_in_every_figure(tmp_path: Path, change: str) -> None:
    target = network(tmp_path)
    wrong = perturbed(target, weight_of(target, "second"), CHANGES[change])
    ports = read_target(target).inputs
    samples = random_samples(ports, 20, 0)

    def document(other: Path) -> dict[str, Any]:
        found = compare_outputs(target, other, samples, ports, Limits(max_rel=1e-5))
        traced = trace(target, other, samples)
        return dict(plain(validation(target, other, command="", fidelity=found, trace=traced)))

    right, bad = document(target), document(wrong)
    rows, bad_rows = ([row[2] for row in figures.summary(d)] for d in (right, bad))
    assert (right["verdict"], bad["verdict"]) == ("passed", "failed")
    assert rows[1:] == ["∞ dB of variation, ∞ plain", "relative 0, largest 0"]
    assert bad_rows[1] != rows[1]
    assert bad_rows[2] != rows[2]
    assert "'second'" in figures.weakest(bad)
    (table,), (bad_table,) = figures.tables(right), figures.tables(bad)
    assert [row["SQNR dB"] for row in table.rows] == ["∞"] * 3
    assert [row["SQNR dB"] == "∞" for row in bad_table.rows] == [True, False, False]
