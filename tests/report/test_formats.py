"""Formats by suffix: what is not one is refused before any work, files are whole or not there."""

import json
import math
from pathlib import Path

import pytest
from documents import compared

from lt_onnx.errors import InputError
from lt_onnx.report.formats import FORMATS, JSON_FORMAT, check_reports, write_reports


def test_the_suffix_decides(tmp_path: Path) -> None:
    paths = [tmp_path / f"r{suffix}" for suffix in (*FORMATS, ".MD")]
    write_reports(paths, compared())
    texts = [path.read_text() for path in paths]

    assert json.loads(texts[0])["kind"] == "validation"
    assert texts[1] == texts[4]
    assert texts[1].startswith("# lt-onnx: passed")
    assert texts[2].startswith("<?xml")
    assert texts[3].startswith("<!doctype html>")
    assert len(list(tmp_path.iterdir())) == 5


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path: Path) -> None:
    good = tmp_path / "r.json"
    with pytest.raises(InputError, match=r"`report` is '.*r.doc'; end it in .json, .md"):
        write_reports([good, tmp_path / "r.doc"], compared())
    with pytest.raises(InputError, match=r"`report` is '.*r.doc'; end it in .json$"):
        check_reports([tmp_path / "r.doc"], formats=JSON_FORMAT)
    with pytest.raises(InputError, match="its folder does not exist"):
        check_reports([good, tmp_path / "none" / "r.md"])
    assert not list(tmp_path.iterdir())


def test_json_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    document = {"a": math.inf, "b": (1, math.nan)}
    write_reports([tmp_path / "r.json"], document, formats=JSON_FORMAT)

    assert (tmp_path / "r.json").read_text() == '{\n "a": null,\n "b": [\n  1,\n  null\n ]\n}\n'
