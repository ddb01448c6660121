"""Which inputs are taken, and how many random ones there are."""

from pathlib import Path

import numpy as np
import pytest

from lt_onnx.samples.choose import MAX_RANDOM_SAMPLES, calibration_inputs, validation_inputs
from lt_onnx.samples.samples import Samples, save_samples
from lt_onnx.samples.variation import MIN_AVERAGED
from lt_onnx.target import Port

PORTS = (Port("x", ("N", 3), np.dtype(np.float32)),)


def counted(count: int) -> Samples:
    values = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    return Samples({"x": values}, np.zeros(count), "counted")


def judged(ports: tuple[Port, ...] = PORTS, work: int = 1, calibrated: int = 64) -> int:
    return validation_inputs(None, ports, multiply_adds=work, calibrated=calibrated, seed=1).count


def test_construction_sees_inputs_from_all_over_a_file_too(tmp_path: Path) -> None:
    save_samples(tmp_path / "s.npz", counted(10))
    for given in (counted(10), tmp_path / "s.npz", str(tmp_path / "s.npz")):
        chosen = calibration_inputs(given, PORTS, 5, seed=0)
        assert np.array_equal(chosen.inputs.arrays["x"], counted(10).arrays["x"][::2])
        assert chosen.spare is not None
        assert np.array_equal(chosen.spare.arrays["x"], counted(10).arrays["x"][1::2])
    assert calibration_inputs(counted(5), PORTS, 5, seed=0).spare is None
    assert calibration_inputs(None, PORTS, 7, seed=0).inputs.count == 7


def test_random_inputs_fill_the_batches_that_a_model_fixes() -> None:
    fixed = (Port("x", (4, 3), np.dtype(np.float32)),)

    chosen = calibration_inputs(None, fixed, 7, seed=0)
    assert chosen.spare is not None
    assert chosen.inputs.count == chosen.spare.count == 8
    assert not np.isin(chosen.spare.arrays["x"], chosen.inputs.arrays["x"]).any()
    given = calibration_inputs(counted(19), fixed, 7, seed=0)
    assert given.spare is not None
    assert (given.inputs.count, given.spare.count) == (8, 8)
    assert calibration_inputs(counted(11), fixed, 7, seed=0).spare is None
    assert judged(fixed) == MAX_RANDOM_SAMPLES


def test_validation_takes_all_inputs_given_and_as_many_random_ones_as_are_cheap() -> None:
    given = validation_inputs(counted(200), PORTS, multiply_adds=10**12, calibrated=1, seed=0)
    large = (Port("x", ("N", 2**20), np.dtype(np.float32)),)

    assert given.count == 200
    assert judged() == MAX_RANDOM_SAMPLES
    assert judged(work=10**10) == 30
    assert judged(work=10**14) == MIN_AVERAGED
    assert judged(work=10**14, calibrated=2) == 2
    assert judged(large) == MIN_AVERAGED


def test_validation_takes_as_many_of_the_inputs_given_as_it_may() -> None:
    def taken(ports: tuple[Port, ...], most: int | None) -> int:
        return validation_inputs(
            counted(200), ports, multiply_adds=1, calibrated=1, seed=0, most=most
        ).count

    fixed = (Port("x", (16, 3), np.dtype(np.float32)),)
    assert [taken(PORTS, most) for most in (50, 500, None)] == [50, 200, 200]
    assert [taken(fixed, most) for most in (50, 500, None)] == [64, 200, 200]


def test_a_fifth_of_the_inputs_is_kept_out_of_the_construction() -> None:
    seen, others = counted(12).split(PORTS)

    assert others is not None
    assert others.arrays["x"][:, 0].tolist() == [12, 27]
    assert (seen.count, others.count) == (10, 2)
    assert counted(4).split(PORTS)[1] is None  # of few, none


def test_as_many_are_kept_out_as_tell_a_share_unless_that_leaves_too_few() -> None:
    def kept(count: int, wanted: int, batch: int | str = "N") -> np.ndarray | None:
        ports = (Port("x", (batch, 3), np.dtype(np.float32)),)
        seen, fresh = counted(count).split(ports, wanted=wanted)
        if fresh is None:
            return None
        own, others = (part.arrays["x"][:, 0] / 3 for part in (fresh, seen))
        assert sorted([*own, *others]) == list(range(count))
        return own

    assert kept(4, 0) is kept(1, 1) is None
    assert kept(2, 1) == kept(4, 9) == pytest.approx([1])
    assert kept(10, 2) == pytest.approx([4, 9])
    assert kept(10, 3) == pytest.approx([1, 4, 6, 9])
    assert kept(10, 5) == pytest.approx([4, 9])  # not even two of five are as many
    assert kept(20, 5, batch=2) == pytest.approx([2, 3, 8, 9, 12, 13, 18, 19])


def test_batches_that_a_model_fixes_are_kept_out_whole() -> None:
    fixed = (Port("x", (2, 3), np.dtype(np.float32)),)
    seen, others = counted(20).split(fixed)

    assert others is not None
    assert others.arrays["x"][:, 0].tolist() == [24, 27, 54, 57]
    assert seen.count == 16
