"""Markdown: verdict first, then checks and tables that GitHub shows as such."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from documents import LAYERS, MISSED, compared, report, zoo

from lt_onnx.report import templates
from lt_onnx.report.document import plain
from lt_onnx.report.templates import MAX_ROWS


def render(document: Mapping[str, Any]) -> str:
    return templates.render(document, "md")


def test_a_conversion() -> None:
    text = render(plain(report().to_dict()))

    assert text.startswith("# lt-onnx: failed – net.onnx → net.ticket.onnx\n\n| check |  | found |")
    for line in (
        "| max-abs: scores | **FAILED** | output 'scores': largest error 0.5, limit 0.25 |",
        "| weights | 40 | 80 (2.00 per target weight) |",
        "Validated on 100 samples: samples.npz.",
        "## Layers",
        "## Where error enters",
        "| node | op | why | parameters |",
        "| norm | LRN | is dense | 16 |",
    ):
        assert f"\n{line}\n" in text
    assert text.endswith("```sh\nlt-onnx convert net.onnx --seed 3\n```\n")


def test_every_row_has_the_columns_of_its_head() -> None:
    for document in (report().to_dict(), compared(MISSED), zoo()):
        lines = render(plain(document)).splitlines()
        for number, line in enumerate(lines):
            if line.startswith("| ---"):
                rows = [lines[number - 1], *_until_empty(lines[number:])]
                assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def _until_empty(lines: list[str]) -> list[str]:
    return lines[: lines.index("")] if "" in lines else lines


def test_a_table_is_cut_where_it_gets_long() -> None:
    layers = [replace(LAYERS[1], name=f"layer{i}") for i in range(MAX_ROWS + 5)]
    text = render(plain(report(layers=layers).to_dict()))

    assert f"| layer{MAX_ROWS - 1} |" in text
    assert f"| layer{MAX_ROWS} |" not in text
    assert "… and 5 more, in the JSON report" in text


def test_signs_that_markdown_reads_are_escaped() -> None:
    text = render(compared(replace(MISSED, name="a|b", message="one\ntwo \\")))

    assert "| a\\|b | **FAILED** | one two \\\\ |" in text
