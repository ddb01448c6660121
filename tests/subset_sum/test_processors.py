"""The solver's answers are the same bits on every kind of processor."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

HERE = Path(__file__).parent
KINDS = {  # by the numbers that a vector holds
    4: ("generic", ""),
    8: ("haswell", "+avx2,+bmi,+bmi2,+fma,+lzcnt,+popcnt"),
    16: ("skylake-avx512", "+avx512f,+avx512dq,+avx512bw,+avx512vl,+avx2,+bmi,+bmi2,+fma"),
}
WIDEST = """
from lt_onnx.subset_sum import smallest, solve
solve([[1.0, 2.0]], [1.0], tolerance=0.1)
(code,) = smallest.solve_part.inspect_asm().values()
print(16 if "zmm" in code else 8 if "ymm" in code else 4)
"""


@pytest.mark.long
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of x86")
@pytest.mark.parametrize("lanes", KINDS)
def test_answers_do_not_depend_on_how_wide_vectors_are(lanes: int, tmp_path: Path) -> None:
    name, features = KINDS[lanes]
    there = llvm.get_host_cpu_features()
    if not all(there.get(feature.strip("+")) for feature in features.split(",") if feature):
        pytest.skip(f"this processor is no {name}")
    settings = {"NUMBA_CPU_NAME": name, "NUMBA_CACHE_DIR": str(tmp_path)}
    env = {**os.environ, **settings} | ({"NUMBA_CPU_FEATURES": features} if features else {})
    keys = {"capture_output": True, "text": True, "env": env}

    widest = subprocess.run([sys.executable, "-c", WIDEST], **keys)
    assert widest.stdout == f"{lanes}\n", widest.stderr
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    made = subprocess.run([*words, str(HERE / "test_solver.py")], **keys)
    assert made.returncode == 0, made.stdout
    assert " passed" in made.stdout
