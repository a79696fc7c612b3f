"""Facility location against submodlib and apricot: the same rows, budget and similarity.

    python benchmarks/facility_location.py [--rows 10000] [--k 1000] [--quick] [--python OTHER/bin/python]
    python benchmarks/facility_location.py --cells [--rows 20000]

Both packages are free (MIT) and ask for dependencies that we do not want beside ours: install
`submodlib-py` and `apricot-select` into an environment of their own and name its interpreter with
--python or in TREADLE_BENCH_PYTHON. A package that is not there is printed as `not installed`.

Every contender maximises the sum of cosines (below 0: 0) to the nearest chosen row by lazy greedy, from
the same unit vectors to the list of chosen rows, in a process of its own. `NumPy kernel` hands the
package a matrix made by one product in single precision; that is the fastest way into each that we
know, and the one that the bar holds. `own kernel` lets the package make it from the vectors. Ours makes
it from whole numbers so coarse that single precision is exact, so that the choice is the same on every
machine. Contenders take turns, twice, and the better try counts: on a virtual machine, the first program
after a pause was seen to pay up to a second of system time for 400 MB of memory, and those after it 0.02.
The objective is computed here for all, from one matrix of the vectors as they are; its ratio is
ours over theirs (1 or more: as good).

`--cells` asks what looking for neighbours in cells costs in quality: the objective of that choice over
that of the choice by all pairs, for pools of one, fifty and a thousand clusters. Cells are as small (100
rows) as makes the share of the pool that a row meets that of 100,000 rows in cells of the usual size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from table import head, line, take_turns

WIDTH = 384
Points = NDArray[np.float32]


def made_points(total: int, clusters: int = 50) -> Points:
    """Return unit vectors in wide clusters."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((clusters, WIDTH), dtype=np.float32)
    points = centres[rng.integers(clusters, size=total)]
    points += rng.standard_normal((total, WIDTH), dtype=np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def kernel(points: Points) -> Points:
    found = points @ points.T
    return np.maximum(found, 0, out=found)


def ours(points: Points, k: int) -> list[int]:
    from treadle.geometry.cosine import directions
    from treadle.geometry.facility import greedy_facility_location

    return greedy_facility_location(directions(points), count=k).order


def _submodlib(total: int, k: int, **how: object) -> list[int]:
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=total, mode="dense", **how)
    chosen = function.maximize(
        budget=k, optimizer="LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False,
        show_progress=False,
    )  # fmt: skip
    return [i for i, _ in chosen]


def submodlib_numpy(points: Points, k: int) -> list[int]:
    return _submodlib(len(points), k, sijs=kernel(points), separate_rep=False, pybind_mode="array")


def submodlib_own(points: Points, k: int) -> list[int]:
    return _submodlib(len(points), k, data=points, metric="cosine", separate_rep=False)


def apricot_numpy(points: Points, k: int) -> list[int]:
    from apricot import FacilityLocationSelection

    chooser = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy")
    return [int(i) for i in chooser.fit(kernel(points).astype(np.float64)).ranking]


CONTENDERS: dict[str, tuple[Callable[[Points, int], list[int]], float | None]] = {
    "ours": (ours, None),
    "submodlib, NumPy kernel": (submodlib_numpy, 5.0),
    "submodlib, own kernel": (submodlib_own, None),
    "apricot, NumPy kernel": (apricot_numpy, 2.0),
}


def contend(name: str, path: Path, k: int) -> None:
    """Run one contender and print its figures as JSON (in a process of its own)."""
    points, run = np.load(path), CONTENDERS[name][0]
    try:
        run(points[:300], 20)  # imports, and what compiles itself at the first call
    except ImportError:
        print(json.dumps(None))
        return
    seconds, answers = take_turns({name: lambda: run(points, k)}, tries=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    found = {"wall": seconds[name].wall, "cpu": seconds[name].cpu, "mb": peak}
    print(json.dumps(found | {"chosen": answers[name]}))


def in_cells(total: int, budgets: tuple[int, ...]) -> None:
    """Print how good the choice in cells is beside the exact one."""
    from treadle.geometry.cosine import directions
    from treadle.geometry.facility import greedy_facility_location

    head()
    for clusters in (1, 50, 1_000):
        points = made_points(total, clusters)
        grid, near = directions(points), kernel(points)
        options = {"exact_up_to": 0, "compared_up_to": 0, "cell_rows": max(8, total // 200)}
        most = max(budgets)
        exact = greedy_facility_location(grid, count=most, exact_up_to=total).order
        found = greedy_facility_location(grid, count=most, **options).order
        by_lot = np.random.default_rng(0).permutation(total)[:most].tolist()
        for k in budgets:
            value, best, chance = (
                float(near[chosen[:k]].max(axis=0).sum(dtype=np.float64))
                for chosen in (found, exact, by_lot)
            )
            label = f"facility location in cells, {total:,} rows, {clusters:,} clusters, k = {k:,}"
            line(f"{label}, objective", f"{value:.1f}", f"{best:.1f} (all pairs)", value / best,
                 bar="at least 0.95x", met=value >= 0.95 * best)  # fmt: skip
            line(f"{label}, random rows", f"{chance:.1f}", f"{best:.1f} (all pairs)", chance / best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="10,000; with --cells 20,000")
    parser.add_argument("--k", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="2,000 rows, k = 200")
    parser.add_argument("--cells", action="store_true", help="quality of the choice in cells")
    usual = os.environ.get("TREADLE_BENCH_PYTHON", sys.executable)
    parser.add_argument("--python", default=usual, help="interpreter of the packages")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--points", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        contend(given.contender, given.points, given.k)
        return
    if given.cells:
        in_cells(given.rows or 20_000, (100, 1_000))
        return
    total, k = (2_000, 200) if given.quick else (given.rows or 10_000, given.k)
    points = made_points(total)
    seen: dict[str, dict[str, float] | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.npy"
        np.save(path, points)
        for name in [*CONTENDERS] * 2:
            python = sys.executable if name == "ours" else given.python
            command = [python, __file__, "--contender", name, "--points", path, "--k", str(k)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures = json.loads(done.stdout.splitlines()[-1])
            if not seen.get(name) or figures["cpu"] < seen[name]["cpu"]:
                seen[name] = figures
    near = kernel(points)
    for figures in filter(None, seen.values()):
        figures["value"] = float(near[figures.pop("chosen")].max(axis=0).sum(dtype=np.float64))
    mine = seen.pop("ours")
    head()
    label = f"facility location, {total:,} x {WIDTH}, k = {k:,}"
    for name, other in seen.items():
        least = CONTENDERS[name][1]
        bar = "–" if least is None else f"at least {least:g}x"
        if other is None:
            line(label, f"{mine['cpu']:.2f} s cpu", f"not installed ({name})", bar=bar)
            continue
        ratio = other["cpu"] / mine["cpu"]
        line(
            label,
            f"{mine['wall']:.2f} s ({mine['cpu']:.2f} s cpu)",
            f"{other['wall']:.2f} s ({other['cpu']:.2f} s cpu) ({name})",
            ratio,
            bar=bar,
            met=None if least is None or given.quick else ratio >= least,
        )
        share = mine["value"] / other["value"]
        line(
            f"{label}, objective",
            f"{mine['value']:.3f}",
            f"{other['value']:.3f} ({name})",
            share,
            bar="at least 0.99999x",
            met=share >= 0.99999,
        )
        line(f"{label}, peak memory", f"{mine['mb']:.0f} MB", f"{other['mb']:.0f} MB ({name})",
             other["mb"] / mine["mb"])  # fmt: skip


if __name__ == "__main__":
    main()
