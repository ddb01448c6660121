"""The import contracts can fail: a copy of the tree with bad imports breaks them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from paths import ROOT

BAD = {  # a file of the package, an import that it must not have, and the contract that it breaks
    "reading/graph.py": ("lt_onnx.writing.ticket", "imports go one way"),
    "verification/structure.py": ("lt_onnx.planning.plan", "verification shares no code"),
    "construct/masks.py": ("onnxruntime", "onnxruntime is behind runtime"),
    "planning/plan.py": ("torch", "compilers and torch stay"),
    "zoo/folder.py": ("distributed", "Dask is behind the cluster's workers"),
}


def test_a_bad_import_breaks_the_contract_that_forbids_it_and_no_other(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lt_onnx", tmp_path / "lt_onnx", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, (imported, _) in BAD.items():
        with (tmp_path / "lt_onnx" / name).open("a") as file:
            file.write(f"\nimport {imported}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    wide = {**os.environ, "COLUMNS": "200"}  # so that no contract's name is wrapped
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=wide)
    broken = re.findall(r"^(.*) BROKEN", made.stdout, re.MULTILINE)

    assert made.returncode == 1, made.stdout + made.stderr
    assert len(broken) == len(BAD), made.stdout
    for _, contract in BAD.values():
        assert any(line.startswith(contract) for line in broken), (contract, broken)
