"""What is asked of places and room before any work."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import cannot_write, check_file, check_place, check_room

Usage = namedtuple("Usage", "total used free")


def test_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    check_file(tmp_path / "a")
    with pytest.raises(InputError, match="no such file"):
        check_file(tmp_path / "b")
    with pytest.raises(InputError, match="not a file"):
        check_file(tmp_path)


def test_a_place_is_a_new_name_in_a_folder(tmp_path: Path) -> None:
    check_place(tmp_path / "a", force=False)
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")  # a name that is taken, if by nothing
    for path, said in (
        (tmp_path / "no" / "a", "its folder does not exist"),
        (tmp_path, "is a folder; name the file"),
        (tmp_path / "a", "exists; give `force=True` to overwrite it, or another `output`"),
    ):
        with pytest.raises(InputError, match=said):
            check_place(path, force=False)
    check_place(tmp_path / "a", force=True)


def test_the_target_is_never_an_output_whatever_its_name(tmp_path: Path) -> None:
    target = tmp_path / "a.onnx"
    target.write_bytes(b"x")
    os.link(target, tmp_path / "b.onnx")
    with pytest.raises(InputError, match="would overwrite the target; give another `output`"):
        check_room([tmp_path / "b.onnx"], target, file_bytes=1, force=True)


def test_memory_is_compared_with_what_is_allowed(tmp_path: Path) -> None:
    paths, target = [tmp_path / "t"], tmp_path / "a"
    check_room(paths, target, file_bytes=1, memory_bytes=10**9, max_memory=10**9)
    check_room(paths, target, file_bytes=1, memory_bytes=10**15)
    with pytest.raises(ResourceError, match=r"2.0 GB of memory .* `max_memory` allows 1.0 GB"):
        check_room(paths, target, file_bytes=1, memory_bytes=2 * 10**9, max_memory=10**9)


def test_disk_is_compared_with_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10**6))
    check_room([tmp_path / "t"], tmp_path / "a", file_bytes=980_000)
    with pytest.raises(ResourceError, match="about 990 kB are needed, 1 MB are free"):
        check_room([tmp_path / "t"], tmp_path / "a", file_bytes=990_000)


def test_a_full_disk_is_no_fault_of_the_input() -> None:
    full = cannot_write(Path("a"), OSError(errno.ENOSPC, "No space left on device"))
    denied = cannot_write(Path("a"), OSError(errno.EACCES, "Permission denied"))

    assert isinstance(full, ResourceError)
    assert str(full) == "a: cannot be written: No space left on device; free some disk space"
    assert isinstance(denied, InputError)
