"""What operators at a network's beginning tell of its inputs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewritten import model_of, target_of

from lt_onnx.reading.graph import read_graph
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import fixed_batch

MEANS = np.array([0.5, 0.4, 0.3], np.float32).reshape(3, 1, 1)


def network(
    path: Path, chain: list[tuple[str, object]], shape: tuple[object, ...] = ("N", 3, 8, 8)
) -> Path:
    """`x` through a chain of (operator, constant), or a BatchNormalization's four, to a Relu."""
    nodes, constants, at = [], [], "x"
    for i, (op, value) in enumerate(chain):
        several = value if isinstance(value, list) else [] if value is None else [value]
        names = [f"c{i}.{k}" for k in range(len(several))]
        pairs = zip(names, several, strict=True)
        constants += [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in pairs]
        swapped = op == "RSub"
        inputs = [*names, at] if swapped else [at, *names]
        nodes.append(helper.make_node("Sub" if swapped else op, inputs, [f"t{i}"], f"n{i}"))
        at = f"t{i}"
    nodes.append(helper.make_node("Relu", [at], ["y"], "relu"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.mark.parametrize(
    ("chain", "mean", "deviation"),
    [
        ([("Div", 255.0)], 0, 255),
        ([("Sub", 127.5), ("Mul", 1 / 128)], 127.5, 128),
        ([("Identity", None), ("Mul", 2 / 255), ("Add", -1)], 127.5, 127.5),
        ([("Mul", 255), ("RSub", 51)], 0.2, 1 / 255),
        ([("Sub", MEANS), ("Div", 0.25)], MEANS, 0.25),
        ([("BatchNormalization", [[9, 9, 9], [7, 7, 7], [1, 2, 3], [4, 4, 4]])], (1, 2, 3), 2),
    ],
)
def test_what_comes_to_zero_and_one_is_known(
    tmp_path: Path, chain: list[tuple[str, object]], mean: object, deviation: float
) -> None:
    (port,) = read_graph(network(tmp_path / "t.onnx", chain)).inputs

    assert port.normal is not None
    np.testing.assert_allclose(port.normal.mean.reshape(-1), np.ravel(mean), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(port.normal.deviation, deviation, rtol=1e-5)


@pytest.mark.parametrize(
    "chain", [[], [("Relu", None)], [("Mul", 0)], [("Div", 0)], [("Identity", None)]]
)
def test_what_is_not_normalised_tells_nothing(
    tmp_path: Path, chain: list[tuple[str, object]]
) -> None:
    assert read_graph(network(tmp_path / "t.onnx", chain)).inputs[0].normal is None


@pytest.mark.parametrize(
    ("chain", "low", "high"),
    [
        ([("Div", 255.0)], 0, 255),
        ([("Sub", [np.full((3, 1, 1), 110.0)])], 0, 255),
        ([("Mul", 255.0), ("Sub", 120.0)], 0, 1),
    ],
)
def test_pictures_are_bytes_or_from_zero_to_one(
    tmp_path: Path, chain: list[tuple[str, object]], low: float, high: float
) -> None:
    ports = read_graph(network(tmp_path / "t.onnx", chain)).inputs
    drawn = random_samples(ports, 6, 0).arrays["x"]

    assert drawn.dtype == np.float32
    assert np.allclose(drawn.min((1, 2, 3)), low)
    assert np.allclose(drawn.max((1, 2, 3)), high)


def test_columns_of_a_table_have_their_own_mean_and_deviation(tmp_path: Path) -> None:
    norm = [("BatchNormalization", [[1, 1], [0, 0], [40, 5e4], [100, 1e8]])]
    (port,) = read_graph(network(tmp_path / "t.onnx", norm, ("N", 2))).inputs
    drawn = random_samples((port,), 4000, 0).arrays["x"]

    np.testing.assert_allclose(drawn.mean(0), [40, 5e4], rtol=0.02)
    np.testing.assert_allclose(drawn.std(0), [10, 1e4], rtol=0.05)


@pytest.mark.parametrize("deviation", [0.01, 40.0, 1e5])
def test_what_training_has_measured_is_believed(tmp_path: Path, deviation: float) -> None:
    norm = [("BatchNormalization", [[1] * 3, [0] * 3, [deviation] * 3, [deviation**2] * 3])]
    (port,) = read_graph(network(tmp_path / "t.onnx", norm)).inputs
    drawn = random_samples((port,), 300, 0).arrays["x"]

    assert abs(drawn.mean() / deviation - 1) < 0.1
    assert abs(drawn.std() / deviation - 1) < 0.1


def test_a_signal_that_is_made_whole_numbers_is_left_as_signals_are(tmp_path: Path) -> None:
    chain = [("Mul", 32768.0)]
    plain = read_graph(network(tmp_path / "p.onnx", [])).inputs
    scaled = read_graph(network(tmp_path / "t.onnx", chain)).inputs

    one, other = (random_samples(ports, 6, 0).arrays["x"] for ports in (plain, scaled))
    np.testing.assert_array_equal(one, other)


def test_noise_of_pictures_follows_what_is_taken_off(tmp_path: Path) -> None:
    chain = [("Sub", MEANS), ("Div", 0.25)]
    (port,) = read_graph(network(tmp_path / "t.onnx", chain)).inputs
    drawn = random_samples((port,), 300, 0).arrays["x"]

    np.testing.assert_allclose(drawn[1::3].mean((0, 2, 3)), MEANS.reshape(-1), atol=0.02)
    np.testing.assert_allclose(drawn[1::3].std((0, 2, 3)), 0.25, rtol=0.05)
    assert (drawn[2::3].min(), drawn[2::3].max()) == (0, 1)


@pytest.mark.parametrize(
    ("kept", "output", "batch"),
    [([1, 5, 4], "float[1,5,4] y", 1), ([1, -1, 4], "float y", 1), ([-1, 5, 4], "float y", None)],
)
def test_a_batch_of_1_that_an_exporter_has_kept_within_is_what_is_run(
    tmp_path: Path, kept: list[int], output: str, batch: int | None
) -> None:
    """The ticket's input is declared as the target's all the same."""
    model = model_of(
        f"(float[N,5,3] x) => ({output}) {{ h = MatMul(x, w)\n y = Reshape(h, kept) }}",
        w=np.ones((3, 4)),
        kept=kept,
    )

    ports = target_of(model, tmp_path).inputs
    assert fixed_batch(ports) == batch
    assert ports[0].shape == ("N", 5, 3)
