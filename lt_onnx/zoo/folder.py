"""A folder of networks, converted one by one or on a cluster.

A network that fails, crashes or is out of memory does not stop the rest, and what is finished is
not done again. One that another process converts is waited for, and not made again either.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lt_onnx.cluster.calls import Call, Executor, Outcome, Told
from lt_onnx.errors import BusyError, InputError
from lt_onnx.options import Pictures
from lt_onnx.pipeline import Job
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.report.schema import Model
from lt_onnx.samples.samples import AS_THEY_ARE
from lt_onnx.zoo.network import Network, convert_network, look_at


@dataclass(frozen=True)
class FolderJob:
    """What to convert, where to, and how: as `each`, whose target and ticket stand for all.

    `<name>.calibration.npz` and `<name>.samples.npz` beside a model are used for it, or folders of
    images without the suffix, whose `pictures` become inputs. `words` are those of a network's
    conversion, for the file beside its report.
    """

    folder: Path
    output: Path
    each: Job
    pictures: Pictures = AS_THEY_ARE
    words: Callable[[Job], str] = lambda job: ""

    def networks(self) -> list[Network]:
        """The networks under the folder, tickets and what lies in the output folder apart."""
        output, files = self.output.resolve(), sorted(self.folder.rglob("*.onnx"))
        if output == self.folder.resolve() or output in self.folder.resolve().parents:
            raise InputError(
                f"{self.output}: holds the networks: give another folder for their tickets, as in "
                f"{self.output / 'tickets'}"
            )
        targets = [f for f in files if f.is_file() and output not in f.resolve().parents]
        networks = [file for file in targets if not _is_ticket(file)]
        if not networks:
            what = "no ONNX file under it" if not targets else "nothing but tickets under it"
            raise InputError(f"{self.folder}: there is {what}")
        return [self._network(target) for target in networks]

    def _network(self, target: Path) -> Network:
        """One of them."""

        def beside(kind: str) -> Path | None:
            file = target.with_name(f"{target.stem}.{kind}.npz")
            folder = file.with_suffix("")
            return file if file.is_file() else folder if folder.is_dir() else None

        calibration, samples = beside("calibration"), beside("samples")
        images = any(path is not None and path.is_dir() for path in (calibration, samples))
        name = target.relative_to(self.folder).with_suffix("").as_posix()
        job = replace(
            self.each,
            target=target,
            output=replace(self.each.output, path=self.output / f"{name}.ticket.onnx", resume=True),
            calibration=calibration,
            samples=samples,
            pictures=self.pictures if images else AS_THEY_ARE,
        )
        return Network(name, job, self.output / f"{name}.report.json", self.words(job))


def convert_folder(
    networks: list[Network], executor: Executor, tell: Told
) -> Generator[Model, None, None]:
    """Convert all of them; yields the entry of each as it comes, and tells how far they are.

    What an interrupt leaves is whole: the iterator has waited for the conversions under way.
    """
    by_name = {network.name: network for network in networks}
    calls, slow = [Call(name, (network,)) for name, network in by_name.items()], {}
    waiting: list[Call] = []
    for number, (call, outcome) in enumerate(executor.outcomes(look_at, calls, tell), 1):
        tell("", "read", number / len(calls))
        needs = outcome.result
        if needs is None or needs.entry is not None:
            yield needs.entry if needs is not None else _failed(by_name[call.name], outcome)
            continue
        slow[call.name] = needs.seconds
        waiting.append(replace(call, memory=needs.memory))
    waiting.sort(key=lambda call: -slow[call.name])  # so that none is left for the end alone
    while waiting:
        busy = []
        for call, outcome in executor.outcomes(convert_network, waiting, tell):
            failure = outcome.failure
            if failure is not None and failure.kind == BusyError.__name__:
                busy.append(call)  # after some seconds of waiting
            else:
                yield outcome.result or _failed(by_name[call.name], outcome)
        waiting = busy


def finished_entries(networks: list[Network]) -> Generator[Model, None, None]:
    """The entry of each network, converted by an earlier run or not."""
    for network in networks:
        entry = network.finished()
        missing = msgspec.structs.replace(network.entry, message="not converted yet")
        yield missing if entry is None else entry


def _failed(network: Network, outcome: Outcome) -> Model:
    failure = outcome.failure
    assert failure is not None
    return msgspec.structs.replace(network.entry, message=failure.message)


def _is_ticket(path: Path) -> bool:
    try:
        return read_manifest(path) is not None
    except InputError:
        return False  # unreadable: a conversion will say why
