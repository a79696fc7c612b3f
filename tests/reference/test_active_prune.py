"""ActivePrune against the obvious loop over rounds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from treadle.context import Context
from treadle.data.selection import Budget
from treadle.select.active_prune import active_prune
from vectors import frame


def world(seed: int, total: int = 50) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    points = np.zeros((total, 2), np.float32)
    # Small whole numbers, so that there are ties.
    return frame(
        points,
        seed,
        ngram_perplexity=pl.Series(rng.integers(2, 40, size=total).astype(float)),
        self_rating=pl.Series(rng.integers(0, 9, size=total).astype(float)),
    )


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_each_round_takes_the_least_surprising_rows_then_the_best_of_the_others(
    seed: int, beta: float
) -> None:
    rows = world(seed)
    found = active_prune(rounds=3, beta=beta)(rows, Budget("rows", 24), Context())
    as_measured = dict(rows.select("id", "ngram_perplexity").iter_rows())
    rating = dict(rows.select("id", "self_rating").iter_rows())
    now = dict(as_measured)
    taken: list[str] = []
    for _ in range(3):
        rest = [key for key in now if key not in taken]
        low = sorted(rest, key=lambda k: (round(now[k], 9), k))[:4]
        good = sorted((k for k in rest if k not in low), key=lambda k: (-rating[k], k))[:4]
        taken += low + good
        for key in now:
            away = [abs(as_measured[key] - as_measured[t]) for t in low + good]
            now[key] -= beta * sum(away) / len(away)
    assert found.ids == taken


def test_later_rounds_turn_to_perplexities_that_have_not_come() -> None:
    """Two kinds of rows: without the turn away, the second kind never comes."""
    rows = frame(
        np.zeros((40, 2), np.float32),
        ngram_perplexity=pl.Series([5.0] * 20 + [30.0] * 20),
        self_rating=pl.Series([1.0] * 40),
    )
    unusual = set(rows["id"][20:])
    for beta, came in ((0.0, False), (1.5, True)):
        found = active_prune(rounds=2, beta=beta)(rows, Budget("rows", 16), Context())
        assert bool(unusual & set(found.ids)) == came


def test_a_token_budget_is_parted_too() -> None:
    rows = world(3)
    found = active_prune(rounds=4)(rows, Budget("tokens", 900), Context())
    spent = rows.filter(pl.col("id").is_in(found.ids))["length_total"].sum()
    assert 800 < spent <= 900
    assert {why.split(",")[0] for why in found.chosen["reason"]} == {
        f"round {i}" for i in range(1, 5)
    }


def test_a_row_that_nobody_rated_is_unscored() -> None:
    rows = world(4).with_columns(
        pl.when(pl.int_range(pl.len()) % 5 > 0).then("self_rating").alias("self_rating")
    )
    found = active_prune()(rows, Budget("share", 1.0), Context())
    assert set(found.left["id"]) == set(rows["id"][::5])
    assert found.left["reason"].unique().to_list() == ["unscored"]
