"""Which physical channels carry which feature, and what the ticket delivers of it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lt_onnx.construct.features import Features
from lt_onnx.construct.layer_task import LayerTask
from lt_onnx.layout import CONSTANT, Layout

Make = Callable[..., LayerTask]


def test_copies_of_a_channel_are_the_members_of_its_feature(make_task: Make) -> None:
    task = make_task(groups=2)
    features = task.features
    width = task.step.in_layout.width // 2

    assert features.channel.tolist() == [[0, 1, 2]] * 2
    assert (features.coefficient == 1).all()
    assert (features.gain == 1).all()
    assert features.unit == 1
    assert not features.shared_input
    for v, members in enumerate(features.index.reshape(6, -1)):
        places = members + (v // 3) * width
        assert task.step.in_layout.channel[places].tolist() == [v] * 5
        assert task.step.in_layout.copy[places].tolist() == list(range(5))


def test_problems_are_tap_by_tap(make_task: Make) -> None:
    features = make_task(groups=2).features
    place, gain = features.problems(range(1, 2), slice(1, 3))

    assert place.shape == gain.shape == (1, 2 * 6, 5)
    for problem, members in enumerate(place[0]):
        v, tap = divmod(problem, 6)
        assert members.tolist() == (features.index[1, 1 + v] * 6 + tap).tolist()


def test_goals_are_the_targets_weights(make_task: Make) -> None:
    task = make_task(groups=2)
    channels = np.array([2, 5, 7, 4])

    expected = task.linear.weight[channels].reshape(4, 3, 6)
    np.testing.assert_array_equal(task.features.goals(task.linear, channels), expected)


def test_groups_with_fewer_features_are_filled_up_with_none(make_task: Make) -> None:
    """A channel without copies is zero everywhere: nothing is built on it."""
    task = make_task(groups=2)
    layout = task.step.in_layout
    channel = np.where(layout.channel == 4, CONSTANT, layout.channel).astype(np.int32)
    features = Features.of(replace(task.step, in_layout=replace(layout, channel=channel)), {})

    assert features.channel[1, :2].tolist() == [0, 2]
    assert features.coefficient.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert (features.index[1, 2] == -1).all()
    assert not features.gain[1, 2].any()
    assert not features.goals(task.linear, np.array([4]))[:, 2].any()


def opened_layout() -> Layout:
    """Channels 0 … 2 in neurons of either sign, two each, and a constant."""
    part = np.tile(np.repeat([1, -1], 2), 3)
    return Layout(
        axis=1,
        size=3,
        channel=np.append(np.repeat(np.arange(3), 4), CONSTANT).astype(np.int32),
        copy=np.append(np.arange(12), 0).astype(np.int32),
        part=np.append(part, 0).astype(np.int32),
    )


def opened_features(task: LayerTask) -> Features:
    """Those of a block in front of the layer; one of its neurons does not work."""
    layout = opened_layout()
    step = replace(task.step, in_layout=layout, expand="open", coefficients={1: 1.0, -1: -1.0})
    gains = np.array([2, 1, 4, 0.5, 1, 1, 0, 3, 1, 2, 2, 1], np.float32)
    return Features.of(step, {"open": gains})


def test_neurons_of_one_sign_are_the_members_with_their_gains(make_task: Make) -> None:
    task = make_task()
    features = opened_features(task)

    assert features.unit == 4
    assert features.shared_input
    assert features.channel.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert features.coefficient.tolist() == [[-1, 1] * 3]
    assert features.gain[0, 0].tolist() == [1, 0.125]
    assert features.index[0, 2].tolist() == [-1, 7]  # a gain of 0 is no member
    np.testing.assert_allclose(features.top[0, :2], [1, 0.5])
    goals = features.goals(task.linear, np.arange(4))
    np.testing.assert_array_equal(goals[:, 0], -goals[:, 1])
    np.testing.assert_array_equal(goals[:, 5], task.linear.weight[:, 2].reshape(4, -1))


def test_a_feature_is_the_mean_of_its_members_and_noise_their_variance(make_task: Make) -> None:
    task = make_task(groups=2)
    members = [
        np.stack([v[:, task.step.in_layout.channel == c] for c in (4, 5)], 1) for v in task.x
    ]  # [N, V', M, *S]
    seen, noise = task.features.observe(
        task.x, range(1, 2), slice(1, 3), axis=1, look=lambda _, batch: batch
    )

    for feature, member in zip(seen, members, strict=True):
        np.testing.assert_allclose(feature, member.mean(2), atol=1e-6)
    deviation = np.concatenate([m - m.mean(2, keepdims=True) for m in members])
    np.testing.assert_allclose(noise, deviation.var((0, 3, 4)), rtol=1e-3)
    assert noise.min() > 0.05**2 / 2


def test_one_neuron_over_its_gain_stands_for_all_of_a_feature(make_task: Make) -> None:
    task = make_task()
    features = opened_features(task)
    positive = np.random.default_rng(1).random((2, 6, 4)).astype(np.float32)
    gains = np.array([2, 1, 4, 0.5, 1, 1, 0, 3, 1, 2, 2, 1], np.float32)
    part = np.tile(np.repeat([1, 0], 2), 3)  # features: negative first
    x = np.concatenate(
        [positive[:, np.repeat([0, 2, 4], 4) + part] * gains[:, None], np.ones((2, 1, 4))], 1
    )
    x = x.astype(np.float32)
    layout = opened_layout()
    seen, constants = features.delivered([x], layout)
    rows = np.random.default_rng(2).normal(size=(5, 13, features.taps)).astype(np.float32)
    rows[:, [6, 12]] = 0  # the neuron without a gain, and the constant
    rows = rows.reshape(5, -1)
    sums = features.sums(rows, np.zeros(5, np.int64)).sum(2)  # of all taps: at a place that is flat
    whole = np.repeat(x[:, :, :1], features.taps, 2).reshape(2, -1)

    np.testing.assert_allclose(seen[0], positive, rtol=1e-5)
    np.testing.assert_array_equal(constants[0], np.ones((2, 1)))
    np.testing.assert_allclose(
        features.unit * seen[0][:, :, 0] @ sums.T, whole @ rows.T, rtol=1e-4, atol=1e-4
    )
