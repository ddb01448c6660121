"""Tickets as torch modules compute what onnxruntime does; operators what ONNX's own tests say."""

import copy
import math
import pickle
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graphs import Builder, save
from onnx.backend.test.case.node import collect_testcases
from paths import MODELS, long_but
from random_graphs import random_graph

from lt_onnx import convert, deploy, load
from lt_onnx.deployment.in_torch.operators import OPERATORS
from lt_onnx.errors import UnsupportedError
from lt_onnx.reading.protobuf import operator_sets, plain_node
from lt_onnx.target import Array

DTYPES = tuple(map(np.dtype, "float16 float32 float64 int32 int64 bool".split()))
# the runtime that tickets run in takes the rounded size of the output here, and so do we
AS_ONNXRUNTIME = (
    "test_resize_downsample_scales_linear_align_corners",
    ("test_resize_downsample_scales_cubic_align_corners"),
)


def drawn(path: Path) -> dict[str, Array]:
    rng, inputs = np.random.default_rng(0), onnx.load(str(path)).graph.input
    sizes = {i.name: [d.dim_value or 3 for d in i.type.tensor_type.shape.dim] for i in inputs}
    return {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}


def check(ticket: Path) -> torch.nn.Module:
    """The module of a ticket, after its outputs were compared with onnxruntime's."""
    net, feeds = load(ticket), drawn(ticket)
    module, answers = net.to_torch(), net.run(feeds)
    made = module(*(torch.from_numpy(value) for value in feeds.values()))
    outputs = made if isinstance(made, tuple) else (made,)
    assert len(outputs) == len(answers)
    for ours, theirs in zip(outputs, answers.values(), strict=True):
        assert not ours.requires_grad
        assert np.abs(ours.numpy() - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max())
    return module


@pytest.mark.parametrize(
    ("name", "mode", "form"),
    [
        ("plain-leakyrelu", "l+1", "folded"),
        ("depthwise", "2l", "masked"),
        ("plain-tanh", "2l", "seeded"),
    ],
)
def test_a_ticket_in_torch_computes_what_it_does_in_onnxruntime(
    name: str, mode: str, form: str, tmp_path: Path
) -> None:
    ticket, half = tmp_path / "t.onnx", name == "plain-tanh"
    words = {"mode": mode, "base_size": 5, "price": 1e-3, "validate": False, "fp16": half}
    convert(MODELS / f"{name}.onnx", ticket, **words)
    deploy(ticket, tmp_path / "form.onnx", weights=form)
    module = check(tmp_path / "form.onnx")
    layers = load(ticket).layers

    assert not any(parameter.requires_grad for parameter in module.parameters())
    for (layer, arrays), held in zip(layers.items(), module.layers.values(), strict=True):
        buffers = dict(held.named_buffers())
        assert np.array_equal(buffers["mask"].numpy(), arrays.mask), layer
        assert np.array_equal(held.weight.numpy(), arrays.weight)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert again.state_dict().keys() == module.state_dict().keys()


@pytest.mark.parametrize("seed", long_but(range(2), range(40)))
def test_random_graphs_in_torch(seed: int, tmp_path: Path) -> None:
    target = save(random_graph(seed), tmp_path)
    convert(target, tmp_path / "t.onnx", base_size=3, price=1e-2, validate=False)
    check(tmp_path / "t.onnx")


def test_an_operator_without_a_counterpart_is_named(tmp_path: Path) -> None:
    b = Builder()
    x = b("Trilu", b.conv("x", 3, 4))
    target = save(b.model(b.conv(x, 4, 3)), tmp_path)
    convert(target, tmp_path / "t.onnx", base_size=3, price=1e-2, validate=False)
    with pytest.raises(UnsupportedError, match=r"node '.*' \(Trilu\) has no counterpart in torch"):
        load(tmp_path / "t.onnx").to_torch()


def test_operators_pass_the_tests_of_onnx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    passed, refused = set(), 0
    for case in cases:
        nodes = case.model.graph.node
        data = [(i, o) for i, o in case.data_sets if _is_plain([*i, *o])]
        if len(nodes) != 1 or nodes[0].op_type not in OPERATORS or nodes[0].domain or not data:
            continue
        if "training" in case.name:
            continue
        node, opset = plain_node(Path(case.name), nodes[0], 0), operator_sets(case.model)[""]
        for arrays, expected in data:
            values = iter(arrays)
            given = [torch.from_numpy(np.array(next(values))) if n else None for n in node.inputs]
            if 0 in [size for value in given if value is not None for size in value.shape]:
                continue
            try:
                made = OPERATORS[node.op](node, given, opset)  # type: ignore[arg-type]
            except UnsupportedError:  # which names it
                refused += 1
                continue
            outputs = (made,) if isinstance(made, torch.Tensor) else made
            many = node.op != "Dropout"  # whose mask nothing reads
            for ours, theirs in zip(outputs, expected, strict=many):
                assert tuple(ours.shape) == theirs.shape, case.name
                if case.name not in AS_ONNXRUNTIME:
                    # as exact as the examples are written down
                    close = np.allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-5, equal_nan=True)
                    assert close, case.name
            passed.add(node.op)
    assert {*OPERATORS} - passed <= {"GlobalLpPool", "Cast"}  # below
    assert refused < 70


def _is_plain(values: list[object]) -> bool:
    return all(isinstance(v, np.ndarray | np.generic) and v.dtype in DTYPES for v in values)


def apply(op: str, x: torch.Tensor, **attributes: int) -> torch.Tensor:
    node = plain_node(Path("x"), onnx.helper.make_node(op, ["x"], ["y"], **attributes), 0)
    made = OPERATORS[op](node, [x], 17)
    assert isinstance(made, torch.Tensor)
    return made


def test_operators_that_have_no_test_in_onnx() -> None:
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert apply("GlobalLpPool", x, p=1).reshape(-1).tolist() == [6, 22]
    assert float(apply("GlobalLpPool", x)[0, 0, 0, 0]) == pytest.approx(math.sqrt(14))
    for dtype in map(np.dtype, "float32 float64 float16 int32 int64 uint8 bool".split()):
        to = onnx.helper.np_dtype_to_tensor_dtype(dtype)
        assert np.array_equal(apply("Cast", x, to=to).numpy(), x.numpy().astype(dtype))
