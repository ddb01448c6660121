"""The commands, and the one border where errors become a line and an exit code.

Exit codes: 0 done and within limits; 1 a limit was missed or the proof failed; 2 unusable input or
arguments; 3 out of memory or disk, or interrupted.
"""

import re
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli import (
    convert,
    deploy,
    frontier,
    inspect,
    pack,
    plan,
    source,
    stats,
    validate,
    verify,
    zoo,
)
from lt_onnx.cli.console import flagged, say
from lt_onnx.cli.options import expanded
from lt_onnx.cores import share_heap
from lt_onnx.errors import InputError, LtOnnxError, is_interrupt
from lt_onnx.files import DISK_FULL, finished, resumable
from lt_onnx.version import __version__

COMMANDS = (  # in the order of `--help`
    inspect.inspect_command,
    plan.plan_command,
    convert.convert_command,
    verify.verify_command,
    validate.validate_command,
    zoo.zoo_command,
    deploy.deploy_command,
    pack.pack_command,
    pack.unpack_command,
    source.source_command,
    frontier.frontier_command,
    stats.stats_command,
)

CONSTRUCTING = ("convert", "frontier", "plan", "source", "zoo")  # take the more memory the larger m
CLEANUP_SECONDS = 10  # in which further interrupts are not heard
_interrupts: list[float] = []  # when this process was interrupted

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn trained ONNX networks into strong lottery tickets, prove them and compare them.",
)
for command in COMMANDS:
    app.command(command.__name__.removesuffix("_command"))(expanded(command))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"lt-onnx {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn trained ONNX networks into strong lottery tickets, prove them and compare them."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the only place where errors become exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # σ, μ and ≤ into a pipe of Windows
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as shells have it in the background
            signal.signal(number, _interrupt)
    share_heap()
    code = run(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # all is done, and told
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _interrupt(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt, but not in the midst of what the last one has cleaned up."""
    now = time.monotonic()
    if not _interrupts or now - _interrupts[-1] > CLEANUP_SECONDS:
        _interrupts.append(now)
        raise KeyboardInterrupt


def run(arguments: list[str] | None) -> int:
    """The exit code of a command line; None: this process's own."""
    finished.clear()
    resumable.clear()
    if not (sys.argv[1:] if arguments is None else arguments):
        arguments = ["--help"]
    try:
        _check_words(sys.argv[1:] if arguments is None else arguments)
        with warnings.catch_warnings():
            # numbers past float32 are an error that names its layer, or a failed check
            warnings.simplefilter("ignore", RuntimeWarning)
            result = app(arguments, standalone_mode=False)
        if result != 130:  # how typer tells of an interrupt
            return result if isinstance(result, int) else 0
    except LtOnnxError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        words = sys.argv[1:] if arguments is None else arguments
        mend = ": lower `base_size`; `mode=2l` needs least" if words[0] in CONSTRUCTING else ""
        return _fail(f"out of memory{mend}", 3)
    except BrokenPipeError:
        return 3
    except OSError as error:  # what no reader or writer has told in words of its own
        where = "" if error.filename is None else f"{error.filename}: "
        return _fail(f"{where}{error.strerror or error}", 3 if error.errno in DISK_FULL else 2)
    except (Exception, KeyboardInterrupt) as error:
        if not _interrupted(error):
            # typer vendors click: its usage errors are told by what they can do, not by their class
            message = getattr(error, "format_message", None)
            if message is None:
                raise
            context = getattr(error, "ctx", None)
            if context is None or context.parent is None:
                return _fail(message(), 2)
            return _fail(f"{message().rstrip('.')}; see lt-onnx {context.info_name} -h", 2)
    return _fail("interrupted" if _what_stays() else "interrupted; nothing was left behind", 3)


def _check_words(words: Sequence[str]) -> None:
    """Raise InputError for a word that says nothing, which as a path would be this folder."""
    for before, word in pairwise(["lt-onnx", *words]):
        if not word.strip() or re.fullmatch(r"--[a-z-]+=\s*", word):
            of = word.rstrip("= ") or before
            raise InputError(f"what follows {of} is empty: is a variable not set?")


def _interrupted(error: BaseException) -> bool:
    """Whether it is an interrupt, typer's word for one, or what became of one in other code."""
    return is_interrupt(error) or type(error).__name__ == "Abort" or bool(_interrupts)


def _what_stays() -> str:
    """What a command that ends early leaves, and how to go on."""
    files, checkpoints = ([*filter(_is_there, places)] for places in (finished, resumable))
    told = ""
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        told += f"; finished and there: {files[-1]}{more}"
        if str(files[-1]).endswith(".onnx"):
            told += " (lt-onnx verify and validate judge it)"
    if checkpoints:
        told += f"; {checkpoints[0]} keeps what is finished: the same command goes on from there"
    return told


def _is_there(place: Path | str) -> bool:
    """Whether a file or folder exists; of one that has a URL that is known."""
    return "://" in str(place) or Path(place).exists()


def _fail(message: str, code: int) -> int:
    say(f"lt-onnx: error: {' '.join(flagged(message).split())}{_what_stays()}", err=True)
    return code
