"""Mode `l+k`: copies, and layers between them that open blocks."""

from pathlib import Path

import graphs
import numpy as np
import onnxruntime as ort
import paths
import pytest

from lt_onnx import convert
from lt_onnx.blueprint import Blueprint, Build
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Options, Select
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target


def builds(blueprint: Blueprint) -> dict[str, Build]:
    return {step.name: step for step in blueprint.steps if isinstance(step, Build)}


def test_named_layers_open_a_block_and_what_they_alone_read_has_one_copy() -> None:
    target = read_target(paths.MODELS / "deep.onnx")
    copied = builds(plan(target, Options(base_size=8)))
    inner = [name for name, step in copied.items() if step.one_for_one and step.linear.op == "Conv"]
    name = inner[len(inner) // 2]
    between = builds(plan(target, Options(Mode.L_PLUS_K, 8, base_sizes=((name, 24),))))
    differing = [n for n in copied if copied[n].one_for_one != between[n].one_for_one]

    assert differing == [name]
    assert between[name].base_size == 24
    assert between[name].out_layout.copies == 8
    before = inner[inner.index(name) - 1]
    assert before in between


@pytest.mark.parametrize("network", ["residual", "depthwise", "deep"])
def test_exact_weights_compute_the_target(tmp_path: Path, network: str) -> None:
    path = paths.MODELS / f"{network}.onnx"
    target = read_target(path)
    inner = [name for name, step in builds(plan(target, Options())).items() if step.one_for_one]
    sizes = dict.fromkeys(inner[1::2], 20)
    options = {"mode": "l+k", "select": Select.EXACT, "base_size": 6, "base_sizes": sizes}
    ticket = convert(path, tmp_path / "t.onnx", validate=False, **options)
    x = np.load(paths.MODELS / "digits.samples.npz")["image"][:32]
    made, wanted = (
        ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
        for file in (ticket.path, path)
    )

    assert np.abs(made - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_without_a_promise_layers_have_to_be_named() -> None:
    for words in ({"price": 1e-4}, {"select": Select.SMALLEST}):
        with pytest.raises(InputError, match="`mode=l\\+k` chooses by a promise"):
            Options(Mode.L_PLUS_K, **words)  # type: ignore[arg-type]
        Options(Mode.L_PLUS_K, base_sizes=(("conv", 20),), **words)  # type: ignore[arg-type]


def test_a_ticket_with_blocks_between_is_genuine_and_names_them(tmp_path: Path) -> None:
    b = graphs.Builder()
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    for _ in range(3):
        x = b("Relu", b.conv(x, 6, 6, pads=[1] * 4))
    model = graphs.save(b.model(b.conv(x, 6, 4)), tmp_path)
    name = read_target(model).linears[2].name
    ticket = convert(
        model, tmp_path / "t.onnx", mode="l+k", base_size=6, base_sizes={name: 20}, price=1e-4
    )

    assert ticket.report.proof.genuine
    assert ticket.report.options.base_sizes == ((name, 20),)
    kinds = {layer.name: layer.kind for layer in ticket.report.layers}
    assert kinds[name] == "two-for-one"
    assert list(kinds.values()).count("univariate") == 3  # the first layer's, and the last's
