"""Places of external tensors, and the file beside the ticket."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from onnx import TensorProto

from forge.draft import Change, Draft, Forgery
from forge.reasons import EXTERNAL, FOREIGN_BYTES, NO_PLACE, NOT_DRAWN
from lt_onnx.files import data_of

OFFSETS = ["-1", "1", "4", "4096", "1e3", "0x0", " 0", "+0", "٣", "", "first", str(2**40), "9" * 40]
LOCATIONS = [
    *("", ".", "..", "../t.onnx.data", "./t.onnx.data", "a/t.onnx.data", "a\\t.onnx.data"),
    *("/etc/hostname", "C:t.onnx.data", "t.onnx", "link", "copy", "nowhere", "t.onnx.data\n"),
    *("t.onnx.data ", "\0", "folder", "x" * 5000, "file:t.onnx.data", "*"),
]


def of_external(draft: Draft) -> Iterator[Forgery]:
    """Every external tensor's place, the data file, and a second one."""
    for name in external(draft):
        yield from _places(draft, name)
        told = f"as the others are|{FOREIGN_BYTES}"  # or the bytes that it leaves behind
        yield Forgery(name, "inline, alone", partial(_inline, name=name), told)
    for what, change in DATA.items():
        told = f"{EXTERNAL}|{NOT_DRAWN}|{FOREIGN_BYTES}"
        yield Forgery("data", what, lambda d, to=change: setattr(d, "data", to(d.data)), told)
    for what, act in BESIDE.items():
        yield Forgery("data", what, lambda d, to=act: setattr(d, "beside", to), EXTERNAL)
    for what, apart in {"of trained sizes": (100, 12, 40), "of a whole page more": (4096,)}.items():
        gaps = partial(_spread, apart=apart)
        yield Forgery("data", f"gaps {what}", gaps, FOREIGN_BYTES)
    for layer in draft.layers:
        change = partial(_elsewhere, name=layer["scale"])
        yield Forgery(layer["scale"], "in a second file", change, EXTERNAL)


def external(draft: Draft) -> list[str]:
    """Names of the tensors whose bytes are in the data file."""
    return [tensor.name for tensor in draft.model.graph.initializer if tensor.external_data]


def _places(draft: Draft, name: str) -> Iterator[Forgery]:
    at = {entry.key: entry.value for entry in draft.proto(name).external_data}
    length = int(at["length"])
    wrong = {
        "offset": [offset for offset in OFFSETS if offset != at["offset"]],
        "length": [*OFFSETS, str(length - 4), str(length + 4)],
        "location": LOCATIONS,
    }
    told = f"{EXTERNAL}|{NOT_DRAWN}|{FOREIGN_BYTES}"
    for key, values in wrong.items():
        for value in values:
            what = f"{key} = {value[:20]!r}"
            if key == "length" and value.isdigit() and abs(int(value) - length) == 4:
                what = f"length {int(value) - length:+}"
            yield Forgery(name, what, _placed(name, **{key: value}), told)
    for key in ("offset", "length"):
        zeros = _placed(name, **{key: at[key].zfill(17)})
        yield Forgery(name, f"zeros before its {key}", zeros, EXTERNAL)
    for key in at:
        if key != "offset" or int(at[key]):
            yield Forgery(name, f"no {key}", _placed(name, **{key: None}), EXTERNAL)
        twice = lambda d, k=key: d.proto(name).external_data.add(key=k, value=at[k])  # noqa: E731
        yield Forgery(name, f"{key} twice", twice, EXTERNAL)
    yield Forgery(name, "told the other way", _turned(name), EXTERNAL)
    yield Forgery(name, "a checksum", _placed(name, checksum="0"), EXTERNAL)
    inline = lambda d: setattr(d.proto(name), "raw_data", d.get(name).tobytes())  # noqa: E731
    yield Forgery(name, "inline too", inline, NO_PLACE)
    yield Forgery(
        name, "said to be inline", lambda d: setattr(d.proto(name), "data_location", 0), NO_PLACE
    )
    for other in external(draft):
        if other != name:
            there = {entry.key: entry.value for entry in draft.proto(other).external_data}
            yield Forgery(name, "where another is", _placed(name, offset=there["offset"]), told)


def _inline(draft: Draft, name: str) -> None:
    """One tensor in the model's own file: which one it is would tell something."""
    draft.replace(name, draft.get(name))


def _spread(draft: Draft, apart: tuple[int, ...]) -> None:
    """The same tensors, with gaps between them that say something."""
    data = b""
    for number, name in enumerate(external(draft)):
        start, stop = draft.span(draft.proto(name))
        data += b"\0" * (-len(data) % 4096 + apart[number % len(apart)])
        _placed(name, offset=str(len(data)))(draft)
        data += draft.data[start:stop]
    draft.data, draft.beside = data, None


def _placed(name: str, **changes: str | None) -> Change:
    def forge(draft: Draft) -> None:
        proto = draft.proto(name)
        at = {entry.key: entry.value for entry in proto.external_data} | changes
        del proto.external_data[:]
        for key, value in at.items():
            if value is not None:
                proto.external_data.add(key=key, value=value)
        draft.beside = _bait

    return forge


def _turned(name: str) -> Change:
    """Which of its six orders the entries have is no ticket's choice."""

    def forge(draft: Draft) -> None:
        entries = draft.proto(name).external_data
        turned = [(entry.key, entry.value) for entry in entries][::-1]
        del entries[:]
        for key, value in turned:
            entries.add(key=key, value=value)

    return forge


def _bait(path: Path) -> None:
    """Files that a location may lead to."""
    data = data_of(path)
    (path.parent / "copy").write_bytes(data.read_bytes())
    (path.parent / "link").symlink_to(data.name)
    (path.parent / "folder").mkdir()


DATA: dict[str, Callable[[bytes], bytes]] = {
    "a byte more": lambda b: b + b"\0",
    "a page more": lambda b: b + b"\0" * 4096,
    "a byte less": lambda b: b[:-1],
    "half of it": lambda b: b[: len(b) // 2],
    "nothing": lambda b: b"",
    "shifted": lambda b: b"\0\0\0\0" + b[:-4],
    "the first byte": lambda b: bytes([b[0] ^ 1]) + b[1:],
    "all zeros": lambda b: bytes(len(b)),
    "reversed": lambda b: b[::-1],
}


def _linked(path: Path) -> None:
    data_of(path).rename(path.parent / "elsewhere")
    data_of(path).symlink_to("elsewhere")


def _folder(path: Path) -> None:
    data_of(path).unlink()
    data_of(path).mkdir()


BESIDE: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: data_of(path).unlink(),
    "a link": _linked,
    "a folder": _folder,
}


def _elsewhere(draft: Draft, name: str) -> None:
    """A tensor's bytes in a file of their own."""
    value = draft.get(name).tobytes()
    proto = draft.proto(name)
    proto.ClearField("raw_data")
    proto.data_location = TensorProto.EXTERNAL
    for key, entry in (("location", "second"), ("offset", "0"), ("length", str(len(value)))):
        proto.external_data.add(key=key, value=entry)

    def beside(path: Path) -> None:
        path.with_name("second").write_bytes(value)

    draft.beside = beside
