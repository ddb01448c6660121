"""What is written, how images are read, and who works."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lt_onnx.errors import InputError
from lt_onnx.options.choices import ImageLayout, Resize
from lt_onnx.options.param import Param, check_types
from lt_onnx.units import byte_count, comma_text, numbers


@dataclass(frozen=True)
class Output:
    """What is written, and under which conditions.

    `path` is the ticket's; None: `<target>.ticket.onnx` beside the target. `max_memory` is in
    bytes. With `resume`, what is finished is kept beside the ticket while that is made, and the
    same call goes on from there.
    """

    path: Annotated[
        Path | None,
        Param("Ticket, or folder for several; else beside the target.", flags=("--output", "-o")),
    ] = None
    emit_source: Annotated[bool, Param("Also write the source network.")] = False
    max_memory: Annotated[
        int | None,
        Param(
            "Refuse to need more, e.g. 8G.",
            unit="BYTES",
            read=byte_count,
            expects="bytes, as in 800M or 8G",
        ),
    ] = None
    force: Annotated[bool, Param("Overwrite what exists under an output's name.")] = False
    resume: Annotated[bool, Param("Keep what is finished; go on from there if killed.")] = False

    def __post_init__(self) -> None:
        check_types(self)


_PER_CHANNEL = "numbers for all channels or each, as in 0.5 or 0.485,0.456,0.406"


@dataclass(frozen=True)
class Pictures:
    """How the pixels of image files become numbers: (pixel / 255 - mean) / std.

    `mean` and `std` hold a number for all channels or one for each; None takes nothing off and
    divides by nothing. Raises InputError for std 0.
    """

    layout: Annotated[ImageLayout, Param("Where the model's image input has its channels.")] = (
        ImageLayout.NCHW
    )
    mean: Annotated[
        tuple[float, ...] | None,
        Param(
            "Taken off an image's pixels in [0, 1].",
            unit="R,G,B",
            read=numbers,
            expects=_PER_CHANNEL,
        ),
    ] = None
    std: Annotated[
        tuple[float, ...] | None,
        Param(
            "What an image's pixels are divided by then.",
            unit="R,G,B",
            read=numbers,
            expects=_PER_CHANNEL,
        ),
    ] = None
    resize: Annotated[Resize, Param("Of images of another size; none: they are refused.")] = (
        Resize.NONE
    )

    def __post_init__(self) -> None:
        if not all(self.std or (1.0,)):
            raise InputError("`std` holds 0; give numbers that can be divided by")

    def __str__(self) -> str:
        """What was done to the pixels."""
        said = ["pixels in [0, 1]"]
        for name, values in (("mean", self.mean), ("std", self.std)):
            said.append(f"no {name}" if values is None else f"{name} {comma_text(values)}")
        return ", ".join(said if self.resize is Resize.NONE else [*said, f"resize {self.resize}"])


@dataclass(frozen=True)
class Workers:
    """Who does many pieces of work: processes of this machine, or the workers of a Dask cluster.

    Raises InputError for values out of range, or that contradict each other.
    """

    workers: Annotated[
        int, Param("Processes that work at a time, on this machine.", flags=("--workers", "-w"))
    ] = 1
    memory: Annotated[
        int | None,
        Param(
            "Memory of all of them together; else the machine's.",
            unit="BYTES",
            read=byte_count,
            expects="bytes, as in 800M or 8G",
        ),
    ] = None
    scheduler: Annotated[
        str | None, Param("Address of a Dask scheduler, whose workers work.", unit="URL")
    ] = None
    scheduler_file: Annotated[
        Path | None, Param("The same, as `dask scheduler --scheduler-file` wrote it.", unit="FILE")
    ] = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"`workers` is {self.workers}; give 1 or more")
        if self.scheduler is not None and self.scheduler_file is not None:
            raise InputError("`scheduler` and `scheduler_file` are two clusters; give one")
        for name in ("workers", "memory") if self.elsewhere else ():
            if getattr(self, name) != getattr(Workers, name):
                raise InputError(
                    f"`{name}` is of this machine: what a scheduler's workers have is said where "
                    "they are started"
                )

        if self.memory is not None and self.workers == 1:
            raise InputError("`memory` is shared out among `workers`: give 2 or more")

    @property
    def elsewhere(self) -> bool:
        """Whether there is a cluster to connect to."""
        return self.scheduler is not None or self.scheduler_file is not None

    @property
    def shared(self) -> bool:
        """Whether work is for more than one process."""
        return self.workers > 1 or self.elsewhere


ONE_WORKER = Workers()
