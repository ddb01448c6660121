"""Files that appear under their names whole, or not at all, and never in place of what they need.

What is being written lies beside its place as `.<name>.<random>.part`. One process at a time writes
a name: it holds a lock on `.<name>.lock`. A killed process leaves both; the next one that writes
the name removes them. Nothing else is ever deleted.
"""

import contextlib
import errno
import glob
import mmap
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedRandom
from pathlib import Path

from lt_onnx.errors import BusyError, InputError, ResourceError
from lt_onnx.units import size_text

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and parts of killed processes are left
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None
MAX_FILE_BYTES = (1 << 31) - (1 << 24)  # of a protobuf
INLINE_LIMIT = 128 << 20  # bytes of weights up to which a ticket is a single file
FILE_SYSTEM_OVERHEAD = 1.02  # of the disk, for a byte of a file
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WAIT_SECONDS = 5.0  # for another process to finish a file that takes no time
WAIT_STEP = 0.05
BUSY = (errno.EAGAIN, errno.EACCES)  # of a lock that another process holds
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that have none

# what stays when this process is interrupted, for it to tell: files that it gave their names, and
# checkpoints, from which the same command goes on; in other places by their URLs
finished: list[Path | str] = []
resumable: list[Path | str] = []
_locks: dict[Path, tuple[int, int]] = {}  # held by this process: the thread, and the open lock file


def data_of(path: Path) -> Path:
    """Where the external data of the ticket at `path` lies, if it has any. Raises InputError."""
    check_named(path)
    return path.with_name(f"{path.name}.data")


def check_file(path: Path) -> None:
    """Raises InputError unless there is a file at `path`: a pipe would be waited for for ever."""
    if not path.is_file():
        wrong = "is a folder, not a file" if path.is_dir() else "not a file"
        raise InputError(f"{path}: {wrong if path.exists() else 'no such file'}")


def check_named(path: Path) -> None:
    """Raises InputError for a path that ends in no name, as that of the folder one is in."""
    if not path.name:
        raise InputError(f"'{path}' is a folder: give a file, or convert a folder with zoo")


def check_suffix(path: Path, suffix: str, *, argument: str = "output") -> None:
    """Raises InputError unless an output's name tells what it is, as those who read it expect."""
    if path.suffix.lower() != suffix:
        raise InputError(f"`{argument}` is '{path}'; end it in {suffix}")


def check_network(path: Path) -> None:
    """Raises InputError unless a network may have this path: that of runtimes is text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: is not UTF-8, as runtimes want networks; rename it") from None


def check_places(
    outputs: Sequence[Path], inputs: Iterable[Path] = (), *, force: bool = False
) -> None:
    """Raises InputError unless files can be made at all `outputs`; to be asked before any work.

    None may be one of the `inputs`, or lie in a folder that is one, under whatever name: that is
    never overwritten. `force` lets other files be. `inputs` are only gone through where a file may
    be overwritten.
    """
    for path in outputs:
        _check_place(path)
    check_distinct(outputs)
    there = {_identity(path): path for path in outputs if path.exists()}
    for source in inputs if there else ():
        for file in source.rglob("*") if source.is_dir() else [source]:
            if file.is_file() and _identity(file) in there:
                path = there[_identity(file)]
                raise InputError(f"{path}: would overwrite the input {file}; give another name")
    for path in outputs:
        if not force and os.path.lexists(path):
            raise _exists(path)


def check_distinct(outputs: Sequence[Path]) -> None:
    """Raises InputError when two of the `outputs` are one file."""
    names = [os.path.normcase(os.path.realpath(path)) for path in outputs]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InputError(f"{outputs[number]}: two files would have this name; give another")


def _check_place(path: Path) -> None:
    """Raises InputError unless a file can be made or replaced at `path`."""
    check_named(path)
    trial = _beside(path, f"{secrets.token_hex(4)}.part")
    try:
        if not path.parent.is_dir():
            raise InputError(f"{path}: its folder does not exist")
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name the file")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is a device or a pipe; name a file")
        trial.open("xb").close()
        trial.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None


def _beside(path: Path, kind: str) -> Path:
    """A hidden file beside `path` and named after it."""
    return path.with_name(f".{path.name}.{kind}")


def _identity(path: Path) -> tuple[int, int]:
    """What all names of a file share."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _exists(path: Path) -> InputError:
    return InputError(f"{path}: exists; give `force=True` to overwrite it, or another name")


def check_room(
    paths: Sequence[Path],
    target: Path,
    *,
    file_bytes: int,
    memory_bytes: int = 0,
    max_memory: int | None = None,
) -> None:
    """Raises ResourceError unless there is room to make the files `paths`, one folder for all.

    `file_bytes` are needed on the disk; `memory_bytes` are needed to make them and `max_memory`, if
    any, are allowed; `target` is what they are made of.
    """
    if max_memory is not None and memory_bytes > max_memory:
        needed = f"about {size_text(memory_bytes)} of memory are needed, `max_memory` allows"
        mend = "lower `base_size`; `mode=2l` needs least"
        raise ResourceError(f"{target}: {needed} {size_text(max_memory)}: {mend}")
    free = shutil.disk_usage(paths[0].parent).free
    if file_bytes * FILE_SYSTEM_OVERHEAD > free:
        needed = f"about {size_text(file_bytes)} are needed, {size_text(free)} are free"
        mend = "lower `base_size` or take another disk; `mode=2l` with `weights=seeded` needs least"
        raise ResourceError(f"{paths[0]}: {needed}: {mend}")


