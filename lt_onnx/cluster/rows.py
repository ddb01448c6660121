"""What is finished, line by line in a file (JSONL): an interrupt loses nothing of a sweep.

Comes in: calls whose results are plain values, and whose names say all that decides them. Goes out:
their results, those of an earlier run from the file.
"""

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lt_onnx.cluster.calls import Call, Told
from lt_onnx.cluster.executor import opened
from lt_onnx.options import Workers
from lt_onnx.progress import silent
from lt_onnx.version import __version__


def swept(
    function: Callable[..., Any],
    calls: Sequence[Call],
    *,
    workers: Workers,
    rows: Path | None = None,
    tell: Told = silent,
) -> Generator[tuple[Call, Any], None, None]:
    """Every call with its result: those that `rows` has, then the others as each ends.

    A result is appended to `rows` at once. Raises the error of the first call that fails.
    """
    known = {} if rows is None else _known(rows)
    for call in calls:
        if call.name in known:
            yield call, known[call.name]
    left = [call for call in calls if call.name not in known]
    if not left:
        return
    with opened(workers) as executor, closing(executor.outcomes(function, left, tell)) as made:
        for call, outcome in made:
            if outcome.failure is not None:
                raise outcome.failure.as_error()
            if rows is not None:
                _append(rows, {"version": __version__, "call": call.name, "result": outcome.result})
            yield call, outcome.result


def _known(rows: Path) -> dict[str, Any]:
    """The results of this version in a file; a line that was cut off is none."""
    known = {}
    for line in rows.read_text(encoding="utf-8").splitlines() if rows.is_file() else ():
        try:
            row = json.loads(line)
            if row["version"] == __version__:
                known[row["call"]] = row["result"]
        except (ValueError, KeyError, TypeError):
            continue
    return known


def _append(rows: Path, row: dict[str, Any]) -> None:
    """Add a line, behind one that was cut off as behind a whole one."""
    with rows.open("a+b") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(row).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
