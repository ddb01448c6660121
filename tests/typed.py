"""Pages typed as a reader would: files saved, commands run line by line, Python run, in order."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from paths import ROOT

from lt_onnx.cli.app import run

BLOCK = re.compile(r"```(sh|python)(?: title=\"(.*?)\")?\n(.*?)```", re.DOTALL)
HERE = Path(sys.executable).parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def environment(programs: Path = HERE) -> dict[str, str]:
    """The environment of somebody who has an installation's programs before all others."""
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def typed(
    page: str, folder: Path, env: dict[str, str], *, instead: Mapping[str, str] | None = None
) -> str:
    """What a page's commands and Python print in a folder; installing is the caller's.

    `instead` has other lines for some.
    """
    shown = ""
    for language, title, block in BLOCK.findall((ROOT / "docs" / page).read_text()):
        if title:
            (folder / title).write_text(block)
        elif "pip install" not in block:
            lines = re.sub(r"\\\n", "", block).splitlines() if language == "sh" else [block]
            for line in lines:
                line = (instead or {}).get(line, line)
                shown += entered(line, folder, env, shell=language == "sh")
    return shown


def entered(text: str, folder: Path, env: dict[str, str], *, shell: bool) -> str:
    """What a line of a shell, or some Python, prints; a command of this checkout runs at once."""
    if shell and text.startswith("lt-onnx ") and env["PATH"].startswith(f"{HERE}{os.pathsep}"):
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as shown:
            assert run(shlex.split(text)[1:]) == 0, text
        return shown.getvalue()
    command = ["sh", "-ec", text] if shell else ["python", "-c", text]
    made = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert made.returncode == 0, (text, made.stderr[-2000:])
    return made.stdout


def wheel_in(folder: Path) -> Path:
    """The package's wheel, built in a folder."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lt_onnx", source / "lt_onnx", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ["wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(folder)]
    assert subprocess.run([*PIP, *words]).returncode == 0
    return next(folder.glob("*.whl"))
