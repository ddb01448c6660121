"""How far copies come apart and what that costs: by hand, and as a real ticket has it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import paths
import pytest

from lt_onnx import convert
from lt_onnx.blueprint import Build
from lt_onnx.budget.deviation import Deviations
from lt_onnx.construct.stepwise_run import StepwiseRun
from lt_onnx.options import Mode, Options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.target import Array, Linear, Node

COUNTS = (4, 8)


def ran(*nodes: Node, **values: Array) -> StepwiseRun:
    """`nodes` run on `values`, which stay."""
    run = StepwiseRun({n: [v] for n, v in values.items()}, nodes, opsets={"": 17}, constants={})
    for node in nodes:
        run.run([node], {}, output=node.outputs[0])
    return run


def layer(name: str, x: str, y: str) -> Linear:
    return Linear(name, "Conv", x, y, np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32))


def read(known: Deviations, step: Linear, *, handed: float, copied: bool = True) -> list[float]:
    known.add_layer(step)
    own = np.array([0.1, 0.01])
    return known.add_reading(step, own=own, handed=handed, copied=copied).tolist()


def test_what_copies_have_apart_goes_on_from_layer_to_layer() -> None:
    known = Deviations(COUNTS)
    known.add_layer(layer("first", "x", "a"))
    floors = read(known, layer("second", "a", "b"), handed=5.0)
    assert floors == pytest.approx([0.1 / 4, 0.01 / 8])
    floors = read(known, layer("third", "b", "c"), handed=0.5)
    assert known.of("c") == pytest.approx([0.15, 0.015])
    assert floors == pytest.approx([0.15 / 4, 0.015 / 8])
    # one copy is all that the last layer puts out: nothing is averaged, and nothing apart any more
    floors = read(known, layer("last", "c", "d"), handed=1.0, copied=False)
    assert floors == pytest.approx([0.1 + 0.15, 0.01 + 0.015])
    assert known.of("d") == pytest.approx([0, 0])
    assert known.readers == {
        "first": ["second"],
        "second": ["third"],
        "third": ["last"],
        "last": [],
    }


@pytest.mark.parametrize(
    ("op", "share"), [("Add", 0.5), ("Concat", 0.5), ("Mul", 1.0), ("Relu", 1.47)]
)
def test_steps_hand_on_what_they_make_of_it(op: str, share: float) -> None:
    """A clean skip halves it and a clean factor does not; without its negative half more is left.

    Of a normal variable ReLU leaves half the deviation, and 0.34 of the variance.
    """
    known, rng = Deviations(COUNTS), np.random.default_rng(0)
    read(known, layer("one", "x", "a"), handed=1.0)
    a, b = (rng.standard_normal((500, 8)).astype(np.float32) for _ in range(2))
    attributes = {"axis": 1} if op == "Concat" else {}
    node = Node(op, "n", ("a",) if op == "Relu" else ("a", "b"), ("c",), attributes)
    known.add_node(node, ran(node, a=a, b=b))

    assert known.of("c") == pytest.approx(share * known.of("a"), rel=0.1)


def test_channels_vary_about_means_of_their_own() -> None:
    """Different means of a tensor's channels are no variation that deviation is part of."""
    known, rng = Deviations(COUNTS), np.random.default_rng(0)
    read(known, layer("one", "x", "a"), handed=1.0)
    a, b = (rng.standard_normal((500, 8)).astype(np.float32) for _ in range(2))
    a += 100 * np.arange(8, dtype=np.float32)
    node = Node("Concat", "n", ("a", "b"), ("c",), {"axis": 1})
    known.add_node(node, ran(node, a=a, b=b))

    assert known.of("c") == pytest.approx(0.5 * known.of("a"), rel=0.1)


def test_what_is_infinite_has_no_part_in_it() -> None:
    known = Deviations(COUNTS)
    read(known, layer("one", "x", "a"), handed=1.0)
    a = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    mask = np.where(np.arange(4) == 3, -np.inf, 0).astype(np.float32) * np.ones_like(a)
    node = Node("Add", "masked", ("a", "m"), ("d",))
    known.add_node(node, ran(node, a=a, m=np.nan_to_num(mask, nan=0.0, neginf=-np.inf)))

    assert known.of("d") == pytest.approx(known.of("a"), rel=0.1)


@pytest.mark.parametrize("op", ["ArgMax", "Shape"])
def test_a_step_that_makes_no_floats_hands_nothing_on(op: str) -> None:
    known = Deviations(COUNTS)
    read(known, layer("one", "x", "a"), handed=1.0)
    nodes = Node(op, "n", ("a",), ("c",)), Node("Mul", "m", ("c", "c"), ("d",))
    run = ran(*nodes, a=np.eye(4, dtype=np.float32))
    for node in nodes:
        known.add_node(node, run)

    assert not known.of("c").any()
    assert not known.of("d").any()


