"""Reports: one document, four faces.

`document` gathers what was found into plain data of one schema (`schema.json`); `markdown`, `junit`
and `page` turn any such document into text; `faces` writes the one that a file's suffix asks for.
"""

from lt_onnx.report.document import SCHEMA, Report, conversion, validation
from lt_onnx.report.faces import check_reports, write_json, write_reports

__all__ = [
    "SCHEMA",
    "Report",
    "check_reports",
    "conversion",
    "validation",
    "write_json",
    "write_reports",
]
