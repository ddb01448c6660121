"""The paper's Tables 1 to 4 with tickets that are really made, its own figures beside them.

    python tools/reproduce_paper.py TARGETS [--seeds 10] [--deep-seeds 5] [--quick]

TARGETS is a folder with the paper's networks and their samples (see `NETWORKS`); those that are not
there are left out and named. The networks in `models/` stand in for the paper's Tanh and Sigmoid
targets, whose weights were never published: for them the paper's figures are of other targets.
Prints Markdown.
"""

import argparse
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt_onnx import convert
from lt_onnx.pipeline import Ticket

MODELS = Path(__file__).resolve().parent.parent / "models"

# "smallest subset within 0.01 of m = 15 elements, one σ per layer": Algorithms 1 and 2
PAPERS: dict[str, Any] = {
    "select": "smallest",
    "base_size": 15,
    "tolerance": 0.01,
    "sigma": "layer",
    "mode": "l+1",
}


@dataclass(frozen=True)
class Network:
    """One target, what the paper prints of it, and the settings that suit it."""

    title: str
    file: str
    samples: str
    calibration: str
    paper: tuple[str, str, str, str]  # accuracy of target and ticket; parameters of both
    ours: dict[str, Any]
    deep: bool = False


NETWORKS = (
    Network(
        "MNIST ReLU",
        "paper-mnist-relu",
        "mnist",
        "mnist",
        ("98.8", "98.72 ± 0.04", "945", "4386 ± 34"),
        {
            "mode": "2l",
            "base_size": 14,
            "base_sizes": {"/0/Conv": 20},
            "price": 2.5e-4,
            "prices": {"/0/Conv": 2e-4, "/5/Gemm": 1e-6},
        },
    ),
    Network(
        "MNIST LeakyReLU",
        "paper-mnist-leakyrelu",
        "mnist",
        "mnist",
        ("98.5", "98.5 ± 0.03", "940", "4545 ± 44"),
        {
            "mode": "l+1",
            "base_size": 10,
            "base_sizes": {"/0/Conv": 32},
            "price": 3.5e-4,
            "prices": {"/0/Conv": 9e-3, "/5/Gemm": 1e-6},
        },
    ),
    Network(
        "digits Tanh (ours)",
        "plain-tanh",
        "digits",
        "digits",
        ("98.14", "98.09 ± 0.09", "950", "3269 ± 19"),
        {"mode": "l+1"},
    ),
    Network(
        "digits Sigmoid (ours)",
        "plain-sigmoid",
        "digits",
        "digits",
        ("98.52", "98.5 ± 0.004", "953", "4198 ± 59"),
        {"mode": "l+1"},
    ),
    Network(
        "CIFAR Sigmoid ResNet",
        "paper-cifar-resnet20-sigmoid",
        "cifar-resnet20-sigmoid",
        "cifar-resnet20-sigmoid",
        ("72.66", "69 ± 2", "116048", "3934621 ± 1248"),
        {"mode": "l+1", "base_size": 14, "price": 2e-4},
        deep=True,
    ),
    Network(
        "CIFAR Sigmoid ResNet, recalibrated",
        "cifar-resnet20-sigmoid-recalibrated",
        "cifar-resnet20-sigmoid",
        "cifar-resnet20-sigmoid",
        ("72.66", "69 ± 2", "116048", "3934621 ± 1248"),
        {"mode": "l+1", "base_size": 14, "price": 2e-4},
        deep=True,
    ),
    Network(
        "CIFAR ReLU ResNet-20",
        "cifar-resnet20-relu",
        "cifar-resnet20-relu",
        "cifar-resnet20-relu",
        ("80.68", "80.32 ± 0.13", "31069", "1058140 ± 559"),
        {"mode": "l+1", "base_size": 11, "price": 3.3e-3},
        deep=True,
    ),
)


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


def measure(network: Network, rule: str, folder: Path, seeds: int, most: int | None) -> Result:
    """Make, prove and judge `seeds` tickets."""
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.samples.samples import load_samples

    words = network.ours if rule == "ours" else PAPERS
    target = folder / f"{network.file}.onnx"
    samples = load_samples(folder / f"{network.samples}.samples.npz", read_target(target).inputs)
    made: list[Ticket] = []
    with tempfile.TemporaryDirectory() as there:
        for seed in range(seeds):
            made.append(
                convert(
                    target,
                    Path(there) / "ticket.onnx",
                    seed=seed,
                    force=True,
                    samples=samples if most is None else samples.first(most),
                    calibration=folder / f"{network.calibration}.calibration.npz",
                    **words,
                )
            )
            assert made[-1].report.proof.genuine
    fidelities = [ticket.report.fidelity for ticket in made]
    outputs = [fidelity.outputs[0] for fidelity in fidelities if fidelity is not None]
    counted = [_counted(ticket, network.deep) for ticket in made]
    return Result(
        network.title,
        rule,
        words,
        100 * float(outputs[0].target_accuracy or 0),
        [100 * float(out.ticket_accuracy or 0) for out in outputs],
        [100 * float(out.agreement or 0) for out in outputs],
        counted[0][0],
        [kept for _, kept in counted],
    )


def _counted(ticket: Ticket, whole: bool) -> tuple[int, int]:
    """Target and ticket weights: of the whole network, or of the convolutions and what opens them.

    The univariate layer that opens the classifier counts with the classifier.
    """
    layers = ticket.report.layers
    if not whole:
        last = max(
            i for i, layer in enumerate(layers) if layer.op == "Conv" and layer.kind != "univariate"
        )
        layers = layers[: last + 1]
    return sum(layer.target_weights for layer in layers), sum(layer.kept for layer in layers)


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


def main() -> None:
    """Print the tables as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--deep-seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two seeds, few samples: that it runs")
    parser.add_argument("--only", default="", help="networks whose file name holds this")
    parser.add_argument("--rule", choices=["paper's", "ours"], help="one rule instead of both")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(
        "| network | rule | target % | ticket % | agreement % | target weights | ticket weights "
        "| paper: accuracy | paper: weights |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    results, absent = [], []
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
        # the paper's rule in a deep network: once, to see it collapse
        for rule, count in (("paper's", 1 if network.deep else seeds), ("ours", seeds)):
            if given.rule not in (None, rule):
                continue
            result = measure(network, rule, folder, count, 100 if given.quick else None)
            results.append(vars(result))
            print(row(network, result), flush=True)
    if absent:
        print(f"\nNot there: {', '.join(absent)}.")
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
