"""Files made to do harm: one line, an exit code, bounded time and memory, nothing written.

`attempts.attempt` asks all of that of every case here, as it does of its own.
"""

import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import seeds
from attempts import Case, Outcome, attempt
from mutants.values import Files
from onnx import parser
from refused.graphs import GRAPHS
from refused.inputs import INPUTS
from refused.models import HEAD, MODELS, SEED, TINY, text, weight

from lt_onnx import convert
from lt_onnx.errors import InputError

CUT_OFF = 600  # seconds: ends what hangs, on a busy machine too; it decides nothing


class NoAnswer(BaseException):
    """Nothing that lt-onnx catches."""


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """The alarm of `attempt` is a failure here, not the end of the process."""

    def stop(number: int, frame: object) -> None:
        raise NoAnswer

    known = signal.signal(signal.SIGALRM, stop)
    yield
    signal.signal(signal.SIGALRM, known)


def tried(case: Case, folder: Path) -> Outcome:
    return attempt(case, 0, folder, seconds=CUT_OFF)


@pytest.mark.parametrize("name", MODELS)
def test_a_hostile_model_is_refused(tmp_path: Path, name: str) -> None:
    refused = MODELS[name]
    outcome = tried(Case(refused.files(), ["inspect", "{}/t.onnx"]), tmp_path)

    assert outcome.wrong == ""
    assert outcome.code == 2, outcome
    assert refused.told in outcome.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", GRAPHS)
def test_what_cannot_be_converted_is_named_and_nothing_is_written(
    tmp_path: Path, name: str
) -> None:
    words = ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "-q"]
    outcome = tried(Case(GRAPHS[name].files(), words), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert GRAPHS[name].told in outcome.said


@pytest.mark.parametrize("name", GRAPHS)
def test_what_cannot_be_converted_is_an_input_error_of_the_library(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "t.onnx").write_bytes(GRAPHS[name].files()["t.onnx"])

    with pytest.raises(InputError) as refusal:
        convert(tmp_path / "t.onnx", tmp_path / "out.onnx")
    assert GRAPHS[name].told in str(refusal.value)


ODD: dict[str, Callable[[], Files]] = {
    "dead layers": lambda: weight(np.zeros((3, 2, 3, 3), np.float32)),
    "one weight": lambda: weight(np.eye(54, dtype=np.float32)[0].reshape(3, 2, 3, 3)),
    "a dead channel": lambda: weight(
        np.ones((3, 2, 3, 3), np.float32) * np.array([0, 1, 1], np.float32).reshape(3, 1, 1, 1)
    ),
    "deep constants": lambda: text(
        "(float[N,2,6,6] x) => (float y) { a0 = Constant<value=float[1] {1}>()\n"
        + "\n".join(f"a{i + 1} = Sqrt(a{i})" for i in range(3000))
        + "\nc = Conv(x, w)\n y = Add(c, a3000) }"
    ),
}
SIZES = {"denormal weights": 1e-42, "tiny weights": 1e-30, "huge weights": 1e30, "vast": 3e38}


@pytest.fixture(scope="module")
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is compiled at the first conversion is none of a case's time."""
    place = tmp_path_factory.mktemp("compiled")
    (place / "t.onnx").write_bytes(SEED)
    for mode in ("l+1", "2l"):
        convert(place / "t.onnx", place / f"{mode}.onnx", base_size=3, mode=mode)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_but_sound_converts(tmp_path: Path, name: str) -> None:
    words = ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "--base-size", "3"]
    outcome = tried(Case(ODD[name](), [*words, "--price", "0.001", "-q"], "out.onnx"), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 0), outcome


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_no_size_of_weights_is_a_crash(tmp_path: Path, name: str, mode: str) -> None:
    value = np.random.default_rng(0).normal(0, 1, (3, 2, 3, 3)).clip(-1, 1) * SIZES[name]
    words = ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "--base-size", "3", "-q", "--mode", mode]
    outcome = tried(Case(weight(value.astype(np.float32)), words, "out.onnx"), tmp_path)

    assert outcome.wrong == "", outcome


