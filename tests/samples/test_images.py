"""A folder of images: layout, size, scale and labels; nothing is turned or mirrored."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lt_onnx.errors import InputError
from lt_onnx.options import ImageLayout, Pictures, Resize
from lt_onnx.samples import images
from lt_onnx.samples.images import check_pictures, load_images
from lt_onnx.samples.samples import load_samples
from lt_onnx.target import Port

FLOAT = np.dtype(np.float32)
NCHW = Port("image", ("N", 3, 4, 6), FLOAT)


def pixels(seed: int = 0, height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def saved(folder: Path, name: str, value: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(value).save(path)


def test_pixels_are_where_they_were(tmp_path: Path) -> None:
    saved(tmp_path, "a.png", pixels())
    first, labels = load_images(tmp_path, NCHW, Pictures())
    nhwc = Port("image", ("N", 4, 6, 3), FLOAT)
    last, _ = load_images(tmp_path, nhwc, Pictures(ImageLayout.NHWC))

    assert labels is None
    assert (first.shape, first.dtype) == ((1, 3, 4, 6), np.float32)
    assert np.array_equal(first[0], pixels().transpose(2, 0, 1) / np.float32(255))
    assert np.array_equal(last[0], pixels() / np.float32(255))


def test_mean_and_std_are_per_channel_or_for_all(tmp_path: Path) -> None:
    saved(tmp_path, "a.png", pixels())
    plain = load_images(tmp_path, NCHW, Pictures())[0]
    each = load_images(tmp_path, NCHW, Pictures(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0)))[0]
    every = load_images(tmp_path, NCHW, Pictures(mean=(0.5,), std=(0.25,)))[0]

    for channel, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (0.5, 0.25, 2.0), strict=True)):
        assert each[0, channel] == pytest.approx((plain[0, channel] - mean) / std, abs=1e-6)
    assert every == pytest.approx((plain - 0.5) / 0.25, abs=1e-6)


def test_images_of_another_size_are_refused_cropped_or_stretched(tmp_path: Path) -> None:
    value = np.zeros((8, 24, 3), np.uint8)
    value[:, 8:16] = 255
    saved(tmp_path, "a.png", value)
    square = Port("image", ("N", 3, 4, 4), FLOAT)

    with pytest.raises(InputError, match=r"24 by 8 pixels, the model wants 4 by 4: give `resize="):
        load_images(tmp_path, square, Pictures())
    cropped, stretched = (
        load_images(tmp_path, square, Pictures(resize=how))[0]
        for how in (Resize.CROP, Resize.STRETCH)
    )
    assert cropped.mean() > 0.9
    assert stretched.shape == (1, 3, 4, 4)
    assert stretched.mean() == pytest.approx(1 / 3, abs=0.02)


def test_what_was_done_to_pixels_is_told(tmp_path: Path) -> None:
    saved(tmp_path, "a.png", pixels())

    assert (
        load_samples(tmp_path, (NCHW,)).origin == f"{tmp_path} (pixels in [0, 1], no mean, no std)"
    )
    how = Pictures(mean=(0.5,), std=(0.1, 0.2, 0.3), resize=Resize.CROP)
    told = "pixels in [0, 1], mean 0.5, std 0.1,0.2,0.3, resize crop"
    assert load_samples(tmp_path, (NCHW,), how).origin == f"{tmp_path} ({told})"


def test_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    how = Pictures(mean=(0.5,))
    check_pictures(how, None, tmp_path)
    check_pictures(Pictures(), tmp_path / "a.npz")
    with pytest.raises(InputError, match="`mean` is for folders of images"):
        check_pictures(how, None, tmp_path / "a.npz")


def test_labels_are_the_subfolders_in_their_order(tmp_path: Path) -> None:
    for number, name in enumerate(("b/2.png", "a/1.png", "b/1.png")):
        saved(tmp_path, name, pixels(number))
    found, labels = load_images(tmp_path, NCHW, Pictures())

    assert labels is not None
    assert labels.tolist() == [0, 1, 1]
    assert np.array_equal(found[2], pixels(0).transpose(2, 0, 1) / np.float32(255))


def test_sizes_that_the_model_leaves_open_must_be_equal(tmp_path: Path) -> None:
    port = Port("image", ("N", 3, None, None), FLOAT)
    saved(tmp_path, "a.png", pixels())
    assert load_images(tmp_path, port, Pictures())[0].shape == (1, 3, 4, 6)
    saved(tmp_path, "b.png", pixels(height=5))
    with pytest.raises(InputError, match="its images differ in size"):
        load_images(tmp_path, port, Pictures())


def test_what_is_no_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there is no image in it"):
        load_images(tmp_path, NCHW, Pictures())
    saved(tmp_path, "a.png", pixels())
    for port, message in (
        (Port("x", ("N", 3), FLOAT), "the model's input 'x' is no image"),
        (Port("x", ("N", 3, 4, 6), np.dtype(np.int64)), "the model's input 'x' is no image"),
        (Port("x", ("N", 6, 4, 3), FLOAT), r"images have 1, 3 or 4: is `layout` right\?"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(tmp_path, port, Pictures())
    with pytest.raises(InputError, match="`mean` has 2 numbers; the model has 3 channels"):
        load_images(tmp_path, NCHW, Pictures(mean=(0.1, 0.2)))
    monkeypatch.setattr(images, "MAX_PIXELS", 20)
    with pytest.raises(InputError, match="6 by 4 pixels are too many"):
        load_images(tmp_path, NCHW, Pictures())


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="`std` holds 0"):
        Pictures(std=(1.0, 0.0, 1.0))


def test_only_the_formats_that_are_meant_are_opened(tmp_path: Path) -> None:
    """PostScript is a program, whatever it is called."""
    head = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n"
    (tmp_path / "a.png").write_bytes(head)
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.format == "EPS"
    with pytest.raises(InputError, match=r"a.png: not a readable image: cannot identify"):
        load_images(tmp_path, NCHW, Pictures())
    (tmp_path / "a.png").unlink()
    saved(tmp_path, "a.jpg", pixels())
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")  # a suffix does not decide
    assert load_images(tmp_path, NCHW, Pictures())[0].shape == (1, 3, 4, 6)
