"""A folder of images as inputs of a model: scaled to [0, 1], resized, cropped, normalised."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.target import Array, Floats, Port

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # of any suffix
IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .bmp .gif .webp .tif .tiff .ppm .pgm".split())
MAX_PIXELS = 1 << 26


@dataclass(frozen=True)
class Pictures:
    """How pixels become numbers: (pixel / 255 - mean) / std, per channel or for all.

    `layout` is the model's, nchw or nhwc. Raises InputError for another one, and for std 0.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"

    def __post_init__(self) -> None:
        if self.layout not in ("nchw", "nhwc"):
            raise InputError(f"`layout` is '{self.layout}'; choose nchw or nhwc")
        if not all(self.std):
            raise InputError("`std` holds 0; give numbers that can be divided by")


def load_images(folder: Path, port: Port, how: Pictures) -> tuple[Array, Array | None]:
    """All images under `folder` in order of their names, [N, …] as `port` wants them, and labels.

    Labels [N] are the numbers of the subfolders in order of their names; None without subfolders.
    Images are scaled so that the shorter side fits, and cropped in the middle. Raises InputError.
    """
    files = sorted(
        f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
    )
    if not files:
        raise InputError(f"{folder}: there is no image in it")
    channels, size = _wanted(folder, port, how)
    for name, values in (("mean", how.mean), ("std", how.std)):
        if len(values) not in (1, channels):
            raise InputError(
                f"`{name}` has {len(values)} numbers; the model has {channels} channels"
            )
    images = [_image(file, channels, size) for file in files]
    if len({image.shape for image in images}) > 1:
        raise InputError(
            f"{folder}: its images differ in size and the model leaves height and width open: "
            "resize them"
        )
    mean, std = np.array(how.mean, np.float32), np.array(how.std, np.float32)
    pixels: Array = (np.stack(images) - mean) / std
    if how.layout == "nchw":
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
        (shape[1], shape[2], shape[3]) if how.layout == "nchw" else (shape[3], shape[1], shape[2])
    )
    if channels not in (1, 3, 4):
        raise InputError(
            f"{folder}: input '{port.name}' has {channels} channels; images have 1, 3 or 4: "
            "is `layout` right?"
        )
    if isinstance(height, int) and isinstance(width, int):
        return int(channels), (height, width)
    return int(channels), None


def _image(file: Path, channels: int, size: tuple[int, int] | None) -> Floats:
    """One image as [H, W, C] in [0, 1]."""
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
    if size is not None and image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32) / np.float32(255)
    return pixels.reshape(*pixels.shape[:2], channels)
