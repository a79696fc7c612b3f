"""RDS+ selection (`round_robin`) against the published loop, on the same vectors, in the same run.

    python benchmarks/rds_plus.py [--quick]

Selection only: the vectors are given. The published scripts (hamishivi/automated-instruction-selection)
turn the matrix of cosines into a dictionary a target, one `.item()` a pair, copy it under new keys, sort
each, pop the best of each target in turn from the front of its list, and remove duplicates from the whole
list of chosen rows after each. Left out here: that they write the dictionaries to disk and read them
back. Two changes, so that both must choose the same rows: the cosines are those of ours (in one product,
which is not where the loop spends its time), and a target whose best row is taken takes its next one,
where the scripts let it lose its turn.
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from table import head, line, take_turns
from treadle.context import Context
from treadle.data.selection import Budget
from treadle.geometry.cosine import cosines, directions
from treadle.select.round_robin import round_robin

WIDTH = 384
BAR = 100
SIZES = [(10_000, 100, 1_000), (10_000, 100, 5_000), (20_000, 100, 10_000), (20_000, 100, 15_000)]
"""Rows, targets, k (RDS+ chooses 10,000). The loop's search for duplicates grows with the square of k."""


def frame(prefix: str, points: NDArray[np.float32]) -> pl.DataFrame:
    """Return rows with vectors, ids in rising order."""
    column = pl.Series("hidden_state", points, dtype=pl.Array(pl.Float32, points.shape[1]))
    ids = [f"{prefix}{i:07d}" for i in range(len(points))]
    total = np.full(len(points), 50)
    return pl.DataFrame({"id": ids, "length": total, "length_total": total, "hidden_state": column})


def without_duplicates(chosen: list[tuple[int, int]]) -> list[tuple[int, int]]:
    seen: set[tuple[int, int]] = set()
    return [key for key in chosen if not (key in seen or seen.add(key))]


def published_loop(
    points: NDArray[np.float32], targets: NDArray[np.float32], count: int
) -> list[int]:
    near_QN = torch.from_numpy(cosines(directions(targets), directions(points)))
    saved = {
        q: {i: near_QN[q][i].item() for i in range(near_QN.shape[1])}
        for q in range(near_QN.shape[0])
    }
    by_target: dict[int, dict[tuple[int, int], float]] = {}
    for q, near in saved.items():
        by_target[q] = {}
        for i, cosine in near.items():
            by_target[q][(0, i)] = cosine
    lists = {
        q: sorted(near.items(), key=lambda pair: pair[1], reverse=True)
        for q, near in by_target.items()
    }
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count:
        for mine in lists.values():
            before = len(chosen)
            while len(chosen) == before:
                chosen.append(mine.pop(0)[0])
                chosen = without_duplicates(chosen)
            if len(chosen) >= count:
                break
    return [i for _, i in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 rows and 20 targets, one try")
    quick = parser.parse_args().quick
    sizes = [(2_000, 20, 200), (2_000, 20, 1_000)] if quick else SIZES
    head()
    for rows, wanted, count in sizes:
        measure(rows, wanted, count, tries=7 if rows == 10_000 else 1, quick=quick)


def measure(rows: int, wanted: int, count: int, *, tries: int, quick: bool) -> None:
    """Choose `count` of `rows` by `wanted` targets, both ways, and print how long it took."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((40, WIDTH), dtype=np.float32)

    def drawn(total: int) -> NDArray[np.float32]:
        noise = rng.standard_normal((total, WIDTH), dtype=np.float32)
        return centres[rng.integers(len(centres), size=total)] + 2 * noise

    points, targets = drawn(rows), drawn(wanted)
    pool, aim = frame("row", points), Context(target=frame("target", targets))
    choose = round_robin(on="hidden_state")
    seconds, answers = take_turns(
        {
            "ours": lambda: choose(pool, Budget("rows", count), aim).ids,
            "loop": lambda: [pool["id"][i] for i in published_loop(points, targets, count)],
        },
        tries=tries,
    )
    ratio = seconds["loop"].cpu / seconds["ours"].cpu
    line(
        f"RDS+ selection, {rows:,} x {WIDTH}, {wanted} targets, k = {count:,}",
        f"{seconds['ours']}",
        f"{seconds['loop']} (published loop)",
        ratio,
        bar=f"at least {BAR}x",
        met=None if quick else ratio >= BAR,
    )
    same = answers["ours"] == answers["loop"]
    line("same rows in the same order", "yes" if same else "no", bar="yes", met=same)


if __name__ == "__main__":
    main()
