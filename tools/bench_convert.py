"""One whole conversion of a random network, timed in a process of its own."""

import json
import os
import tempfile
from pathlib import Path

from random_resnet import SIZES, random_resnet
from timing import Line, run_alone

from lt_onnx.progress import Progress


def timed_conversion(size: str, words: list[str], device: str, tell: Progress) -> Line:
    """Its seconds, its peak memory and its report's figures."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        target, report = Path(folder) / "target.onnx", Path(folder) / "report.json"
        weights = random_resnet(target, SIZES[size])
        command = ["convert", str(target), "--no-validate", "--quiet", "--device", device]
        tell("convert", 0.0)
        status, took, peak = run_alone([*command, "--report", str(report), *words])
        if status:
            raise RuntimeError(f"convert of {size} failed")
        document = json.loads(report.read_text())
        return {
            "target": size,
            "weights": weights,
            "words": " ".join(words) or "defaults",
            "source": document["ticket"]["source"],
            "seconds": took,
            "peak_RSS_GB": peak / 1e9,
            "stages": document["seconds"],
        }
