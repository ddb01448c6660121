"""Where a convolution's taps fall, against a convolution of ones."""

import itertools
from typing import Any

import numpy as np
import pytest

from lt_onnx.ops.conv_padding import admissible_taps, explicit_pads, pads_for
from lt_onnx.runtime import evaluate
from lt_onnx.target import Linear, Node


def conv(kernel: tuple[int, ...], **attributes: Any) -> Linear:
    weight = np.ones((1, 1, *kernel), np.float32)
    return Linear("c", "Conv", "x", "y", weight, np.zeros(1, np.float32), attributes=attributes)


def untouched(linear: Linear, size: int) -> list[int]:
    """Taps that alone turn a tensor of ones into ones, borders included."""
    taps = []
    for number, tap in enumerate(itertools.product(*map(range, linear.kernel))):
        weight = np.zeros_like(linear.weight)
        weight[(0, 0, *tap)] = 1
        keys = {**linear.attributes, "kernel_shape": list(linear.kernel)}
        x = np.ones((1, 1, *[size] * len(linear.kernel)), np.float32)
        (y,) = evaluate(
            [Node("Conv", "c", ("x", "w"), ("y",), keys)],
            {"x": x},
            constants={"w": weight},
            outputs=["y"],
            opsets={"": 17},
        )
        if (y == 1).all():
            taps.append(number)
    return taps


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((3, 3), {"pads": [1, 1, 1, 1]}),
        ((3, 3), {"pads": [2, 0, 1, 0]}),
        ((3, 3), {"pads": [2, 0, 0, 1]}),
        ((3, 5), {"pads": [1, 2, 1, 2], "dilations": [1, 1]}),
        ((3, 3), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}),
        ((1, 1), {"pads": [1, 1, 1, 1]}),
        ((3,), {"pads": [1, 1]}),
        ((3, 3), {"auto_pad": "VALID"}),
        ((3, 3), {}),
    ],
)
def test_admissible_taps_never_see_padding(
    kernel: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    linear = conv(kernel, **attributes)

    assert admissible_taps(linear, explicit_pads(linear)) == untouched(linear, 7)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (4, 2)])
def test_taps_under_automatic_padding_are_safe_for_every_size(
    auto_pad: str, kernel: tuple[int, ...]
) -> None:
    linear = conv(kernel, auto_pad=auto_pad)

    assert explicit_pads(linear) is None
    for size in (5, 6, 7):
        assert set(admissible_taps(linear, None)) <= set(untouched(linear, size))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (6, 3, 2), (7, 2, 1), (9, 4, 3)])
def test_automatic_padding_is_resolved_as_the_runtime_does(
    auto_pad: str, size: int, kernel: int, stride: int
) -> None:
    keys = {"strides": [stride]}
    weight, x = np.arange(1.0, kernel + 1), np.arange(1.0, size + 1)
    feeds = {"x": x[None, None].astype(np.float32)}
    constants = {"w": weight[None, None].astype(np.float32)}
    pads = pads_for(conv((kernel,), auto_pad=auto_pad, **keys), (size,))
    wanted, made = (
        evaluate(
            [Node("Conv", "c", ("x", "w"), ("y",), {**keys, **padding})],
            feeds,
            constants=constants,
            outputs=["y"],
            opsets={"": 17},
        )[0]
        for padding in ({"auto_pad": auto_pad}, {"pads": list(pads)})
    )

    np.testing.assert_array_equal(made, wanted)


def test_explicit_pads_are_taken_as_they_are() -> None:
    assert explicit_pads(conv((3, 3), pads=[0, 1, 2, 3])) == (0, 1, 2, 3)
    assert pads_for(conv((3, 3), pads=[0, 1, 2, 3]), (9, 9)) == (0, 1, 2, 3)
    assert (
        explicit_pads(Linear("g", "Gemm", "x", "y", np.ones((2, 2), np.float32), np.ones(2))) == ()
    )
