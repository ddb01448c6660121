"""The plan of a whole network: who is one-for-one, what is kept, and that it is all there."""

from pathlib import Path

import pytest
from graphs import Builder, save

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.options import Mode, Options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.target import Target

MODES = pytest.mark.parametrize("mode", list(Mode))


def chain(folder: Path, layers: int = 3) -> Target:
    """Convolutions with a Relu between each."""
    b = Builder()
    x = b.conv("x", 3, 4, pads=[1] * 4)
    for _ in range(layers - 1):
        x = b.conv(b("Relu", x), 4, 4, pads=[1] * 4)
    return read_target(save(b.model(x), folder))


def kinds(blueprint: Blueprint) -> list[str]:
    names = {Run: "run", Expand: "expand"}
    return [
        names.get(type(step)) or ("one" if isinstance(step, Build) and step.one_for_one else "two")
        for step in blueprint.steps
    ]


def test_in_2l_every_layer_has_its_block(tmp_path: Path) -> None:
    made = kinds(plan(chain(tmp_path), Options(mode=Mode.TWO_L)))

    assert made == ["expand", "two", "run", "expand", "two", "run", "expand", "two"]


def test_in_l_plus_1_the_first_layer_and_the_last_have(tmp_path: Path) -> None:
    made = kinds(plan(chain(tmp_path, 4), Options(mode=Mode.L_PLUS_1)))

    assert made == ["expand", "two", "run", "one", "run", "one", "run", "expand", "two"]


@MODES
def test_every_tensor_that_is_read_is_made_before(tmp_path: Path, mode: Mode) -> None:
    target = chain(tmp_path)
    blueprint = plan(target, Options(mode=mode))
    there = {port.name for port in target.inputs} | set(blueprint.constants)
    for step in blueprint.steps:
        if not isinstance(step, Run):
            there |= {step.source.name, step.scale, f"{step.source.name}/bias"}
        if isinstance(step, Expand):
            there.add(step.order)
        for node in step.nodes:
            assert {name for name in node.inputs if name} <= there
            there.update(node.outputs)

    assert {port.name for port in target.outputs} <= there


@MODES
def test_source_layers_are_numbered_in_order(tmp_path: Path, mode: Mode) -> None:
    blueprint = plan(chain(tmp_path), Options(mode=mode))

    assert [layer.index for layer in blueprint.layers] == list(range(len(blueprint.layers)))


def test_what_nothing_reads_is_dropped_and_not_numbered(tmp_path: Path) -> None:
    b = Builder()
    x = b("Relu", b.conv("x", 3, 4))
    b("Tanh", b.conv(x, 4, 7))
    target = read_target(save(b.model(b.conv(x, 4, 2)), tmp_path))
    blueprint = plan(target, Options())

    assert [layer.index for layer in blueprint.layers] == list(range(len(blueprint.layers)))
    assert "Tanh" not in {node.op for step in blueprint.steps for node in step.nodes}


@MODES
def test_the_same_options_give_the_same_plan(tmp_path: Path, mode: Mode) -> None:
    target = chain(tmp_path)
    first, again = (plan(target, Options(mode=mode)) for _ in range(2))

    assert [s.nodes for s in first.steps] == [s.nodes for s in again.steps]
    assert list(first.constants) == list(again.constants)


def test_a_layer_behind_lost_constants_opens_a_block_of_its_own(tmp_path: Path) -> None:
    target = chain(tmp_path, 4)
    lost = frozenset([target.linears[1].input])
    blueprint = plan(target, Options(), constants_lost=lost)
    biased = [step.source.bias for step in blueprint.steps if isinstance(step, Expand)]

    assert kinds(blueprint)[:8] == ["expand", "two", "run", "run", "expand", "two", "run", "one"]
    assert biased == [True, True, False]
    assert blueprint.constants_lost == lost


@MODES
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_a_tensor_of_two_kinds_of_layers_opens_two_blocks(
    tmp_path: Path, mode: Mode, bias: float
) -> None:
    """A MatMul has its channels on the last axis, a Conv on the second."""
    b = Builder()
    x = b("Relu", "x")
    y = b("MatMul", x, b.constant(b.weight(8, 5)))
    y = b("Add", y, b.constant(b.weight(5))) if bias else y
    target = read_target(save(b.model([y, b.conv(x, 8, 4, bias=bias)], (2, 8, 8, 8)), tmp_path))
    blocks = [step for step in plan(target, Options(mode=mode)).steps if isinstance(step, Expand)]

    assert {block.out_layout.axis for block in blocks} == {1, 3}
