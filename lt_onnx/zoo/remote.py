"""Networks and tickets at URLs, as fsspec opens them: fetched into scratch, published when whole.

A network is fetched with what lies beside it into a folder of its own under the system's temporary
one (`TMPDIR`), converted there, and its ticket and reports are put to their URLs, the JSON report
last: where that is, all is. What was under way when a worker was lost begins anew.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from lt_onnx.errors import InputError
from lt_onnx.pipeline import Job, predicted
from lt_onnx.progress import Progress
from lt_onnx.reading.model_file import load, model_files
from lt_onnx.report.schema import Model
from lt_onnx.zoo.network import Needs, Network

MAX_PART_BYTES = 1 << 24  # of a file, on its way to a store
BESIDE = ("calibration", "samples")
NO_STORE = "needs fsspec: pip install 'lt-onnx[cluster]'"


def is_url(place: str) -> bool:
    """Whether a place is a URL, as in `s3://bucket/folder`, and no path."""
    return "://" in place


@dataclass(frozen=True)
class Store:
    """The folder at a URL, or a local one."""

    url: str

    def _open(self) -> tuple[Any, str]:
        if find_spec("fsspec") is None:
            raise InputError(f"{self.url}: {NO_STORE}")
        import fsspec

        with self._told():
            system, root = fsspec.url_to_fs(self.url)
            return system, str(root).rstrip("/")

    @contextlib.contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        """Let what a file system raises be an InputError that names the place."""
        try:
            yield
        except Exception as error:  # of any library
            said = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self.at(name)}: cannot be reached: {said}") from None

    def at(self, name: str) -> str:
        """The URL of one file."""
        return f"{self.url.rstrip('/')}/{name}" if name else self.url

    def names(self) -> list[str]:
        """All files at any depth, by their paths from the folder."""
        system, root = self._open()
        with self._told():
            system.invalidate_cache()
            found = [PurePosixPath(path) for path in system.find(root)]
        inside = [path.relative_to(root) for path in found if path.is_relative_to(root)]
        return sorted(str(path) for path in inside if is_inside(path))

    def fetch(self, name: str, to: Path) -> None:
        """Copy one file to a local place. Raises InputError."""
        system, root = self._open()
        to.parent.mkdir(parents=True, exist_ok=True)
        with self._told(name):
            system.get_file(f"{root}/{name}", str(to))

    def size(self, name: str) -> int:
        """Bytes of a file; 0 where there is none."""
        system, root = self._open()
        try:
            return int(system.size(f"{root}/{name}") or 0)
        except FileNotFoundError:
            return 0

    def publish(self, file: Path, name: str) -> None:
        """Copy a local file to its place, where it appears whole. Raises InputError."""
        system, root = self._open()
        with self._told(name):
            system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            with (
                system.transaction,  # the name comes with the last byte
                file.open("rb") as read,
                system.open(f"{root}/{name}", "wb") as stream,
            ):
                shutil.copyfileobj(read, stream, MAX_PART_BYTES)


def is_inside(path: PurePosixPath) -> bool:
    """Whether a path leads from a folder to what is in it."""
    return not path.is_absolute() and ".." not in path.parts


@dataclass(frozen=True)
class RemoteNetwork(Network):
    """A network in a store, whose paths are those in a folder that it is fetched into."""

    source: Store = Store("")
    output: Store = Store("")
    fetched: tuple[str, ...] = ()  # the model, and what lies beside it

    @property
    def entry(self) -> Model:
        """The entry of a network that there is no ticket of."""
        return Model(self.name, self.source.at(self.fetched[0]))

    def needs(self) -> Needs:
        """What the conversion takes. Raises InputError."""
        with self._here() as sha256:
            entry = self._finished(sha256)
            if entry is not None:
                return Needs(entry)
            prediction = predicted(self.job)
            return Needs(None, prediction.memory_bytes, prediction.seconds)

    def finished(self) -> Model | None:
        """The entry, if an earlier run has finished the ticket."""
        if self._document() is None:
            return None
        with self._here() as sha256:
            return self._finished(sha256)

    def convert(self, tell: Progress) -> Model:
        """Make the ticket and its reports, and publish them. Raises as `Network.convert`."""
        with self._here() as sha256:
            entry = self._finished(sha256)
            if entry is not None:
                return entry
            self._check_free()
            entry = self._converted(tell)
            for file in self._made():
                if file.is_file():
                    self.output.publish(file, str(file))
            return self._at_urls(entry)

    def _check_free(self) -> None:
        """Raises InputError where another command's files would be overwritten."""
        if self.job.output.force or self._document() is not None:
            return
        for name in (str(self.job.ticket), str(self.report)):
            if self.output.size(name):
                taken = f"{self.output.at(name)}: exists"
                raise InputError(f"{taken}; give `force=True` to overwrite it, or another name")

    def _made(self) -> list[Path]:
        """What a conversion may leave, what says that it is whole last."""
        pages = [self.report.with_suffix(suffix) for suffix in (".html", ".toml", ".json")]
        return [*reversed(self.job.outputs), *pages]

    @contextlib.contextmanager
    def _here(self) -> Iterator[str]:
        """Work in a folder that holds what is fetched; yields the target's SHA-256."""
        before = Path.cwd()
        with tempfile.TemporaryDirectory(prefix="lt-onnx-") as folder:
            os.chdir(folder)
            try:
                for name in self.fetched:
                    self.source.fetch(name, Path(name))
                model = Path(self.fetched[0])
                for path in list(model_files(model))[1:]:  # its external data
                    if is_inside(PurePosixPath(path)) and not path.exists():
                        self.source.fetch(path.as_posix(), path)
                yield load(model)[1]
            finally:
                os.chdir(before)

    def _document(self) -> dict[str, Any] | None:
        """The published report, if it is of the same command."""
        with contextlib.suppress(InputError, ValueError, KeyError, TypeError):
            with tempfile.TemporaryDirectory() as folder:
                self.output.fetch(str(self.report), Path(folder) / "report.json")
                text = (Path(folder) / "report.json").read_text(encoding="utf-8")
            document: dict[str, Any] = json.loads(text)
            return document if document["command"] == self.job.command else None
        return None

    def _finished(self, sha256: str) -> Model | None:
        """The entry of a published ticket, if it is of this target."""
        document = self._document()
        with contextlib.suppress(KeyError, TypeError):
            if document is not None and document["target"]["sha256"] == sha256:
                entry = self._at_urls(self._measured(document))
                return msgspec.structs.replace(entry, reused=True)
        return None

    def _at_urls(self, entry: Model) -> Model:
        ticket, data = map(str, self.job.outputs[:2])
        size = self.output.size(ticket) + self.output.size(data)
        return msgspec.structs.replace(entry, ticket=self.output.at(ticket), page=None, bytes=size)


