"""JUnit XML: one case per check, so that any CI shows which one failed and why."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree


def render(document: Mapping[str, Any]) -> str:
    """The document's checks as one test suite."""
    checks = document["checks"]
    failed = sum(not check["passed"] for check in checks)
    about = document.get("target", {}).get("file", document["kind"])
    counts: dict[str, Any] = {"tests": str(len(checks)), "failures": str(failed), "errors": "0"}
    suites = ElementTree.Element("testsuites", name="lt-onnx", **counts)
    seconds = sum((document.get("seconds") or {}).values())
    suite = ElementTree.SubElement(
        suites, "testsuite", name=about, time=f"{seconds:.3f}", skipped="0", **counts
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name in ("version", "command", "verdict"):
        ElementTree.SubElement(properties, "property", name=name, value=document[name])
    for check in checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"lt-onnx.{document['kind']}", name=check["name"], time="0"
        )
        if not check["passed"]:
            failure = ElementTree.SubElement(case, "failure", message=check["message"])
            failure.text = f"{check['message']}\n{document['command']}"
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