def test_of_a_number_without_channels_it_stays_what_it_is() -> None:
    known = Deviations(COUNTS)
    read(known, layer("one", "x", "a"), handed=1.0)
    nodes = (
        Node("ReduceSum", "n", ("a",), ("c",), {"keepdims": 0}),
        Node("Neg", "m", ("c",), ("d",)),
    )
    run = ran(*nodes, a=np.eye(4, dtype=np.float32))
    for node in nodes:
        known.add_node(node, run)

    assert known.of("d").tolist() == known.of("c").tolist()


def test_a_deviation_costs_what_all_layers_behind_make_of_it() -> None:
    known = Deviations(COUNTS)
    known.add_layer(layer("first", "x", "a"))
    read(known, layer("second", "a", "b"), handed=0.5)
    node, ones = Node("Neg", "r", ("b",), ("c",)), np.eye(4, dtype=np.float32)
    known.add_node(node, ran(node, b=ones))
    read(known, layer("third", "c", "d"), handed=0.25)
    read(known, layer("last", "d", "e"), handed=2.0, copied=False)
    felt = {
        name: np.array([s]) for name, s in [("first", 9), ("second", 4), ("third", 2), ("last", 1)]
    }
    found = known.cost(felt, 8)
    assert {name: list(readers) for name, readers in found.items()} == {
        "first": ["second"],
        "second": ["third"],
        "third": ["last"],
        "last": [],
    }
    cost = {name: float(sum(map(np.sum, by.values()))) for name, by in found.items()}
    assert cost["third"] == pytest.approx(2)  # one copy is put out: 2·S
    assert cost["second"] == pytest.approx(0.25 * (2 / 8 + 2))
    assert cost["first"] == pytest.approx(0.5 * (4 / 8 + cost["second"]))


@pytest.mark.parametrize("name", ["depthwise", "residual"])
def test_copies_of_a_ticket_are_as_far_apart_as_its_layers_say(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.onnx"
    inputs = paths.MODELS / "digits.calibration.npz"
    made = convert(
        paths.MODELS / f"{name}.onnx", path, calibration=inputs, validate=False, sqnr=20
    ).report
    options = Options(Mode.L_PLUS_1, sqnr=20, base_size=made.options.base_size)
    blueprint = plan(read_target(paths.MODELS / f"{name}.onnx"), options)
    said = {stats.name: stats.apart for stats in made.layers if stats.apart}
    builds = (step for step in blueprint.steps if isinstance(step, Build))
    steps = [step for step in builds if step.name in said]
    assert len(steps) > 3

    model = onnx.load(path)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(s.output) for s in steps)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: np.load(inputs)["image"][:200]}
    ratios = []
    for step in steps:
        (value,) = session.run([step.output], fed)
        layout = step.out_layout
        places = [layout.find((c, i) for c in range(layout.size)) for i in range(layout.copies)]
        copies = np.stack([np.take(value, own, layout.axis) for own in places], 0)
        off = np.square(copies - copies.mean(0)).mean()
        signal = copies.mean(0)
        axes = tuple(i for i in range(signal.ndim) if i != layout.axis)
        power = np.square(signal - signal.mean(axes, keepdims=True)).mean()
        ratios.append(float(off / power) / said[step.name])
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1, abs=0.5)


def test_what_a_deviation_costs_is_told_by_who_reads_it() -> None:
    known = Deviations(COUNTS)
    read(known, layer("one", "x", "a"), handed=1.0)
    read(known, layer("inner", "a", "b"), handed=0.5)
    node = Node("Add", "r", ("a", "b"), ("c",))
    known.add_node(node, ran(node, a=np.eye(4, dtype=np.float32), b=np.eye(4, dtype=np.float32)))
    read(known, layer("last", "c", "d"), handed=2.0, copied=False)
    cost = known.cost({name: np.ones(1) for name in ("one", "inner", "last")}, 8)

    share = 2.0 * 0.25  # of two alike that are added each deviates by a quarter of the whole
    assert cost["inner"]["last"] == pytest.approx([share], rel=1e-4)
    assert cost["one"]["last"] == pytest.approx([share], rel=1e-4)
    assert cost["one"]["inner"] == pytest.approx([0.5 * (1 / 8 + share)], rel=1e-4)


def test_inputs_may_lie_on_another_axis_and_the_last_batch_have_fewer() -> None:
    rng, node = np.random.default_rng(0), Node("Abs", "abs", ("h",), ("y",))
    batches = [rng.normal(size=(3, count, 4)).astype(np.float32) for count in (8, 5)]
    run = StepwiseRun({"h": batches}, [node], opsets={"": 17}, constants={})
    run.run([node], {}, output="y")
    known = Deviations(COUNTS)
    read(known, layer("l", "x", "h"), handed=0.5)
    known.add_node(node, run)

    assert np.isfinite(known.of("y")).all()
    assert (known.of("y") > 0).all()
