"""Rows are solved the same, alone or together, here or by workers, whatever order these end in."""

import pickle
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lt_onnx.cluster.calls import Call, Failure, Outcome, Told
from lt_onnx.construct import row_solver
from lt_onnx.construct.layer_task import LayerTask
from lt_onnx.construct.masks import first_lambdas
from lt_onnx.construct.row_solver import HERE, RowProblems, RowSolver, Solved
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.options import Device, Options, Select, Workers
from lt_onnx.progress import silent
from lt_onnx.subset_sum import RangeError

Make = Callable[..., LayerTask]


class Backwards:
    """Workers that end in the opposite order; calls and results are pickled, as for real ones."""

    dashboard = ""

    def __init__(self, failure: Failure | None = None) -> None:
        self.failure, self.calls = failure, list[Call]()

    def outcomes(
        self, function: Callable[..., Any], calls: Sequence[Call], tell: Told
    ) -> Generator[tuple[Call, Outcome], None, None]:
        self.calls += calls
        for call in reversed(calls):
            if self.failure is not None:
                yield call, Outcome(failure=self.failure)
                continue
            arguments = pickle.loads(pickle.dumps(call.arguments))
            yield call, Outcome(pickle.loads(pickle.dumps(function(*arguments, silent))))


def problems_of(task: LayerTask) -> RowProblems:
    """Those of all rows with a channel."""
    (block,) = task.blocks()
    shared = SharedProblems(task)
    shared.prepare([block])
    rows = np.flatnonzero(task.channel >= 0)
    goals = task.features.goals(task.linear, task.channel[rows].astype(np.int64))
    lam = first_lambdas(task, np.zeros((len(task.channel), 2)))[rows]
    parts = shared.groups[block.groups].at(task.price).parts
    return task.row_problems(
        block.groups, rows, parts=parts, goals=goals.reshape(len(rows), -1), lam=lam
    )


def assert_same(found: Solved, wanted: Solved) -> None:
    for values, others in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(values, others)
        assert values.dtype == others.dtype


@pytest.mark.parametrize("select", [Select.NOISE, Select.SMALLEST, Select.BEST])
def test_some_rows_are_solved_as_among_all(make_task: Make, select: Select) -> None:
    problems = problems_of(make_task(Options(select=select), groups=4))
    masks, residuals, lam = problems.solved()
    assert masks.any()
    for rows in (slice(0, 1), slice(3, 20), slice(20, len(problems))):
        some = problems.some(rows)
        groups = len(np.unique(problems.group[rows]))
        assert all(len(common.index) == groups for _, common in some.parts)
        assert 0 < some.bytes < problems.bytes
        assert_same(some.solved(), (masks[rows], residuals[rows], lam[rows]))


def test_workers_solve_rows_as_this_process_does(
    make_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = problems_of(make_task(groups=4))
    monkeypatch.setattr(row_solver, "RANGE_WEIGHTS", 5 * problems.drawn.width)
    workers = Backwards()
    assert_same(RowSolver(workers=workers).solve(problems), HERE.solve(problems))

    assert len(workers.calls) == -(-len(problems) // 5) > 2
    assert len({call.name for call in workers.calls}) == len(workers.calls)
    assert all(call.memory > row_solver.WORKER_BYTES for call in workers.calls)
    assert RowSolver(workers=workers).chunk_weights > HERE.chunk_weights


def test_what_one_worker_would_solve_is_solved_here(make_task: Make) -> None:
    workers, problems = Backwards(), problems_of(make_task())
    assert_same(RowSolver(workers=workers).solve(problems), HERE.solve(problems))
    assert not workers.calls


def test_what_workers_cannot_solve_is_told_as_it_is_here(
    make_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = problems_of(make_task())
    monkeypatch.setattr(row_solver, "RANGE_WEIGHTS", problems.drawn.width)
    lost = Backwards(Failure("Death", "killed", ResourceError.exit_code))
    with pytest.raises(ResourceError, match="killed"):
        RowSolver(workers=lost).solve(problems)
    far = Backwards(Failure("RangeError", "goals are too large"))
    with pytest.raises(RangeError, match="too large"):
        RowSolver(workers=far).solve(problems)
    with pytest.raises(RangeError):
        replace(problems, goals=problems.goals * 1e30).solved()


def test_a_device_of_this_process_and_workers_are_two_things() -> None:
    with pytest.raises(InputError, match="`workers` solve on theirs: give one"):
        row_solver.check_solver(Device.CUDA, Workers(2))
    row_solver.check_solver(Device.AUTO, Workers(2))
    with row_solver.row_solver(Device.CPU, Workers()) as solver:
        assert solver == HERE