def test_bits_flipped_anywhere_never_crash(tmp_path: Path) -> None:
    for at in range(0, 400):
        data = bytearray(SEED)
        data[at % len(data)] ^= 1 << at % 8
        outcome = tried(Case({"t.onnx": bytes(data)}, ["inspect", "{}/t.onnx"]), tmp_path)
        assert outcome.wrong == "", (at, outcome)


# samples --------------------------------------------------------------------------------------


def test_an_input_past_all_memory_needs_samples(tmp_path: Path) -> None:
    files = text("(float[N,2,6,90000000] x) => (float y) { y = Conv(x, w) }")
    words = ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "-q"]
    outcome = tried(Case(files, words), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert "'x'" in outcome.said


@pytest.mark.parametrize("name", INPUTS)
def test_hostile_samples_are_refused(tmp_path: Path, name: str) -> None:
    files = INPUTS[name].files()
    (tmp_path / "t.onnx").write_bytes(SEED)
    words = ["validate", "{}/t.onnx", "{}/t.onnx", "--samples", f"{{}}/{next(iter(files))}"]
    outcome = tried(Case(files, words), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert INPUTS[name].told in outcome.said


def png(width: int, height: int) -> bytes:
    """A picture that claims a size."""
    import zlib

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(9)))


@pytest.mark.parametrize(
    "picture", [png(100_000, 100_000), png(12_000, 12_000), b"", b"GIF89a\xff\xff\xff\xff\0\0\0,"]
)
def test_hostile_images_are_refused(tmp_path: Path, picture: bytes) -> None:
    model = parser.parse_model(
        f"{HEAD} g (float[N,1,8,8] x) => (float[N,1,8,8] y) {{ y = Relu(x) }}"
    )
    (tmp_path / "t.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(picture)
    words = ["validate", "{}/t.onnx", "{}/t.onnx", "--samples", "{}/images"]
    outcome = tried(Case({}, words), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert "one.png" in outcome.said


# what is no file ------------------------------------------------------------------------------

COMMANDS = {
    "inspect": ["inspect", "{}/it"],
    "plan": ["plan", "{}/it"],
    "source": ["source", "{}/it"],
    "convert": ["convert", "{}/it", "-o", "{}/out.onnx", "-q"],
    "validate": ["validate", "{}/it", "{}/t.onnx"],
    "validate ticket": ["validate", "{}/t.onnx", "{}/it"],
    "validate samples": ["validate", "{}/t.onnx", "{}/t.onnx", "--samples", "{}/it"],
    "calibration": ["convert", "{}/t.onnx", "-o", "{}/out.onnx", "-q", "--calibration", "{}/it"],
    "verify": ["verify", "{}/it"],
    "verify target": ["verify", "{}/t.onnx", "--target", "{}/it"],
    "pack": ["pack", "{}/it", "-o", "{}/out.ltz"],
    "unpack": ["unpack", "{}/it"],
}


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to nothing", "empty"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_model_is_refused(tmp_path: Path, command: str, kind: str) -> None:
    (tmp_path / "t.onnx").write_bytes(SEED)
    place = tmp_path / "it"
    match kind:
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "device":
            place.symlink_to("/dev/zero")
        case "link to nothing":
            place.symlink_to(tmp_path / "nothing")
        case _:
            place.write_bytes(b"")
    outcome = tried(Case({}, COMMANDS[command]), tmp_path)

    assert (outcome.wrong, outcome.code) == ("", 2), outcome
    assert "it" in outcome.said


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    files = seeds.external(TINY)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data.bin").write_bytes(files.pop("data.bin"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data.bin").symlink_to(tmp_path / "elsewhere" / "data.bin")
    (tmp_path / "here" / "t.onnx").write_bytes(files["t.onnx"])
    (tmp_path / "here" / "sub").symlink_to(tmp_path / "elsewhere")
    model = onnx.load_from_string(files["t.onnx"])
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "sub/data.bin"
    (tmp_path / "here" / "u.onnx").write_bytes(model.SerializeToString())
    for name in ("t.onnx", "u.onnx"):
        outcome = tried(Case({}, ["inspect", f"{{}}/here/{name}"]), tmp_path)

        assert (outcome.wrong, outcome.code) == ("", 2), outcome
        assert "'w': external data" in outcome.said
