"""A folder of images as inputs of a model: scaled to [0, 1], resized, cropped, normalised."""

import math
import warnings
from pathlib import Path

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.options import ImageLayout, Pictures, Resize, changed
from lt_onnx.target import Array, Floats, Port

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # of any suffix
IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .bmp .gif .webp .tif .tiff .ppm .pgm".split())
MAX_PIXELS = 1 << 26


def check_pictures(pictures: Pictures, *given: object) -> None:
    """Raises InputError where `pictures` say what becomes of images, and no folder is `given`."""
    if pictures != Pictures() and not any(
        isinstance(g, str | Path) and Path(g).is_dir() for g in given
    ):
        name = next(iter(changed(pictures)))
        raise InputError(
            f"`{name}` is for folders of images; what an npz or npy file holds is taken as it is"
        )


def load_images(folder: Path, port: Port, how: Pictures) -> tuple[Array, Array | None]:
    """All images under `folder` in order of their names, [N, …] as `port` wants them, and labels.

    Labels [N] are the numbers of the subfolders in order of their names; None without subfolders.
    Raises InputError, for images of another size than the model's too unless `how.resize` says what
    becomes of them.
    """
    files = sorted(
        f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
    )
    if not files:
        raise InputError(f"{folder}: there is no image in it")
    channels, size = _wanted(folder, port, how)
    for name, values in (("mean", how.mean), ("std", how.std)):
        if values is not None and len(values) not in (1, channels):
            raise InputError(
                f"`{name}` has {len(values)} numbers; the model has {channels} channels"
            )
    images = [_image(file, channels, size, how.resize) for file in files]
    if len({image.shape for image in images}) > 1:
        raise InputError(
            f"{folder}: its images differ in size and the model leaves height and width open: "
            "resize them"
        )
    mean, std = (
        np.array(values or (neutral,), np.float32)
        for values, neutral in ((how.mean, 0.0), (how.std, 1.0))
    )
    pixels: Array = (np.stack(images) - mean) / std
    if how.layout is ImageLayout.NCHW:
        pixels = pixels.transpose(0, 3, 1, 2)
    classes = sorted({f.parent for f in files})
    labels = None
    if folder not in classes and len(classes) > 1:
        labels = np.array([classes.index(f.parent) for f in files], np.int64)
    return np.ascontiguousarray(pixels, np.float32), labels


def _wanted(folder: Path, port: Port, how: Pictures) -> tuple[int, tuple[int, int] | None]:
    """Channels, and height and width where the model fixes them."""
    shape = port.shape
    if len(shape) != 4 or not np.issubdtype(port.dtype, np.floating):
        raise InputError(f"{folder}: the model's input '{port.name}' is no image: give an npz file")
    channels, height, width = (
        (shape[1], shape[2], shape[3])
        if how.layout is ImageLayout.NCHW
        else (shape[3], shape[1], shape[2])
    )
    if channels not in (1, 3, 4):
        raise InputError(
            f"{folder}: input '{port.name}' has {channels} channels as {how.layout}; images have "
            "1, 3 or 4: is `layout` right?"
        )
    if isinstance(height, int) and isinstance(width, int):
        return int(channels), (height, width)
    return int(channels), None


def _image(file: Path, channels: int, size: tuple[int, int] | None, resize: Resize) -> Floats:
    """One image as [H, W, C] in [0, 1], of the `size` (H, W) that is wanted."""
    from PIL import Image, ImageOps

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(file, formats=IMAGE_FORMATS) as encoded,
        ):
            if math.prod(encoded.size) > MAX_PIXELS:
                raise ValueError(f"{encoded.size[0]} by {encoded.size[1]} pixels are too many")
            image = encoded.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    except Exception as error:  # decoders of dozens of formats, each with errors of its own
        raise InputError(f"{file}: not a readable image: {error}") from None
    if size is not None and image.size != (wanted := size[::-1]):
        if resize is Resize.NONE:
            raise InputError(
                f"{file}: is {image.width} by {image.height} pixels, the model wants "
                f"{wanted[0]} by {wanted[1]}: give `resize=crop` or `resize=stretch`"
            )
        if resize is Resize.CROP:
            image = ImageOps.fit(image, wanted, Image.Resampling.BILINEAR)
        else:
            image = image.resize(wanted, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32) / np.float32(255)
    return pixels.reshape(*pixels.shape[:2], channels)
