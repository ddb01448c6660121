"""Time the solver against its yardsticks, and compare its answers with brute force.

A solver's limit is what the machine could do with its work: comparing as many sums as it visits, or
reading its problems and writing its answers, as `machine` measures both. The share is that of the
tighter one.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import subset_oracle
import yardsticks
from timing import MAX_YARDSTICK_SECONDS, Clock, Floats, Line, python_rate, rate, seconds

from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.subset_sum import MAX_EXHAUSTIVE_SIZE, Drawn, Rows, Rule, solve, solve_rows
from lt_onnx.subset_sum.all_pairs import ALL_PAIRS
from lt_onnx.subset_sum.full import list_halves, no_halves
from lt_onnx.subset_sum.lanes import LANES
from lt_onnx.subset_sum.objective import upper_bound

BASE_SIZES = (8, 10, 12, 15, 18, 20, 24, 30)
PROBLEMS = {"cpu": 1 << 18, "cuda": 1 << 21}  # in a flat batch


def batch(m: int, count: int, normal: bool = False) -> tuple[Floats, ...]:
    """x ~ U[-1, 1], z ~ U[-1, 1] or N(0, 0.2²), and prices like those of a converted network."""
    rng = np.random.default_rng(m)
    x = rng.uniform(-1, 1, (count, m)).astype(np.float32)
    z = rng.normal(0, 0.2, count) if normal else rng.uniform(-1, 1, count)
    a = np.full(count, 0.06, np.float32)
    p = 0.06 * (x * x * rng.uniform(0, 0.01, (count, 1)).astype(np.float32))
    return x, z.astype(np.float32), a, p.astype(np.float32)


def visited_by_full(x: Floats, z: Floats, a: Floats, p: Floats) -> float:
    """Subsets that are compared, per problem: all, or pruned pairs of halves and the bound's."""
    m, total = x.shape[1], 0
    if m <= ALL_PAIRS:
        return float(1 << m)
    scratch, count = no_halves()[0], min(len(z), 500)
    padded = np.zeros((2, m + LANES), np.float32)
    for b in range(count):
        padded[:, :m] = x[b], p[b]
        own = padded[:, :m]
        cap = upper_bound(own[0], z[b], a[b], own[1])
        low = list_halves(own[0], own[1], np.int64(0), cap, scratch)
        high = list_halves(own[0], own[1], np.int64(1), cap, scratch)
        total += low * high + m * (m + 1) // 2
    return total / count


def share(line: Line, bytes_each: int, limits: Line) -> Line:
    """Bandwidth, and the share of the tighter limit where it is measured."""
    line["GB_per_s"] = line["problems_per_s"] * bytes_each / 1e9
    if "gpu" in limits:  # what the processor could do is no limit of a GPU's
        return line
    memory = line["GB_per_s"] / limits["copy_GB_per_s"]
    sums = line["problems_per_s"] * (line["visited"] or 0) / 1e9 / limits["sums_G_per_s"]
    line["share_of_limit"], line["limit"] = max((memory, "memory"), (sums, "sums"))
    return line


def solver(device: str, limits: Line, sizes: list[int] | None) -> list[Line]:
    """Both rules over base sizes and tolerances, flat batches."""
    lines = []
    for m in sizes or ((8, 15) if Clock.quick else BASE_SIZES):
        for tolerance in (0.01, 0.001):
            for normal in (False, True) if tolerance == 0.01 else (False,):
                lines.append(share(_smallest(m, tolerance, normal, device), 4 * m + 12, limits))
        lines.append(
            share(_full(m, batch(m, PROBLEMS[device]), device, "full"), 8 * m + 16, limits)
        )
    return lines


def _smallest(m: int, tolerance: float, normal: bool, device: str) -> Line:
    x, z, _, _ = batch(m, PROBLEMS[device], normal)
    lists = x[:4096].tolist(), z[:4096].tolist()
    within = np.float32(tolerance)
    visited = float(yardsticks.scalar_smallest(x[:20_000], z[:20_000], within)[1].mean())
    ours = rate(lambda n: solve(x[:n], z[:n], tolerance=tolerance, device=device), 1e6, len(z))
    scalar = rate(lambda n: yardsticks.scalar_smallest(x[:n], z[:n], within), 1e5, len(z))
    plain = python_rate(
        lambda b: yardsticks.plain_smallest(lists[0][b % 4096], lists[1][b % 4096], tolerance),
        visited,
    )
    return {
        "rule": "smallest",
        "m": m,
        "tolerance": tolerance,
        "z": "N(0,.2²)" if normal else "U[-1,1]",
        "problems_per_s": ours,
        "python_per_s": plain,
        "scalar_per_s": scalar,
        "visited": visited,
    }


