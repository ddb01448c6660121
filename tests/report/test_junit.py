"""JUnit: a case per check, a failure where one does not hold."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from documents import HELD, MISSED, compared, report, zoo

from lt_onnx.report import templates
from lt_onnx.report.document import plain


def render(document: Mapping[str, Any]) -> str:
    return templates.render(document, "xml")


def test_cases_and_failures_are_counted() -> None:
    suites = ElementTree.fromstring(render(plain(report().to_dict())))
    (suite,) = suites
    cases = suite.findall("testcase")

    assert [suites.get(key) for key in ("name", "tests", "failures", "errors")] == [
        *("lt-onnx", "3", "1", "0")
    ]
    assert (suite.get("name"), suite.get("time")) == ("net.onnx", "1.750")
    assert [case.get("name") for case in cases] == ["genuine", HELD.name, MISSED.name]
    failures = [case.find("failure") for case in cases]
    assert failures[:2] == [None, None]
    assert failures[2] is not None
    assert failures[2].get("message") == MISSED.message
    assert "lt-onnx convert net.onnx" in (failures[2].text or "")


def test_the_suite_says_what_it_is_of() -> None:
    kinds = {}
    for document in (compared(HELD), zoo()):
        (suite,) = ElementTree.fromstring(render(plain(document)))
        kinds[suite.get("name")] = {case.get("classname") for case in suite.findall("testcase")}
        found = {p.get("name"): p.get("value") for p in suite.iter("property")}
        assert found["verdict"] == document["verdict"]
    assert kinds == {"net.onnx": {"lt-onnx.validation"}, "zoo": {"lt-onnx.zoo"}}
