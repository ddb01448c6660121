"""The HTML page: complete, escaped, and whole without a network."""

from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from documents import BROKEN, LAYERS, MISSED, MODEL, compared, report, zoo

from lt_onnx.report import figures, templates
from lt_onnx.report.document import plain
from lt_onnx.report.plots import INK, MAX_NAME, MAX_NAMED, plots

VOID = {"meta", "link", "br"}


def render(document: Mapping[str, Any]) -> str:
    return templates.render(document, "html")


class Balanced(HTMLParser):
    """Raises where a tag is closed that was not opened last."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["conversion", "validation", "zoo"])
def test_tags_are_balanced(kind: str) -> None:
    document = {"conversion": report().to_dict(), "validation": compared(MISSED), "zoo": zoo()}
    parser = Balanced()
    parser.feed(render(plain(document[kind])))

    assert parser.open == []


def test_words_stand_left_of_numbers() -> None:
    page = render(plain(report().to_dict()))
    head = '<th class="word">node</th>\n    <th class="word">op</th>\n    '

    assert f'{head}<th class="word">why</th>\n    <th>parameters</th>' in page


def test_a_failed_check_is_told_on_top() -> None:
    page = render(plain(report().to_dict()))

    assert page.index('<div class="verdict failed">') < page.index("largest error 0.5, limit 0.25")
    assert '<td class="word bad">\n        FAILED</td>' in page
    assert "verdict failed" not in render(plain(compared()))


def test_names_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    layers = [replace(LAYERS[1], name=evil)]
    document = report(layers=layers, ticket=evil, command=evil).to_dict()

    assert "<script" not in render(plain(document))


def test_plots_are_drawn_of_what_there_is() -> None:
    assert len(plots(plain(report().to_dict()))) == 5
    assert len(plots(plain(report(trace=None, fidelity=None).to_dict()))) == 3
    assert len(plots(plain(compared()))) == 1
    assert plots(plain(zoo())) == []
    for caption, svg in plots(plain(report().to_dict())):
        assert caption.endswith(".")
        assert svg.startswith("<svg")


def test_plots_are_the_same_bytes_each_time() -> None:
    document = plain(report().to_dict())

    assert plots(document) == plots(document)


def test_layers_are_named_while_they_are_few() -> None:
    long = "a" * 40
    few = [replace(LAYERS[1], name=long)]
    many = [replace(LAYERS[1], name=f"layer{i}") for i in range(MAX_NAMED + 1)]
    shown, numbered = (
        plots(plain(report(layers=layers, trace=None, fidelity=None).to_dict()))[-1][1]
        for layers in (few, many)
    )

    assert f"…{long[1 - MAX_NAME :]}<" in shown
    assert "layer3" not in numbered
    assert "layer, in order" in numbered


def test_a_zoo_links_to_the_page_of_each_network_and_can_be_sorted() -> None:
    there = msgspec.structs.replace(MODEL, name="a/b c", page="out/a/b c.report.html")
    document = plain(zoo(there, BROKEN))
    page = templates.render(document, "html", Path("out"))

    assert '<a href="a/b%20c.report.html">a/b c</a>' in page
    assert page.count("<a ") == 1  # what could not be converted has none
    assert "<b>bad</b>: " in page
    assert '<table id="models">' in page
    assert "aria-sort" in page[page.index("<script>") :]
    assert "<title>lt-onnx: failed – 2 networks: a/b c, bad</title>" in page
    elsewhere = templates.render(document, "html", Path("reports"))
    assert 'href="../out/a/b%20c.report.html"' in elsewhere
    assert "<script" not in render(plain(report().to_dict()))


def test_every_column_says_what_it_is_or_has_a_word_beside_it() -> None:
    plain_names = {"layer", "kind", "node", "op", "why", "parameters", "what", "bits", "model"}
    for document in (report().to_dict(), zoo()):
        page = render(plain(document))
        for table in figures.tables(plain(document)):
            noted = dict(table.notes)
            assert set(table.rows[0]) <= {*noted, *plain_names, "verdict"}
            assert all(f"<li><b>{column}</b> " in page for column in noted)


def test_a_page_is_for_light_and_dark_and_its_pictures_take_the_colour_of_its_text() -> None:
    page = render(plain(report().to_dict()))

    assert "color-scheme: light dark" in page
    assert "@media (prefers-color-scheme: dark)" in page
    for _, svg in plots(plain(report().to_dict())):
        assert "currentColor" in svg
        assert INK not in svg
