"""Real construction on real networks: how close tickets come."""

import shutil
from itertools import product
from pathlib import Path

import pytest
from paths import MODELS, MODES, SHIPPED, long_but
from perturbed import CHANGES, perturbed, weight_of

from lt_onnx import Limits, convert
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.samples import load_samples
from lt_onnx.validation.outputs import compare_outputs

SAMPLES, CALIBRATION = MODELS / "digits.samples.npz", MODELS / "digits.calibration.npz"


WORKING = [("residual", "l+1"), ("plain-sigmoid", "2l"), ("depthwise", "l+1"), ("deep", "2l")]


@pytest.mark.parametrize(("name", "mode"), long_but(WORKING, product(SHIPPED, MODES)))
def test_shipped_targets_become_working_tickets(tmp_path: Path, name: str, mode: str) -> None:
    made = convert(
        MODELS / f"{name}.onnx",
        tmp_path / "t.onnx",
        mode=mode,
        samples=SAMPLES,
        calibration=CALIBRATION,
        limits=Limits(min_agreement=0.97, max_accuracy_drop=0.02),
    )

    assert made.report.proof.genuine
    assert made.passed, made.report.fidelity.failures


def test_without_calibration_data(tmp_path: Path) -> None:
    made = convert(MODELS / "residual.onnx", tmp_path / "t.onnx", samples=SAMPLES)
    agreement = made.report.fidelity.outputs[0].agreement

    assert agreement is not None
    assert agreement > 0.95


def test_the_three_rules_trade_size_for_error(tmp_path: Path) -> None:
    made = {
        rule: convert(
            MODELS / "plain-relu.onnx",
            tmp_path / f"{rule}.onnx",
            select=rule,
            base_size=12,
            samples=SAMPLES,
        )
        for rule in ("smallest", "best", "noise")
    }
    errors = {rule: t.report.layers[1].mean_error for rule, t in made.items()}
    outputs = {rule: t.report.fidelity.outputs[0].relative for rule, t in made.items()}

    assert made["smallest"].report.kept < made["best"].report.kept
    assert errors["best"] < errors["smallest"]
    assert outputs["noise"] < min(outputs["best"], outputs["smallest"])


def test_a_sigma_per_layer_has_one_scale_for_its_weights(tmp_path: Path) -> None:
    made = convert(MODELS / "plain-relu.onnx", tmp_path / "t.onnx", sigma="layer", samples=SAMPLES)

    assert made.passed


@pytest.mark.parametrize("change", CHANGES)
def test_validation_notices_one_wrong_weight_of_a_real_network(tmp_path: Path, change: str) -> None:
    """On real inputs too, where the error of a single weight is small beside a ticket's."""
    path = Path(shutil.copy(MODELS / "residual.onnx", tmp_path))
    ports = read_target(path).inputs
    samples = load_samples(SAMPLES, ports).first(100)
    wrong = perturbed(path, weight_of(path, "a1"), CHANGES[change])
    limits = Limits(max_abs=1e-4, max_rel=1e-5)
    same, other = (compare_outputs(path, made, samples, ports, limits) for made in (path, wrong))

    assert same.passed
    assert same.outputs[0].agreement == 1.0
    assert [check.passed for check in other.checks] == [True, False, False]
    assert other.outputs[0].max_abs > 1e-3


@pytest.mark.long
def test_the_papers_rule_on_the_papers_target(shared: Path, tmp_path: Path) -> None:
    """Table 2: 4,386 nonzero weights in the two convolutional layers."""
    target = shared / "paper-mnist-relu.onnx"
    samples = load_samples(shared / "mnist.samples.npz", read_target(target).inputs).first(1000)
    made = convert(
        target,
        tmp_path / "t.onnx",
        select="smallest",
        base_size=15,
        tolerance=0.01,
        sigma="layer",
        samples=samples,
        limits=Limits(min_agreement=0.98),
    )
    convolutions = made.report.layers[:3]

    assert made.passed
    assert 3800 < sum(layer.kept for layer in convolutions) <= 4600


@pytest.mark.long
def test_a_deep_residual_ticket_works_where_the_papers_rule_collapses(
    shared: Path, tmp_path: Path
) -> None:
    target = shared / "cifar-resnet20-relu.onnx"
    ports = read_target(target).inputs
    samples = load_samples(shared / "cifar-resnet20-relu.samples.npz", ports).first(100)
    calibration = shared / "cifar-resnet20-relu.calibration.npz"
    good = convert(
        target,
        tmp_path / "t.onnx",
        calibration=calibration,
        samples=samples,
        limits=Limits(min_agreement=0.95),
    )
    papers = convert(
        target,
        tmp_path / "p.onnx",
        select="smallest",
        base_size=12,
        samples=samples,
        limits=Limits(min_agreement=0.9),
    )

    assert good.passed
    assert good.report.per_target_weight < 20
    assert papers.report.proof.genuine
    assert not papers.passed


def test_more_calibration_inputs_make_fewer_errors(tmp_path: Path) -> None:
    made = [
        convert(
            MODELS / "residual.onnx",
            tmp_path / f"{count}.onnx",
            base_size=6,
            calibration=MODELS / "digits.calibration.npz",
            calibration_count=count,
            samples=MODELS / "digits.samples.npz",
        ).report
        for count in (4, 128)
    ]
    few, many = (report.fidelity.outputs[0].sqnr_db for report in made)

    assert many > few + 1
    assert "--calibration-count 4" in made[0].command
