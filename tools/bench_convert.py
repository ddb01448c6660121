"""One whole conversion of a random network, timed in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from random_resnet import SIZES, random_resnet
from timing import Line

from lt_onnx.progress import Progress

# the process tells its own peak: what `wait4` tells begins with that of the process it came from
CONVERT = """
import atexit, pathlib, re, sys
status, out = pathlib.Path("/proc/self/status"), pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: out.write_text(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
from lt_onnx.cli.app import main
main()
"""


def timed_conversion(size: str, words: list[str], device: str, tell: Progress) -> Line:
    """Its seconds, its peak memory and its report's figures."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        target, report, peak = (Path(folder) / n for n in ("target.onnx", "report.json", "peak"))
        weights = random_resnet(target, SIZES[size])
        command = [sys.executable, "-c", CONVERT, str(peak), "convert", str(target)]
        command += ["--no-validate", "--quiet", "--device", device, "--report", str(report), *words]
        tell("convert", 0.0)
        start = time.perf_counter()
        status = subprocess.run(command).returncode
        took = time.perf_counter() - start
        if status:
            raise RuntimeError(f"convert of {size} failed")
        document = json.loads(report.read_text())
        return {
            "target": size,
            "weights": weights,
            "words": " ".join(words) or "defaults",
            "source": document["ticket"]["source"],
            "seconds": took,
            "peak_RSS_GB": int(peak.read_text()) * 1024 / 1e9,
            "stages": document["seconds"],
        }
