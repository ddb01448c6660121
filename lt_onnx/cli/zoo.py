"""`lt-onnx zoo`."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lt_onnx.cli.config import RunWords, toml_text
from lt_onnx.cli.console import flagged, print_json, progress_of_many, say
from lt_onnx.cli.options import NO_WORDS, Config, Json, Only, Quiet, Reports
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import finished, resumable
from lt_onnx.options import Device, Options, Output, Param, Pictures, Workers, changed, params_of
from lt_onnx.validation.limits import Limits

if TYPE_CHECKING:
    from lt_onnx.pipeline import Job
    from lt_onnx.report.schema import Model
    from lt_onnx.zoo.network import Network
    from lt_onnx.zoo.remote import Store


def zoo_command(
    folder: Annotated[str, Param("Folder with ONNX files, at any depth, or its URL.")],
    *,
    output: Annotated[
        str, Param("Folder for tickets, or its URL.", "FOLDER", flags=("--output", "-o"))
    ],
    options: Options,
    calibration_count: Annotated[
        int | None, Param("Calibration inputs; more are better, slower.")
    ] = None,
    pictures: Pictures,
    device: Annotated[Device, Param("Where subset sums are solved.")] = Device.AUTO,
    written: Annotated[Output, Only("emit_source", "max_memory", "force")],
    validate: Annotated[
        bool, Param("Compare with the target.", flags=("--validate/--no-validate",))
    ] = True,
    all_samples: Annotated[
        bool, Param("Validate on all; else as long as constructing took.")
    ] = False,
    bound: Annotated[bool, Param("Certify the largest error over the inputs' box.")] = False,
    limits: Limits,
    workers: Workers,
    report: Reports = None,
    report_only: Annotated[
        bool, Param("Convert nothing: report on what these options have finished.")
    ] = False,
    config: Config = NO_WORDS,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert every network of a folder.

    NAME.samples.npz and NAME.calibration.npz beside a model are used for it, or folders of images,
    NAME.samples and NAME.calibration. One that fails does not stop the rest, and finished tickets
    are not made again. Without --report the summary is zoo.json, .md, .xml, .html with the tickets.
    """
    from lt_onnx.cluster.executor import check_installed
    from lt_onnx.pipeline import Job
    from lt_onnx.report.command import command_of
    from lt_onnx.samples.images import check_pictures
    from lt_onnx.zoo.folder import FolderJob
    from lt_onnx.zoo.remote import Store, is_url, remote_networks

    check_installed(workers)
    remote, local = is_url(folder) or is_url(output), Path(folder)
    if not is_url(folder) and not local.is_dir():
        wrong = "not a folder; lt-onnx convert takes files" if local.exists() else "no such folder"
        raise InputError(f"{folder}: {wrong}")
    each = Job(
        local,
        options,
        written,
        limits,
        calibration_count=calibration_count,
        device=device,
        validate=validate,
        all_samples=all_samples,
        per_layer=validate,
        bound=bound,
    )
    folder, output = (place if is_url(place) else str(Path(place)) for place in (folder, output))
    words = {"output": output, **changed(pictures), **each.words, "per_layer": False}
    command = command_of("zoo", [folder], options, words)
    with ExitStack() as stack:
        if remote:
            check_pictures(pictures)
            stores = Store(folder), Store(output)
            networks = remote_networks(each, *stores, words=_words(config))
            place = Path(stack.enter_context(TemporaryDirectory()))
            summary = _Summary(networks, place, report, store=None if report else stores[1])
        else:
            job = FolderJob(local, Path(output), each, pictures, _words(config))
            summary = _Summary(job.networks(), job.output, report)
        summary.check(command, config, force=written.force)
        with summary.going_on():
            _convert(summary, workers, report_only=report_only, quiet=quiet or json)
            document = summary.write()
            if json:
                print_json(document)
            elif not quiet:
                _print_counts(summary)
    raise typer.Exit(0 if document["verdict"] == "passed" else 1)


def _words(config: RunWords) -> "Callable[[Job], str]":
    """The words of one network's conversion, of those of the run."""
    mine = {"folder", "output", "report_only", *params_of(Workers)}
    lines = {line.partition(" = ")[0]: line for line in config.text.splitlines()}
    pictures = params_of(Pictures)

    def words(job: "Job") -> str:
        said: dict[str, Any] = {"targets": [str(job.target)], "output": str(job.ticket)}
        said |= {"calibration": job.calibration, "samples": job.samples, "resume": True}
        said["per_layer"] = job.per_layer
        kept = [
            line
            for key, line in lines.items()
            if key not in mine and (key not in pictures or job.pictures != Pictures())
        ]
        told = [f"{key} = {toml_text(value)}" for key, value in said.items() if value is not None]
        return "\n".join([*told, *kept]) + "\n"

    return words


