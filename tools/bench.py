"""Time the solver and whole conversions; print a table and write JSON.

    python tools/bench.py [solver] [real] [rows] [drawn] [convert] [equality] [--json FILE]

Every part times its yardsticks in the same run (see `yardsticks`): plain Python with itertools, and
plain scalar Numba loops. `real` takes its problems from the conversion of --target.
`equality` compares a million answers with the NumPy oracle's, bit for bit; it takes a while.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import bench_solver
import typer
from bench_convert import timed_conversion
from machine import machine
from random_resnet import SIZES
from timing import Clock, Line

from lt_onnx.cluster.calls import Call
from lt_onnx.cluster.rows import swept
from lt_onnx.options import Workers

# of a conversion, in their order; some take no time worth a column
STAGES = ("sensitivity", "prices", "solve", "run", "moments", "biases", "write", "verify")
PARTS = ("solver", "real", "rows", "drawn", "convert", "equality")


def convert(
    device: str, sizes: list[str] | None, workers: Workers, rows: Path | None
) -> list[Line]:
    """Whole conversions, each in a process of its own: read, construct, write, prove."""
    modes = [] if Clock.quick else [["--mode", "2l"]]
    every = ["0.27M"] if Clock.quick else list(SIZES)
    wanted: list[tuple[str, list[str]]] = [
        (size, mode) for mode in ([], *modes) for size in sizes or every
    ]
    if not sizes and not Clock.quick:
        wanted.insert(3, ("6M", ["--base-size", "15"]))
    calls = [
        Call(" ".join(["convert", size, *words, device]), (size, words, device))
        for size, words in wanted
    ]
    made = swept(timed_conversion, calls, workers=workers, rows=rows)
    lines = {call.name: line for call, line in made}
    return [lines[call.name] for call in calls]


def show(document: Line) -> None:
    """The table."""
    limits = document["machine"]
    if "gpu" in limits:
        print(f"{limits['gpu']}, CUDA {limits['cuda']}; yardsticks on the processor")
    print(
        f"{limits['cpu']}, compiled for {limits['compiled_for']} with {limits['vectors']}, "
        f"{limits['threads']} threads on {limits['affinity'] or 'all'} processors at "
        f"{limits['clock_GHz']:.1f} GHz:\ncompares at most {limits['sums_G_per_s']:.1f} G sums/s "
        f"({limits['compared_G_per_s']:.1f} in cache, {limits['issued_G_per_s']:.1f} by "
        f"instructions), copies {limits['copy_GB_per_s']:.1f} GB/s"
    )
    solved = [line for part in PARTS[:4] for line in document.get(part, [])]
    if solved:
        print("\nrule            m  ε     z           M/s  ×Python ×scalar visited  GB/s  share")
    for line in solved:
        times = [
            f"{line['problems_per_s'] / line[key]:,.0f}"
            if big and line[key]
            else f"{line['problems_per_s'] / line[key]:.1f}"
            if line[key]
            else "–"
            for key, big in (("python_per_s", True), ("scalar_per_s", False))
        ]
        visited = f"{line['visited']:,.0f}" if line["visited"] else "–"
        tail = f"{line['GB_per_s']:5.2f}" if "GB_per_s" in line else ""
        if "limit" in line:
            tail += f" {line['share_of_limit']:5.0%} {line['limit']}"
        print(
            f"{line['rule']:14} {line['m']:2}  {line.get('tolerance') or '–':<5} "
            f"{line.get('z') or ('n = ' + str(line['row']) if 'row' in line else '–'):8} "
            f"{line['problems_per_s'] / 1e6:7.3f} {times[0]:>8} {times[1]:>7} {visited:>7} {tail}"
        )
        if "wrong" in line:
            print(
                f"               {line['compared']:,} problems of {line['target']} compared with "
                f"brute force: {line['wrong']} differ"
            )
    if document.get("equality"):
        compared, wrong = (
            sum(v[key] for v in document["equality"]) for key in ("compared", "wrong")
        )
        print(
            f"\n{compared:,} problems, m = 1 to 32, both rules, compared with NumPy: {wrong} differ"
        )
    if document.get("convert"):
        heads = "".join(f"{name[:6]:>7}" for name in STAGES)
        print(f"\ntarget  options         source      s   RSS{heads}")
    for line in document.get("convert", []):
        stages = line["stages"]
        parts = " ".join(f"{stages.get(key, 0):6.1f}" for key in STAGES)
        print(
            f"{line['target']:7} {line['words']:15} {line['source'] / 1e6:6.0f} M "
            f"{line['seconds']:6.1f} {line['peak_RSS_GB']:4.2f} {parts}"
        )


def check_shares(document: Line) -> None:
    """Exit where a rate is above the limit, which then is none."""
    for part in PARTS[:4]:
        for line in document.get(part, []):
            if line.get("share_of_limit", 0) > 1:
                share, of = f"{line['share_of_limit']:.0%}", f"{line['rule']}, m = {line['m']}"
                raise SystemExit(f"{of}: {share} of the machine's limit, as it was measured")


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(PARTS)}.")] = None,
    target: Annotated[Path | None, typer.Option(help="Network for `real`.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Its calibration inputs.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
    base_size: Annotated[
        list[int] | None, typer.Option(help="Of these sizes alone, for `solver`.")
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(SIZES)}, for `convert`.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Conversions at a time, for `convert`.")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Dask's, for `convert`.")] = None,
    rows: Annotated[
        Path | None, typer.Option(help="JSONL of conversions that are timed, to go on from.")
    ] = None,
    brief: Annotated[bool, typer.Option("--quick", help="Few and small: does it run?")] = False,
) -> None:
    """Time the solver and whole conversions."""
    Clock.quick = brief
    wanted = parts or list(PARTS[:5])
    for part in wanted:
        if part not in PARTS:
            raise SystemExit(f"no part '{part}'; choose some of {', '.join(PARTS)}")
    document: Line = {"machine": machine() | {"device": device}}
    if device == "cuda":
        import torch

        document["machine"]["gpu"] = torch.cuda.get_device_name()
        document["machine"]["cuda"] = torch.version.cuda
    runs: dict[str, Callable[[], list[Line]]] = {
        "solver": lambda: bench_solver.solver(device, document["machine"], base_size),
        "real": lambda: bench_solver.real(
            target or Path("models/residual.onnx"), calibration, device, document["machine"]
        ),
        "rows": lambda: bench_solver.rows(device),
        "drawn": lambda: bench_solver.drawn(device),
        "convert": lambda: convert(device, size, Workers(workers, scheduler=scheduler), rows),
        "equality": lambda: bench_solver.equality(device),
    }
    for part in wanted:
        document[part] = runs[part]()
    show(document)
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=1) + "\n")
    check_shares(document)


if __name__ == "__main__":
    typer.run(main)
