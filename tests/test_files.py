"""What is asked of places and room before any work."""

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import cannot_write, check_file, check_places, check_room, reserved

Usage = namedtuple("Usage", "total used free")


def test_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    check_file(tmp_path / "a")
    with pytest.raises(InputError, match="no such file"):
        check_file(tmp_path / "b")
    with pytest.raises(InputError, match="not a file"):
        check_file(tmp_path)


def test_a_place_is_a_new_name_in_a_folder(tmp_path: Path) -> None:
    check_places([tmp_path / "a"])
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")  # a name that is taken, if by nothing
    for path, said in (
        (tmp_path / "no" / "a", "its folder does not exist"),
        (tmp_path, "is a folder; name the file"),
        (tmp_path / ("a" * 300), "cannot be written: File name too long"),
        (tmp_path / "a", "exists; give `force=True` to overwrite it, or another name"),
    ):
        with pytest.raises(InputError, match=said):
            check_places([path])
    check_places([tmp_path / "a"], force=True)
    with pytest.raises(InputError, match="is a device or a pipe"):
        check_places([Path("/dev/null")], force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_two_files_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for other in (tmp_path / "a", tmp_path / "folder" / ".." / "a"):
        with pytest.raises(InputError, match="two files would have this name"):
            check_places([tmp_path / "a", other], force=True)
    with pytest.raises(InputError, match="two files would have this name"):
        check_places([tmp_path / "folder" / "b", tmp_path / "link" / "b"])


def test_no_input_is_ever_an_output_whatever_its_name(tmp_path: Path) -> None:
    target, images = tmp_path / "a.onnx", tmp_path / "images"
    target.write_bytes(b"x")
    (images / "deep").mkdir(parents=True)
    (images / "deep" / "1.png").write_bytes(b"y")
    os.link(target, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(target)
    (tmp_path / "folder").symlink_to(images)
    aliases = (target, tmp_path / "hard", tmp_path / "soft", tmp_path / "images" / ".." / "a.onnx")
    for path in (*aliases, images / "deep" / "1.png", tmp_path / "folder" / "deep" / "1.png"):
        for force in (True, False):
            with pytest.raises(InputError, match="would overwrite the input"):
                check_places([tmp_path / "new", path], [target, images], force=force)
    check_places([tmp_path / "new", images / "2.png"], [target, images])


def test_one_process_at_a_time_writes_a_name(tmp_path: Path) -> None:
    path, stale = tmp_path / "a", tmp_path / ".a.0123.part"
    stale.write_bytes(b"of a process that was killed")
    program = (
        "import sys; from pathlib import Path; from lt_onnx.files import reserved\n"
        "with reserved(Path(sys.argv[1])): pass"
    )

    def other() -> str:
        command = [sys.executable, "-c", program, str(path)]
        return subprocess.run(command, capture_output=True, text=True).stderr

    with reserved(path):
        assert not stale.exists()
        with reserved(path, tmp_path / "b"):  # its own
            assert "is being written by another process; wait for it" in other()
        with ThreadPoolExecutor() as pool, pytest.raises(InputError, match="another process"):
            pool.submit(lambda: reserved(path).__enter__()).result()
        child = os.fork()
        if child == 0:  # it has nothing that would keep the name
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1)"])
    assert other() == ""
    os.waitpid(child, 0)
    assert not list(tmp_path.iterdir())


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
