"""The random draw with the lengths of another choice."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from treadle.data.matching import length_matched
from treadle.data.selection import Selection


def rows_of(lengths: list[int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [f"{i:04d}" for i in range(len(lengths))],
            "length": lengths,
            "length_total": [None if n is None else n + 5 for n in lengths],
        }
    )


def histogram(rows: pl.DataFrame, ids: list[str], edges: np.ndarray) -> list[int]:
    chosen = rows.filter(pl.col("id").is_in(ids))["length"].to_numpy()
    return np.histogram(chosen, edges)[0].tolist()


def test_the_draw_has_the_histogram_of_the_choice_and_other_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(rng.integers(1, 500, 2000).tolist())
    longish = rows.filter(pl.col("length") > 200)["id"].to_list()[:150]
    chosen = Selection.of(rows, [int(i) for i in longish], "long")
    drawn = length_matched(chosen, rows, np.random.default_rng(1))
    # the bins are quantiles of the pool: values on an edge belong to the bin above it
    edges = np.quantile(rows["length"].to_numpy(), np.linspace(0, 1, 21))
    edges[-1] += 1
    assert histogram(rows, drawn.ids, edges) == histogram(rows, longish, edges)
    assert len(set(drawn.ids) & set(longish)) < 75
    assert set(drawn.ids) | set(drawn.left["id"]) == set(rows["id"])
    other = length_matched(chosen, rows, np.random.default_rng(2))
    assert set(other.ids) != set(drawn.ids)


def test_where_all_long_rows_were_chosen_the_draw_is_the_same_rows() -> None:
    rows = rows_of(list(range(1, 101)))
    chosen = Selection.of(rows, list(range(80, 100)), "longest")
    drawn = length_matched(chosen, rows, np.random.default_rng(1))
    assert set(drawn.ids) == set(chosen.ids)


def test_rows_without_a_length_are_never_drawn() -> None:
    rows = rows_of([None, 3, None, 4, 5, 3])
    chosen = Selection.of(rows, [1, 3], "two")
    drawn = length_matched(chosen, rows, np.random.default_rng(0))
    assert len(drawn.ids) == 2
    assert drawn.left.filter(pl.col("reason") == "unscored")["id"].to_list() == ["0000", "0002"]


@pytest.mark.parametrize("lengths", [[], [4], [7, 7, 7, 7]])
def test_tiny_pools_and_equal_lengths(lengths: list[int | None]) -> None:
    rows = rows_of(lengths)
    chosen = Selection.of(rows, list(range(len(lengths) // 2)), "some")
    drawn = length_matched(chosen, rows, np.random.default_rng(0))
    assert len(drawn.ids) == len(chosen.ids)
