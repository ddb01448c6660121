"""Fitted scales: nearer to the target, a ticket as before, and nothing but its free scales new."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Builder, save
from onnx import numpy_helper
from paths import MODELS
from typer.testing import CliRunner

from lt_onnx import convert, files, load, validate, verify
from lt_onnx.blueprint import Build
from lt_onnx.cli.app import app
from lt_onnx.deployment.forms import plan_of
from lt_onnx.errors import InputError, ResourceError, UnsupportedError
from lt_onnx.fitting import descent
from lt_onnx.options import make_options
from lt_onnx.report.ticket import Ticket
from lt_onnx.target import Array, Doubles
from lt_onnx.verification.seeded import open_ticket

RESIDUAL = MODELS / "residual.onnx"
CALIBRATION, SAMPLES = MODELS / "digits.calibration.npz", MODELS / "digits.samples.npz"
WORDS = {"calibration": CALIBRATION, "calibration_count": 96, "price": 2e-3, "base_size": 8}


def made(path: Path, **words: object) -> Ticket:
    return convert(RESIDUAL, path, validate=False, **{**WORDS, **words})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ticket, Ticket]:
    """One as it comes, and the same with its scales fitted."""
    folder = tmp_path_factory.mktemp("scales")
    return made(folder / "plain.onnx"), made(folder / "fitted.onnx", fit_scales=True)


def arrays(path: Path) -> dict[str, Array]:
    held = [t for t in open_ticket(path)[0].graph.initializer if not t.external_data]
    return {t.name: numpy_helper.to_array(t) for t in held}


def test_a_fitted_ticket_is_nearer_on_samples_that_nothing_was_made_from(
    tickets: tuple[Ticket, Ticket],
) -> None:
    plain, fitted = (validate(RESIDUAL, one.path, SAMPLES).outputs[0] for one in tickets)

    assert fitted.variation_db is not None
    assert plain.variation_db is not None
    assert fitted.variation_db > plain.variation_db + 0.6


def test_it_is_genuine_and_holds_as_many_bits(tickets: tuple[Ticket, Ticket]) -> None:
    plain, fitted = (verify(one.path, target=RESIDUAL) for one in tickets)

    assert fitted.genuine
    assert fitted.planned
    assert (fitted.kept, fitted.scales, fitted.parameters) == (
        *(plain.kept, plain.scales, plain.parameters),
    )
    assert fitted.account is not None
    assert plain.account is not None
    assert fitted.account.masks == plain.account.masks
    assert fitted.account.scales <= plain.account.scales * 1.01


def test_nothing_but_free_scales_is_new_one_factor_for_the_copies_of_a_channel(
    tickets: tuple[Ticket, Ticket],
) -> None:
    before, after = (arrays(one.path) for one in tickets)
    _, manifest = open_ticket(tickets[0].path)
    steps = {s.scale: s for s in plan_of(RESIDUAL, manifest).steps if isinstance(s, Build)}

    assert before.keys() == after.keys()
    new = {name for name in before if not np.array_equal(before[name], after[name])}
    assert new
    assert new <= steps.keys()
    for name in new:
        channel = steps[name].out_layout.channel
        old = before[name].reshape(-1)
        factor = np.where(old, after[name].reshape(-1) / np.where(old, old, 1), 1)
        assert (factor[channel < 0] == 1).all()
        for one in range(int(channel.max()) + 1):
            assert np.ptp(factor[channel == one]) < 1e-6
            assert abs(factor[channel == one][0] - 1) <= descent.MAX_CHANGE * 1.001


def test_the_report_and_the_console_tell_what_it_came_to(
    tickets: tuple[Ticket, Ticket], tmp_path: Path
) -> None:
    fit = tickets[1].report.fit

    assert tickets[0].report.fit is None
    assert fit is not None
    assert fit.before_db is not None
    assert fit.after_db is not None
    assert fit.after_db > fit.before_db
    words = f"--fit-scales --calibration {CALIBRATION} --calibration-count 96 --price 2e-3"
    words += f" --base-size 8 --no-validate -o {tmp_path / 'again.onnx'}"
    said = CliRunner().invoke(app, ["convert", str(RESIDUAL), *words.split()]).output
    assert f"scales    fitted to {fit.inputs} inputs: {fit.before_db:.1f} → " in said
    assert (tmp_path / "again.onnx").read_bytes() == tickets[1].path.read_bytes()


def test_how_many_threads_there_are_decides_no_byte(
    tickets: tuple[Ticket, Ticket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    again = made(tmp_path / "ticket.onnx", fit_scales=True)

    assert again.path.read_bytes() == tickets[1].path.read_bytes()


@pytest.mark.parametrize("found", [0.05, np.nan])
def test_what_is_worse_on_inputs_kept_out_is_not_taken(
    tickets: tuple[Ticket, Ticket], found: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harmful(program: object, seen: descent.Batches, fresh: descent.Batches) -> Doubles:
        return np.full(program.count, found)  # type: ignore[attr-defined]

    monkeypatch.setattr(descent, "descend", harmful)

    ticket = made(tmp_path / "ticket.onnx", fit_scales=True)

    assert ticket.path.read_bytes() == tickets[0].path.read_bytes()
    assert ticket.report.fit is not None
    assert ticket.report.fit.after_db == ticket.report.fit.before_db


@pytest.mark.parametrize("form", ["seeded", "external"])
def test_other_forms_get_the_same_scales(
    tickets: tuple[Ticket, Ticket], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "external":
        monkeypatch.setattr(files, "INLINE_LIMIT", 1 << 16)
    stored = "folded" if form == "external" else form

    ticket = made(tmp_path / "ticket.onnx", fit_scales=True, weights=stored)

    wanted, got = arrays(tickets[1].path), arrays(ticket.path)
    assert files.data_of(ticket.path).is_file() == (form == "external")
    assert all(np.allclose(got[n], v, 1e-5) for n, v in wanted.items() if "scale" in n)
    assert verify(ticket.path, target=RESIDUAL).genuine
    if form == "seeded":
        feed = {"image": np.load(SAMPLES)["image"][:8]}
        ours, plain = (next(iter(load(t.path).run(feed).values())) for t in (ticket, tickets[1]))
        assert np.abs(ours - plain).max() < 1e-3 * np.abs(plain).max()


def test_one_scale_for_a_layer_stays_one(tmp_path: Path) -> None:
    ticket = made(tmp_path / "ticket.onnx", fit_scales=True, sigma="layer", price=1e-5)

    model, manifest = open_ticket(ticket.path)
    stored = {t.name: numpy_helper.to_array(t).reshape(-1) for t in model.graph.initializer}
    for step in plan_of(RESIDUAL, manifest).steps:
        if isinstance(step, Build):
            data = stored[step.scale][step.out_layout.channel >= 0]
            assert len(np.unique(data[data != 0])) <= 1
    assert verify(ticket.path, target=RESIDUAL).genuine


def test_too_few_inputs_to_keep_some_out_leave_scales_as_they_were(tmp_path: Path) -> None:
    few = {"image": np.load(CALIBRATION)["image"][:4]}

    ticket = made(tmp_path / "t.onnx", fit_scales=True, calibration=few)

    assert ticket.report.fit is not None
    assert ticket.report.fit.fresh == 0


def test_a_ticket_outlives_that_there_is_no_memory_to_fit_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: object) -> Doubles:
        raise RuntimeError("not enough memory: you tried to allocate 9 GB")

    monkeypatch.setattr(descent, "descend", hungry)
    with pytest.raises(ResourceError, match=r"t\.onnx: is whole, .* not enough memory"):
        made(tmp_path / "t.onnx", fit_scales=True)

    assert verify(tmp_path / "t.onnx", target=RESIDUAL).genuine


def network(path: Path, op: str, **attributes: int) -> Path:
    """A small one with another operator behind its first layer."""
    b = Builder()
    x = b(op, b.conv("x", 3, 4), **attributes)
    model = b.model(x if op == "ArgMax" else b.conv(x, 4, 2))
    if op == "ArgMax":
        model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return save(model, path)


def test_what_cannot_be_fitted_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "ticket.onnx"
    with pytest.raises(UnsupportedError, match=r"\(Trilu\) has no counterpart .* `fit_scales`"):
        convert(network(tmp_path, "Trilu"), out, fit_scales=True)
    with pytest.raises(InputError, match=r"holds floats that scales change: .* `fit_scales`"):
        convert(network(tmp_path, "ArgMax", axis=1), out, fit_scales=True)
    with pytest.raises(InputError, match="let deploy collapse the ticket"):
        make_options(mode="2l", weights="seeded", collapse=True, fit_scales=True)
    monkeypatch.setattr("lt_onnx.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"`fit_scales` needs torch: pip install 'lt-onnx\[gpu\]'"):
        made(out, fit_scales=True)

    assert not out.exists()
