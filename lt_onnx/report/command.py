"""The command line that does the same again, as a report quotes it."""

import shlex
from collections.abc import Sequence
from dataclasses import fields

from lt_onnx.options import Options


def command_of(
    verb: str, paths: Sequence[object], options: Options | None, words: dict[str, object]
) -> str:
    """The command that does it again: what differs from the defaults, quoted for a shell."""
    said = ["lt-onnx", verb, *[str(path) for path in paths]]
    given: dict[str, object] = {}
    for field in fields(Options) if options is not None else ():
        value = getattr(options, field.name)
        if value != field.default and field.name not in ("prices", "base_sizes"):
            given[field.name] = value
    for name, value in (*given.items(), *words.items()):
        if value in (None, False):
            continue
        option = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        for one in values:
            said += [option] if one is True else [option, str(one)]
    for layer, price in options.prices if options is not None else ():
        said += ["--price", f"{layer}={price:g}"]
    for layer, size in options.base_sizes if options is not None else ():
        said += ["--base-size", f"{layer}={size}"]
    return shlex.join(said)
