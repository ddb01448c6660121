"""Files that appear under their names whole, or not at all.

What is being written lies beside its place as `.<name>.<random>.part`, locked by the process that
writes it. A killed process leaves its parts; the next one that writes the same name removes those
whose lock is gone. Nothing else is ever deleted.
"""

import contextlib
import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from io import BufferedRandom
from pathlib import Path

from lt_onnx.errors import InputError, ResourceError
from lt_onnx.units import size_text

try:
    import fcntl
except ImportError:  # Windows: parts of killed processes are left to the user
    fcntl = None  # type: ignore[assignment]

INLINE_LIMIT = 128 << 20  # bytes of weights up to which a ticket is a single file
FILE_SYSTEM_OVERHEAD = 1.02  # of the disk, for a byte of a file
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def data_of(path: Path) -> Path:
    """Where the external data of the ticket at `path` lies, if it has any."""
    return path.with_name(f"{path.name}.data")


def check_file(path: Path) -> None:
    """Raises InputError unless there is a file at `path`: a pipe would be waited for for ever."""
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")


def check_place(path: Path, *, force: bool) -> None:
    """Raises InputError unless a file can be made at `path`; to be asked before any work."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written: its folder does not let you")
    if not force and os.path.lexists(path):
        raise InputError(f"{path}: exists; give `force=True` to overwrite it, or another `output`")


def check_room(
    paths: Sequence[Path],
    target: Path,
    *,
    file_bytes: int,
    memory_bytes: int = 0,
    max_memory: int | None = None,
    force: bool = False,
) -> None:
    """Raises InputError or ResourceError unless files can be made at `paths`, one folder for all.

    None of them may be the `target`; `file_bytes` are needed on the disk; `memory_bytes` are needed
    to make them and `max_memory`, if any, are allowed.
    """
    for path in paths:
        if path.exists() and target.exists() and path.samefile(target):
            raise InputError(f"{path}: would overwrite the target; give another `output`")
        check_place(path, force=force)
    if max_memory is not None and memory_bytes > max_memory:
        needed = f"about {size_text(memory_bytes)} of memory are needed, `max_memory` allows"
        mend = "lower `base_size` or use `mode=2l`"
        raise ResourceError(f"{target}: {needed} {size_text(max_memory)}: {mend}")
    free = shutil.disk_usage(paths[0].parent).free
    if file_bytes * FILE_SYSTEM_OVERHEAD > free:
        needed = f"about {size_text(file_bytes)} are needed, {size_text(free)} are free"
        mend = "lower `base_size`, use `mode=2l` or another disk"
        raise ResourceError(f"{paths[0]}: {needed}: {mend}")


def cannot_write(path: Path, error: OSError) -> InputError | ResourceError:
    """What to raise when writing `path` failed."""
    if error.errno in DISK_FULL:
        return ResourceError(f"{path}: cannot be written: {error.strerror}; free some disk space")
    return InputError(f"{path}: cannot be written: {error.strerror or error}")


class Part:
    """A file on its way to `path`: written through `stream`, then given its name, or removed.

    Raises OSError when it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        remove_stale_parts(path)
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self.stream: BufferedRandom = self.temporary.open("x+b")
        try_lock(self.stream)

    def flush(self) -> None:
        """Bring what was written to the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def appear(self) -> None:
        """Give the finished file its name; the lock goes with it."""
        os.replace(self.temporary, self.path)
        self.stream.close()

    def drop(self) -> None:
        """Remove what did not appear."""
        with contextlib.suppress(OSError):  # a full disk: what is buffered is not wanted any more
            self.stream.close()
        self.temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(*paths: Path) -> Iterator[list[BufferedRandom]]:
    """Streams that become the files `paths` together when the block ends well.

    The first needs the others: it is the last to appear, and while the others are replaced it is
    not there. Raises InputError or ResourceError when they cannot be written.
    """
    parts: list[Part] = []
    try:
        for path in paths:
            parts.append(Part(path))
        yield [part.stream for part in parts]
        appear_together(parts)
    except OSError as error:
        raise cannot_write(paths[0], error) from None
    finally:
        for part in parts:
            part.drop()


def appear_together(parts: list[Part]) -> None:
    """Let files appear of which the first needs the others. Raises OSError."""
    for part in parts:
        part.flush()
    first, *others = parts
    if others:
        first.path.unlink(missing_ok=True)  # else it would for a moment meet another's data
    for part in others:
        part.appear()
    first.appear()
    with contextlib.suppress(OSError):  # names outlive a power failure, where the system knows how
        folder = os.open(first.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def remove_stale_parts(path: Path) -> None:
    """Remove the parts of `path` that killed processes left."""
    if fcntl is None:
        return
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError), part.open("r+b") as stream:
            if try_lock(stream):
                part.unlink(missing_ok=True)


def try_lock(stream: BufferedRandom) -> bool:
    """Take the file for this process; False when another has it."""
    if fcntl is None:
        return True
    with contextlib.suppress(OSError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
