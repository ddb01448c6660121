"""What can be chosen of few."""

from enum import StrEnum
from typing import TypeVar

from lt_onnx.errors import InputError


class Mode(StrEnum):
    """Depth of the source network."""

    L_PLUS_1 = "l+1"
    L_PLUS_K = "l+k"
    TWO_L = "2l"


PAPER_MODES = (Mode.L_PLUS_1, Mode.TWO_L)  # Theorems 3.2 and 3.1


class Select(StrEnum):
    """Which of the subsets that fit is taken."""

    NOISE = "noise"
    SMALLEST = "smallest"
    BEST = "best"
    EXACT = "exact"  # the oracle: exact weights on one copy; proves the rewriting, is no ticket


class Sigma(StrEnum):
    """How many scales a layer has."""

    CHANNEL = "channel"
    LAYER = "layer"


class Init(StrEnum):
    """Initial scale σ of a layer; every scheme is uniform on [-σ, σ]."""

    UNIT = "unit"
    KAIMING = "kaiming"
    XAVIER = "xavier"
    LECUN = "lecun"


class Weights(StrEnum):
    """How masked weights are stored."""

    FOLDED = "folded"
    MASKED = "masked"
    SPARSE = "sparse"
    SEEDED = "seeded"


class Device(StrEnum):
    """Where subset sums are solved; `auto` is a GPU where one can be used, else the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class ImageLayout(StrEnum):
    """Where a model's image input has its channels."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Resize(StrEnum):
    """What becomes of an image of another size than the model's."""

    NONE = "none"  # it is refused
    CROP = "crop"  # the shorter side is scaled to fit, and the middle is cut out
    STRETCH = "stretch"


Choice = TypeVar("Choice", bound=StrEnum)


def choices(kind: type[StrEnum]) -> list[str]:
    """The values of an enumeration that users are offered."""
    return [member.value for member in kind if member is not Select.EXACT]


def choose(kind: type[Choice], name: str, value: str) -> Choice:
    """The member that has this value. Raises InputError naming the argument and the choices."""
    if value not in choices(kind) and value is not Select.EXACT:
        raise InputError(f"`{name}` is '{value}'; choose one of {', '.join(choices(kind))}")
    return kind(value)
