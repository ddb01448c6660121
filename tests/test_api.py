"""The public call: words sorted into groups, models in memory, names loaded when asked for."""

import pydoc
import re
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from paths import MODELS, ROOT
from torch import nn

import lt_onnx
from lt_onnx import Limits, Ticket, convert, load, validate
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError

TARGET = MODELS / "plain-relu.onnx"


def test_every_word_reaches_the_ticket_and_its_command(tmp_path: Path) -> None:
    out = tmp_path / "t.onnx"
    made = convert(
        str(TARGET),
        str(out),
        mode="2l",
        base_size=6,
        tolerance=0.02,
        select="best",
        sigma="layer",
        init="kaiming",
        seed=3,
        price=0.001,
        prices={"head": 1e-4},
        weights="masked",
        fp16=True,
        calibration=str(MODELS / "digits.calibration.npz"),
        calibration_count=8,
        samples=MODELS / "digits.samples.npz",
        emit_source=True,
        max_memory=10**12,
        limits=Limits(min_sqnr=1, max_abs={"scores": 90}),
        device="cpu",
        per_layer=True,
    )
    options = made.report.options

    assert made.path == out
    assert made.source == tmp_path / "t.source.onnx"
    assert made.report.trace is not None
    assert (options.mode, options.base_size, options.seed) == ("2l", 6, 3)
    assert made.report.command == (
        f"lt-onnx convert {TARGET} --mode 2l --base-size 6 --tolerance 0.02 --select best "
        "--sigma layer --init kaiming --seed 3 --price 0.001 "
        "--weights masked "
        f"--fp16 --output {out} --calibration {MODELS / 'digits.calibration.npz'} "
        f"--calibration-count 8 --samples {MODELS / 'digits.samples.npz'} --emit-source "
        "--per-layer --max-memory 1000000000000 --max-abs scores:90 --min-sqnr 1 "
        "--price head=0.0001"
    )


def test_a_model_in_memory_needs_an_output_and_gives_the_same_ticket(tmp_path: Path) -> None:
    model = onnx.load(TARGET)
    with pytest.raises(InputError, match="a model in memory needs an `output`"):
        convert(model)
    for name, given in (("a", TARGET), ("b", model)):
        convert(given, tmp_path / f"{name}.onnx", base_size=4, price=1e-3, validate=False)

    tickets = [(tmp_path / f"{name}.onnx") for name in "ab"]
    weights = [[t.raw_data for t in onnx.load(path).graph.initializer] for path in tickets]
    assert weights[0] == weights[1]


def test_what_layers_are_made_from_judges_nothing(tmp_path: Path) -> None:
    calibration = MODELS / "digits.calibration.npz"
    with pytest.raises(InputError, match="layers are made from these: leave `samples` out"):
        convert(TARGET, tmp_path / "t.onnx", calibration=calibration, samples=str(calibration))
    assert not list(tmp_path.iterdir())


def test_limits_without_validation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="drop them, or `validate=False`"):
        convert(TARGET, tmp_path / "t.onnx", limits=Limits(min_sqnr=1), validate=False)
    assert convert(TARGET, tmp_path / "t.onnx", limits=Limits(), validate=False).passed


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(lt_onnx, name) is not None for name in lt_onnx.__all__)
    with pytest.raises(AttributeError, match="no attribute 'transform'"):
        _ = lt_onnx.transform  # type: ignore[attr-defined]


def test_validation_takes_as_long_as_the_construction_unless_it_is_told_to_run_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_onnx.planning.prediction.MULTIPLY_ADD_SECONDS", 1.0)
    samples, made = MODELS / "digits.samples.npz", {}
    for agreement, every in ((0.9, False), (0.95, True), (0.99, False)):
        ticket = convert(
            MODELS / "plain-relu.onnx",
            tmp_path / f"{agreement}.onnx",
            base_size=4,
            samples=samples,
            calibration_count=1,
            agreement=agreement,
            all_samples=every,
        )
        assert ticket.report.fidelity is not None
        made[agreement] = ticket.report
    some, whole, telling = (report.fidelity for report in made.values())

    assert some.samples == 16
    assert telling.samples == 100  # as many as tell whether 99 % agree
    assert some.origin == f"{samples} (16 of {whole.samples:,} samples)"
    assert whole.origin == str(samples)
    assert "--all-samples" in made[0.95].command
    assert "--all-samples" not in made[0.9].command


def test_names_are_listed_and_what_they_return_is_short() -> None:
    assert {*lt_onnx.__all__} <= {*dir(lt_onnx)}
    shown = pydoc.plain(pydoc.render_doc(lt_onnx))
    assert all(name in shown for name in lt_onnx.__all__)


