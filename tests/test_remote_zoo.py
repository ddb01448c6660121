"""Networks and tickets at URLs: fetched, converted in scratch, published when whole."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import onnx
import pytest
from paths import MODELS

from lt_onnx.cli.app import run
from lt_onnx.cluster.calls import Call, Outcome, Told
from lt_onnx.errors import InputError
from lt_onnx.options import Output, make_options
from lt_onnx.pipeline import Job
from lt_onnx.progress import silent
from lt_onnx.report.schema import Model
from lt_onnx.zoo.folder import convert_folder
from lt_onnx.zoo.remote import Store, remote_networks

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
SMALL = ("--mode", "2l", "--base-size", "4", "--price", "1e-3")


class Here:
    """Makes calls in this process, where `memory://` is."""

    dashboard = ""

    def outcomes(
        self, function: Callable[..., Any], calls: Sequence[Call], tell: Told
    ) -> Generator[tuple[Call, Outcome], None, None]:
        for call in calls:
            yield call, Outcome(function(*call.arguments, silent))


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def entries(job: Job, source: str, output: str) -> dict[str, Model]:
    networks = remote_networks(job, Store(source), Store(output), words=lambda job: "")
    return {entry.name: entry for entry in convert_folder(networks, Here(), silent)}


def test_what_lies_in_an_object_store_is_converted_into_one(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/nets/deep/plain-relu.onnx", (MODELS / "plain-relu.onnx").read_bytes())
    memory.pipe("/nets/deep/plain-relu.samples.npz", (MODELS / "digits.samples.npz").read_bytes())
    memory.pipe("/nets/old.ticket.onnx", b"a ticket by its name")
    published: list[str] = []
    publish = Store.publish

    def noted(store: Store, file: Path, name: str) -> None:
        published.append(name)
        publish(store, file, name)

    monkeypatch.setattr(Store, "publish", noted)
    here = Path.cwd()
    job = Job(tmp_path, make_options(mode="2l", base_size=4, price=1e-3), Output(), per_layer=True)
    made = entries(job, "memory://nets", "memory://tickets/all")

    assert set(made) == {"deep/plain-relu"}
    assert made["deep/plain-relu"].ticket == "memory://tickets/all/deep/plain-relu.ticket.onnx"
    assert made["deep/plain-relu"].accuracy is not None
    assert published[0] == "deep/plain-relu.ticket.onnx"
    assert published[-1] == "deep/plain-relu.report.json"
    ticket = memory.cat("/tickets/all/deep/plain-relu.ticket.onnx")
    assert made["deep/plain-relu"].bytes == len(ticket)
    words = ["convert", str(MODELS / "plain-relu.onnx"), "-o", str(tmp_path / "t.onnx"), "-q"]
    run([*words, *SMALL])
    assert (tmp_path / "t.onnx").read_bytes() == ticket
    report = json.loads(memory.cat("/tickets/all/deep/plain-relu.report.json"))
    assert "deep/plain-relu.onnx" in report["command"]
    assert here == Path.cwd()

    published.clear()
    assert entries(job, "memory://nets", "memory://tickets/all")["deep/plain-relu"].reused
    other = Job(tmp_path, make_options(mode="2l", base_size=4, price=1e-3, seed=1), Output())
    with pytest.raises(
        InputError, match=r"memory://tickets/all/deep/plain-relu.ticket.onnx: exists; give"
    ):
        entries(other, "memory://nets", "memory://tickets/all")
    memory.pipe("/nets/deep/plain-relu.onnx", (MODELS / "plain-tanh.onnx").read_bytes())
    assert not published
    assert not entries(job, "memory://nets", "memory://tickets/all")[
        "deep/plain-relu"
    ].reused  # another net


def test_a_zoo_takes_urls_and_external_data_that_lies_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nets, out = tmp_path / "nets", tmp_path / "out"
    nets.mkdir()
    model = onnx.load(str(MODELS / "plain-relu.onnx"))
    apart = {"save_as_external_data": True, "location": "e.bin", "size_threshold": 0}
    onnx.save(model, str(nets / "e.onnx"), **apart)
    (tmp_path / "secret.bin").write_bytes(b"\0" * 99_999)
    for tensor in (
        model := onnx.load(str(nets / "e.onnx"), load_external_data=False)
    ).graph.initializer:
        tensor.external_data[0].value = "../secret.bin"
    onnx.save(model, str(nets / "forged.onnx"))
    words = ["zoo", f"file://{nets}", "-o", f"file://{out}", *SMALL]
    assert run(words) == 1
    shown = capsys.readouterr().out

    assert "passed  e: " in shown or "failed  e: " in shown
    assert "error   forged: " in shown
    assert f"file://{out}/zoo.json" in shown
    report = json.loads((out / "zoo.json").read_text())
    digest = hashlib.sha256((out / "e.ticket.onnx").read_bytes()).hexdigest()
    assert {model["name"] for model in report["models"]} == {"e", "forged"}
    assert run([*words, "--report-only", "-q"]) == 1
    again = {m["name"]: m for m in json.loads((out / "zoo.json").read_text())["models"]}
    assert again["e"]["reused"]
    assert digest == hashlib.sha256((out / "e.ticket.onnx").read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lt_onnx.cli.zoo._print_counts", Mock(side_effect=KeyboardInterrupt))
        assert run([*words, "--report-only"]) == 3
    told = f"interrupted; finished and there: file://{out}/e.ticket.onnx (lt-onnx verify"
    assert told in (shown := capsys.readouterr().err)
    assert f"; file://{out} keeps what is finished: the same command goes on" in shown
    for place in (f"file://{tmp_path}/nowhere", "nonsense://bucket"):
        assert run(["zoo", place, "-o", str(tmp_path / "o"), "-q"]) == 2
        assert place in capsys.readouterr().err
    assert run([*words, "--mean", "0.5"]) == 2
    assert "--mean is for folders of images" in capsys.readouterr().err


@pytest.mark.long
def test_a_zoo_takes_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a server that moto ships, which speaks as Amazon's S3."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    started = server.ThreadedMotoServer(port=0)
    started.start()
    address = "http://{}:{}".format(*started.get_host_and_port())
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "of-nobody",
        "AWS_SECRET_ACCESS_KEY": "of-nobody",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        bucket = s3fs.S3FileSystem(endpoint_url=address)
        bucket.mkdir("zoo")
        for name in ("plain-relu", "plain-tanh"):
            bucket.put_file(str(MODELS / f"{name}.onnx"), f"zoo/nets/deep/{name}.onnx")
        bucket.pipe("zoo/nets/broken.onnx", b"\xff" * 99)
        words = ["zoo", "s3://zoo/nets", "-o", "s3://zoo/tickets", *SMALL]
        assert run([*words, "--workers", "2"]) == 1
        assert "error   broken: " in capsys.readouterr().out
        assert run(words) == 1
        assert capsys.readouterr().out.count("finished before") == 2
        found = bucket.find("zoo/tickets")
        bucket.get_file("zoo/tickets/deep/plain-relu.ticket.onnx", str(tmp_path / "there.onnx"))
    finally:
        started.stop()
    assert "zoo/tickets/zoo.html" in found
    assert sum(name.endswith(".ticket.onnx") for name in found) == 2
    here = ["convert", str(MODELS / "plain-relu.onnx"), "-o", str(tmp_path / "here.onnx"), "-q"]
    run([*here, *SMALL])
    assert (tmp_path / "here.onnx").read_bytes() == (tmp_path / "there.onnx").read_bytes()
    assert run(words) == 2  # nobody is there any more
    assert "s3://zoo/nets: cannot be reached" in capsys.readouterr().err
