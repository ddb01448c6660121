"""The comparison of outputs: exact sums, and it fails on every wrong network."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Builder, save
from perturbed import CHANGES, LAYERS, network, perturbed, weight_of

from lt_onnx.errors import InputError
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import Samples
from lt_onnx.validation import outputs
from lt_onnx.validation.fidelity import Fidelity, Judged, OutputFidelity
from lt_onnx.validation.limits import Limits
from lt_onnx.validation.outputs import OutputSums, compare_outputs


def compared(target: Path, other: Path, limits: Limits) -> Fidelity:
    ports = read_target(target).inputs
    return compare_outputs(target, other, random_samples(ports, 20, 0), ports, limits)


def figures(
    target: np.ndarray, ticket: np.ndarray, labels: np.ndarray | None = None
) -> OutputFidelity:
    """Of one batch."""
    sums = OutputSums()
    sums.add(target, ticket)
    return sums.fidelity("y", labels)


@pytest.fixture
def values() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    t = rng.standard_normal((40, 6)).astype(np.float32)
    return t, t + np.float32(0.1) * rng.standard_normal(t.shape).astype(np.float32)


def test_the_figures_are_those_of_their_definitions(values: tuple[np.ndarray, np.ndarray]) -> None:
    t, made = (v.astype(np.float64) for v in values)
    sums = OutputSums()
    for part in (slice(0, 13), slice(13, 40)):
        sums.add(values[0][part], values[1][part])
    labels = np.arange(40) % 6
    found = sums.fidelity("scores", labels)
    relative = np.linalg.norm(t - made) / np.linalg.norm(t)

    assert found.max_abs == np.abs(t - made).max()
    assert found.mean_abs == pytest.approx(np.abs(t - made).mean())
    assert found.relative == found.smallest_tolerance == pytest.approx(relative)
    assert found.sqnr_db == pytest.approx(-20 * math.log10(relative))
    cosine = (t * made).sum() / np.linalg.norm(t) / np.linalg.norm(made)
    assert found.cosine == pytest.approx(cosine)
    assert found.agreement == (t.argmax(1) == made.argmax(1)).mean()
    assert found.target_accuracy == (t.argmax(1) == labels).mean()
    assert found.ticket_accuracy == (made.argmax(1) == labels).mean()
    assert found.accuracy_drop == found.target_accuracy - found.ticket_accuracy
    assert set(found.points) <= set(zip(t.reshape(-1), made.reshape(-1), strict=True))


def test_an_output_is_summed_in_parts(
    values: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = OutputSums(), OutputSums()
    whole.add(*values)
    monkeypatch.setattr(outputs, "MAX_COMPARED", 7)
    parts.add(*values)

    assert parts.sums == pytest.approx(whole.sums)
    assert (parts.largest, parts.count) == (whole.largest, whole.count)


def test_points_are_a_few_of_many() -> None:
    sums = OutputSums()
    for _ in range(3):
        sums.add(np.zeros((1000, 10), np.float32), np.ones((1000, 10), np.float32))

    assert 0 < len(sums.fidelity("y", None).points) <= outputs.MAX_POINTS


def test_one_changed_value_shows_in_every_figure(values: tuple[np.ndarray, np.ndarray]) -> None:
    t = values[0]
    sign, turned, bit = t.copy(), t.copy(), t.copy()
    sign[3, t[3].argmax()] *= -1
    turned[:6] = t[:6].T
    bit.view(np.uint32)[5, 2] ^= 1
    for made, visible in ((sign, True), (turned, True), (bit, False)):
        sums = OutputSums()
        sums.add(t, made)
        found = sums.fidelity("scores", None)
        assert min(found.max_abs, found.mean_abs, found.relative, found.smallest_tolerance) > 0
        assert found.sqnr_db < math.inf
        if visible:
            assert found.cosine < 1
            assert found.agreement is not None
            assert found.agreement < 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_fail_where_they_are_not_alike(wrong: float) -> None:
    t = np.array([[1.0, np.inf, np.nan, 2.0]], np.float32)
    same = figures(t, t)

    assert same.finite
    assert (same.relative, same.non_finite) == (0, 2)
    for place in range(4):
        made = t.copy()
        made[0, place] = -3.0 if np.array_equal(made[0, place], wrong, equal_nan=True) else wrong
        bad = figures(t, made)
        assert not bad.finite
        assert bad.smallest_tolerance == math.inf


def test_nothing_finite_is_nothing_compared() -> None:
    nothing = figures(*[np.full((3, 4), np.nan, np.float32)] * 2)
    empty = figures(*[np.zeros((3, 0), np.float32)] * 2)

    assert not nothing.finite
    assert not empty.finite
    assert (nothing.relative, nothing.sqnr_db, nothing.agreement) == (None, None, 0)


def test_scores_that_are_masked_agree_and_those_that_are_nan_do_not() -> None:
    t = np.array([[1.0, -np.inf, 2.0], [3.0, 1.0, 2.0], [0.0, 1.0, np.nan]], np.float32)
    found = figures(t, t, np.array([2, 0, 1]))

    assert found.agreement == found.target_accuracy == found.ticket_accuracy == pytest.approx(2 / 3)


def test_a_constant_that_is_added_is_no_signal() -> None:
    rng = np.random.default_rng(0)
    t = rng.standard_normal((50, 3, 4)).astype(np.float32)
    made = t + np.float32(0.1) * rng.standard_normal(t.shape).astype(np.float32)
    offset = 100 * rng.standard_normal((3, 4)).astype(np.float32)
    plain, lifted = figures(t, made), figures(t + offset, made + offset)
    varying = np.square(t - t.mean(0)).sum() / np.square(t - made).sum()

    assert plain.variation_db == pytest.approx(10 * math.log10(varying), abs=1e-3)
    assert lifted.variation_db == pytest.approx(plain.variation_db, abs=1e-2)
    assert lifted.sqnr_db > plain.sqnr_db + 30  # type: ignore[operator]
    assert plain.judged is lifted.judged is Judged.VARIATION


def test_an_output_that_does_not_vary_has_no_decibels() -> None:
    t = np.tile(np.arange(5, dtype=np.float32), (20, 1))
    for made, least in ((t, 200.0), (t * np.float32(1.0000002), 100.0), (t * 2, -1.0)):
        found = figures(t, made)
        assert (found.judged, found.variation_db) == (Judged.CONSTANT, None)
        assert found.judged_db is not None
        assert least <= found.judged_db < least + 100 or found.judged_db == math.inf


def test_what_are_no_floats_is_compared_by_equality() -> None:
    kinds = [np.array([3, 4, 5, 5]), np.array([True, False, True, True])]
    for t in (*kinds, np.array(["a", "b", "c", "c"], object)):
        made = t.copy()
        made[2] = t[1]
        found = figures(t, made)
        assert (found.judged, found.agreement, found.finite) == (Judged.EQUALITY, 0.75, True)
        assert found.sqnr_db is found.relative is found.variation_db is None
    labelled = figures(np.array([1, 2, 2]), np.array([1, 2, 3]), np.array([1, 2, 3]))
    assert (labelled.target_accuracy, labelled.ticket_accuracy) == (pytest.approx(2 / 3), 1)
    assert figures(np.ones((4, 3, 3), int), np.zeros((4, 3, 3), int)).agreement == 0
    assert not figures(*[np.zeros((0, 4), np.int64)] * 2).finite


def test_networks_with_integer_outputs_are_compared(tmp_path: Path) -> None:
    b = Builder(0)
    y = b("ArgMax", b("Relu", "x"), axis=1, keepdims=0)
    model = b.model(y, ("N", 4))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    target = save(model, tmp_path)
    (found,) = compared(target, target, Limits(min_agreement=1.0)).outputs

    assert (found.judged, found.agreement) == (Judged.EQUALITY, 1.0)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layer", LAYERS[:2])
def test_a_network_that_is_wrong_in_one_weight_fails(
    tmp_path: Path, layer: str, change: str
) -> None:
    target = network(tmp_path)
    wrong = perturbed(target, weight_of(target, layer), CHANGES[change])
    limits = Limits(max_abs=1e-4, max_rel=1e-5, min_sqnr=100.0, min_agreement=1.0)

    assert compared(target, target, limits).passed
    failed = [check.name for check in compared(target, wrong, limits).checks if not check.passed]
    assert [name.split(":")[0] for name in failed][:3] == ["max-abs", "max-rel", "min-sqnr"]


def test_an_input_with_swapped_axes_gives_another_output(tmp_path: Path) -> None:
    """The samples reach both networks as they are: what is turned for one would be found."""
    target = network(tmp_path)
    ports = read_target(target).inputs
    samples = random_samples(ports, 20, 0)
    images = np.ascontiguousarray(samples.arrays["x"].swapaxes(2, 3))
    turned = Samples({"x": images}, None, "turned")
    straight, other = (
        compare_outputs(target, target, inputs, ports, Limits()).outputs[0].points
        for inputs in (samples, turned)
    )

    assert straight != other


def test_outputs_must_correspond(tmp_path: Path) -> None:
    b = Builder(0)
    y = b("Relu", "x")
    target = save(b.model(y, ("N", 4)), tmp_path)
    b = Builder(0)
    b.count = 5
    renamed = save(b.model(b("Relu", "x"), ("N", 4)), tmp_path, "renamed.onnx")
    b = Builder(0)
    narrow = save(b.model(b("ReduceMax", "x", axes=[1]), ("N", 4)), tmp_path, "narrow.onnx")

    with pytest.raises(InputError, match=r"its outputs \['t6'\] are not the target's \['t1'\]"):
        compared(target, renamed, Limits())
    with pytest.raises(InputError, match=r"output 't1' has shape \[8, 1\], the target's has"):
        compared(target, narrow, Limits())


def test_labels_give_accuracies_and_progress_ends_at_one(tmp_path: Path) -> None:
    target = network(tmp_path)
    ports = read_target(target).inputs
    samples = random_samples(ports, 20, 0)
    labelled = Samples(samples.arrays, np.arange(20) % 5, "labelled")
    told: list[float] = []
    found = compare_outputs(
        target, target, labelled, ports, Limits(), progress=told.append
    ).outputs[0]

    assert found.target_accuracy == found.ticket_accuracy is not None
    assert told[-1] == 1.0
    assert told == sorted(told)