def remote_networks(
    each: Job, source: Store, output: Store, *, words: Callable[[Job], str]
) -> list[Network]:
    """The networks of a store, tickets apart; `each` stands for their jobs. Raises InputError.

    `<name>.calibration.npz` and `<name>.samples.npz` beside a model are used for it.
    """
    names = source.names()
    there = frozenset(names)
    networks: list[Network] = []
    for path in map(PurePosixPath, names):
        if path.suffix != ".onnx" or path.name.endswith(".ticket.onnx"):
            continue
        stem = str(path.with_suffix(""))
        beside = {kind: f"{stem}.{kind}.npz" for kind in BESIDE}
        beside = {kind: name for kind, name in beside.items() if name in there}
        given: dict[str, Any] = {kind: Path(name) for kind, name in beside.items()}
        job = replace(
            each,
            target=Path(path),
            output=replace(each.output, path=Path(f"{stem}.ticket.onnx"), resume=True),
            **given,
        )
        place = Path(f"{stem}.report.json")
        fetched = (str(path), *beside.values())
        told: dict[str, Any] = {"words": words(job), "source": source, "output": output}
        networks.append(RemoteNetwork(stem, job, place, fetched=fetched, **told))
    if not networks:
        raise InputError(f"{source.url}: there is no ONNX file under it")
    return networks
