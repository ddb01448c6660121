"""What a conversion will take: figures that follow from the plan alone."""

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from graphs import Builder, save
from paths import MODELS
from planned import blueprint, builds

from lt_onnx.cli.app import run
from lt_onnx.options import Mode, Options, Select, Weights
from lt_onnx.planning import prediction
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import MULTIPLY_ADD_SECONDS, layer_seconds, predict
from lt_onnx.reading.lowering import read_target


@pytest.mark.parametrize(
    ("options", "bytes_"),
    [
        ({}, 4),
        ({"fp16": True}, 2),
        ({"weights": Weights.MASKED}, 5),
        ({"weights": Weights.MASKED, "fp16": True}, 3),
    ],
)
def test_a_file_has_so_many_bytes_a_weight(
    tmp_path: Path, options: dict[str, object], bytes_: int
) -> None:
    made = blueprint(tmp_path, **options)
    prediction = predict(made)

    assert prediction.source_weights == sum(layer.count for layer in made.layers)
    assert prediction.file_bytes == bytes_ * prediction.source_weights
    assert predict(made, source=True).file_bytes == (bytes_ + 4) * prediction.source_weights


def test_multiply_adds_are_weights_times_places(tmp_path: Path) -> None:
    made = blueprint(tmp_path)

    assert predict(made).multiply_adds == sum(step.source.size * 64 for step in builds(made))


@pytest.mark.parametrize(
    ("width", "options", "count"),
    [(8, {}, 192), (8, {"select": Select.BEST}, 8), (400, {}, 34), (600, {}, 15), (6000, {}, 1)],
)
def test_calibration_takes_the_samples_that_it_can_afford(
    tmp_path: Path, width: int, options: dict[str, object], count: int
) -> None:
    assert predict(blueprint(tmp_path, width, **options)).calibration_count == count


@pytest.mark.parametrize(
    ("width", "channels", "count"), [(1200, 20, 16), (6000, 20, 2), (1200, 4, 4)]
)
def test_a_layer_that_sees_a_place_or_few_of_every_input_gets_several(
    tmp_path: Path, width: int, channels: int, count: int
) -> None:
    """Wide layers before it afford fewer: one input told nothing of how others differ."""
    b = Builder()
    x = b("GlobalAveragePool", b("Relu", b.conv("x", 3, 4, pads=[1] * 4)))
    x = b("Relu", b.gemm(b("Flatten", x), 4, channels))
    target = read_target(save(b.model(b.gemm(x, channels, 2), ("N", 3, width, width)), tmp_path))

    assert predict(plan(target, Options(Mode.TWO_L, base_size=2))).calibration_count == count


def test_samples_that_are_given_are_taken(tmp_path: Path) -> None:
    made = blueprint(tmp_path, 64)
    few, many = (predict(made, validated=False, count=count) for count in (10, 1000))

    assert (few.calibration_count, many.calibration_count) == (10, 1000)
    assert few.memory_bytes < many.memory_bytes
    assert few.seconds < many.seconds


def test_sizes_of_samples_count_where_axes_are_open(tmp_path: Path) -> None:
    b = Builder()
    x = b.conv(b("Relu", b.conv("x", 3, 4, strides=[2, 2])), 4, 2, 1)
    target = read_target(save(b.model(x, ("N", 3, "H", "W")), tmp_path))
    made = plan(target, Options())
    work = {n: predict(made, sizes={"x": (3, n, n)}).multiply_adds for n in (33, 65)}

    assert work[33] == sum(step.source.size * 16 * 16 for step in builds(made))
    assert work[65] == 4 * work[33]
    assert predict(made).multiply_adds == sum(step.source.size * 15 * 15 for step in builds(made))


def test_layers_add_up(tmp_path: Path) -> None:
    made = blueprint(tmp_path)
    steps = [step for step in made.steps if hasattr(step, "source")]

    seconds = sum(layer_seconds(made.target, step, 7) for step in steps)
    start, felt = prediction.START_SECONDS, prediction._felt_seconds(made.target, 7)
    assert predict(made, count=7).seconds == pytest.approx(start + felt + seconds)
    priced = replace(made, options=replace(made.options, price=0.1))  # nothing is promised
    assert predict(priced, count=7).seconds == pytest.approx(start + seconds)


def test_validation_may_cost_as_much_as_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(read_target(MODELS / "deep.onnx"), Options())
    few, many = predict(made, count=8), predict(made, count=128)
    work = sum(
        linear.weight.size * math.prod(made.target.shapes[linear.output][2:])  # type: ignore[arg-type]
        for linear in made.target.linears
    )
    monkeypatch.setattr(prediction, "core_count", lambda: 1)
    steps = [step for step in made.steps if hasattr(step, "source")]
    one, none = (sum(layer_seconds(made.target, step, n) for step in steps) for n in (1, 0))
    seconds = sum(prediction._sample_seconds(made.target, step) for step in steps)
    seconds += MULTIPLY_ADD_SECONDS * work

    assert (many.validation_count - few.validation_count) * seconds == pytest.approx(
        120 * (one - none), abs=seconds
    )
    monkeypatch.setattr(prediction, "core_count", lambda: 64)
    assert predict(made, count=8).validation_count == few.validation_count
    assert predict(made, count=8).seconds < few.seconds


@pytest.mark.parametrize("axis", [0, 2])
def test_a_sample_that_becomes_many_is_foreseen_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], axis: int
) -> None:
    b, pads = Builder(), [0] * 8
    pads[axis] = 2_000_000
    x = b("GlobalAveragePool", b.conv(b.pad("x", pads, "constant"), 3, 4))
    path = save(b.model(b.conv(x, 4, 2, 1)), tmp_path)
    started = time.monotonic()

    assert run(["plan", str(path), "--mode", "2l"]) == 0
    shown = capsys.readouterr().out
    assert "promise   costs of so large a network are measured on --calibration only" in shown
    assert predict(plan(read_target(path), Options(mode="2l"))).memory_bytes > 5e9  # type: ignore[arg-type]
    assert time.monotonic() - started < 60  # run, it takes minutes and 8 GB


def test_a_model_that_fixes_its_batch_is_run_by_it(tmp_path: Path) -> None:
    b = Builder()
    target = read_target(save(b.model(b.conv("x", 3, 4, 1), (2, 3, 8, 8)), tmp_path))

    assert predict(plan(target, Options())).batch == 2
    assert predict(blueprint(tmp_path)).batch == 32


def test_a_batch_is_small_where_many_constants_are_made(tmp_path: Path) -> None:
    """Every group of a depthwise layer has its own."""
    b = Builder()
    x = b.conv(b("Relu", b.conv("x", 3, 64, 1)), 64, 64, 3, pads=[1] * 4, group=64)
    target = read_target(save(b.model(x, ("N", 3, 64, 64)), tmp_path))
    made = plan(target, Options(mode="2l"))  # type: ignore[arg-type]
    constants = builds(made)[1].in_layout.constants

    assert constants > 1000
    assert predict(made).batch == (1 << 24) // ((64 + constants) * 64 * 64)
