"""Commands measured one by one: each in a process of its own, forked where all is imported.

    python measured.py

reads a JSON list of words a line, and answers with exit code, the processor's seconds, bytes at the
peak, and what the command wrote.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS = 300  # however loaded the machine is
MAX_ADDRESS_SPACE = 8 << 30  # ends a command that would take the machine with it


@dataclass(frozen=True)
class Measured:
    """What a command came to."""

    code: int
    seconds: float
    bytes: int
    out: str
    err: str


class Bench:
    """A process that runs commands. A context manager."""

    def __enter__(self) -> "Bench":
        words = [sys.executable, str(Path(__file__))]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *words: str | Path) -> Measured:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([str(word) for word in words]) + "\n")
        stdin.flush()
        return Measured(*json.loads(stdout.readline()))


def _become(words: list[str], out: int, err: int) -> None:
    """Run a command in a forked process, and end."""
    code = 99
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        signal.alarm(MAX_SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
        code = run(words)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _answer(words: list[str]) -> list[object]:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            _become(words, out.fileno(), err.fileno())
        _, status, used = os.wait4(child, 0)
        seconds = used.ru_utime + used.ru_stime
        for stream in (out, err):
            stream.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return [code, seconds, used.ru_maxrss * 1024, out.read(), err.read()]


if __name__ == "__main__":
    import onnxruntime  # noqa: F401
    from scipy import stats  # noqa: F401

    import lt_onnx.packing.unpack
    import lt_onnx.reading.lowering
    import lt_onnx.report.figures
    import lt_onnx.verification.statistics  # noqa: F401
    from lt_onnx.cli.app import run

    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)