def check_fits(path: Path, size: int) -> None:
    """Raises ResourceError where a network of `size` bytes is too large for the one file `path`."""
    if size > MAX_FILE_BYTES:
        raise ResourceError(
            f"{path}: about {size_text(size)} are more than one file can hold: use `weights=folded`"
        )


def cannot_write(path: Path, error: OSError) -> InputError | ResourceError:
    """What to raise when writing `path` failed."""
    if error.errno in DISK_FULL:
        return ResourceError(f"{path}: cannot be written: {error.strerror}; free some disk space")
    return InputError(f"{path}: cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def reserved(*paths: Path, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing `paths` in the block; `wait` seconds for them to finish.

    What killed processes left of them is removed. Blocks of one thread may lie in each other.
    Raises InputError when another process writes one of them, or nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        for path in sorted({*paths}):
            _check_place(path)
            stack.enter_context(_locked(path, time.monotonic() + wait))
        yield


@contextlib.contextmanager
def _locked(path: Path, deadline: float) -> Iterator[None]:
    """Hold the lock of one name."""
    lock = _beside(path.absolute(), "lock")
    if not CAN_LOCK or _locks.get(lock, (0, 0))[0] == threading.get_ident():
        yield
        return
    while (opened := _try_lock(path, lock)) is None:
        if time.monotonic() > deadline:
            raise BusyError(f"{path}: is being written by another process; wait for it")
        time.sleep(WAIT_STEP)
    if opened < 0:
        yield
        return
    try:
        _locks[lock] = threading.get_ident(), opened
        for part in path.parent.glob(f"{glob.escape(f'.{path.name}.')}*.part"):
            part.unlink(missing_ok=True)
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held: later it would be another's
        os.close(opened)
        _locks.pop(lock, None)


def _try_lock(path: Path, lock: Path) -> int | None:
    """The lock file of `path`, open and locked; None while another has it, -1 without locks."""
    opened = -1
    try:
        opened = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(opened), os.lstat(lock)):
            return opened
    except OSError as error:
        if error.errno in NO_LOCKS:
            os.close(opened)
            lock.unlink(missing_ok=True)
            return -1
        if error.errno not in (*BUSY, errno.ENOENT) or opened < 0:
            raise cannot_write(path, error) from None
    os.close(opened)  # of another, or removed by the one who had it
    return None


def _leave_locks() -> None:
    """A forked process holds none of its parent's."""
    for _, opened in _locks.values():
        os.close(opened)
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks)


class Part:
    """A file on its way to `path`: written through `stream`, then given its name, or removed.

    Raises OSError when it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = _beside(path, f"{secrets.token_hex(4)}.part")
        self.stream: BufferedRandom = self.temporary.open("x+b")

    def flush(self) -> None:
        """Bring what was written to the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def appear(self, *, force: bool) -> None:
        """Give the finished file its name; again, where that was interrupted.

        Without `force` raises InputError where there is a file by now.
        """
        self.stream.close()
        if self.temporary.exists():
            if force:
                os.replace(self.temporary, self.path)
            else:
                self._link()
        if self.path not in finished:
            finished.append(self.path)

    def _link(self) -> None:
        """Take a name that nobody has."""
        try:
            os.link(self.temporary, self.path)
        except OSError:  # taken, or a file system without links
            if not os.path.lexists(self.path):
                os.replace(self.temporary, self.path)
            elif _identity(self.temporary) != _identity(self.path):
                raise _exists(self.path) from None
        self.temporary.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove what did not appear."""
        with contextlib.suppress(OSError):  # a full disk: what is buffered is not wanted any more
            self.stream.close()
        self.temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(*paths: Path, force: bool) -> Iterator[list[BufferedRandom]]:
    """Streams that become the files `paths` together when the block ends well.

    The first needs the others: it is the last to appear, and while the others are replaced it is
    not there. `force` lets them replace what is there; the data file that a replaced model alone
    named goes with it. Raises InputError or ResourceError when they cannot be written.
    """
    parts: list[Part] = []
    with reserved(*paths, wait=WAIT_SECONDS):
        data = data_of(paths[0])
        had_data = force and data not in paths and _names(paths[0], data)
        try:
            for path in paths:
                parts.append(Part(path))
            yield [part.stream for part in parts]
            appear_together(parts, force=force)
            if had_data and not _names(paths[0], data):
                data.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(paths[0], error) from None
        finally:
            for part in parts:
                part.drop()


def _names(model: Path, data: Path) -> bool:
    """Whether there is a model that names a data file which is there."""
    if not (model.is_file() and data.is_file() and model.stat().st_size):
        return False
    with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return held.find(os.fsencode(data.name)) >= 0


def appear_together(parts: Sequence[Part], *, force: bool) -> None:
    """Let files appear of which the first needs the others. Raises OSError and InputError."""
    for part in parts:
        part.flush()
    first, *others = parts
    try:
        if others and force:
            first.path.unlink(missing_ok=True)  # else it would for a moment meet another's data
        _appear([*others, first], force=force)
    except KeyboardInterrupt:  # half of a ticket is none
        _appear([*others, first], force=force)
        raise
    with contextlib.suppress(OSError):  # names outlive a power failure, where the system knows how
        folder = os.open(first.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _appear(parts: Sequence[Part], *, force: bool) -> None:
    """Let files appear one after the other, or none of them where a name is taken."""
    for number, part in enumerate(parts):
        try:
            part.appear(force=force)
        except InputError:
            for before in parts[:number]:
                before.path.unlink()
                finished.remove(before.path)
            raise
