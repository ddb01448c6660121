"""Feed hostile files to the command line and see that it says so in one line, every time.

    python tools/fuzz.py --target reader|samples|verify|unpack [--cases 1000] [--seed 0]
                         [--seconds 30] [--save DIR] [--workers 1] [--rows FILE.jsonl]
    python tools/fuzz.py --again DIR

Every case is a mutant of a small seed (see `seeds`, `mutants`) and is made again from its number.
It runs (see `attempts`) inside a forked worker, which a crash ends and another one replaces. What
is asked of it:

- exit code 0, 1 or 2, no exception; of 2, one printable line that names the file; 3 only for
  conversions that are predicted to take more memory than they are allowed;
- `--seconds` and 2 GB of memory at most; no file left but what was asked for;
- an accepted ticket, and an unpacked one, computes what its seed computes, bit for bit. A mutant
  whose seal was renewed (half of them) may be another genuine ticket: fewer weights kept and
  recorded so, another scale. Those are counted apart.

Exits with 1 when anything was found; `--save` keeps the mutants, `--again` tries those of a folder.
With `--rows` the same command goes on from what an earlier one has tried.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import sweep
from attempts import SECONDS, placed
from campaign import BATCH, TARGETS, Figures, Stock, again, case_of, stock_of, try_cases

from lt_onnx.cluster.calls import Call
from lt_onnx.cluster.rows import swept


def tried(given: argparse.Namespace) -> Figures:
    """Run the cases that are asked for, in batches, and say what is found."""
    figures, start, told = Figures(given.target), time.perf_counter(), 0.0
    stop, calls = given.first + given.cases, []
    for first in range(given.first, stop, BATCH):
        numbers = range(first, min(first + BATCH, stop))
        name = f"{given.target}, seed {given.seed}, {numbers.start} to {numbers.stop}"
        calls.append(Call(name, (given.target, numbers, given.seed, given.seconds)))
    for _, made in swept(try_cases, calls, workers=sweep.workers_of(given), rows=given.rows):
        batch = Figures(**made)
        for wrong in batch.findings.keys() - figures.findings.keys():
            said = batch.said[wrong]
            print(
                f"{given.target} {batch.findings[wrong][0]}: {wrong}\n    {said}", file=sys.stderr
            )
        figures.join(batch)
        if (now := time.perf_counter()) - start - told > 30:
            told = now - start
            print(
                f"{given.target}: {figures.cases:,} cases, {len(figures.findings)} findings, "
                f"{figures.cases / told:.0f}/s",
                file=sys.stderr,
                flush=True,
            )
    figures.seconds = time.perf_counter() - start
    return figures


def save_findings(figures: Figures, stock: Stock, seed: int, folder: Path) -> None:
    """Keep the first mutant of every finding, in a folder of its own."""
    for count, (wrong, numbers) in enumerate(figures.findings.items()):
        place = folder / f"{stock.target}-{count}"
        place.mkdir(parents=True, exist_ok=True)
        case = case_of(stock, numbers[0], seed)
        placed(case.files, place)
        about = {
            "target": stock.target,
            "wrong": wrong,
            "words": case.words,
            "made": case.made,
            "number": numbers[0],
            "seed": seed,
        }
        (place / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def main() -> None:
    """Run what the words ask for."""
    parse = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    what = parse.add_mutually_exclusive_group(required=True)
    what.add_argument("--target", choices=TARGETS)
    what.add_argument("--again", type=Path, help="folder of mutants that were saved")
    parse.add_argument("--cases", type=int, default=1000)
    parse.add_argument("--first", type=int, default=0, help="number of the first case")
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--seconds", type=int, default=SECONDS, help="that a case may take")
    parse.add_argument("--save", type=Path, default=None, help="folder for what is found")
    sweep.add_words(parse)
    given = parse.parse_args()
    if given.again is not None:
        print(json.dumps(found := again(given.again, given.seconds), indent=1))
        sys.exit(1 if found else 0)
    figures = tried(given)
    if given.save is not None:
        save_findings(figures, stock_of(given.target), given.seed, given.save)
    shown = asdict(figures) | {
        "peak": f"{figures.peak / 1e6:.0f} MB",
        "findings": {wrong: len(at) for wrong, at in figures.findings.items()},
        "first": {wrong: at[0] for wrong, at in figures.findings.items()},
        "per_second": round(figures.cases / max(figures.seconds, 1e-9), 1),
    }
    del shown["said"]
    print(json.dumps(shown, indent=1))
    sys.exit(1 if figures.findings else 0)


if __name__ == "__main__":
    main()
