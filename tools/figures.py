"""What default tickets come to, network by network, and whether a figure got worse.

    python tools/figures.py FOLDER ... [--page docs/figures.md] [--write] [--only NAME]

Every network of the folders is converted with default settings in both modes, with its calibration
(NAME.calibration.npz, or the folder's only one) and without, and measured by `tools/measure.py` on
its samples (NAME.samples.npz, or the folder's only ones). Prints the rows of the page's table, and
exits with 1 when one is worse than the page's. `--write` puts new rows into the page.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import measure

PROMISE_DB = 30.0  # more than is promised may be lost
SLACK_DB, SLACK_AGREEMENT, SLACK_WEIGHTS = 0.5, 0.005, 1.05  # machines round differently
HEAD = "| network | mode | inputs | exit | weights per weight | dB of variation | agreement |"
RULE = "| --- | --- | --- | ---: | ---: | ---: | ---: |"


@dataclass(frozen=True)
class Row:
    """One ticket's figures; `inputs` are those of its construction."""

    network: str
    mode: str
    inputs: str
    exit: int
    per_weight: float
    variation_db: float | None
    agreement: float | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What the row is of."""
        return self.network, self.mode, self.inputs

    def __str__(self) -> str:
        decibels = "–" if self.variation_db is None else f"{self.variation_db:.1f}"
        agreement = "–" if self.agreement is None else f"{self.agreement:.2%}"
        cells = *self.key, self.exit, f"{self.per_weight:.2f}", decibels, agreement
        return f"| {' | '.join(map(str, cells))} |"

    def worse(self, before: "Row") -> str | None:
        """What got worse, if anything did."""
        had, has = before.variation_db, self.variation_db
        if had is not None and (has is None or has < min(had, PROMISE_DB) - SLACK_DB):
            return f"{had} dB before"
        if before.agreement and (self.agreement or 0) < before.agreement - SLACK_AGREEMENT:
            return f"{before.agreement:.2%} agreed before"
        if self.per_weight > before.per_weight * SLACK_WEIGHTS:
            return f"{before.per_weight} weights before"
        return None


def read(page: str) -> dict[tuple[str, str, str], Row]:
    """The rows of a page's table."""
    rows = {}
    for line in re.findall(r"^\| (.*) \|$", page, re.MULTILINE):
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == len(RULE.split("|")) - 2 and cells[3].isdigit():
            network, mode, inputs = cells[:3]
            decibels = None if cells[5] == "–" else float(cells[5])
            agreement = None if cells[6] == "–" else float(cells[6].rstrip("%")) / 100
            row = Row(network, mode, inputs, int(cells[3]), float(cells[4]), decibels, agreement)
            rows[row.key] = row
    return rows


def data(network: Path, kind: str) -> Path | None:
    """The network's file of calibration or samples, or the only one of its folder."""
    own, every = network.with_suffix(f".{kind}.npz"), list(network.parent.glob(f"*.{kind}.npz"))
    if own.is_file():
        return own
    return every[0] if len(every) == 1 else None


def measured(network: Path, mode: str, calibration: Path | None) -> Row:
    """Convert by the command line, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        ticket, report = Path(folder) / "ticket.onnx", Path(folder) / "report.json"
        words = [sys.executable, "-m", "lt_onnx", "convert", str(network), "--mode", mode]
        words += ["-o", str(ticket), "--no-validate", "--quiet", "--report", str(report)]
        words += [] if calibration is None else ["--calibration", str(calibration)]
        code = subprocess.run(words, stderr=subprocess.DEVNULL).returncode
        name, inputs = network.stem, "random" if calibration is None else "its own"
        if not ticket.is_file():
            return Row(name, mode, inputs, code, 0.0, None, None)
        each = json.loads(report.read_text())["ticket"]["per_target_weight"]
        samples = data(network, "samples")
        found = measure(network, ticket, samples) if samples else {}
        return Row(
            *(name, mode, inputs, code, each), found.get("variation_db"), found.get("agreement")
        )


def rows_of(folders: list[Path], only: str) -> Iterator[Row]:
    """The rows of every network of the folders."""
    for network in sorted(path for folder in folders for path in folder.glob("*.onnx")):
        given = data(network, "calibration")
        for calibration in [None] if given is None else [given, None]:
            for mode in ("l+1", "2l") if only in network.stem else ():
                yield measured(network, mode, calibration)


def main() -> None:
    """Print the rows, and compare them with the page's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--page", type=Path, default=Path("docs/figures.md"))
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    page = given.page.read_text()
    before, worse = read(page), 0
    rows = dict(before)
    print(HEAD, RULE, sep="\n", flush=True)
    for row in rows_of(given.folders, given.only):
        why = row.worse(before[row.key]) if row.key in before else None
        worse += why is not None
        print(row, f"  ← worse: {why}" if why else "", flush=True)
        rows[row.key] = row
    if given.write:
        table = "\n".join([HEAD, RULE, *map(str, sorted(rows.values(), key=lambda r: r.key))])
        start = page.index(HEAD)
        stop = page.index("\n\n", start) if "\n\n" in page[start:] else len(page.rstrip("\n"))
        given.page.write_text(page[:start] + table + page[stop:])
    sys.exit(int(worse > 0))


if __name__ == "__main__":
    main()
