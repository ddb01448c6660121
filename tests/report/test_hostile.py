"""Names that come from files do nothing in a report, whatever they are."""

import shutil
import sys
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from documents import LAYERS, OUTPUT, TRACE, compared, report
from markdown_it import MarkdownIt
from paths import MODELS

from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.manifest import DensePlace
from lt_onnx.report.document import plain
from lt_onnx.report.formats import FORMATS, check_reports, write_reports
from lt_onnx.validation.fidelity import Check, Fidelity

HOSTILE = [
    "$\\frac{$",
    "$x$ \\$ $",
    "<script>alert(1)</script>",
    "![i](http://a.example/i.png) [l](http://a.example)",
    "http://a.example www.a.example <http://a.example>",
    "`code` *a* __b__ ~~c~~ &lt;b&gt; | |",
    "\x1b[31mred\x07",
    "a\u202eb\u2066c\u200f",
    "caf\udce9",
    "a\n\n# b\r\n```\n<b>",
    "' onload='x' \" onload=\"x",
    "{{ document }} {% raw %} {0}",
    "n" * 4_000_000,
    "名前",
]
STEERING = "\x00\x07\x1b\u202e\u2066\u200f\udce9"


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(name for name, _ in attrs)}


def document() -> dict[str, Any]:
    """A conversion in which everything has such a name that can have one."""
    every = " ".join(name for name in HOSTILE if len(name) < 100)
    outputs = [replace(OUTPUT, name=name) for name in HOSTILE]
    checks = [Check(name, False, f"output '{name}': largest error 0.5") for name in HOSTILE]
    return plain(
        report(
            target=every,
            ticket=every,
            command=f"lt-onnx convert '{every}'",
            layers=[replace(LAYERS[1], name=name) for name in HOSTILE],
            dense=tuple(DensePlace(name, name, name, 16) for name in HOSTILE),
            fidelity=Fidelity(outputs, 100, every, checks),
            trace=[replace(TRACE[1], name=name) for name in HOSTILE],
            calibration=every,
        ).to_dict()
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the reports, in every format."""
    folder = tmp_path_factory.mktemp("hostile")
    with warnings.catch_warnings(action="error"):
        write_reports([folder / f"r{kind}" for kind in FORMATS], document())
    return folder


def test_every_format_is_whole_and_steers_nothing(written: Path) -> None:
    for kind in FORMATS:
        text = (written / f"r{kind}").read_bytes().decode()
        assert not set(text) & set(STEERING), kind
    root = ElementTree.parse(written / "r.xml")
    assert root.find("testsuite/testcase/failure") is not None
    page = (written / "r.html").read_text()
    parser = Tags()
    parser.feed(page)
    assert not parser.seen & {"script", "img", "a", "onload"}
    assert len(page) < 5 << 20


def test_in_markdown_nothing_of_a_name_is_markup(written: Path) -> None:
    text = (written / "r.md").read_text()
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    for tag in ("<script", "<img", "<a ", "<em>", "<b>", "<s>", "<code>code", "<h1>b"):
        assert tag not in page, tag
    assert page.count("<h1>") == 1
    assert page.count("<strong>FAILED") == page.count("<strong>")
    assert page.count("<pre>") == 1
    for line in text.splitlines():
        if "a.example" in line and not line.startswith("lt-onnx"):
            assert "http://" not in line
            assert "www.a" not in line


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere paths are text")
def test_paths_need_not_be_text_but_those_of_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network, odd = str(MODELS / "plain-relu.onnx"), "caf\udce9"
    shutil.copy(network, f"{odd}.onnx")
    shutil.copy(MODELS / "digits.samples.npz", f"{odd}.npz")
    reports = [word for kind in FORMATS for word in ("--report", f"{odd}{kind}")]
    assert run(["validate", network, network, "--samples", f"{odd}.npz", *reports]) == 0
    assert "caf\\udce9.npz" in capsys.readouterr().out
    assert "caf\\udce9.npz" in Path(f"{odd}.html").read_text()
    for words in (
        ["inspect", f"{odd}.onnx"],
        ["validate", network, f"{odd}.onnx"],
        ["convert", network, "-o", f"{odd}.t.onnx"],
    ):
        assert run(words) == 2
        assert "onnx: is not UTF-8, as runtimes want networks; rename it" in capsys.readouterr().err


def test_a_report_of_the_same_command_is_known_whatever_its_names(tmp_path: Path) -> None:
    paths = [tmp_path / f"r{kind}" for kind in FORMATS]
    names = [name for name in HOSTILE if len(name) < 100 and "&" not in name]
    command = f"lt-onnx convert {' '.join(names)}"
    write_reports(paths, {**compared(), "command": command})
    check_reports(paths, again=command)
    for path in paths:
        with pytest.raises(InputError, match="exists; give `force=True`"):
            check_reports([path], again=f"{command} ")
