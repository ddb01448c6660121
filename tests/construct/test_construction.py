"""The whole construction of a small network: order, other scales, and layers that were saved."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from graphs import Builder, save

from lt_onnx import convert
from lt_onnx.blueprint import Blueprint
from lt_onnx.construct import layer_task, row_solver
from lt_onnx.construct.construction import construct
from lt_onnx.construct.results import BuiltLayer, MaskedRows, SavedLayer
from lt_onnx.errors import InputError
from lt_onnx.options import Device, Init, Mode, Options, Select
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.samples import Samples

MODEL = Path(__file__).parent.parent.parent / "models" / "plain-leakyrelu.onnx"
Piece = MaskedRows | BuiltLayer


def planned(**words: object) -> Blueprint:
    return plan(read_target(MODEL), Options(base_size=4, **words))  # type: ignore[arg-type]


def inputs(blueprint: Blueprint, scale: float = 1) -> Samples:
    (port,) = blueprint.target.inputs
    shape = (3, *(size for size in port.shape[1:] if isinstance(size, int)))
    values = scale * np.random.default_rng(0).normal(size=shape)
    return Samples({port.name: values.astype(np.float32)}, None, "drawn")


def digest(pieces: Iterator[Piece]) -> list[tuple[object, ...]]:
    """Everything that comes out, comparable."""
    lines: list[tuple[object, ...]] = []
    for piece in pieces:
        if isinstance(piece, MaskedRows):
            lines.append((piece.step.name, piece.start, piece.weight.tobytes()))
        else:
            arrays = (piece.bias, piece.scale, piece.offset, *piece.tensors.values())
            content = [None if array is None else array.tobytes() for array in arrays]
            lines.append((piece.step.name, piece.stats, *content))
    return lines


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_task, "BLOCK_WEIGHTS", 1 << 12)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.usefixtures("small_blocks")
def test_rows_come_in_order_and_their_layer_after_them(mode: Mode) -> None:
    blueprint = planned(mode=mode)
    steps = iter(step for step in blueprint.steps if hasattr(step, "source"))
    stop = 0
    for piece in construct(blueprint, inputs(blueprint)):
        if isinstance(piece, MaskedRows):
            assert piece.start == stop
            stop += len(piece.weight)
        else:
            assert piece.step is next(steps)
            assert stop == piece.step.source.shape[0]
            stop = 0
    assert next(steps, None) is None


@pytest.mark.usefixtures("small_blocks")
def test_rows_do_not_depend_on_how_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    blueprint = planned()
    whole = digest(construct(blueprint, inputs(blueprint)))
    monkeypatch.setitem(row_solver.CHUNK_WEIGHTS, Device.CPU, 1 << 13)

    assert max(layer.size for layer in blueprint.layers) > 2 << 13
    assert digest(construct(blueprint, inputs(blueprint))) == whole


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.usefixtures("small_blocks")
def test_saved_layers_are_repeated_and_what_follows_is_built_as_before(mode: Mode) -> None:
    blueprint = planned(mode=mode)
    pieces = list(construct(blueprint, inputs(blueprint)))
    saved = {}
    masks: dict[int, tuple[tuple[int, ...], bytes]] = {}
    ends = [i for i, piece in enumerate(pieces) if isinstance(piece, BuiltLayer)]
    for piece in pieces[: ends[-2] + 1]:
        if isinstance(piece, MaskedRows):
            masks[piece.start] = piece.weight.shape, np.packbits(piece.weight != 0).tobytes()
        else:
            if piece.scale is not None and piece.offset is not None:
                name = piece.step.name
                saved[name] = SavedLayer(masks, piece.scale, piece.offset, piece.stats)
            masks = {}
    repeated = construct(blueprint, inputs(blueprint), saved=saved)

    assert saved
    assert digest(repeated) == digest(iter(pieces))


def test_masks_do_not_depend_on_the_sources_scale() -> None:
    unit, kaiming = (planned(init=init, select=Select.BEST) for init in (Init.UNIT, Init.KAIMING))
    pairs = zip(*(construct(b, inputs(b)) for b in (unit, kaiming)), strict=True)
    for plain, scaled in pairs:
        sigma = scaled.step.source.sigma(Init.KAIMING)
        if isinstance(plain, MaskedRows) and isinstance(scaled, MaskedRows):
            np.testing.assert_array_equal(plain.weight * sigma, scaled.weight)
        elif isinstance(plain, BuiltLayer) and isinstance(scaled, BuiltLayer):
            scale = scaled.tensors[scaled.step.scale] * sigma
            np.testing.assert_allclose(plain.tensors[plain.step.scale], scale, rtol=1e-6)


def test_inputs_past_float32_name_the_layer() -> None:
    blueprint = planned()

    with (
        np.errstate(over="ignore"),
        pytest.raises(InputError, match=r"layer '.*': its weights, or what comes to them, are too"),
    ):
        list(construct(blueprint, inputs(blueprint, 1e25)))


def test_inputs_of_which_the_target_makes_nothing_finite_name_the_place() -> None:
    blueprint = planned()

    with pytest.raises(InputError, match=r"tensor 'image': the target makes numbers of these"):
        list(construct(blueprint, inputs(blueprint, np.nan)))


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("seed", [0, 1])
def test_layers_without_biases_keep_the_promise(tmp_path: Path, mode: str, seed: int) -> None:
    """Nothing takes the mean of their errors away, and behind a Relu that is much of them."""
    b, x, channels = Builder(seed), "x", 3
    for width in (12, 16):
        x = b("Relu", b.conv(x, channels, width, bias=0, pads=[1] * 4))
        channels = width
    pooled = b("Flatten", b("GlobalAveragePool", x))
    y = b("MatMul", pooled, b.constant(b.weight(10, 16).T))
    target = save(b.model(y, ("N", 3, 16, 16)), tmp_path)
    ticket = convert(target, tmp_path / "t.onnx", mode=mode)

    (out,) = ticket.report.fidelity.outputs  # type: ignore[union-attr]
    assert out.variation_db > 35  # built to 38