@pytest.fixture(scope="module")
def ticket(tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    """A ticket of the shipped network, made from arrays."""
    path = tmp_path_factory.mktemp("api") / "t.onnx"
    inputs = dict(np.load(MODELS / "digits.samples.npz"))
    some = {name: value[:64] for name, value in inputs.items()}
    told: list[tuple[str, float]] = []
    words = {"calibration": inputs["image"][:32], "samples": some, "base_size": 4, "price": 1e-3}
    made = convert(TARGET, path, **words, progress=lambda *at: told.append(at))
    assert told[-1] == ("validate", 1.0)
    return made


def test_samples_may_be_arrays(ticket: Ticket, tmp_path: Path) -> None:
    inputs = dict(np.load(MODELS / "digits.samples.npz"))
    report = ticket.report
    assert report.fidelity is not None
    assert report.fidelity.outputs[0].ticket_accuracy is not None
    assert (report.fidelity.origin, report.fidelity.samples) == ("arrays given", 64)

    words = {"min_sqnr": 5, "max_accuracy_drop": {"scores": 0.5}}
    path = MODELS / "digits.samples.npz"
    found = [validate(TARGET, ticket.path, given, **words) for given in (inputs, str(path), path)]
    assert found[0].outputs == found[1].outputs == found[2].outputs
    alone = validate(TARGET, ticket.path, inputs["image"], min_sqnr=200)
    assert alone.outputs[0].sqnr_db == found[0].outputs[0].sqnr_db
    assert alone.outputs[0].ticket_accuracy is None
    assert [found[0].passed, alone.passed] == [True, False]
    run(["pack", str(ticket.path), "-o", str(tmp_path / "t.ltz"), "-q"])
    packed = validate(onnx.load(TARGET), tmp_path / "t.ltz", count=8, seed=3)
    assert (packed.samples, packed.origin) == (8, "random (seed 3)")
    for given, message in (
        ({"picture": inputs["image"]}, "no array for the model's input 'image'; it holds picture"),
        (inputs["image"][:, :, :4], "arrays given: 'image' has shape"),
        ({**inputs, "labels": inputs["labels"][:3]}, "one number per sample is wanted"),
        (
            {"image": inputs["image"], "label": inputs["labels"]},
            "'label' is no input of the model; are 'labels' meant?",
        ),
        ((inputs["image"], inputs["labels"]), "are not of one shape; give a dict of image, labels"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            validate(TARGET, ticket.path, given)
    with pytest.raises(InputError, match="a int is no model"):
        validate(3, ticket.path)  # type: ignore[arg-type]


def test_a_ticket_goes_for_its_path(ticket: Ticket) -> None:
    target = MODELS / "plain-relu.onnx"

    assert lt_onnx.verify(ticket, target=target).genuine
    assert lt_onnx.load(ticket).seed == lt_onnx.load(ticket.path).seed
    assert lt_onnx.validate(target, ticket, count=2).samples == 2


def test_what_is_returned_shows_what_counts(ticket: Ticket) -> None:
    report, fidelity = ticket.report, ticket.report.fidelity
    assert repr(ticket) == f"<Ticket {ticket.path}: {repr(report).removeprefix('<Report ')}"
    for shown in (repr(ticket), repr(report)):
        assert f"{report.kept:,} weights kept" in shown
        assert repr(fidelity) in shown
    assert f"{fidelity.outputs[0].judged_db:.1f} dB" in repr(fidelity)
    proof = report.proof
    assert repr(proof) == (
        f"<Proof genuine: {proof.kept:,} of {proof.source:,} random ones kept, seed 0>"
    )
    failed = replace(proof, failures=["'<b>' is not drawn from seed 0"], genuine=False)
    assert repr(failed).startswith("<Proof '<b>' is not drawn from seed 0: ")
    assert "<b>" not in failed._repr_html_()
    for value in (ticket, report, proof, fidelity, load(ticket.path)):
        assert len(repr(value)) < 400
        assert value._repr_html_().startswith("<table><tr><th")
    hostile = replace(fidelity.outputs[0], name="<script>")
    assert "<script>" not in replace(fidelity, outputs=[hostile])._repr_html_()


LINES = """
list(lt_onnx.load("t.onnx").layers) == list(lt_onnx.load("t.ltz").layers)
lt_onnx.load("t.ltz").layers["head"].mask.dtype == bool
lt_onnx.load("t.ltz").layers["head"].source.dtype == np.float32
lt_onnx.load("t.onnx").layers["head"].scale.shape == (10,)
all(l.weight.shape == l.mask.shape for l in lt_onnx.load("t.onnx").layers.values())
lt_onnx.load("t.onnx", target="target.onnx").layers["head"].target_weight.shape[0] == 10
lt_onnx.load("t.onnx").layers["head"].target_weight is None
(lt_onnx.load("t.onnx").seed, lt_onnx.load("t.onnx").options.base_size) == (0, 4)
lt_onnx.load("t.ltz").save_safetensors("t.safetensors") is None and Path("t.safetensors").is_file()
all(layer.jaccard == 1 for layer in lt_onnx.overlap("t.onnx", "t.ltz"))
all(not p.requires_grad for p in lt_onnx.load("t.onnx").to_torch().parameters())
lt_onnx.validate("target.onnx", "t.onnx", {"image": images}, min_sqnr=5).passed
lt_onnx.validate("target.onnx", "t.onnx", images).outputs[0].sqnr_db > 5
lt_onnx.validate("target.onnx", "t.ltz", "samples.npz", min_agreement=0.5).passed
lt_onnx.validate("target.onnx", "t.onnx").samples == 64
not lt_onnx.validate("target.onnx", "t.onnx", min_sqnr=99).passed
lt_onnx.verify("t.onnx", target="target.onnx").genuine
"genuine" in repr(lt_onnx.verify("t.onnx"))
lt_onnx.load("t.onnx")._repr_html_().startswith("<table>")
lt_onnx.deploy("t.onnx", weights="seeded").path.name == "t.seeded.onnx"
"""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_a_line_of_python_does_it(line: str, workplace: Path) -> None:
    given = {"lt_onnx": lt_onnx, "np": np, "Path": Path}
    given["images"] = np.load("samples.npz")["image"][:64]
    assert eval(line, given)


@pytest.fixture
def workplace(ticket: Ticket, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ticket, its pack, its target and inputs."""
    folder = ticket.path.parent
    monkeypatch.chdir(folder)
    if not (folder / "t.ltz").exists():
        assert run(["pack", "t.onnx", "-q"]) == 0
        (folder / "target.onnx").symlink_to(TARGET.resolve())
        (folder / "samples.npz").symlink_to((MODELS / "digits.samples.npz").resolve())
    for made in ("t.safetensors", "t.seeded.onnx"):
        (folder / made).unlink(missing_ok=True)
    return folder


def test_a_torch_module_is_converted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.Dropout(), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    module, x = nn.Sequential(*layers), torch.randn(5, 1, 8, 8)
    words = {"base_size": 12, "price": 0.0, "validate": False, "mode": "2l"}
    made = convert(module, tmp_path / "t.onnx", example_inputs=x[:1], **words)
    assert module.training
    network = load(made.path)

    answer = network.run({"input": x.numpy()})["output"]
    wanted = module.eval()(x).detach().numpy()
    assert np.abs(answer - wanted).max() < 0.1 * np.abs(wanted).max()
    assert network.to_torch()(x).shape == (5, 3)
    for given, message in (
        (None, "a torch module needs `example_inputs`"),
        ((x, x), "`example_inputs`: too many positional arguments"),
        ({"input": x[:, :, :4]}, "torch cannot export Sequential"),
    ):
        with pytest.raises(InputError, match=message):
            convert(module, tmp_path / "u.onnx", example_inputs=given, **words)


def test_a_frontier_is_rows_for_a_table() -> None:
    told: list[tuple[str, float]] = []
    rows = lt_onnx.frontier(
        TARGET, mode="2l", base_size=[4], price=[0, 1e-2], progress=lambda *at: told.append(at)
    )
    assert told == [("tickets", 0.5), ("tickets", 1.0)]
    assert [row.price for row in rows] == [1e-2, 0]
    assert rows[0].per_target_weight < rows[1].per_target_weight
    assert [set(asdict(row)) for row in rows] == 2 * [{f.name for f in fields(lt_onnx.Point)}]
    with pytest.raises(InputError, match="`mode` is '3l'; choose one of"):
        lt_onnx.frontier(TARGET, mode="3l")
    for few in (30, []):
        with pytest.raises(InputError, match=r"`sqnr` is .*; give a list of one number or more"):
            lt_onnx.frontier(TARGET, sqnr=few)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a ndarray is no batch: give a dict of arrays by input"):
        load(TARGET).run(np.zeros((1, 1, 8, 8), np.float32))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`seeds` is 0; give 1 or more"):
        lt_onnx.frontier(TARGET, seeds=0)


def test_bars_are_drawn_on_terminals_where_they_are_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for terminal, asked in ((False, True), (True, False), (True, True)):
        if terminal:
            monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes anything for a terminal then
        validate(TARGET, TARGET, count=8, progress=asked)
        assert ("validate" in capsys.readouterr().err) == (terminal and asked)


def test_a_name_is_what_it_is_whatever_was_imported_before() -> None:
    folders = {path.name for path in (ROOT / "lt_onnx").iterdir()}
    assert not {*lt_onnx.__all__} & {name.removesuffix(".py") for name in folders}
