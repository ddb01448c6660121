"""A univariate layer: who serves whom, at which scale, and who becomes a constant."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lt_onnx.blueprint import Expand
from lt_onnx.construct.constants import SIZES, Response
from lt_onnx.construct.univariate import (
    MARGIN,
    SPLIT_MARGIN,
    UNSERVED,
    Neurons,
    assign,
    expand,
    order,
)
from lt_onnx.errors import LostConstantsError
from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.ops.activation_fit import LocalModel, Use
from lt_onnx.options import Options, Select, Sigma
from lt_onnx.runtime import evaluate
from lt_onnx.source.layer import SourceLayer, draw_bias, draw_rows
from lt_onnx.target import Array, Floats, Node

RELU = LocalModel(Use.SPLIT, 1, 0, 0, np.inf, 0)
GELU = LocalModel(Use.SPLIT, 1, 0, 0, 8.0, 0)
TANH = LocalModel(Use.ODD, 1, 1, 0, 0.25, 0)
H = np.concatenate([2.0 ** np.arange(-8, 9), -(2.0 ** np.arange(-8, 9))]).astype(np.float32)
RELU_RESPONSE = Response(H, np.maximum(H, 0))
X = [np.random.default_rng(0).normal(size=(n, 3, 4, 4)).astype(np.float32) for n in (2, 3)]


def make_step(model: LocalModel = RELU, *, spare: int = 9, m: int = 2, **changes: Any) -> Expand:
    """3 channels in neurons of either sign, m each (ODD: one sign), and 4 constants."""
    signs = [1, -1] if model.use is Use.SPLIT else [1]
    slots = np.array([(c, s) for c in range(3) for s in signs for _ in range(m)])
    count = len(slots)
    channel = np.append(slots[:, 0], [CONSTANT] * 4).astype(np.int32)
    copy = np.append(np.arange(count), np.arange(4)).astype(np.int32)
    part = np.append(slots[:, 1], [0] * 4).astype(np.int32)
    step = Expand(
        name="open",
        tensor="x",
        source=SourceLayer("w", 1, (count + spare, 3, 1, 1), bias=True),
        input="x",
        in_layout=None,
        output="u",
        out_layout=Layout(1, 3, channel, copy, part),
        channels=3,
        neurons=m,
        slots=slots,
        group=1,
        constants=4,
        model=model,
        nonnegative=False,
        nodes=(Node("Conv", "open", ("x", "w"), ("s",)),),
        scale="scale",
        order="order",
    )
    return replace(step, **changes)


def drawn(step: Expand) -> Floats:
    unit = draw_rows(0, step.source, start=0, stop=step.source.shape[0])
    return unit.reshape(len(unit), -1)


EVERY = np.arange(3)


def test_every_slot_has_a_neuron_of_its_own_and_of_its_sign() -> None:
    step = make_step(spare=20)
    unit = drawn(step)
    rows = assign(step, unit, EVERY)

    assert len(set(rows.tolist())) == 12
    for row, (channel, part) in zip(rows, step.slots, strict=True):
        assert np.sign(unit[row, channel]) == part


def test_the_strongest_neuron_takes_the_channel_where_its_weight_is_largest() -> None:
    step = make_step(spare=20)
    unit = drawn(step)
    row, channel = np.unravel_index(np.abs(unit).argmax(), unit.shape)

    slot = assign(step, unit, EVERY).tolist().index(row)
    assert step.slots[slot].tolist() == [channel, np.sign(unit[row, channel])]


def test_slots_stay_unserved_where_neurons_are_few_or_channels_absent() -> None:
    step = make_step()
    unit = drawn(step)
    few = assign(step, unit[:5], EVERY)
    absent = assign(step, unit, np.array([0, -1, 2]))

    assert (few == UNSERVED).sum() == 12 - 5
    assert set(absent[step.slots[:, 0] == 1]) == {UNSERVED}
    assert UNSERVED not in absent[step.slots[:, 0] != 1]


def test_neurons_of_one_sign_are_not_chosen() -> None:
    step = make_step(TANH)

    assert assign(step, drawn(step), EVERY).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_order_is_slots_then_constants() -> None:
    step = make_step()
    rows = np.arange(12)[::-1].copy()
    rows[3] = UNSERVED
    places = order(step, rows, constants=np.array([20, 19]))

    assert places.tolist() == [11, 10, 9, 0, *range(7, -1, -1), 20, 19, 19, 19]


def test_mirror_images_follow_their_neurons() -> None:
    step = make_step(TANH, m=1)
    layout = step.out_layout
    channel = np.array([0, 1, 2, -2, -2, -2, CONSTANT], np.int32)
    copy = np.array([0, 1, 2, 0, 1, 2, 0], np.int32)
    out = replace(layout, channel=channel, copy=copy, part=np.zeros(7, np.int32), mirror=3)
    mirrored = replace(step, out_layout=out, source=replace(step.source, mirror_rows=5))

    places = order(mirrored, np.array([2, 0, 1]), constants=np.array([11]))
    assert places.tolist() == [2, 0, 1, 7, 5, 6, 11]


def test_a_neuron_hands_on_its_channel_times_its_gain() -> None:
    step = make_step(spare=20)
    rows, layer, gains = expand(step, Options(), x=X, response=RELU_RESPONSE)
    neuron = layer.tensors["order"][:12]
    weight, scale = rows.weight, layer.tensors["scale"].reshape(-1)
    unit = drawn(step)

    assert rows.start == 0
    np.testing.assert_array_equal(weight[weight != 0], unit[weight != 0])
    assert ((weight != 0).sum(1)[neuron] == 1).all()
    for slot, (channel, part) in enumerate(step.slots):
        applied = scale[neuron[slot]] * weight[neuron[slot], channel]
        assert part * gains[slot] == pytest.approx(applied, rel=1e-6)
    np.testing.assert_allclose(gains, 1, rtol=1e-6)


def test_scales_keep_the_loudest_inputs_where_the_activation_is_linear() -> None:
    peak = np.abs(np.concatenate(X)).max((0, 2, 3))
    options = Options()
    split = expand(make_step(GELU), options, x=X, response=RELU_RESPONSE)[2]
    odd = expand(make_step(TANH), options, x=X, response=RELU_RESPONSE)[2]

    np.testing.assert_allclose(split, GELU.reach / (SPLIT_MARGIN * peak.max()), rtol=1e-6)
    np.testing.assert_allclose(np.abs(odd), TANH.reach / (MARGIN * peak.max()), rtol=1e-6)


def test_one_sigma_per_layer_is_the_scale_that_all_neurons_bear() -> None:
    step = make_step(TANH)
    options = Options(sigma=Sigma.LAYER, select=Select.BEST)
    layer = expand(step, options, x=X, response=RELU_RESPONSE)[1]
    scale = layer.tensors["scale"].reshape(-1)[layer.tensors["order"]]
    loudest = np.abs(np.concatenate(X)).max()

    np.testing.assert_allclose(scale[:6], TANH.reach / (MARGIN * loudest), rtol=1e-6)
    assert len(set(scale[6:])) == 1


def test_spare_neurons_become_constants_of_the_sizes_wanted() -> None:
    step = make_step(spare=20)
    rows, layer, gains = expand(step, Options(), x=X, response=RELU_RESPONSE)
    neuron = layer.tensors["order"][12:]
    bias = draw_bias(0, step.source)

    assert not rows.weight[neuron].any()
    assert layer.bias is not None
    assert sorted(np.flatnonzero(layer.bias)) == sorted(neuron)
    np.testing.assert_array_equal(layer.bias[neuron], bias[neuron])
    made = layer.bias[neuron] * layer.tensors["scale"].reshape(-1)[neuron]
    np.testing.assert_allclose(made, SIZES[:4] * gains.max(), rtol=0.5)  # φ by powers of two
    assert (made > 0).all()
    assert layer.stats.kept == 12 + 4


def later(constants: int) -> tuple[Expand, list[Floats]]:
    """A block behind others: inputs have copies, and constants that it must listen to."""
    channel = np.array([2, 0, 1, *[CONSTANT] * constants], np.int32)
    numbers = np.array([0, 0, 0, *range(constants)], np.int32)
    layout = Layout(1, 3, channel, numbers, np.zeros_like(channel))
    source = SourceLayer("w", 1, (40, 3 + constants, 1, 1))
    x = [np.concatenate([v, np.full_like(v[:, :constants], 3)], 1) for v in X]
    return make_step(in_layout=layout, source=source), x


def test_later_constants_listen_to_a_constant() -> None:
    step, x = later(2)
    rows, layer, _ = expand(step, Options(), x=x, response=RELU_RESPONSE)
    neuron = layer.tensors["order"][12:]

    assert layer.bias is None
    assert ((rows.weight[neuron] != 0).sum(1) == 1).all()
    assert (rows.weight[neuron, 3:] != 0).any(1).all()
    for slot, channel in enumerate(step.slots[:, 0]):
        assert rows.weight[layer.tensors["order"][slot], [1, 2, 0][channel]] != 0


def test_a_block_that_finds_no_constant_says_which_tensor_lost_them() -> None:
    step, x = later(0)

    with pytest.raises(LostConstantsError) as lost:
        expand(step, Options(), x=x, response=RELU_RESPONSE)
    assert lost.value.tensor == "x"


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_a_selection_is_the_product_to_the_bit(op: str, inside: bool) -> None:
    """`inside`: with a bias, which of a MatMul another node adds."""
    step = make_step(spare=20)
    rows, layer, _ = expand(step, Options(), x=X, response=RELU_RESPONSE)
    weight, x, bias = rows.weight, X[0], layer.bias if inside else None
    assert layer.bias is not None
    given = ("w", "w/bias") if inside else ("w",)
    tensors: dict[str, Array] = {"w/bias": layer.bias}
    if op == "Conv":
        nodes = [Node("Conv", "open", ("x", *given), ("s",))]
        tensors["w"] = weight[:, :, None, None]
    else:
        x = np.moveaxis(x, 1, -1)
        nodes = [Node("MatMul", "open", ("x", "w"), ("p" if inside else "s",))]
        nodes += [Node("Add", "add", ("p", "w/bias"), ("s",))] if inside else []
        tensors["w"] = np.ascontiguousarray(weight.T)
        step = replace(step, out_layout=replace(step.out_layout, axis=3))
    step = replace(step, nodes=tuple(nodes))

    def made(nodes: list[Node], constants: dict[str, Array]) -> Array:
        run = evaluate(nodes, {"x": x}, constants=constants, outputs=["s"], opsets={"": 13})
        return run[0]

    neurons = Neurons.of(replace(rows, step=step), replace(layer, bias=bias))
    whole, order = made(nodes, tensors), layer.tensors[step.order]
    for places in (np.arange(len(order)), np.array([5, 0, 7])):
        some = made(*neurons.nodes(places))
        own = np.take(whole, np.unique(order[places]), step.out_layout.axis)
        np.testing.assert_array_equal(some, own)
