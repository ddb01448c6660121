"""Make every ticket again under all settings that must not matter, and compare the bytes.

    python tools/determinism.py [MODEL ...] [--base-size 4] [--solvers cpu triton] [--brief]

Threads (1, 2), chunks of weights (three sizes), Python's hash seeds (two), solvers (Numba on the
CPU, and the Triton kernels in their interpreter, which is slow) and modes: one hash per model and
mode is what must come out. Prints them; exit 1 where there are more. Without a MODEL it takes a
network small enough for the interpreter, which has no biases: those are solved among 24 constants.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import seeds

SMALL = "bare"
THREADS = (1, 2)
CHUNKS = (1 << 12, 1 << 16, 1 << 23)
HASH_SEEDS = (0, 4711)
MODES = ("l+1", "2l")
SOLVERS = ("cpu", "triton")


def hashes(models: list[Path], base_size: int | None, solver: str, threads: int) -> None:
    """In a process of its own: print the SHA-256 of every ticket, chunk size by chunk size."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    from lt_onnx import convert
    from lt_onnx.blueprint import Build
    from lt_onnx.construct import layer_task, row_solver
    from lt_onnx.options import Device, make_options
    from lt_onnx.planning.plan import plan
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.subset_sum import device

    if solver == "triton":
        from lt_onnx.subset_sum.gpu import Gpu

        interpreted = Gpu("cpu")
        device._loaded = lambda _: interpreted  # type: ignore[assignment]

    def blocks(model: Path, mode: str) -> dict[str, int]:
        steps = plan(read_target(model), make_options(mode=mode)).steps
        builds = [step for step in steps if isinstance(step, Build) and not step.one_for_one]
        return {step.name: base_size or 0 for step in builds}

    made = []
    layer_task.BLOCK_WEIGHTS = min(CHUNKS)  # else small networks would be of one chunk each
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ticket.onnx"
        for model, mode, chunk in itertools.product(models, MODES, CHUNKS):
            row_solver.CHUNK_WEIGHTS[Device.CPU] = chunk
            convert(
                model,
                out,
                mode=mode,
                base_size=base_size,
                validate=False,
                force=True,
                base_sizes=blocks(model, mode) if base_size is not None else {},
            )
            made.append((model.stem, mode, hashlib.sha256(out.read_bytes()).hexdigest()))
    print(json.dumps(made))


def main() -> None:
    """Run the matrix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--base-size", type=int)
    parser.add_argument("--solvers", nargs="+", default=SOLVERS, choices=SOLVERS)
    parser.add_argument("--brief", action="store_true", help="a hash seed for each thread count")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside is not None:
        return hashes(given.models, given.base_size, given.solvers[0], given.inside)
    with tempfile.TemporaryDirectory() as folder:
        models = given.models or [Path(folder) / f"{SMALL}.onnx"]
        if not given.models:
            models[0].write_bytes(seeds.network(SMALL).SerializeToString())
        settings = [*itertools.product(THREADS, HASH_SEEDS)]
        if given.brief:
            settings = [*zip(THREADS, HASH_SEEDS, strict=True)]
        found = matrix(models, given.base_size, settings, given.solvers)
    for (model, mode), counts in found.items():
        runs = ", ".join(f"{digest[:16]} ×{count}" for digest, count in counts.items())
        print(f"{model:20} {mode:4} {runs}")
    sys.exit(any(len(counts) > 1 for counts in found.values()))


def matrix(
    models: list[Path], base_size: int | None, settings: list[tuple[int, int]], solvers: list[str]
) -> dict[tuple[str, str], Counter[str]]:
    """How often each hash came out, by model and mode; `settings` are threads and hash seeds."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (threads, seed), solver in itertools.product(settings, solvers):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(seed),
            "OMP_NUM_THREADS": str(threads),
            "NUMBA_NUM_THREADS": str(threads),
        }
        if solver == "triton":
            environment["TRITON_INTERPRET"] = "1"
        size = ["--base-size", str(base_size)] if base_size else []
        words = [*map(str, models), *size, "--solvers", solver, "--inside", str(threads)]
        process = subprocess.run(
            [sys.executable, __file__, *words], env=environment, stdout=subprocess.PIPE, check=True
        )
        for model, mode, digest in json.loads(process.stdout):
            found[model, mode][digest] += 1
    return found


if __name__ == "__main__":
    main()
