"""A network that is run again from the first part that has changed: as if it were run whole."""

from collections.abc import Mapping

import numpy as np
import pytest
from paths import MODELS

from lt_onnx.construct.fed_target import FedTarget, Layer
from lt_onnx.construct.parted_run import Part, PartedRun
from lt_onnx.planning.sizes import PARTS
from lt_onnx.reading.lowering import read_target
from lt_onnx.runtime import Program
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.target import Node, Target


@pytest.fixture
def target() -> Target:
    return read_target(MODELS / "deep.onnx")


def fed_target(target: Target) -> FedTarget:
    feeds = random_samples(target.inputs, 6, 0).batches(target.inputs, 4)
    return FedTarget(target, feeds, [port.name for port in target.outputs])


def test_kept_layers_change_nothing_but_the_time(target: Target) -> None:
    rng = np.random.default_rng(0)
    replaced = {
        layer.name: Layer(
            layer.weight * rng.uniform(0.9, 1.1, layer.weight.shape).astype(np.float32), layer.bias
        )
        for layer in target.linears
    }
    names = list(replaced)
    fed = fed_target(target)
    assert len(names) > PARTS

    def check(own: Mapping[str, Layer]) -> None:
        whole = fed_target(target).values(own)
        assert not np.array_equal(whole[0], fed.clean()[0])
        np.testing.assert_array_equal(fed.values(own)[0], whole[0])

    for count in (1, 2, len(names) // 2, len(names)):  # built one after the other …
        some = {name: replaced[name] for name in names[:count]}
        fed.errors_elsewhere(some)
        check(some)
        check({**some, names[0]: Layer(replaced[names[0]].weight * 2, some[names[0]].bias)})
        check({names[-1]: replaced[names[-1]]})  # … and taken back
    np.testing.assert_array_equal(fed.values({})[0], fed.clean()[0])


def test_parts_before_the_change_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        Node("Add", name, (read, f"{name}/b"), (name,))
        for read, name in (("x", "one"), ("one", "two"), ("two", "three"))
    ]
    zero = np.zeros(1, np.float32)
    parts = [Part([node], {node.inputs[1]: zero}, [node.name]) for node in nodes]
    ran = list[str]()
    call = Program.__call__

    def noted(self: Program, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        ran.append(self._nodes[0].name)
        return call(self, feeds)

    monkeypatch.setattr(Program, "__call__", noted)
    feeds = [{"x": np.arange(4, dtype=np.float32)}]
    run = PartedRun(parts, feeds, constants={}, outputs=["one", "three"], opsets={"": 17})
    run.run({}, first=0, keep=True)
    ran.clear()

    ((one, three),) = run.run({"two/b": zero + 5}, first=1)
    assert ran == ["two", "three"]
    np.testing.assert_array_equal(one, feeds[0]["x"])
    np.testing.assert_array_equal(three, feeds[0]["x"] + 5)
    ((_, three),) = run.run({"three/b": zero + 1}, first=2)  # the 5 was not kept
    np.testing.assert_array_equal(three, feeds[0]["x"] + 1)


def test_a_part_of_which_nothing_is_read_is_left_out() -> None:
    nodes = [Node("Relu", "one", ("x",), ("one",)), Node("Abs", "idle", ("x",), ("idle",))]
    parts = [Part([node]) for node in nodes]
    feeds = [{"x": np.float32([-1, 2])}]
    run = PartedRun(parts, feeds, constants={}, outputs=["one"], opsets={"": 17})

    ((one,),) = run.run({}, first=0, keep=True)
    np.testing.assert_array_equal(one, [0, 2])
