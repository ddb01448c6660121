"""The command line: words, options, the one border where errors become a line and an exit code.

Exit codes: 0 done and within limits; 1 a limit was missed or the proof failed; 2 unusable input or
arguments; 3 out of memory or disk, or interrupted. Heavy modules are imported inside commands, so
that `--help` is quick. Progress and tables go to stderr and stdout respectively.
"""

import re
import signal
import sys
import warnings

from lt_onnx.cli import judging, looking, making, packing, studies, zoo
from lt_onnx.cli.app import app
from lt_onnx.cli.console import say
from lt_onnx.errors import LtOnnxError
from lt_onnx.files import FULL

__all__ = ["app", "judging", "looking", "main", "making", "packing", "studies", "zoo"]

ORDER = (
    "inspect",
    "plan",
    "convert",
    "verify",
    "validate",
    "zoo",
    "pack",
    "unpack",
    "source",
    "frontier",
    "stats",
)
INTERRUPTED = "interrupted; nothing was left behind"


app.registered_commands.sort(
    key=lambda command: ORDER.index(command.name or getattr(command.callback, "__name__", ""))
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the only place where errors become exit codes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as for Ctrl-C
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    if not (sys.argv[1:] if arguments is None else arguments):
        arguments = ["--help"]
    try:
        with warnings.catch_warnings():
            # numbers past float32 are an error that names its layer, or a failed check
            warnings.simplefilter("ignore", RuntimeWarning)
            result = app(arguments, standalone_mode=False)
        if result == 130:  # how typer tells of an interrupt
            return _fail(INTERRUPTED, 3)
        return result if isinstance(result, int) else 0
    except LtOnnxError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory: lower --base-size or use --mode 2l", 3)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, 3)
    except BrokenPipeError:
        return 3
    except OSError as error:  # what no reader or writer has told in words of its own
        name = "" if error.filename is None else f"{error.filename}: "
        return _fail(f"{name}{error.strerror or error}", 3 if error.errno in FULL else 2)
    except Exception as error:
        if _interrupted(error):
            return _fail(INTERRUPTED, 3)
        # typer vendors click: its usage errors are told by what they can do, not by their class
        message = getattr(error, "format_message", None)
        if message is None:
            if type(error).__name__ == "Abort":
                return _fail(INTERRUPTED, 3)
            raise
        return _fail(message(), 2)


def _interrupted(error: BaseException | None) -> bool:
    """Whether compiled code wrapped an interrupt into an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def flagged(message: str) -> str:
    """A library's message in the words of the command line: `name` is --name.

    `name=value` is --name value; `name=True` and `name=False` are --name and --no-name.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match[1].replace("_", "-"), match[2]
        if value == "False":
            return f"--no-{name}"
        return f"--{name}" if value in (None, "True") else f"--{name} {value}"

    return re.sub(r"`([a-z][a-z_]*)(?:=([^`\s]+))?`", flag, message)


def _fail(message: str, code: int) -> int:
    say(f"lt-onnx: error: {' '.join(flagged(message).split())}", err=True)
    return code