def _full(m: int, problems: tuple[Floats, ...], device: str, rule: str) -> Line:
    x, z, a, p = problems
    lists = x[:64].tolist(), z[:64].tolist(), a[:64].tolist(), p[:64].tolist()
    ours = rate(
        lambda n: solve(x[:n], z[:n], weight=a[:n], penalty=p[:n], device=device),
        2e10 / 2**m,
        len(z),
    )
    scalar = None
    if 2**m * 4e-9 < MAX_YARDSTICK_SECONDS:
        scalar = rate(
            lambda n: yardsticks.scalar_full(x[:n], z[:n], a[:n], p[:n]), 5e8 / 2**m, len(z)
        )
    plain = python_rate(
        lambda b: yardsticks.plain_full(*(values[b % 64] for values in lists)), 2.0**m
    )
    return {
        "rule": rule,
        "m": m,
        "tolerance": None,
        "z": None,
        "problems_per_s": ours,
        "python_per_s": plain,
        "scalar_per_s": scalar,
        "visited": visited_by_full(x, z, a, p) if m <= MAX_EXHAUSTIVE_SIZE else None,
    }


def recorded(target: Path, calibration: Path | None, m: int, most: int) -> tuple[Floats, ...]:
    """Problems of the full objective as they are met in the conversion of a network."""
    import lt_onnx
    from lt_onnx.construct import row_solver as chosen
    from lt_onnx.subset_sum.cpu import draw

    met: list[tuple[Floats, ...]] = []
    rng = np.random.default_rng(0)

    def spy(base: Drawn, z: Floats, *, rows: Rows, **others: Any) -> Any:
        masks, residuals = solve_rows(base, z, rows=rows, **others)
        r, k = rng.integers(0, len(z), most // 8), rng.integers(0, z.shape[1], most // 8)
        r, k = r[z[r, k] != 0], k[z[r, k] != 0]
        at = rows.groups(len(z))[r], k
        x = draw(base)[r[:, None], np.maximum(rows.index[at], 0)] * rows.gain[at]
        p = x * x * rows.noise[at] + rows.price[at][:, None]
        taken = (masks[r, k, None] >> np.arange(x.shape[1], dtype=np.uint32)) & 1
        if x.shape[1] == m:
            met.append(
                (x, residuals[r, k] + (x * taken).sum(1, dtype=np.float32), rows.weight[at], p)
            )
        return masks, residuals

    chosen.solve_rows = spy  # type: ignore[assignment, attr-defined]
    try:
        with tempfile.TemporaryDirectory() as folder:
            lt_onnx.convert(
                target,
                Path(folder) / "ticket.onnx",
                base_size=m,
                calibration=calibration,
                validate=False,
            )
    finally:
        chosen.solve_rows = solve_rows  # type: ignore[attr-defined]
    mixed = rng.permutation(sum(len(v[1]) for v in met))[:most]
    return tuple(
        np.ascontiguousarray(np.concatenate([v[i] for v in met])[mixed], np.float32)
        for i in range(4)
    )


def real(target: Path, calibration: Path | None, device: str, limits: Line) -> list[Line]:
    """The full objective on a network's own problems, every answer compared with brute force."""
    lines = []
    for m in (10,) if Clock.quick else (10, 15):
        problems = recorded(target, calibration, m, 2000 if Clock.quick else 100_000)
        x, z, a, p = problems
        answer = solve(x, z, weight=a, penalty=p, device=device)
        masks, errors = yardsticks.brute_full(x, z, a, p)
        wrong = int(((answer.mask != masks) | (answer.residual != errors)).sum())
        line = _full(m, problems, device, "real")
        line |= {"compared": len(z), "wrong": wrong, "target": target.name}
        lines.append(share(line, 8 * m + 16, limits))
    return lines


def shared(n: int, m: int) -> Rows:
    """Problems of a row whose inputs are correlated, as a convolution's are."""
    rng = np.random.default_rng(n)
    taps = rng.standard_normal((2 * n, n)).astype(np.float32)
    inputs = taps + np.roll(taps, 1, 1) + 0.5 * np.roll(taps, 2, 1)
    moments = inputs.T @ inputs / (2 * n) + 0.05 * np.eye(n)
    upper = np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(moments)).T, np.float32)
    return Rows(
        index=np.arange(n * m, dtype=np.int32).reshape(1, n, m),
        gain=np.ones((1, n, m), np.float32),
        weight=np.diagonal(upper)[None] ** np.float32(-2),
        noise=np.full((1, n, m), 1e-3, np.float32),
        price=np.zeros((1, n), np.float32),
        order=np.arange(n)[None],
        upper=upper[None],
    )


