"""The certified bound: the check against it fails on a wrong ticket, and it follows the weights."""

import math
from pathlib import Path

import numpy as np
import pytest
from perturbed import CHANGES, network, perturbed

from lt_onnx import convert
from lt_onnx.blueprint import Blueprint
from lt_onnx.options import Mode, Options, Select
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import Samples
from lt_onnx.validation.bound.certify import box_of, certified_bound
from lt_onnx.validation.limits import Limits
from lt_onnx.validation.outputs import compare_outputs
from lt_onnx.validation.per_layer import trace


@pytest.fixture(params=["l+1", "2l"])
def exact(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, Blueprint]:
    """A target, a ticket of its exact weights and the ticket's plan."""
    target, ticket = network(tmp_path), tmp_path / "t.onnx"
    options = Options(Mode(request.param), base_size=3, select=Select.EXACT)
    convert(target, ticket, mode=options.mode, base_size=3, select=Select.EXACT, validate=False)
    return target, ticket, plan(read_target(target), options)


def largest_error(target: Path, ticket: Path, samples: Samples) -> float:
    ports = read_target(target).inputs
    return compare_outputs(target, ticket, samples, ports, Limits()).outputs[0].max_abs


@pytest.mark.parametrize("change", CHANGES)
def test_a_ticket_wrong_in_one_weight_exceeds_the_bound_of_the_right_one(
    exact: tuple[Path, Path, Blueprint], change: str
) -> None:
    target, ticket, blueprint = exact
    samples = random_samples(blueprint.target.inputs, 20, 0)
    bound = certified_bound(blueprint, ticket, samples=samples)
    wrong = perturbed(ticket, "second/weight", CHANGES[change])
    (output,) = bound.outputs

    assert largest_error(target, ticket, samples) <= bound.outputs[output]
    assert largest_error(target, wrong, samples) > bound.outputs[output]


@pytest.mark.parametrize("change", CHANGES)
def test_the_bound_is_of_the_weights_that_are_in_the_file(
    exact: tuple[Path, Path, Blueprint], change: str
) -> None:
    target, ticket, blueprint = exact
    samples = random_samples(blueprint.target.inputs, 20, 0)
    right = certified_bound(blueprint, ticket, samples=samples)
    path = perturbed(ticket, "second/weight", CHANGES[change])
    wrong = certified_bound(blueprint, path, samples=samples)
    (output,) = wrong.outputs

    assert largest_error(target, path, samples) <= wrong.outputs[output]
    assert wrong.layers["first"] == right.layers["first"]  # before it nothing changes
    assert wrong.layers["second"] > 10 * right.layers["second"]
    assert wrong.outputs[output] > right.outputs[output]


def test_every_layer_has_a_bound_above_its_error(exact: tuple[Path, Path, Blueprint]) -> None:
    target, ticket, blueprint = exact
    samples = random_samples(blueprint.target.inputs, 20, 0)
    bound = certified_bound(blueprint, ticket, samples=samples)

    assert bound.reason is None
    assert set(bound.layers) == {layer.name for layer in trace(target, ticket, samples)}
    assert all(0 < error < math.inf for error in bound.layers.values())
    assert bound.box == f"the box around {samples.origin}"


def test_the_box_is_per_channel() -> None:
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    low, high = box_of(Samples({"x": values}, None, ""))["x"]

    assert low.shape == high.shape == (1, 3, 4)
    assert low[0, :, 0].tolist() == [0, 4, 8]
    assert high[0, :, 3].tolist() == [15, 19, 23]
