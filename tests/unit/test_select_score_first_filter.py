"""The score-first filter against the naive greedy loop, row for row."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from treadle import op as registry
from treadle.context import Context
from treadle.data.selection import Budget
from treadle.errors import RecipeError
from treadle.select.score_first_filter import score_first_filter
from treadle.select.top import top
from vectors import clustered, exact_cosine, frame, places


def naive(cos: NDArray[np.float64], scores: list[float], limit: float, count: int) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if len(kept) < count and all(cos[i, j] <= limit for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize(("total", "limit"), [(700, 0.9), (2000, 0.9), (2000, 0.97), (2000, 0.5)])
@pytest.mark.parametrize("count", [20, 2000])
def test_it_keeps_the_rows_of_the_naive_loop(total: int, limit: float, count: int) -> None:
    points = clustered(total, seed=total)
    rows = frame(points)
    found = score_first_filter(by="score", limit=limit)(rows, Budget("rows", count), Context())
    expected = naive(exact_cosine(points), rows["score"].to_list(), limit, count)
    assert places(rows, found.ids) == expected
    if len(expected) < count:
        assert set(found.left["reason"]) == {"near_copy"}


@settings(max_examples=60)
@given(st.data())
def test_it_keeps_the_rows_of_the_naive_loop_with_copies_ties_and_a_limit_that_is_met(
    data: st.DataObject,
) -> None:
    total = data.draw(st.integers(1, 40))
    cells = st.lists(st.integers(-2, 2), min_size=2, max_size=2).filter(any)
    points = np.array(data.draw(st.lists(cells, min_size=total, max_size=total)), np.float32)
    scores = data.draw(st.lists(st.integers(0, 3), min_size=total, max_size=total))
    limit = data.draw(st.sampled_from([-1.0, 0.0, 0.6, 0.9, 1.0]))
    count = data.draw(st.integers(1, 45))
    rows = frame(points, score=pl.Series("score", scores, dtype=pl.Float64))
    found = score_first_filter(by="score", limit=limit)(rows, Budget("rows", count), Context())
    expected = naive(exact_cosine(points), scores, limit, count)
    assert places(rows, found.ids) == expected


def test_a_rejected_row_does_not_reject_others() -> None:
    degrees = np.radians([0, 20, 40])  # a cosine of 0.94 to the neighbour, 0.77 to the one beyond
    points = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    rows = frame(points, score=[3.0, 2.0, 1.0])
    found = score_first_filter(by="score")(rows, Budget("rows", 3), Context())
    assert places(rows, found.ids) == [0, 2]
    assert found.chosen["reason"].to_list() == ["score 3, rank 1", "score 1, rank 3"]
    assert found.left["reason"].to_list() == ["near_copy"]


def test_rows_that_the_walk_did_not_reach_are_over_budget_and_not_copies() -> None:
    points = np.ones((6, 2), dtype=np.float32)
    points[4] = (1, -1)
    rows = frame(points, score=[6.0, 5, 4, 3, 2, 1])
    one = score_first_filter(by="score")(rows, Budget("rows", 1), Context())
    assert set(one.left["reason"]) == {"over_budget"}
    both = score_first_filter(by="score")(rows, Budget("rows", 2), Context())
    assert places(rows, both.ids) == [0, 4]
    assert set(both.left["reason"]) == {"near_copy"}


def test_a_limit_of_one_is_top_without_exact_copies() -> None:
    points = clustered(300)
    rows = frame(np.concatenate([points, 2 * points]), score=[*range(300)] * 2)
    found = score_first_filter(by="score", limit=0.999999)(rows, Budget("rows", 600), Context())
    first = top(by="score")(rows.head(300), Budget("rows", 300), Context())
    assert found.ids == first.ids


def test_a_token_budget_is_filled_from_the_kept_rows_in_order() -> None:
    points = clustered(3000, width=24, centres=200)
    rows = frame(points)
    kept = score_first_filter(by="score")(rows, Budget("rows", 3000), Context()).ids
    for limit in (500, 5000):
        found = score_first_filter(by="score")(rows, Budget("tokens", limit), Context())
        spent = int(rows[places(rows, found.ids)]["length_total"].sum())
        assert 0.95 * limit <= spent <= limit
        assert found.ids[:-1] == kept[: len(found.ids) - 1]


def test_drops_and_direction_are_those_of_top() -> None:
    rows = frame(np.eye(5, dtype=np.float32), ifd=[0.4, 1.0, 1.5, None, 0.9])
    every = Budget("rows", 5)
    assert places(rows, score_first_filter(by="ifd")(rows, every, Context()).ids) == [1, 4, 0]
    low = score_first_filter(by="ifd", ascending=True, drop_below=0.5, drop_above=2)
    assert places(rows, low(rows, every, Context()).ids) == [4, 1, 2]
    assert low(rows, every, Context()).left["reason"].to_list() == ["ifd_below_0_5", "unscored"]


def test_a_limit_that_is_no_cosine_is_refused() -> None:
    with pytest.raises(RecipeError, match="limit"):
        registry.get("select", "score_first_filter").bind({"by": "ifd", "limit": 90})
