"""One hostile case: a command is run on it in this process, and its answer judged."""

import contextlib
import io
import re
import shutil
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from mutants.values import Files

from lt_onnx.cli import app

SECONDS = 30  # that a case may take
BYTES = 2 << 30  # that it may take


@dataclass(frozen=True)
class Outcome:
    """What one case came to; `wrong` is empty when nothing was."""

    number: int
    code: int | None
    wrong: str
    said: str
    seconds: float
    peak: int
    other: bool = False  # accepted, and computes something else


@dataclass(frozen=True)
class Case:
    """A mutant, and the command that is given it."""

    files: Files
    words: list[str]  # {} stands for the folder
    made: str = ""  # the file that a success leaves
    sealed: bool = False  # nothing but the seed's own function is to be accepted


class Functions:
    """What tickets compute, each on the same input."""

    def __init__(self, tickets: list[Files]) -> None:
        self.tickets = tickets

    @cached_property
    def values(self) -> frozenset[bytes]:
        """The outputs of every ticket."""
        with tempfile.TemporaryDirectory() as place:
            return frozenset(_function(placed(files, Path(place))) for files in self.tickets)

    def __contains__(self, path: Path) -> bool:
        return _function(path) in self.values


def placed(files: Files, folder: Path) -> Path:
    """Write files into a folder; the first one's path."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / next(iter(files), "")


def attempt(
    case: Case,
    number: int,
    folder: Path,
    *,
    seconds: int = SECONDS,
    genuine: Functions | None = None,
) -> Outcome:
    """Run one case in this process, which SIGALRM ends after so many seconds.

    A ticket that is accepted must compute what one of the `genuine` tickets computes.
    """
    placed(case.files, folder)
    words = [word.replace("{}", str(folder)) for word in case.words]
    before = {file.name for file in folder.iterdir()}
    _forget_peak()
    resting = memory("VmRSS")
    out, err, code, wrong = io.StringIO(), io.StringIO(), None, ""
    start = time.perf_counter()
    signal.alarm(seconds)  # no handler: it ends the worker, whatever that is doing
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = app.run(words)
    except BaseException as error:
        wrong = _signature(error)
    signal.alarm(0)
    took, peak = time.perf_counter() - start, memory("VmHWM") - resting
    said = err.getvalue()
    left = {file.name for file in folder.iterdir()} - before
    wrong = wrong or _judge(case, code, out.getvalue(), said, left, peak)
    other = False
    if genuine is not None and not wrong and code == 0:
        other = folder / (case.made or next(iter(case.files))) not in genuine
        if other and case.sealed:
            wrong = "accepted, but computes something else"
    for file in folder.iterdir():
        if file.name not in before or file.name in case.files:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    return Outcome(number, code, wrong, said[:500], took, peak, other and not wrong)


def _judge(case: Case, code: int | None, out: str, said: str, left: set[str], peak: int) -> str:
    """What is wrong with an answer; empty when nothing is."""
    lines = said.splitlines()
    if code == 3 and "--max-memory" in said:
        return ""
    if code not in (0, 1, 2):
        return f"exit code {code}: {_plain(said)}"
    if code == 2 and (len(lines) != 1 or not lines[0].startswith("lt-onnx: error: ")):
        return f"not one line but {len(lines)}: {_plain(lines[0] if lines else '')}"
    if not all(c.isprintable() or c == "\n" for c in out + said):
        return f"prints what steers a terminal: {_plain(said or out)}"
    if max(map(len, lines), default=0) > 5000:
        return "prints an endless line"
    if left - ({case.made, f"{case.made}.data"} if code != 2 else set()):
        return f"leaves {sorted(left)}"
    if peak > BYTES:
        return f"takes {peak >> 30} GB"
    return ""


def _signature(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "lt_onnx" in f.filename] or frames
    return (
        f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}"
    )


def _plain(text: str) -> str:
    return re.sub(r"'[^']*'|[0-9]+|/[^ ]*", "…", text)[:100]


def memory(key: str) -> int:
    """Bytes of this process that the system tells under that key."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{key}:")[1].split()[0])


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _function(path: Path) -> bytes:
    """A network's outputs on a fixed input; the error where it cannot be run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    x = np.random.default_rng(7).normal(size=(4, 2, 6, 6)).astype(np.float32)
    try:
        session = onnxruntime.InferenceSession(str(path), options)
        values = session.run(None, {session.get_inputs()[0].name: x})
    except Exception as error:  # the runtime's own kinds: all the same here
        return str(error).encode()
    return b"".join(np.asarray(value).tobytes() for value in values)
