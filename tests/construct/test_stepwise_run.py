"""A network run step by step computes the same, and holds no tensor longer than needed."""

import time
import weakref
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from lt_onnx.construct import stepwise_run
from lt_onnx.construct.stepwise_run import Made, StepwiseRun, taken
from lt_onnx.errors import InputError
from lt_onnx.runtime import Program
from lt_onnx.target import Array, Indices, Node

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


def test_a_wide_tensor_is_made_when_it_is_read_and_what_is_made_of_it_too() -> None:
    run, held = started(), started()
    run.values["r"] = run.made(STEPS[:1], {}, output="r", values=run.values)
    for step in STEPS[:1]:
        held.run([step], {}, output="r")
    for step in STEPS[1:3]:
        assert isinstance(run.run([step], {}, output=step.outputs[0]), Made)
        held.run([step], {}, output=step.outputs[0])

    made = run.values["y"]
    np.testing.assert_array_equal(list(made), held.values["y"])
    np.testing.assert_array_equal(made[-1], held.values["y"][1])
    np.testing.assert_array_equal(list(made[1:]), held.values["y"][1:])
    with pytest.raises(IndexError):
        made[2]
    run.run(STEPS[3:], {}, output="u")  # of several outputs all are held
    np.testing.assert_array_equal(run.values["v"], [v[:, 2:] for v in held.values["y"]])


def test_some_channels_of_a_wide_tensor_are_made_without_the_others() -> None:
    asked, whole = list[list[int]](), Made(2, lambda b: X[b])

    def some(places: Indices) -> Made[Array]:
        asked.append(places.tolist())
        return Made(2, lambda b: X[b][:, places])

    for x in (X, whole, replace(whole, some=some)):
        np.testing.assert_array_equal(list(taken(x, np.array([2, 0]), 1)), np.array(X)[..., [2, 0]])
    assert asked == [[2, 0]]


def test_what_is_too_large_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepwise_run, "MAX_SHARED_NUMBERS", 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    run, there, most = started(), [0], [0]
    made = run.made(STEPS[:1], {}, output="r", values=run.values)
    made = replace(made, numbers=made[0].size)
    assert isinstance(made, Made)
    assert made.alone

    def look(b: int) -> Array:
        there[0] += 1
        most[0] = max(most[0], there[0])
        time.sleep(0.01)
        there[0] -= 1
        return made[b % 2]

    feeds = Made(8, lambda b: {"r": look(b)}, made.numbers)
    program = Program(
        [STEPS[1]], feeds[0], constants=run.constants, outputs=["s"], opsets=run.opsets
    )
    assert len(program.map(feeds)) == 8
    assert most == [1]


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


def test_a_tensor_that_is_read_last_is_freed_batch_by_batch() -> None:
    run = started()
    run.run(STEPS[:1], {}, output="r", release=True)
    run.drop(STEPS[:1])
    there = [weakref.ref(batch) for batch in run.values["r"]]
    run.run(STEPS[1:2], {}, output="s", release=True)
    assert "r" in run.values  # it is read again
    run.drop(STEPS[1:2])
    left = list[int]()

    class Watched(Program):
        def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
            left.append(sum(batch() is not None for batch in there))
            return super().__call__(feeds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(stepwise_run, "Program", Watched)
        out = run.run(STEPS[2:3], {}, output="y", release=True)

    assert left == [2, 1]
    np.testing.assert_array_equal(out, [np.maximum(v, 0) * (np.maximum(v, 0) + 2) for v in X])
    assert X[0].size  # what others hold is not touched
