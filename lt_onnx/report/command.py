"""The command line that does the same again, as a report and its run's words quote it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields

from lt_onnx.options import Options
from lt_onnx.units import shown
from lt_onnx.version import __version__


def command_of(
    verb: str, paths: Sequence[object], options: Options | None, words: Mapping[str, object]
) -> str:
    """The command, quoted for a shell: what of `options` differs from the defaults, and `words`.

    A word that is None, False or 0 is not said, one that is a list once for each of its values.
    """
    flags = {name: value for name, value in words.items() if value not in (None, False)}
    by_layer: list[str] = []
    if options is not None:
        chosen = {field.name: getattr(options, field.name) for field in fields(Options)}
        prices, base_sizes = chosen.pop("prices"), chosen.pop("base_sizes")
        flags = {k: v for k, v in chosen.items() if v != getattr(Options, k)} | flags
        by_layer += [part for layer, μ in prices for part in ("--price", f"{layer}={μ:g}")]
        by_layer += [part for layer, m in base_sizes for part in ("--base-size", f"{layer}={m}")]
    parts = ["lt-onnx", verb, *map(str, paths)]
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            parts += [flag] if one is True else [flag, str(one)]
    return shlex.join([*parts, *by_layer])


def words_of(command: str, words: str) -> str:
    """The words of a run (TOML, see `cli.config`) under the command that they are of."""
    return f"# lt-onnx {__version__}\n# {shown(command, len(command))}\n{words}"
