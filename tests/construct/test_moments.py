"""Moments and feedback against their formulas, patches against the convolution itself."""

import numpy as np
import pytest

from lt_onnx.construct import moments
from lt_onnx.runtime import Program
from lt_onnx.target import Linear, linear_nodes

RNG = np.random.default_rng(0)


def test_few_positions_are_all_taken() -> None:
    picked = moments.positions([(2, 5, 3), (1, 5, 2)], 8, rng=np.random.default_rng(0))

    assert picked[0].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert picked[1].tolist() == [[0, 0], [0, 1]]


def test_many_positions_are_sampled_without_repeating_one() -> None:
    picked = moments.positions([(4, 5, 3, 2), (2, 5, 3, 2)], 20, rng=np.random.default_rng(0))
    numbered = {(b, *row) for b, at in enumerate(picked) for row in at.tolist()}

    assert len(numbered) == sum(map(len, picked)) == 20
    assert all((at < (n, 3, 2)).all() for at, n in zip(picked, (4, 2), strict=True))


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 0, 1, 2]},
        {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 1, 2, 0]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    ],
)
def test_a_patch_times_the_kernel_is_the_convolution(attributes: dict[str, object]) -> None:
    weight = RNG.normal(size=(1, 3, 3, 2)).astype(np.float32)
    linear = Linear("c", "Conv", "x", "y", weight, np.zeros(1, np.float32), attributes=attributes)
    x = [RNG.normal(size=(n, 3, 7, 6)).astype(np.float32) for n in (2, 1)]
    nodes, constants = linear_nodes(linear)
    program = Program(nodes, {"x": x[0]}, constants=constants, outputs=["y"], opsets={"": 17})
    y = [program({"x": value})[0] for value in x]
    at = moments.positions([v.shape for v in y], 1000, rng=np.random.default_rng(0))

    patches = moments.patches(x, at, linear=linear)
    made = np.einsum("tvk,vk->t", patches, weight.reshape(3, -1))
    expected = np.concatenate([v.reshape(-1) for v in y])
    np.testing.assert_allclose(made, expected, atol=1e-5)
    transposed = np.ascontiguousarray(weight[:, :, ::-1]).reshape(3, -1)
    assert np.abs(np.einsum("tvk,vk->t", patches, transposed) - expected).max() > 0.1


def test_the_covariance_of_each_group_is_numpys() -> None:
    patches = RNG.normal(3, 1, size=(400, 4, 3)).astype(np.float32)
    found = moments.covariance(patches, 2, np.arange(400))

    for H, own in zip(found, np.split(patches, 2, 1), strict=True):
        rows = own.reshape(400, -1)
        expected = np.cov(rows, rowvar=False, bias=True)
        expected += moments.MEAN_SHARE * np.outer(rows.mean(0), rows.mean(0))
        np.testing.assert_allclose(H, expected, atol=1e-4)


def test_of_rows_without_biases_the_mean_counts_as_what_varies_does() -> None:
    patches = RNG.normal(3, 1, size=(400, 2, 3)).astype(np.float32)
    (H,) = moments.covariance(patches, 1, np.arange(400), biased=False)
    rows = patches.reshape(400, -1)

    np.testing.assert_allclose(H, rows.T.astype(np.float64) @ rows / 400, rtol=1e-5)
    seen = moments.about_mean(rows[None], biased=False)[0]
    np.testing.assert_allclose(seen.T @ seen, rows.T @ rows, rtol=1e-4)


def test_what_is_chance_in_few_inputs_is_taken_out_of_the_covariance() -> None:
    """Closer to the truth than the plain one; what all inputs have in common stays."""
    mixing = RNG.normal(size=(40, 40)) * np.linspace(1, 0.1, 40) ** 3
    truth = mixing.T @ mixing
    values = (RNG.normal(size=(30, 40)) @ mixing).astype(np.float32)
    values -= values.mean(0)
    (H,) = moments.covariance(values[:, :, None], 1, np.arange(30))
    plain = np.cov(values, rowvar=False, bias=True)

    np.testing.assert_allclose(np.diagonal(H), np.diagonal(plain), rtol=1e-4)
    assert np.linalg.norm(H - truth) < np.linalg.norm(plain - truth)
    assert np.linalg.eigvalsh(H).min() > 10 * abs(np.linalg.eigvalsh(plain).min())


