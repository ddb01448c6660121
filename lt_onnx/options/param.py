"""How the command line asks for a field."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, get_args, get_type_hints

from lt_onnx.errors import InputError
from lt_onnx.units import comma_text


@dataclass(frozen=True)
class Param:
    """How the command line asks for a field.

    Where `key` is `LAYER=` or `OUTPUT:`, values may be given for one of them alone, any number of
    times. They become a mapping, in which "" stands for every other one; with `singles` they go to
    that field, as pairs, and every other one's value (None for `auto`) to the field itself.
    """

    help: str
    unit: str | None = None  # stands for the value in `--help`; None: its type, or its choices
    flags: tuple[str, ...] = ()  # none: the field's own name
    read: Callable[[str], Any] | None = None  # makes a value of text; raises ValueError
    expects: str | None = None  # what `read` takes, for its error; None: a number
    key: str = ""
    singles: str | None = None


def params_of(group: type) -> dict[str, tuple[Any, Param]]:
    """Type and `Param` of every field of a group that has one."""
    params = {}
    for name, hint in get_type_hints(group, include_extras=True).items():
        for param in getattr(hint, "__metadata__", ()):
            if isinstance(param, Param):
                params[name] = hint.__origin__, param
    return params


def is_number(value: object, *, whole: bool = False) -> bool:
    """Whether a value is a number, which True and False are not."""
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)


def check_types(group: Any) -> None:
    """Raises InputError for a field of a group that is no number, or no truth, where it is to be.

    NumPy's numbers become Python's.
    """
    for name, (hint, _) in params_of(type(group)).items():
        kinds, value = {hint, *get_args(hint)}, getattr(group, name)
        if (value is None and type(None) in kinds) or not kinds & {bool, int, float}:
            continue
        if type(value).__module__ == "numpy" and isinstance(value, Real):
            value = int(value) if isinstance(value, Integral) else float(value)
            object.__setattr__(group, name, value)
        if bool in kinds:
            fits, expected = isinstance(value, bool), "True or False"
        else:
            whole = float not in kinds
            fits, expected = is_number(value, whole=whole), f"a {'whole ' * whole}number"
        if not fits:
            raise InputError(f"`{name}` is {value!r}; give {expected}")


def changed(group: Any) -> dict[str, Any]:
    """What of a group differs from its defaults, as the command line has it."""
    chosen = {field.name: getattr(group, field.name) for field in fields(group)}
    return {
        name: comma_text(value) if isinstance(value, tuple) else value
        for name, value in chosen.items()
        if value != getattr(type(group), name)
    }
