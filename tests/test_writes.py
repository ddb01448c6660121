"""Files appear whole or not at all, and what was interrupted goes on to the same bytes."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paths import MODELS

from lt_onnx import convert
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import atomic_write
from lt_onnx.writing.checkpoint import checkpoint_of

RESIDUAL, PLAIN = MODELS / "residual.onnx", MODELS / "plain-relu.onnx"
# what is written matters, not what is in it: no promise is measured
SMALL_TICKET = ("--base-size", "4", "--price", "1e-3")
BRIEF = {"price": 1e-3, "validate": False}
QUIET = ("--quiet", "--no-validate", *SMALL_TICKET)
TOOLS = MODELS.parent / "tools"
SMALL = 1 << 16  # bytes of weights in one file: less than the residual network's

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals of Linux")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of the residual network and its pack, made undisturbed."""
    folder = tmp_path_factory.mktemp("known")
    assert run(["convert", str(RESIDUAL), "-o", str(folder / "t.onnx"), *QUIET]) == 0
    assert run(["pack", str(folder / "t.onnx"), "-q"]) == 0
    return folder


@pytest.fixture(scope="module")
def stored(known: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """As `known`, and by whether the weights lie in the ticket's file or in one beside it."""
    folder = tmp_path_factory.mktemp("apart")
    out = folder / "o.onnx"  # the name that it keeps when it is unpacked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lt_onnx.files.INLINE_LIMIT", SMALL)
        assert run(["convert", str(RESIDUAL), "-o", str(out), *QUIET]) == 0
        assert run(["pack", str(out), "-o", str(folder / "t.ltz"), "-q"]) == 0
    assert (folder / "o.onnx.data").exists()
    return {True: known, False: folder}


@pytest.fixture
def full() -> Iterator[Callable[[int], None]]:
    """Makes writing fail beyond so many bytes of a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, old)


def commands(known: Path, out: Path) -> dict[str, list[str]]:
    """Every command that writes, and where to."""
    return {
        "convert": ["convert", str(RESIDUAL), "-o", str(out / "o.onnx"), *QUIET],
        "resume": ["convert", str(RESIDUAL), "-o", str(out / "o.onnx"), "--resume", *QUIET],
        "source": ["source", str(RESIDUAL), "-o", str(out / "o.onnx")],
        "pack": ["pack", str(known / "t.onnx"), "-o", str(out / "o.ltz")],
        "unpack": ["unpack", str(known / "t.ltz"), "-o", str(out / "o.onnx")],
        "inputs": [
            "validate",
            str(RESIDUAL),
            str(known / "t.onnx"),
            "--save-inputs",
            str(out / "o.npz"),
        ],
        "report": [
            "validate",
            str(RESIDUAL),
            str(known / "t.onnx"),
            "--report",
            str(out / "o.html"),
        ],
        "inspect": ["inspect", str(RESIDUAL), "--report", str(out / "o.json")],
        "plan": ["plan", str(RESIDUAL), "--report", str(out / "o.json")],
    }


WRITERS = sorted(commands(Path(), Path()))
SUFFIXES = {"pack": "ltz", "inputs": "npz", "report": "html", "inspect": "json", "plan": "json"}


# every command, how many bytes fit, and whether its weights lie in the same file
FULL = [(name, size, True) for name in WRITERS for size in (0, 5000)]
FULL += [
    (name, size, False) for name in ("convert", "resume", "source", "unpack") for size in (0, 5000)
]


@linux
@pytest.mark.parametrize("case", FULL, ids=str)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    stored: dict[bool, Path],
    tmp_path: Path,
    full: Callable[[int], None],
    case: tuple[str, int, bool],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, size, inline = case
    if not inline:
        monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", SMALL)
    words = commands(stored[inline], tmp_path)[name]
    capsys.readouterr()
    full(size)
    code = run(words)
    full(resource.RLIM_INFINITY)
    told = capsys.readouterr().err

    if code == 0:  # it fitted
        assert [p for p in tmp_path.iterdir() if p.stat().st_size <= size]
        return
    assert code == 3
    last = told.strip().splitlines()[-1]
    assert str(tmp_path) in last
    assert "cannot be written: File too large; free some disk space" in last
    assert "Traceback" not in told
    left = {p.name for p in tmp_path.iterdir()}
    assert left <= ({".o.onnx.resume"} if name == "resume" else set())


@linux
@pytest.mark.parametrize("name", ["convert", "pack", "unpack", "source"])
def test_a_small_disk_really_full(known: Path, tmp_path: Path, name: str) -> None:
    """A file system of its own, where one may be mounted."""
    words = " ".join(commands(known, tmp_path)[name])
    inside = (
        f"mount -t tmpfs -o size=12k none {tmp_path} && {sys.executable} -m lt_onnx {words};"
        f" code=$?; ls -A {tmp_path}; exit $code"
    )
    made = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside],
        capture_output=True,
        text=True,
    )
    if "unshare" in made.stderr or "mount:" in made.stderr:
        pytest.skip("this system lets nobody mount")

    assert made.returncode == 3
    assert made.stdout == ""
    last = made.stderr.strip().splitlines()[-1]
    if name == "pack":
        assert last.endswith("No space left on device; free some disk space")
    else:  # which know beforehand
        assert re.search(r"about \d+ [kM]B are needed, \d+ [kM]?B are free", last)


@linux
@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_does_not_let_you(known: Path, tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o555)
    assert run(commands(known, tmp_path)[name]) == 2
    tmp_path.chmod(0o755)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_overwritten_without_force(
    known: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = commands(known, tmp_path)[name]
    out = tmp_path / f"o.{SUFFIXES.get(name, 'onnx')}"
    out.write_bytes(b"foreign")

    assert run(words) == 2
    assert "exists; give --force" in capsys.readouterr().err
    assert out.read_bytes() == b"foreign"
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    assert run([*words, "--force"]) == 0
    assert out.stat().st_size > 1000


def test_a_failure_leaves_the_old_ticket_as_it_was(
    known: Path, tmp_path: Path, full: Callable[[int], None]
) -> None:
    out = tmp_path / "o.onnx"
    shutil.copy(known / "t.onnx", out)
    full(5000)

    assert run([*commands(known, tmp_path)["convert"], "--force"]) == 3
    assert out.read_bytes() == (known / "t.onnx").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


INTERRUPTED = """
import os, sys
from lt_onnx import files
from lt_onnx.cli.app import main

flush = files.Part.flush

def interrupted(part):  # when most could be left behind: as the ticket is finished
    os.kill(os.getpid(), SIGNAL)
    flush(part)

files.Part.flush = interrupted
main()
"""


@linux
@pytest.mark.parametrize(("sent", "resume"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_an_interrupt_is_one_line_and_leaves_nothing(
    tmp_path: Path, sent: signal.Signals, resume: bool
) -> None:
    program = INTERRUPTED.replace("SIGNAL", str(int(sent)))
    words = ["convert", str(RESIDUAL), "-o", str(tmp_path / "o.onnx"), *QUIET]
    made = subprocess.run(
        [sys.executable, "-c", program, *words, *(["--resume"] if resume else [])],
        stderr=subprocess.PIPE,
        text=True,
        # shells start what they run in the background deaf to SIGINT, and that is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    stays = tmp_path / ".o.onnx.resume"
    told = f"{stays} keeps what is finished: the same command goes on from there"
    assert made.returncode == 3
    assert made.stderr == (
        f"lt-onnx: error: interrupted; {told if resume else 'nothing was left behind'}\n"
    )
    assert [*tmp_path.iterdir()] == ([stays] if resume else [])


def test_an_interrupt_of_the_validation_tells_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr("lt_onnx.pipeline.compare_outputs", interrupted)
    words = ["convert", str(PLAIN), "-o", str(tmp_path / "o.onnx"), "-q", *SMALL_TICKET]
    assert run(words) == 3
    assert capsys.readouterr().err == (
        f"lt-onnx: error: interrupted; finished and there: {tmp_path / 'o.onnx'} "
        "(lt-onnx verify and validate judge it)\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["o.onnx"]
    with pytest.raises(KeyboardInterrupt):
        convert(PLAIN, tmp_path / "p.onnx", base_size=3, price=1e-3)
    assert run(["verify", str(tmp_path / "p.onnx"), "-q"]) == 0
    assert run(words) == 2
    assert "exists; give --force" in capsys.readouterr().err


def test_only_a_report_of_the_same_command_is_replaced_by_one_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", str(PLAIN), "-o", str(tmp_path / "o.onnx"), *QUIET, "--resume"]
    words += ["--mode", "2l"]
    reports = [w for kind in ("json", "md", "xml", "html") for w in ("--report", f"r.{kind}")]
    with contextlib.chdir(tmp_path):
        assert run([*words, *reports]) == 0
        before = Path("r.json").stat().st_mtime_ns
        assert run([*words, *reports]) == 0
        assert Path("r.json").stat().st_mtime_ns > before
        Path("o.onnx").unlink()
        for report in reports[1::2]:
            assert run([*words, "--seed", "1", "--report", report]) == 2
            assert f"{report}: exists; give --force" in capsys.readouterr().err
        assert not Path("o.onnx").exists()


def test_parts_of_the_dead_are_swept_and_nobody_elses(tmp_path: Path) -> None:
    out = tmp_path / "t.onnx"
    stale = tmp_path / ".t.onnx.0a1b2c3d.part"
    others = [tmp_path / n for n in (".u.onnx.0a1b2c3d.part", "t.onnx.part", ".t.onnx.resume.txt")]
    for path in (stale, *others):
        path.write_bytes(b"x")
    with atomic_write(out, force=False) as (stream,):
        stream.write(b"made")

    assert not stale.exists()
    assert all(path.read_bytes() == b"x" for path in others)
    assert out.read_bytes() == b"made"
    assert len(list(tmp_path.iterdir())) == 1 + len(others)


def write_both(*paths: Path, force: bool, meanwhile: Path | None = None) -> None:
    with atomic_write(*paths, force=force) as streams:
        for stream in streams:
            stream.write(b"new")
        if meanwhile is not None:
            meanwhile.write_bytes(b"theirs")


def test_what_came_into_being_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    ticket, data = tmp_path / "t.onnx", tmp_path / "t.onnx.data"
    for other in (ticket, data):
        with pytest.raises(InputError, match="exists; give `force=True`"):
            write_both(ticket, data, force=False, meanwhile=other)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]
        other.unlink()


def test_an_interrupt_does_not_come_between_the_files_of_a_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, data = tmp_path / "t.onnx", tmp_path / "t.onnx.data"
    for path in (ticket, data):
        path.write_bytes(b"old")
    replace = os.replace

    def interrupted(*places: Path) -> None:
        replace(*places)
        monkeypatch.setattr("os.replace", replace)
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_both(ticket, data, force=True)
    assert ticket.read_bytes() == data.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


class Stop(Exception):  # noqa: N818
    """Ends a conversion from within."""


RESUMED: list[tuple[str, dict[str, str]]] = [
    *[(name, words) for name in ("depthwise", "plain-sigmoid") for words in ({}, {"mode": "2l"})],
    *[("residual", words) for words in ({}, {"mode": "2l"}, {"select": "smallest"})],
    *[("residual", words) for words in ({"weights": "masked"}, {"init": "kaiming"})],
]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param(*case, marks=pytest.mark.long if number % 3 else [])
        for number, case in enumerate(RESUMED)
    ],
)
def test_what_was_finished_is_not_done_again(
    tmp_path: Path, name: str, words: dict[str, str]
) -> None:
    """Stopped after every share of the work; at last the bytes are those of an undisturbed run."""
    target, out = MODELS / f"{name}.onnx", tmp_path / "t.onnx"
    words = {"base_size": 4, **words}
    calm = convert(target, tmp_path / "calm.onnx", validate=False, **words)  # type: ignore[arg-type]

    def until(share: float) -> Callable[[str, float], None]:
        def progress(stage: str, done: float) -> None:
            if done >= share:
                raise Stop

        return progress

    for share in (0.3, 0.6, 0.95):
        with pytest.raises(Stop):
            convert(  # type: ignore[misc]
                target, out, validate=False, resume=True, progress=until(share), **words
            )
        assert not out.exists()
    made = convert(target, out, validate=False, resume=True, **words)  # type: ignore[arg-type]

    assert made.resumed > 0
    assert out.read_bytes() == calm.path.read_bytes()
    assert not checkpoint_of(out).exists()
    assert made.report.layers == calm.report.layers


def test_a_checkpoint_that_was_torn_or_changed_does_no_harm(tmp_path: Path) -> None:
    out = tmp_path / "t.onnx"
    calm = convert(RESIDUAL, tmp_path / "calm.onnx", base_size=4, **BRIEF)

    def stop(stage: str, done: float) -> None:
        if done > 0.7:
            raise Stop

    with pytest.raises(Stop):
        convert(RESIDUAL, out, base_size=4, **BRIEF, resume=True, progress=stop)
    content = checkpoint_of(out).read_bytes()
    size = len(content)
    flipped = bytearray(content)
    flipped[size // 2] ^= 16
    found = {}
    for what, left in {
        "whole": content,
        "torn": content[: size - 7],
        "torn early": content[: size // 3],
        "flipped": bytes(flipped),
        "empty": b"",
        "foreign": b"\xff" * 300,
        "head": content[:11],
    }.items():
        out.unlink(missing_ok=True)
        checkpoint_of(out).write_bytes(left)
        made = convert(RESIDUAL, out, base_size=4, **BRIEF, resume=True)
        found[what] = made.resumed
        assert out.read_bytes() == calm.path.read_bytes(), what
    # of other settings nothing is taken over
    checkpoint_of(out).write_bytes(content)
    other = convert(RESIDUAL, out, base_size=5, **BRIEF, resume=True, force=True)

    assert found["whole"] > found["torn early"]
    assert found["whole"] >= found["torn"] >= found["flipped"]
    assert found["empty"] == found["foreign"] == found["head"] == other.resumed == 0


@linux
@pytest.mark.long
def test_killed_at_random_nothing_is_torn_lost_or_different() -> None:
    command = [sys.executable, str(TOOLS / "kills.py"), "--seed", "1", "--kills", "30"]
    made = subprocess.run(command, capture_output=True, text=True)

    assert made.returncode == 0, made.stdout
    assert "nothing torn, lost or different" in made.stdout


@linux
@pytest.mark.parametrize("rounds", [4, pytest.param(30, marks=pytest.mark.long)])
def test_of_two_that_race_for_one_name_one_loses_and_says_so(rounds: int) -> None:
    command = [sys.executable, str(TOOLS / "races.py"), "--seed", "1", "--rounds", str(rounds)]
    made = subprocess.run(command, capture_output=True, text=True)

    assert made.returncode == 0, made.stdout + made.stderr
    assert "nothing torn, lost or said wrongly" in made.stdout


def test_what_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    started = []
    for out in (tmp_path / "no" / "t.onnx", tmp_path, RESIDUAL):
        with pytest.raises(InputError):
            convert(RESIDUAL, out, announce=lambda *_: started.append(1))
    with pytest.raises(ResourceError):
        convert(
            RESIDUAL, tmp_path / "t.onnx", max_memory=1000, announce=lambda *_: started.append(1)
        )
    assert not started
    assert not list(tmp_path.iterdir())