def test_positions_of_one_input_count_as_one_for_chance() -> None:
    """Each input is the same patch many times over: no more is known of them than of one each."""
    values = RNG.normal(size=(20, 12)).astype(np.float32)
    once = moments.covariance(values[:, :, None], 1, np.arange(20))
    again = moments.covariance(np.repeat(values, 9, 0)[:, :, None], 1, np.repeat(np.arange(20), 9))

    np.testing.assert_allclose(once, again, atol=1e-4)


def test_positions_are_numbered_by_input_through_all_batches() -> None:
    at = moments.positions([(2, 1, 3), (3, 1, 2)], 100, rng=np.random.default_rng(0))

    assert moments.sample_numbers(at).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]


def test_groups_of_zeros_vary_as_others_do() -> None:
    H = np.stack([np.diag([1.0, 3.0]), np.zeros((2, 2)), np.full((2, 2), 4.0)])
    moments.white_where_nothing_varies(H)

    np.testing.assert_array_equal(H[0], np.diag([1.0, 3.0]))
    np.testing.assert_array_equal(H[1], 3 * np.eye(2))
    np.testing.assert_array_equal(H[2], np.full((2, 2), 4.0))
    alone = np.zeros((1, 2, 2))
    moments.white_where_nothing_varies(alone)
    np.testing.assert_array_equal(alone, [np.eye(2)])


def test_feedback_moves_the_rest_as_least_squares_would() -> None:
    """With an error at the first problem, the rest of the row moves by H⁻¹ (OBQ, eq. 3)."""
    a = RNG.normal(size=(40, 6)) * [1, 3, 2, 5, 4, 0.5]
    H = a.T @ a / len(a)
    other = np.diag([1.0, 2, 3, 4, 5, 6])  # of another group
    order, upper, weight = (v[1] for v in moments.feedback(np.stack([other, H])))
    damped = H + moments.DAMPING * np.diagonal(H).mean() * np.eye(6)
    rest = order[1:]
    first = order[0]

    assert order.tolist() == np.argsort(-np.diagonal(H)).tolist()
    np.testing.assert_allclose(
        upper.T @ upper, np.linalg.inv(damped)[np.ix_(order, order)], rtol=1e-4, atol=1e-6
    )
    best = np.linalg.solve(damped[np.ix_(rest, rest)], damped[rest, first])
    np.testing.assert_allclose(-upper[0, 1:] / upper[0, 0], best, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(weight[order], np.diagonal(upper) ** -2.0, rtol=1e-5)


def test_feedback_of_what_is_not_finite_is_none() -> None:
    broken, whole = np.full((3, 3), np.nan), np.eye(3)
    _, upper, weight = moments.feedback(np.stack([broken, whole]))

    assert np.isnan(upper[0]).all()
    assert np.isnan(weight[0]).all()
    assert np.isfinite(upper[1]).all()


def test_the_mean_of_a_channel_is_over_all_batches() -> None:
    values = [RNG.normal(size=(n, 4, 3)).astype(np.float32) for n in (2, 5)]

    expected = np.concatenate(values).mean((0, 2), dtype=np.float64)
    np.testing.assert_allclose(moments.channel_mean(values, 1), expected, rtol=1e-6)


def test_a_slope_leaves_the_least_variance() -> None:
    x = [RNG.normal(size=(n, 3, 9)).astype(np.float32) for n in (2, 3)]
    y = [np.stack([2 * v[:, 2] + 1, -v[:, 0]], 1) for v in x]
    rows, channels = np.array([0, 2]), np.array([1, 0])

    slope = moments.slopes(x, y, rows=rows, channels=channels, axis=1)
    np.testing.assert_allclose(slope, [-1, 2], rtol=1e-5)


def test_a_slope_of_a_row_without_a_bias_leaves_the_least_power() -> None:
    x = [RNG.normal(1, 1, size=(4, 1, 9)).astype(np.float32)]
    y = [2 * x[0] + 1]
    found = moments.slopes(x, y, rows=np.array([0]), channels=np.array([0]), axis=1, biased=False)

    expected, *_ = np.linalg.lstsq(x[0].reshape(-1, 1), y[0].reshape(-1), rcond=None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
