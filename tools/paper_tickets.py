"""The paper's networks, what it prints of them, and one ticket of each for `reproduce_paper`."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_onnx import convert
from lt_onnx.progress import Progress
from lt_onnx.reading.lowering import read_target
from lt_onnx.report.ticket import Ticket
from lt_onnx.samples.samples import load_samples

MODELS = Path(__file__).resolve().parent.parent / "models"

RULES: dict[str, dict[str, Any]] = {
    # "smallest subset within 0.01 of m = 15 elements, one σ per layer": Algorithms 1 and 2
    "paper's": {
        "mode": "l+1",
        "select": "smallest",
        "base_size": 15,
        "tolerance": 0.01,
        "sigma": "layer",
    },
    "l+1": {"mode": "l+1"},
    "2l": {"mode": "2l"},
}


@dataclass(frozen=True)
class Network:
    """One target, and what the paper prints of it."""

    title: str
    file: str
    samples: str
    calibration: str
    paper: tuple[str, str, str, str]  # accuracy of target and ticket; parameters of both
    deep: bool = False


NETWORKS = (
    Network(
        "MNIST ReLU",
        "paper-mnist-relu",
        "mnist",
        "mnist",
        ("98.8", "98.72 ± 0.04", "945", "4386 ± 34"),
    ),
    Network(
        "MNIST LeakyReLU",
        "paper-mnist-leakyrelu",
        "mnist",
        "mnist",
        ("98.5", "98.5 ± 0.03", "940", "4545 ± 44"),
    ),
    Network(
        "digits Tanh",
        "plain-tanh",
        "digits",
        "digits",
        ("98.14", "98.09 ± 0.09", "950", "3269 ± 19"),
    ),
    Network(
        "digits Sigmoid",
        "plain-sigmoid",
        "digits",
        "digits",
        ("98.52", "98.5 ± 0.004", "953", "4198 ± 59"),
    ),
    Network(
        "CIFAR Sigmoid ResNet",
        "paper-cifar-resnet20-sigmoid",
        "cifar-resnet20-sigmoid",
        "cifar-resnet20-sigmoid",
        ("72.66", "69 ± 2", "116048", "3934621 ± 1248"),
        deep=True,
    ),
    Network(
        "CIFAR Sigmoid ResNet, recalibrated",
        "cifar-resnet20-sigmoid-recalibrated",
        "cifar-resnet20-sigmoid",
        "cifar-resnet20-sigmoid",
        ("72.66", "69 ± 2", "116048", "3934621 ± 1248"),
        deep=True,
    ),
    Network(
        "CIFAR ReLU ResNet-20",
        "cifar-resnet20-relu",
        "cifar-resnet20-relu",
        "cifar-resnet20-relu",
        ("80.68", "80.32 ± 0.13", "31069", "1058140 ± 559"),
        deep=True,
    ),
)


def one_ticket(
    network: Network, rule: str, folder: Path, seed: int, most: int | None, tell: Progress
) -> dict[str, Any]:
    """Make, prove and judge a ticket, on `most` samples at most.

    Returns percentages, and the weights of the convolutional layers alone, as the paper counts, or
    of all.
    """
    target = folder / f"{network.file}.onnx"
    samples = load_samples(folder / f"{network.samples}.samples.npz", read_target(target).inputs)
    with tempfile.TemporaryDirectory() as there:
        made = convert(
            target,
            Path(there) / "ticket.onnx",
            seed=seed,
            samples=samples if most is None else samples.first(most),
            all_samples=True,
            calibration=folder / f"{network.calibration}.calibration.npz",
            progress=tell,
            **RULES[rule],
        )
    assert made.report.proof.genuine
    assert made.report.fidelity is not None
    out = made.report.fidelity.outputs[0]
    weights, kept = _counted(made, network.deep)
    return {
        "target_accuracy": 100 * float(out.target_accuracy or 0),
        "accuracy": 100 * float(out.ticket_accuracy or 0),
        "agreement": 100 * float(out.agreement or 0),
        "target_weights": weights,
        "kept": kept,
    }


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