class _Summary:
    """The report of all, and where it goes: to a folder, or to a store by way of one."""

    def __init__(
        self,
        networks: "list[Network]",
        folder: Path,
        report: list[Path] | None,
        *,
        store: "Store | None" = None,
    ) -> None:
        from lt_onnx.report.formats import CONFIG_SUFFIX, FORMATS

        self.networks, self.folder, self.store = networks, folder, store
        self.entries: dict[str, Model] = {}  # by the networks' names
        self.paths = report or [folder / f"zoo{suffix}" for suffix in FORMATS]
        self.told = [*self.paths, self.paths[0].with_suffix(CONFIG_SUFFIX)]
        self.places = [str(p) if store is None else store.at(p.name) for p in self.paths]
        self.given = bool(report)

    def check(self, command: str, config: RunWords, *, force: bool) -> None:
        """Raises InputError unless it can be written; to be asked before any work."""
        from lt_onnx.reading.model_file import model_files
        from lt_onnx.report.command import words_of
        from lt_onnx.report.formats import check_reports

        self.command = command
        self.how: dict[str, Any] = {"force": force, "again": command}
        self.how["config"] = words_of(command, config.text)
        if self.store is not None:  # what lies there of the same command may be replaced
            for path in self.told:
                if self.store.size(path.name):
                    self.store.fetch(path.name, path)
        if self.folder.is_dir() or self.given:
            targets = [one.job.target for one in self.networks]
            read = (file for target in targets for file in model_files(target))
            check_reports(self.paths, chain(read, config.read), **self.how)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made: {error.strerror}") from None

    def add(self, entry: "Model") -> "Model":
        """The entry of a network as it is kept."""
        import msgspec

        entry = msgspec.structs.replace(entry, message=flagged(entry.message))
        self.entries[entry.name] = entry
        return entry

    @property
    def others(self) -> "list[Network]":
        """The networks that have no entry yet."""
        return [network for network in self.networks if network.name not in self.entries]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Let what ends the block early be told with the tickets that are finished."""
        before = self._tickets()
        try:
            yield
        except BaseException:
            made = {path for path, time in self._tickets().items() if before.get(path) != time}
            named = {entry.ticket for entry in self.entries.values() if entry.ticket is not None}
            finished[:] = sorted({*map(str, made), *named})
            if self.store is not None:
                resumable[:] = [self.store.url]
            elif self.folder.is_dir() and any(self.folder.iterdir()):
                resumable[:] = [self.folder]
            raise

    def _tickets(self) -> dict[Path, int]:
        """The tickets in a local folder, finished under this command or another, and since when."""
        paths = [network.job.ticket for network in self.networks if self.store is None]
        return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}

    def write(self) -> dict[str, Any]:
        """Write it, in the networks' order."""
        from lt_onnx.report.document import collection
        from lt_onnx.report.formats import write_reports

        names = [network.name for network in self.networks]
        entries = [self.entries[name] for name in names if name in self.entries]
        document = collection(self.command, entries)
        write_reports(self.paths, document, **self.how)
        if self.store is not None:
            for path in self.told:
                self.store.publish(path, path.name)
        return document


def _convert(summary: _Summary, workers: Workers, *, report_only: bool, quiet: bool) -> None:
    """Every network, told as it comes; an interrupt writes the report of them."""
    from lt_onnx.cluster.executor import opened
    from lt_onnx.zoo.folder import convert_folder, finished_entries

    networks = summary.networks
    validated = networks[0].job.validate

    def add(entry: "Model") -> None:
        entry = summary.add(entry)
        if not quiet:
            say(_line(entry, validated=validated))

    if report_only:
        entries = [*finished_entries(networks)]
        if all(entry.ticket is None for entry in entries):
            raise InputError(
                f"{summary.places[0]}: no ticket was made with these options; give those of the run"
            )
        for entry in entries:
            add(entry)
        return
    try:
        with opened(workers) as executor, progress_of_many(len(networks), quiet) as (tell, end):
            if executor.dashboard and not quiet:
                say(f"dashboard {executor.dashboard}", err=True)
            with closing(convert_folder(networks, executor, tell)) as converted:
                for entry in converted:
                    end(entry.name)
                    add(entry)
    except (KeyboardInterrupt, ResourceError):
        for entry in finished_entries(summary.others):
            summary.add(entry)
        summary.write()
        raise


def _print_counts(summary: _Summary) -> None:
    """How many networks passed, and where the report of all is."""
    counts = Counter(model.verdict for model in summary.entries.values())
    say(
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['error']} could not be "
        f"converted; summary in {', '.join(summary.places)}"
    )


def _line(model: "Model", *, validated: bool) -> str:
    """What is told of one network."""
    from lt_onnx.report.figures import decibels, percent

    line = f"{model.verdict:7} {model.name}"
    if model.verdict != "error":
        line += f": {decibels(model.sqnr_db)} dB" if validated else ": genuine"
        if model.agreement is not None:
            line += f", agreement {percent(model.agreement)}"
        line += f", {model.per_target_weight:.2f} per target weight"
        line += ", finished before" if model.reused else f", {model.seconds:.0f} s"
    return line if model.verdict == "passed" else f"{line}: {model.message}"
