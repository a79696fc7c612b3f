"""How seconds and memory of every registered selector grow with the pool, on made-up features.

    python benchmarks/growth.py [k_center top ...] [--rows 10000 100000] [--limit 120] [--quick]

Each selector chooses 1,000 rows (of vectors of 384 numbers, aimed at 100 target rows where it takes a
target), each cell in a process of its own. `--large` adds 1,000,000 rows for selectors that need neither
vectors nor word lists; of the others name some with `--rows 1000000 --limit 500`: they take up to 3
minutes and, with the vectors, 12 GB. Seconds are processor time; memory is the peak above what the process held with
the features loaded. A cell that takes more than `--limit` seconds of processor time is ended and printed
as `over limit`. The exponent is log(time ratio) / log(rows ratio) of the two largest cells: 1 is linear,
2 quadratic; below 1 the fixed part still counts. A student trained on the way is not trained here: what
it would say is drawn by lot, so only the selector's own work is counted.

The last column compares the peak with a matrix of one byte a pair: above 20,000 rows, no selector may
build one. (A new selector that reads a feature with another name than those below gets a number for it.)
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from table import head, line
from treadle import op as registry
from treadle.context import Context
from treadle.data.selection import Budget, Selection
from treadle.op import BoundOp

K, TARGETS, WIDTH = 1_000, 100, 384
MATRIX_FROM = 20_000
VECTORS = ("embedding", "hidden_state", "gradient", "gradient_plain")
LISTS = ("words", "hashed_ngrams", "hashed_ngrams_counts")
OPTIONS: dict[str, dict[str, Any]] = {
    name: {"by": "score"} for name in ("top", "band", "score_then_diverse", "score_first_filter", "mods")
} | {"tag_cover": {"by": "tags"}, "quota": {"by": "tags"}}  # fmt: skip


def bound(name: str) -> BoundOp:
    return registry.get("select", name).bind(OPTIONS.get(name))


def lists(total: int, rng: np.random.Generator, texts: bool) -> pl.Series:
    """Return lists of 40 of 20,000 words (or their numbers)."""
    drawn = np.sort(np.minimum(rng.pareto(1.0, (total, 40)) * 40, 20_000).astype(np.int32), axis=1)
    found = pl.Series(drawn, dtype=pl.Array(pl.Int32, 40)).cast(pl.List(pl.Int32))
    return found.cast(pl.List(pl.String)) if texts else found


def feature(name: str, total: int, rng: np.random.Generator) -> pl.Series:
    """Return a made-up feature: vectors in fifty wide clusters, lists, one of 40 tags, or a number."""
    if name in VECTORS:
        centres = rng.standard_normal((50, WIDTH), dtype=np.float32)
        points = rng.standard_normal((total, WIDTH), dtype=np.float32)
        points += centres[rng.integers(50, size=total)]
        return pl.Series(name, points, dtype=pl.Array(pl.Float32, WIDTH))
    if name == "hashed_ngrams_counts":
        ones = np.ones((total, 40), dtype=np.int32)
        return pl.Series(name, ones, dtype=pl.Array(pl.Int32, 40)).cast(pl.List(pl.Int32))
    if name in LISTS:
        return lists(total, rng, texts=name == "words").alias(name)
    if name == "tags":
        return pl.Series(name, rng.integers(40, size=total)).cast(pl.String)
    return pl.Series(name, rng.lognormal(size=total))


def frame(total: int, features: tuple[str, ...], seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    length = pl.Series(rng.integers(8, 90, size=total))
    ids = [f"{seed}-{i:08d}" for i in range(total)]
    known = {"id": ids, "length": length, "length_total": length + 7}
    return pl.DataFrame(
        known | {name: feature(name, total, rng) for name in features if name not in known}
    )


def setting(op: BoundOp, total: int) -> tuple[pl.DataFrame, Context]:
    """Return rows with all that the selector reads, target rows, and students that answer by lot."""
    rows = frame(total, op.needs, seed=0)
    context = Context(seed=7)
    if op.target:
        context = replace(context, target=frame(TARGETS, op.target, seed=1))
    if op.learns:
        answer = frame(total, op.learns, seed=2).with_columns(rows["id"])
        context = replace(context, learn=lambda _: answer.select("id", *op.learns))
    return rows, context


def memory(field: str) -> float:
    """Return `VmRSS` (now) or `VmHWM` (peak) of this process in megabytes."""
    text = Path("/proc/self/status").read_text()
    return int(next(x for x in text.splitlines() if x.startswith(field)).split()[1]) / 1e3


def cell(name: str, total: int, limit: int) -> None:
    """Run one selector here and print seconds, and megabytes above the input."""
    op = bound(name)
    rows, context = setting(op, total)
    op.make()(
        rows[:300], Budget("rows", 20), small(op, context, rows[:300])
    )  # imports, first calls
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held, spent = memory("VmRSS"), time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(spent) + limit,) * 2)
    found: Selection = op.make()(rows, Budget("rows", min(K, total // 2)), context)
    seconds = time.process_time() - spent
    print(json.dumps({"seconds": seconds, "mb": memory("VmHWM") - held, "chosen": len(found.ids)}))


def small(op: BoundOp, context: Context, rows: pl.DataFrame) -> Context:
    """Return the context for some of the rows only."""
    if context.learn is None:
        return context
    answer = context.learn([]).join(rows.select("id"), on="id", how="semi")
    return replace(context, learn=lambda _: answer)


def measured(name: str, total: int, limit: int) -> dict[str, float] | str:
    """Run one cell in a process of its own."""
    command = [sys.executable, __file__, "--cell", name, str(total), "--limit", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        return "over limit"
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:80]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def grow(name: str, sizes: list[int], limit: int) -> None:
    """Measure one selector at each size and print a line."""
    cells: dict[int, dict[str, float] | str] = {}
    for total in sizes:
        if isinstance(next(reversed(cells.values()), {}), str):
            cells[total] = "not run"
        else:
            cells[total] = measured(name, total, limit)
    known = {n: found for n, found in cells.items() if not isinstance(found, str)}
    shown = [
        f"{n:,}: {found}" if isinstance(found, str)
        else f"{n:,}: {found['seconds']:.2f} s, {found['mb']:,.0f} MB"
        for n, found in cells.items()
    ]  # fmt: skip
    exponent = "–"
    if len(known) > 1:
        (a, one), (b, two) = list(known.items())[-2:]
        exponent = f"{math.log(two['seconds'] / one['seconds']) / math.log(b / a):.2f}"
    large = {n: found["mb"] / (n * n / 1e6) for n, found in known.items() if n > MATRIX_FROM}
    line(
        f"select.{name}",
        "; ".join(shown),
        f"stated: {registry.get('select', name).cost}",
        bar="below 1 byte a pair",
        met=all(share < 1 for share in large.values()) if large else None,
        middle=f"exponent {exponent}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="selectors (default: all)")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--limit", type=int, default=120, help="seconds of processor time a cell")
    parser.add_argument("--large", action="store_true", help="also 1,000,000 rows where cheap")
    parser.add_argument("--quick", action="store_true", help="2,000 and 8,000 rows")
    parser.add_argument("--cell", nargs=2, metavar=("NAME", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        cell(given.cell[0], int(given.cell[1]), given.limit)
        return
    sizes = [2_000, 8_000] if given.quick else given.rows
    head()
    for name in given.names or [op.name for op in registry.ops("select")]:
        op = bound(name)
        is_cheap = not {*VECTORS, *LISTS} & {*op.needs, *op.target}
        grow(name, [*sizes, 1_000_000] if given.large and is_cheap else sizes, given.limit)


if __name__ == "__main__":
    main()
