"""The paper's Tables 1 to 4 with tickets that are really made, its own figures beside them.

    python tools/reproduce_paper.py TARGETS [--seeds 10] [--deep-seeds 5] [--quick]
                                    [--workers 2] [--rows FILE.jsonl]

TARGETS is a folder with the paper's networks and their samples (see `paper_tickets`); those that
are not there are left out and named. The networks in `models/` stand in for the paper's Tanh and
Sigmoid targets, whose weights were never published: for them the paper's figures are of other
targets.
Prints Markdown; with `--rows` the same command goes on from the tickets that an earlier one made.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sweep
from paper_tickets import MODELS, NETWORKS, RULES, Network, one_ticket

from lt_onnx.cluster.calls import Call
from lt_onnx.cluster.rows import swept


@dataclass(frozen=True)
class Result:
    """Tickets of one network under one rule: a value per seed."""

    title: str
    rule: str
    words: dict[str, Any]
    target_accuracy: float
    accuracy: list[float]
    agreement: list[float]
    target_weights: int
    kept: list[int]  # of the convolutional layers alone, as the paper counts, or of all


def result_of(network: Network, rule: str, made: Mapping[int, Mapping[str, Any]]) -> Result:
    """The tickets of all seeds together."""
    first, *_ = tickets = [made[seed] for seed in sorted(made)]
    return Result(
        network.title,
        rule,
        RULES[rule],
        first["target_accuracy"],
        [ticket["accuracy"] for ticket in tickets],
        [ticket["agreement"] for ticket in tickets],
        first["target_weights"],
        [ticket["kept"] for ticket in tickets],
    )


def interval(values: list[float] | list[int], digits: int) -> str:
    """Mean and half-width of the 95 % interval of the mean."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return f"{mean:.{digits}f} ± {half:.{max(digits, 2) if digits else 0}f}"


def row(network: Network, result: Result) -> str:
    """One line of the tables."""
    target, ticket, few, many = network.paper
    return (
        f"| {network.title} | {result.rule} | {result.target_accuracy:.2f} "
        f"| {interval(result.accuracy, 2)} | {interval(result.agreement, 2)} "
        f"| {result.target_weights:,} | {interval(result.kept, 0)} "
        f"| {target} → {ticket} | {few} → {many} |"
    )


def calls_of(given: argparse.Namespace) -> tuple[list[Call], list[str]]:
    """The tickets to make, and the titles of networks that are not there."""
    calls, absent = [], []
    for network in NETWORKS:
        if given.only not in network.file:
            continue
        folder = next(
            (f for f in (given.targets, MODELS) if (f / f"{network.file}.onnx").is_file()), None
        )
        if folder is None:
            absent.append(network.title)
            continue
        seeds = 2 if given.quick else given.deep_seeds if network.deep else given.seeds
        most = 100 if given.quick else None
        # the paper's rule in a deep network: once, to see it collapse
        for rule in [given.rule] if given.rule else RULES:
            for seed in range(1 if rule == "paper's" and network.deep else seeds):
                name = f"{network.file}, {rule}, seed {seed}" + (", quick" if most else "")
                calls.append(Call(name, (network, rule, folder, seed, most)))
    return calls, absent


def _table_row(call: Call) -> tuple[str, str]:
    """The network and the rule of a ticket: a row of the tables."""
    network, rule = call.arguments[:2]
    return network.file, rule


def main() -> None:
    """Print the tables as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--deep-seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two seeds, few samples: that it runs")
    parser.add_argument("--only", default="", help="networks whose file name holds this")
    parser.add_argument("--rule", choices=list(RULES), help="one rule instead of all")
    parser.add_argument("--json", type=Path)
    sweep.add_words(parser)
    given = parser.parse_args()
    print(
        "| network | rule | target % | ticket % | agreement % | target weights | ticket weights "
        "| paper: accuracy | paper: weights |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    calls, absent = calls_of(given)
    left = Counter(_table_row(call) for call in calls)
    made: dict[tuple[str, str], dict[int, dict[str, Any]]] = {place: {} for place in left}
    results: dict[tuple[str, str], Result] = {}
    for call, ticket in swept(one_ticket, calls, workers=sweep.workers_of(given), rows=given.rows):
        network, rule, _, seed, _ = call.arguments
        place = _table_row(call)
        made[place][seed] = ticket
        if len(made[place]) == left[place]:
            results[place] = result_of(network, rule, made[place])
            print(row(network, results[place]), flush=True)
    if absent:
        print(f"\nNot there: {', '.join(absent)}.")
    if given.json is not None:
        ordered = [vars(results[key]) for key in left]
        given.json.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    main()