def rows(device: str) -> list[Line]:
    """Rows with error feedback."""
    lines, m = [], 10
    for n, count in ((72, 8),) if Clock.quick else ((576, 256), (4608, 64)):
        problem = shared(n, m)
        rng = np.random.default_rng(1)
        base = rng.uniform(-1, 1, (count, n * m)).astype(np.float32)
        z = rng.normal(0, 0.2, (count, n)).astype(np.float32)
        keys: dict[str, Any] = {"rows": problem, "rule": Rule.NOISE, "tolerance": 0.01}
        ours = seconds(lambda: solve_rows(base, z, device=device, **keys))  # noqa: B023
        values = tuple(value[0] for value in vars(problem).values() if value is not None)
        scalar = seconds(lambda: yardsticks.scalar_rows(base, z, values), 1)  # noqa: B023
        lines.append(
            {
                "rule": "rows",
                "m": m,
                "row": n,
                "rows": count,
                "problems_per_s": z.size / ours,
                "scalar_per_s": z.size / scalar,
                "python_per_s": None,
                "visited": None,
            }
        )
    return lines


def drawn(device: str) -> list[Line]:
    """Rows whose weights the kernels draw themselves: targets in, answers out."""
    lines, n = [], 64
    for m in (15,) if Clock.quick else (10, 15):
        count = 200 if Clock.quick else 1 << (19 if device == "cuda" else 14)
        z = np.random.default_rng(0).uniform(-1, 1, (count, n)).astype(np.float32)
        base = Drawn(0, 0, np.arange(count), n * m)
        index = np.arange(n * m, dtype=np.int32).reshape(1, n, m)
        plain = Rows.plain(index, np.ones((1, n, m), np.float32))
        for name, rule in (("drawn smallest", Rule.SMALLEST), ("drawn full", Rule.BEST)):
            keys: dict[str, Any] = {"rows": plain, "rule": rule, "tolerance": 0.01}
            took = seconds(lambda: solve_rows(base, z, device=device, **keys))  # noqa: B023
            lines.append(
                {
                    "rule": name,
                    "m": m,
                    "tolerance": 0.01,
                    "problems_per_s": z.size / took,
                    "scalar_per_s": None,
                    "python_per_s": None,
                    "visited": None,
                }
            )
    return lines


def equality(device: str) -> list[Line]:
    """Both rules at every m against the oracle; the first quarter lies on a grid, for ties."""
    lines = []
    for m in (5, 12) if Clock.quick else range(1, MAX_BASE_SIZE + 1):
        count = (
            36_000 if m <= 12 else 15_000 if m <= 16 else 1500 if m <= MAX_EXHAUSTIVE_SIZE else 200
        )
        count = 100 if Clock.quick else count
        x, z, a, p = batch(m, count)
        x[: count // 4], z[: count // 4] = np.round(x[: count // 4] * 8) / 8, 0.375
        answers = (
            (
                "full",
                solve(x, z, weight=a, penalty=p, device=device),
                subset_oracle.full(x, z, a, p),
            ),
            (
                "smallest",
                solve(x, z, tolerance=0.01, device=device),
                subset_oracle.smallest(x, z, np.float32(0.01)),
            ),
        )
        for rule, ours, (masks, errors) in answers:
            wrong = int(((ours.mask != masks) | (ours.residual != errors)).sum())
            lines.append({"rule": rule, "m": m, "compared": count, "wrong": wrong})
    return lines
