"""Constants: which channels are, and what an activation makes of them."""

import numpy as np
import pytest

from lt_onnx.construct.constants import Response, constant_places, constant_values, extremes
from lt_onnx.layout import CONSTANT, UNUSED, Layout

POWERS = np.concatenate([2.0 ** np.arange(-8, 9), -(2.0 ** np.arange(-8, 9))]).astype(np.float32)


def test_a_drive_has_the_sign_asked_for_and_comes_closest() -> None:
    leaky = Response(POWERS, np.where(POWERS > 0, POWERS, POWERS / 4))
    drive = leaky.drive(np.array([3.0, 3.0, 0.01]), np.array([1.0, -2.0, 0.0]))

    assert drive.tolist() == [2, -8, 2.0**-7]
    assert drive.dtype == np.float64


@pytest.mark.parametrize(("slope", "side"), [(0.0, 1.0), (0.3, 1.0), (1.0, 1.0)])
def test_constants_take_the_side_that_reaches_their_sizes(slope: float, side: float) -> None:
    values = np.where(POWERS > 0, POWERS, slope * POWERS)
    falling = np.where(POWERS < 0, POWERS, np.minimum(slope * POWERS, 1))

    assert Response(POWERS, values).side(np.array([1.0, 200.0])) == side
    assert Response(POWERS, falling).side(np.array([1.0, 200.0])) == -side


def test_constants_are_the_channels_that_stay_one_number_and_are_not_zero() -> None:
    channel = np.array([0, CONSTANT, CONSTANT, UNUSED, CONSTANT, CONSTANT], np.int32)
    layout = Layout(2, 1, channel, np.zeros_like(channel), np.zeros_like(channel))
    x = [np.full((n, 3, 6), 2, np.float32) for n in (2, 1)]
    x[1][..., 2] = 2.1  # another number in another batch
    x[0][..., 4] = x[1][..., 4] = 0
    x[0][..., 5] = -3
    x[1][..., 5] = -3.00001
    seen = [extremes(v[..., constant_places(layout)], 2) for v in x]
    places, values = constant_values(layout, seen)

    assert places.tolist() == [1, 5]
    np.testing.assert_allclose(values, [2, -3], rtol=1e-5)


def test_a_layout_without_constants_has_none() -> None:
    channel = np.zeros(2, np.int32)
    places, values = constant_values(Layout(1, 1, channel, channel, channel), [np.ones((2, 0))])

    assert places.size == values.size == 0
