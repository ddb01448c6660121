"""A network run step by step computes the same, and holds no tensor longer than needed."""

import numpy as np
import pytest

from lt_onnx.construct.stepwise_run import StepwiseRun
from lt_onnx.errors import InputError
from lt_onnx.target import Node

STEPS = [
    Node("Relu", "a", ("x",), ("r",)),
    Node("Add", "b", ("r", "two"), ("s",)),
    Node("Mul", "c", ("s", "r"), ("y",)),
    Node("Split", "d", ("y",), ("u", "v"), {"axis": 1}),
]
X = [np.array([[-1, 2, 3, -4]], np.float32), np.array([[5, 6, -7, 8]], np.float32)]


def started() -> StepwiseRun:
    constants = {"two": np.array(2, np.float32)}
    return StepwiseRun({"x": X}, STEPS, opsets={"": 13}, constants=constants)


def test_every_batch_goes_through_every_step() -> None:
    run = started()
    for step in STEPS[:-1]:
        out = run.run([step], {}, output=step.outputs[0])
    expected = [np.maximum(v, 0) * (np.maximum(v, 0) + 2) for v in X]

    np.testing.assert_array_equal(out, expected)
    run.run(STEPS[3:], {}, output="u")
    np.testing.assert_array_equal(run.values["v"], [v[:, 2:] for v in expected])


def test_several_nodes_are_one_step_with_constants_of_its_own() -> None:
    three = {"two": np.array(3, np.float32)}
    out = started().run(STEPS[:3], three, output="y")

    np.testing.assert_array_equal(out[0], [[0, 10, 18, 0]])


def test_a_tensor_is_freed_when_its_last_reader_is_done() -> None:
    run = started()
    held = []
    for step in STEPS[:3]:
        run.run([step], {}, output=step.outputs[0])
        run.drop([step])
        held.append(sorted(run.values))

    assert held == [["r"], ["r", "s"], ["y"]]


def test_nodes_that_read_nothing_computed_are_refused() -> None:
    with pytest.raises(InputError, match=r"node 'b' \(Add\) reads no tensor"):
        started().run([STEPS[1]], {}, output="s")
