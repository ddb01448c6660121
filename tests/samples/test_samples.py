"""Inputs: what a file must hold, batches, and random ones that are the same for a seed."""

from pathlib import Path

import numpy as np
import pytest

from lt_onnx.errors import InputError
from lt_onnx.samples.random_inputs import OPEN_AXIS, drawn_sizes, random_samples
from lt_onnx.samples.samples import (
    MAX_BATCH_NUMBERS,
    Samples,
    batch_size,
    load_samples,
    save_samples,
)
from lt_onnx.target import Array, Port

IMAGE = Port("image", ("N", 3, 4, "width"), np.dtype(np.float32))
CLASS = Port("class", ("N",), np.dtype(np.int64))


def counted(count: int = 5) -> Samples:
    image = np.arange(count * 3 * 4 * 2, dtype=np.float32).reshape(count, 3, 4, 2)
    return Samples({"image": image}, np.arange(count), "counted")


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    save_samples(tmp_path / "s.npz", counted())
    found = load_samples(tmp_path / "s.npz", (IMAGE,))

    assert found.arrays["image"].tobytes() == counted().arrays["image"].tobytes()
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    assert (found.count, found.numbers, found.origin) == (5, 24, str(tmp_path / "s.npz"))


def test_a_single_array_does_for_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", counted().arrays["image"])

    assert load_samples(tmp_path / "s.npy", (IMAGE,)).labels is None
    with pytest.raises(InputError, match="one array; the model has 2 inputs"):
        load_samples(tmp_path / "s.npy", (IMAGE, CLASS))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros((2, 3, 4, 2))}, "no array for the model's input 'image'; it holds oth"),
        ({"image": np.zeros((2, 3, 4))}, r"has shape \[2, 3, 4\], the model wants \[N, 3, 4, wid"),
        ({"image": np.zeros((2, 3, 5, 2))}, r"has shape \[2, 3, 5, 2\], the model wants"),
        ({"image": np.float32(1)}, r"has shape \[\], the model wants"),
        ({"image": np.zeros((2, 3, 4, 2), complex)}, "is complex128, the model wants float32"),
        ({"image": np.full((2, 3, 4, 2), np.nan)}, "'image' holds NaN or infinity"),
        ({"image": np.full((2, 3, 4, 2), 1e300)}, "'image' holds NaN or infinity"),
        ({"image": np.zeros((0, 3, 4, 2))}, r"holds no samples; give one"),
        ({"image": np.zeros((2, 3, 4, 2)), "labels": np.zeros(3)}, "one number per sample"),
        ({"image": np.zeros((2, 3, 4, 2)), "labels": np.zeros((2, 1))}, "one number per sample"),
        ({"image": np.zeros((2, 3, 4, 2)), "Label": np.zeros(2)}, "'Label' is no input of the"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_samples(tmp_path / "s.npz", (IMAGE,))


def test_inputs_have_as_many_samples_each(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **{"image": np.zeros((2, 3, 4, 2)), "class": np.zeros(3, int)})
    with pytest.raises(InputError, match=r"its arrays hold \[2, 3\] samples; give as many in each"):
        load_samples(tmp_path / "s.npz", (IMAGE, CLASS))


def test_parts_keep_their_labels() -> None:
    first, every = counted().first(2), counted().spread(2)

    assert np.array_equal(first.arrays["image"], counted().arrays["image"][:2])
    assert np.array_equal(every.arrays["image"], counted().arrays["image"][[0, 2]])
    assert first.labels is not None
    assert every.labels is not None
    assert (first.labels.tolist(), every.labels.tolist()) == ([0, 1], [0, 2])


def test_batches_hold_all_samples_in_order() -> None:
    batches = counted(5).batches((IMAGE,), 2)

    assert [len(feeds["image"]) for feeds in batches] == [2, 2, 1]
    together = np.concatenate([feeds["image"] for feeds in batches])
    assert np.array_equal(together, counted(5).arrays["image"])


def test_a_batch_that_the_model_fixes_is_kept_and_the_rest_is_left_out() -> None:
    fixed = Port("image", (2, 3, 4, 2), np.dtype(np.float32))

    assert [len(feeds["image"]) for feeds in counted(5).batches((fixed,), 8)] == [2, 2]
    assert counted(1).batches((fixed,), 8) == []


def test_large_samples_make_small_batches() -> None:
    assert batch_size(1, 8) == 8
    assert batch_size(MAX_BATCH_NUMBERS // 4, 8) == 4
    assert batch_size(10 * MAX_BATCH_NUMBERS, 8) == 1


def test_random_inputs_follow_their_seed_and_ports() -> None:
    ports = (IMAGE, CLASS)
    made = [random_samples(ports, 6, seed) for seed in (1, 1, 2)]
    image, classes = (made[0].arrays[name] for name in ("image", "class"))

    assert (image.shape, image.dtype) == ((6, 3, 4, OPEN_AXIS), np.float32)
    assert drawn_sizes(IMAGE) == [3, 4, OPEN_AXIS]
    assert set(classes.tolist()) <= {0, 1}
    assert np.array_equal(image, made[1].arrays["image"])
    assert not np.array_equal(image, made[2].arrays["image"])
    noise = np.concatenate([image[::3], image[1::3]])  # the others are pictures
    assert abs(float(noise.mean())) < 0.2
    assert float(noise.std()) == pytest.approx(1, abs=0.1)


def test_random_inputs_are_smooth_noise_white_noise_and_pictures_by_turns() -> None:
    port = Port("image", ("N", 3, 32, 32), np.dtype(np.float32))
    image = random_samples((port,), 90, 0).arrays["image"]
    smooth, white, pictures = (image[i::3] for i in range(3))

    def alike(values: Array) -> float:
        values = values - values.mean()
        return float((values[..., 1:] * values[..., :-1]).mean() / values.var())

    assert [float(part.std()) for part in (smooth, white)] == pytest.approx([1, 1], abs=0.1)
    assert min(alike(smooth), alike(pictures)) > 0.5
    assert abs(alike(white)) < 0.02
    assert pictures.min(axis=(1, 2, 3)).tolist() == [0] * 30
    assert pictures.max(axis=(1, 2, 3)).tolist() == [1] * 30


def test_random_whole_numbers_pick_from_all_of_a_table_and_bytes_are_pictures() -> None:
    ids = Port("ids", ("N", 9), np.dtype(np.int64), entries=20)
    image = Port("image", ("N", 3, 16, 16), np.dtype(np.uint8))
    made = random_samples((ids, image), 40, 0).arrays

    assert (made["ids"].dtype, {*made["ids"].reshape(-1).tolist()}) == (np.int64, {*range(20)})
    assert made["image"].dtype == np.uint8
    assert made["image"].min(axis=(1, 2, 3)).tolist() == [0] * 40
    assert made["image"].max(axis=(1, 2, 3)).tolist() == [255] * 40


def test_too_many_random_numbers_are_refused() -> None:
    with pytest.raises(InputError, match=r"4\.8 GB; ask for fewer, or give inputs"):
        random_samples((Port("x", ("N", 10**6), np.dtype(np.float32)),), 1200, 0)


def test_a_spread_is_taken_evenly_and_says_of_how_many() -> None:
    few = counted(10).spread(4)

    assert few.labels is not None
    assert few.labels.tolist() == [0, 2, 5, 7]
    assert np.array_equal(few.arrays["image"], counted(10).arrays["image"][[0, 2, 5, 7]])
    assert few.origin == "counted (4 of 10 samples)"
    assert counted(10).spread(10) is not None
    assert counted(10).spread(11).origin == "counted"


STATES = (("x", ("N", 7, 5), "h", (2, "N", 8)), ("x", (1, 7, 5), "h", (2, 1, 8)))


@pytest.mark.parametrize("states", STATES)
def test_inputs_without_a_common_batch_are_run_one_at_a_time(states: tuple, tmp_path: Path) -> None:
    first, first_shape, second, second_shape = states
    dtype = np.dtype(np.float32)
    ports = Port(first, first_shape, dtype), Port(second, second_shape, dtype)
    made = random_samples(ports, 3, 0)
    save_samples(tmp_path / "s.npz", made)
    single = Samples({**made.arrays, "x": made.arrays["x"][:, 0]}, None, "")
    save_samples(tmp_path / "single.npz", single)

    assert {name: v.shape for name, v in made.arrays.items()} == {
        "x": (3, 1, 7, 5),
        "h": (3, 2, 1, 8),
    }
    for samples in (made, load_samples(tmp_path / "s.npz", ports)):
        shapes = [
            {name: v.shape for name, v in feeds.items()} for feeds in samples.batches(ports, 8)
        ]
        assert shapes == [{"x": (1, 7, 5), "h": (2, 1, 8)}] * 3
    if first_shape[0] == 1:
        loaded = load_samples(tmp_path / "single.npz", ports)
        assert np.array_equal(loaded.arrays["x"], made.arrays["x"])


def test_names_that_exporters_give_to_every_axis_are_no_states() -> None:
    dtype = np.dtype(np.float32)
    ports = Port("x", ("?", 3, "?", "?"), dtype), Port("v", ("?", 4), dtype)

    assert drawn_sizes(ports[0], ports) == [3, OPEN_AXIS, OPEN_AXIS]
