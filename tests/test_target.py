"""The target as plain data: a layer's counts, its form as ONNX nodes, and who reads what."""

import numpy as np
import pytest
from copies import draft_of

from lt_onnx.runtime import evaluate
from lt_onnx.target import Linear, Node, is_standard_domain, linear_nodes


def linear(op: str, weight: np.ndarray, bias: np.ndarray, **attributes: object) -> Linear:
    return Linear("l", op, "x", "y", weight, bias, attributes=attributes)


@pytest.mark.parametrize(
    ("op", "shape", "attributes"),
    [
        ("Conv", (2, 3, 5, 5), {"pads": [1, 0, 0, 1], "strides": [2, 1]}),
        ("Gemm", (2, 3), {}),
        ("MatMul", (2, 4, 3), {}),
    ],
)
def test_a_layer_s_nodes_compute_its_affine_map(
    op: str, shape: tuple[int, ...], attributes: dict[str, object]
) -> None:
    rng = np.random.default_rng(0)
    kernel = (2, 3) if op == "Conv" else ()
    weight = rng.normal(size=(4, 3, *kernel)).astype(np.float32)
    layer = linear(op, weight, rng.normal(size=4).astype(np.float32), **attributes)
    x = rng.normal(size=shape).astype(np.float32)
    nodes, constants = linear_nodes(layer)
    (y,) = evaluate(nodes, {"x": x}, constants=constants, outputs=["y"], opsets={"": 17})
    if op == "Conv":
        padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 1)))
        patches = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))[:, :, ::2]
        wanted = np.einsum("ncijkl,ockl->noij", patches, weight) + layer.bias[:, None, None]
    else:
        wanted = x @ weight.T + layer.bias

    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_only_nonzero_parameters_count() -> None:
    weight = np.array([[1, 0, 2], [0, 0, 3]], np.float32)

    assert linear("Gemm", weight, np.array([0, 1], np.float32)).count == 4


@pytest.mark.parametrize(("value", "count"), [(0.0, 0), (0.5, 10**12)])
def test_weights_of_one_number_are_counted_without_being_held(value: float, count: int) -> None:
    weight = np.broadcast_to(np.float32(value), (10**6, 10**6))

    assert linear("Gemm", weight, np.zeros(1, np.float32)).count == count


def test_attributes_of_each_axis_have_defaults() -> None:
    layer = linear("Conv", np.ones((1, 1, 3, 3), np.float32), np.zeros(1), strides=[2, 3])

    assert layer.spatial("strides", 1) == (2, 3)
    assert layer.spatial("dilations", 1) == (1, 1)


def test_consumers_are_the_steps_that_read_a_tensor() -> None:
    relu, add = Node("Relu", "r", ("x",), ("a",)), Node("Add", "s", ("a", "k"), ("b",))
    target = draft_of({}, {"k": np.ones(1)}, steps=[relu, add]).target

    assert target.consumers == {"x": [relu], "a": [add]}


def test_onnx_s_own_domain_has_two_names() -> None:
    assert is_standard_domain("")
    assert is_standard_domain("ai.onnx")
    assert not is_standard_domain("ai.onnx.ml")
