"""Write docs/cli.md, the reference of every command and option, from the command line itself.

python tools/make_reference.py [--check]
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from lt_onnx.cli.app import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# Command line

Written by `tools/make_reference.py` from the commands themselves.

Exit codes: 0 done and within the limits asked for; 1 a limit was missed or the proof failed;
2 unusable input or arguments; 3 out of memory or disk, or interrupted. Results go to stdout,
progress and errors to stderr. Colour and bars only where there is a terminal. Nothing is ever sent
over a network. `lt-onnx --install-completion` sets up completion for your shell.
"""


def reference() -> str:
    """The page."""
    group: Any = get_command(app)  # typer carries a click of its own
    parts = [HEAD]
    for name in sorted(group.commands):
        command = group.commands[name]
        usage = " ".join(
            f"{p.name.upper()}{'...' if p.nargs == -1 else ''}"
            for p in command.params
            if p.param_type_name == "argument"
        )
        parts.append(f"## {name}\n\n`lt-onnx {name} {usage} [OPTIONS]`\n\n{command.help}\n")
        rows = ["| option | | default |", "|---|---|---|"]
        for option in command.params:
            if option.param_type_name == "argument" or option.name == "help":
                continue
            words = ", ".join(f"`{word}`" for word in (*option.opts, *option.secondary_opts))
            plain = option.default is None or option.default is False or callable(option.default)
            default = "" if plain else (f"`{option.default}`")
            if option.secondary_opts:
                default = f"`{option.opts[0] if option.default else option.secondary_opts[0]}`"
            rows.append(f"| {words} | {_cell(option.help)} | {default} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def main() -> None:
    """Write the page, or say whether it is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        current = PAGE.read_text(encoding="utf-8") == reference()
        sys.exit(0 if current else f"{PAGE} is old: run python tools/make_reference.py")
    PAGE.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
