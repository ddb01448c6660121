"""One ticket whose rows workers solve: the same bytes, also where one of them is killed."""

import multiprocessing
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
from paths import MODELS

import lt_onnx
from lt_onnx import Workers
from lt_onnx.construct import row_solver
from lt_onnx.errors import InputError

pytest.importorskip("distributed", reason="Dask is not installed")
TARGET = MODELS / "residual.onnx"


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_workers_make_the_same_ticket_and_one_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(row_solver, "RANGE_WEIGHTS", 1 << 14)
    monkeypatch.setattr(row_solver, "MIN_SHARED_SECONDS", 0)
    killed = []

    def kill(stage: str, share: float) -> None:
        children = multiprocessing.active_children()
        workers = [child for child in children if isinstance(child, SpawnProcess)]
        if stage == "construct" and workers and not killed:
            workers[0].kill()
            killed.append(share)

    made = []
    for workers in (Workers(), Workers(2)):
        ticket = tmp_path / f"{workers.workers}" / "ticket.onnx"
        ticket.parent.mkdir()
        lt_onnx.convert(TARGET, ticket, mode=mode, workers=workers, validate=False, progress=kill)
        made.append(ticket.read_bytes())
    assert killed
    assert made[0] == made[1]


def test_a_network_that_workers_are_not_worth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"about \d s of one core: below 60 s `workers` cost"):
        lt_onnx.convert(TARGET, tmp_path / "ticket.onnx", workers=Workers(2))
    assert not list(tmp_path.iterdir())
