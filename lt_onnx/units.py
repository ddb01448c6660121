"""Numbers as people read and write them."""

from collections.abc import Iterable, Mapping
from html import escape

MAX_NAME = 160  # characters of a name in a message
MAX_SHOWN = 2000  # characters of a line
FACTORS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def size_text(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def count_text(count: int) -> str:
    """A count, all of it where it is not too long to be read."""
    if count < 10_000_000:
        return f"{count:,}"
    return f"{count / 1e6:,.1f} M" if count < 10_000_000_000 else f"{count / 1e9:,.1f} G"


def counted(count: int, noun: str) -> str:
    """How many there are of what `noun` names: `1 layer`, `2 layers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent_text(share: float) -> str:
    """A share in hundredths."""
    return f"{100 * share:.2f} %"


def share(text: str) -> float:
    """A share, given as such or as a percentage. Raises ValueError."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between. Raises ValueError."""
    return tuple(float(number) for number in text.split(","))


def comma_text(values: Iterable[float]) -> str:
    """What `numbers` reads."""
    return ",".join(f"{value:g}" for value in values)


def name_text(name: str) -> str:
    """A name as messages quote it: of a long one the ends, for files name things at any length."""
    half = MAX_NAME // 2
    return name if len(name) <= MAX_NAME else f"{name[:half]}…{name[-half:]}"


def shown(text: str, longest: int = MAX_SHOWN) -> str:
    """What a terminal or a page can show of `text`: signs that would steer it are escaped.

    Control characters, marks of direction and bytes that are no text are such; of a long text the
    ends are shown.
    """
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} … {text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def duration_text(seconds: float) -> str:
    """Seconds, or minutes where they are many."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def byte_count(text: str) -> int:
    """Bytes, 1 to 2^63 - 1, written as in 800M or 8G. Raises ValueError."""
    number = text.strip().upper().removesuffix("B")
    factor = FACTORS.get(number[-1:], 1)
    value = factor * float(number if factor == 1 else number[:-1])
    if not 0 < value < 2**63:
        raise ValueError(text)
    return int(value)


def html_table(values: Mapping[str, str]) -> str:
    """Names and values as a table, for notebooks."""
    rows = (
        f"<tr><th style='text-align:left'>{escape(shown(name))}</th>"
        f"<td style='text-align:left'>{escape(shown(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{''.join(rows)}</table>"
