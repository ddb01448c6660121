"""What `lt_onnx.convert` returns: a ticket's file with its report."""

from dataclasses import dataclass
from pathlib import Path

from lt_onnx.report.document import Report
from lt_onnx.units import html_table


@dataclass(frozen=True, repr=False)
class Ticket:
    """A written ticket: its file and everything that was found about it; goes for its own path."""

    path: Path
    report: Report
    source: Path | None = None
    resumed: int = 0  # layers that an interrupted run had finished

    @property
    def passed(self) -> bool:
        """Genuine, and within the limits asked for."""
        return self.report.passed

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<Ticket {self.path}: {repr(self.report).removeprefix('<Report ')}"

    def _repr_html_(self) -> str:
        return html_table(self.report.about())
