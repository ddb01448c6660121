"""Let two conversions race for one name and see that one loses, and neither is torn.

    python tools/races.py [--rounds 300] [--seed 0]

Every round starts two conversions of one network with different seeds to the same output, a random
moment apart, each in a process of its own; a third of the rounds with --force, half of them with
weights in a file of their own. What lies there afterwards must be, byte for byte, the ticket of one
that succeeded, and each that failed must have said why.
"""

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import lt_onnx.files
import lt_onnx.pipeline
from lt_onnx.cli.app import main as command_line

MODEL = Path(__file__).resolve().parent.parent / "models" / "plain-relu.onnx"
TAKEN, BUSY = "exists; give --force to overwrite it", "is being written by another process"


@dataclass(frozen=True)
class Outcome:
    """How a conversion ended, and what it said."""

    code: int
    said: str


def start(output: Path, seed: int, words: tuple[str, ...], inline: int) -> int:
    """A conversion in a forked process; its id. What it says goes beside the folder."""
    child = os.fork()
    if child:
        return child
    try:
        said = os.open(f"{output.parent}.{os.getpid()}", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 2)
        lt_onnx.files.INLINE_LIMIT = inline
        options = ("--mode", "2l", "--base-size", "4", "--no-validate", "--quiet")
        command_line(
            ["convert", str(MODEL), "-o", str(output), *options, "--seed", str(seed), *words]
        )
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    except BaseException:
        traceback.print_exc()
    os._exit(99)


def end(output: Path, child: int) -> Outcome:
    """Wait for a conversion."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = Path(f"{output.parent}.{child}")
    text = said.read_text() if said.exists() else ""
    said.unlink(missing_ok=True)
    return Outcome(code, text)


def digest(folder: Path) -> str:
    """SHA-256 of all that lies in a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def judge(outcomes: list[Outcome], found: str, right: list[str], forced: bool) -> list[str]:
    """What is wrong with a round."""
    won = [seed for seed, outcome in enumerate(outcomes) if outcome.code == 0]
    wrong = []
    if not won or (len(won) > 1 and not forced):
        wrong.append(f"{len(won)} of two succeeded: {outcomes}")
    if found not in [right[seed] for seed in won]:
        wrong.append("what lies there is of none that succeeded")
    for outcome in outcomes:
        told = (BUSY,) if forced else (BUSY, TAKEN)
        one_line = outcome.said.count("\n") == 1 and any(text in outcome.said for text in told)
        if outcome.code != 0 and not (outcome.code == 2 and one_line):
            wrong.append(f"exit code {outcome.code}: {outcome.said}")
        if outcome.code == 0 and outcome.said:
            wrong.append(f"it succeeded and said: {outcome.said}")
    return wrong


def main() -> None:
    """Count what happened; exit 1 if anything was torn, lost or said wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, counts, wrong = random.Random(given.seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as root:
        output = Path(root) / "race" / "t.onnx"

        def fresh() -> Path:
            output.parent.mkdir(exist_ok=True)
            for path in output.parent.iterdir():
                path.unlink()
            return output

        right: dict[int, list[str]] = {}
        for inline in (1 << 30, 0):
            began = time.monotonic()
            for seed in (0, 1):
                calm = end(output, start(fresh(), seed, (), inline))
                assert calm.code == 0, calm.said
                right.setdefault(inline, []).append(digest(output.parent))
            took = (time.monotonic() - began) / 2
        for number in range(given.rounds):
            inline, forced = (1 << 30, 0)[number % 2], number % 3 == 0
            words = ("--force",) if forced else ()
            fresh()
            if forced and rng.random() < 0.5:
                end(output, start(output, 0, (), inline))  # there is something to overwrite
            first = start(output, 0, words, inline)
            time.sleep(rng.choice((0.0, rng.uniform(0, 0.1), rng.uniform(0, took))))
            children = (first, start(output, 1, words, inline))
            outcomes = [end(output, child) for child in children]
            faults = judge(outcomes, digest(output.parent), right[inline], forced)
            wrong += [f"round {number}: {fault}" for fault in faults]
            kind = "with --force" if forced else "without --force"
            lost = "".join(outcome.said for outcome in outcomes)
            how = (
                "refused: busy" if BUSY in lost else "refused: exists" if lost else "both, in turn"
            )
            counts[f"{kind}, {how}"] += 1
    for what, count in sorted(counts.items()):
        print(f"{what:34} {count}")
    print(f"{'rounds':34} {given.rounds}")
    print("\n".join(wrong) or "nothing torn, lost or said wrongly")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
