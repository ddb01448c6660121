"""A forgery is written and put to the proof."""

import re
import shutil
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from forge.draft import Draft, Forgery
from lt_onnx import verify
from lt_onnx.errors import InputError


def failures(path: Path, target: Path | None = None) -> list[str]:
    """What `verify` has against a file, as the command line tells it; empty when it is genuine."""
    try:
        return verify(path, target=target).failures
    except InputError as error:
        return [" ".join(str(error).split())]


def one_of_each(forgeries: Iterable[Forgery]) -> Iterator[Forgery]:
    """Of every kind of change one: not again at the next layer, tensor or node.

    The first kind is tried at the first place where it can be, the next one at the second, …
    """
    places: dict[str, list[Forgery]] = {}
    for forgery in forgeries:
        places.setdefault(forgery.what, []).append(forgery)
    for number, same in enumerate(places.values()):
        yield same[number % len(same)]


def misses(
    draft: Draft, forgeries: Iterable[Forgery], folder: Path, target: Path
) -> Iterator[tuple[str, str]]:
    """Forgeries that pass, crash `verify`, or are refused for another reason: name, what is told.

    Every fifth is tried with the target, too, and with the seal that was there before.
    """
    numbers = count()
    for number, forgery in zip(numbers, forgeries, strict=False):
        changed = draft.copy()
        forgery.change(changed)
        trials = [(True, target if forgery.target else None, forgery.told)]
        if number % 5 == 0 and changed.seals is None:
            trials += [(False, None, ""), (True, target, "")]
        for sealed, against, told in trials:
            place = folder / "forged"
            place.mkdir()
            changed.write(place / "t.onnx", sealed=sealed)
            try:
                found = failures(place / "t.onnx", against)
                answer = "\n".join(found) or "passes"
                missed = not (found and re.search(told, answer))
                missed |= any(len(failure.splitlines()) != 1 for failure in found)
                missed |= sealed and changed.seal_holds and "the seal" in answer
            except Exception as error:  # a crash is told with the others
                missed, answer = True, f"{type(error).__name__}: {error}"
            shutil.rmtree(place)
            if missed:
                how = f"{'' if sealed else ', old seal'}{', with the target' * bool(against)}"
                yield f"{forgery.name}{how}", f"{answer}, not {told!r}"
