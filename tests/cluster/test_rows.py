"""A sweep's results are in its file as soon as they are there, and are not made again."""

import json
from pathlib import Path

import pytest
import tasks

from lt_onnx.cluster.calls import Call
from lt_onnx.cluster.rows import swept
from lt_onnx.errors import InputError
from lt_onnx.options import ONE_WORKER
from lt_onnx.version import __version__


def test_what_is_finished_is_kept_line_by_line(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    other = {"version": "0.0.1", "call": "0", "result": 99}
    rows.write_text(json.dumps(other) + '\n[]\n{"version": "0.1')  # another version's; cut off
    calls = [Call(str(n), (n,)) for n in range(4)]

    sweep = swept(tasks.twice, calls, workers=ONE_WORKER, rows=rows)
    first = [next(sweep)[1] for _ in range(2)]
    sweep.close()  # as by an interrupt
    told = [json.loads(line) for line in rows.read_text().splitlines()[3:]]
    assert first == [0, 2]
    assert told == [
        {"version": __version__, "call": c, "result": r} for c, r in (("0", 0), ("1", 2))
    ]

    text = rows.read_text()
    again = {c.name: r for c, r in swept(tasks.twice, calls, workers=ONE_WORKER, rows=rows)}
    assert again == {"0": 0, "1": 2, "2": 4, "3": 6}
    assert rows.read_text().startswith(text)
    assert len(rows.read_text().splitlines()) == 7
    with pytest.raises(InputError, match="`seed` is wrong"):
        list(swept(tasks.fail, [Call("f", ("input",))], workers=ONE_WORKER, rows=rows))
    assert len(rows.read_text().splitlines()) == 7
