"""`lt-onnx source`."""

from pathlib import Path
from typing import Annotated

from lt_onnx.cli.console import progress, say
from lt_onnx.cli.options import Force, Only, Quiet
from lt_onnx.options import Init, Options, Param

KAIMING = Options(init=Init.KAIMING)


def source_command(
    target: Annotated[Path, Param("ONNX file whose source network is wanted.")],
    *,
    output: Annotated[Path | None, Param("File to write.", flags=("--output", "-o"))] = None,
    options: Annotated[Options, Only("mode", "base_size", "init", "seed")] = KAIMING,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the random source network of a target."""
    from lt_onnx.files import check_places, check_room, check_suffix
    from lt_onnx.planning.allocation import check_layers
    from lt_onnx.planning.plan import plan
    from lt_onnx.planning.prediction import predict
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.reading.model_file import model_files
    from lt_onnx.writing.build import write_source
    from lt_onnx.writing.ticket import files_of

    blueprint = plan(read_target(target), options)
    check_layers(blueprint)
    path = output or target.with_name(f"{target.stem}.source.onnx")
    files = files_of(path, blueprint, source=True)
    check_places(files, model_files(target), force=force)
    check_suffix(path, ".onnx")
    check_room(files, target, file_bytes=predict(blueprint).file_bytes)
    with progress(quiet) as tell:
        write_source(blueprint, path, progress=tell, force=force)
    if not quiet:
        say(
            f"{path}: {blueprint.source_weights:,} random weights in {len(blueprint.layers)} "
            f"layers, seed {options.seed}, {options.init}"
        )
