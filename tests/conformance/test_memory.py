"""No selector builds a matrix of all pairs of a large pool: 21,000 rows, judged by allocated memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from conformance.test_every_op import OPTIONS
from treadle import op as registry
from treadle.context import Context
from treadle.data.selection import Budget
from treadle.op import BoundOp, Op

ROWS, TARGETS, WIDTH = 21_000, 10, 16
VECTORS = {"embedding", "hidden_state", "gradient", "gradient_plain"}
SMALLEST_MATRIX = ROWS * ROWS
"""Bytes of a matrix of all pairs at a byte a pair; one of single precision is four times as large."""


def bound(op: Op) -> BoundOp:
    return op.bind(OPTIONS.get(op.name))


GEOMETRIC = [op for op in registry.ops("select") if VECTORS & {*bound(op).needs, *bound(op).target}]


def made(total: int, features: tuple[str, ...], seed: int) -> pl.DataFrame:
    """Return rows with clustered vectors and numbers for whatever else a selector reads."""
    rng = np.random.default_rng(seed)
    length = pl.Series(rng.integers(8, 90, size=total))
    rows = {"id": [f"{seed}-{i:06d}" for i in range(total)], "length": length}
    rows["length_total"] = length
    for name in features:
        if name in VECTORS:
            points = rng.normal(size=(30, WIDTH))[rng.integers(30, size=total)]
            points = (points + 0.3 * rng.normal(size=points.shape)).astype(np.float32)
            rows[name] = pl.Series(points, dtype=pl.Array(pl.Float32, WIDTH))
        else:
            rows.setdefault(name, pl.Series(rng.lognormal(size=total)))
    return pl.DataFrame(rows)


def peak_bytes(chooser: BoundOp) -> int:
    """Return the most memory that a choice of 200 rows allocates beyond its input."""
    rows = made(ROWS, chooser.needs, seed=0)
    context = Context(seed=3)
    if chooser.target:
        context = replace(context, target=made(TARGETS, chooser.target, seed=1))
    if chooser.learns:
        answer = made(ROWS, chooser.learns, seed=2).with_columns(rows["id"])
        context = replace(context, learn=lambda _: answer.select("id", *chooser.learns))
    tracemalloc.start()
    try:
        found = chooser.make()(rows, Budget("rows", 200), context)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.chosen.height > 0
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("op", GEOMETRIC, ids=lambda op: op.name)
def test_a_selector_that_reads_vectors_builds_no_matrix_of_all_pairs(op: Op) -> None:
    assert peak_bytes(bound(op)) < SMALLEST_MATRIX


@pytest.mark.slow
def test_a_matrix_of_all_pairs_would_be_seen() -> None:
    """Facility location builds one where it is told to."""
    op = registry.get("select", "facility_location")
    assert peak_bytes(op.bind({"exact_up_to": ROWS})) > 4 * SMALLEST_MATRIX


def test_the_selectors_that_read_vectors_are_found() -> None:
    assert {op.name for op in GEOMETRIC} >= {"k_center", "facility_location", "dpp", "tsds"}
