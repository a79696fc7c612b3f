"""The band selector against a plain sort, at its edges, and under ties."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import op as registry
from treadle.context import Context
from treadle.data.selection import Budget
from treadle.errors import RecipeError
from treadle.select.band import band
from vectors import frame, places

ALL = Budget("share", 1.0)


def numbers(values: list[float | None]) -> pl.DataFrame:
    points = np.ones((len(values), 1), dtype=np.float32)
    return frame(points, score=pl.Series("score", values, dtype=pl.Float64))


@pytest.mark.parametrize(
    ("name", "expected"), [("low", range(3)), ("middle", range(3, 6)), ("high", range(6, 9))]
)
def test_a_named_band_is_a_third_of_the_scored_rows(name: str, expected: range) -> None:
    rows = numbers([8.0, 7, 6, 5, 4, 3, 2, 1, 0, None])
    found = band(by="score", quantiles=name)(rows, ALL, Context())
    assert sorted(8 - i for i in places(rows, found.ids)) == list(expected)
    assert dict(found.left.iter_rows())[rows["id"][9]] == "unscored"


def test_rows_outside_say_on_which_side() -> None:
    rows = numbers([1.0, 2, 3, 4, 5])
    found = band(by="score", quantiles=(0.25, 0.75))(rows, Budget("rows", 2), Context())
    assert found.chosen["reason"].to_list() == ["score 3, quantile 0.50", "score 2, quantile 0.30"]
    assert found.left["reason"].to_list() == [
        "score_below_band", "over_budget", "score_above_band",
    ]  # fmt: skip


@settings(max_examples=40)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 99))
def test_without_edges_a_budget_takes_the_rows_around_the_median(
    total: int, count: int, seed: int
) -> None:
    values = np.exp(3 * np.random.default_rng(seed).normal(size=total))  # a long tail
    rows = numbers(values.tolist())
    found = band(by="score", quantiles=(0, 1))(rows, Budget("rows", count), Context())
    ranks = sorted(int((values < values[i]).sum()) for i in places(rows, found.ids))
    count = min(count, total)
    assert ranks == list(range(ranks[0], ranks[0] + count))
    assert abs((ranks[0] + ranks[-1]) / 2 - (total - 1) / 2) <= 0.5


@settings(max_examples=40)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=40),
    st.floats(0, 0.9),
    st.floats(0.05, 1),
    st.integers(1, 45),
)
def test_it_takes_what_a_plain_sort_takes(
    values: list[int | None], low: float, width: float, count: int
) -> None:
    high = min(1.0, low + width)
    rows = numbers([None if v is None else float(v) for v in values])
    found = band(by="score", quantiles=(low, high))(rows, Budget("rows", count), Context())
    known = [v for v in values if v is not None]
    if not known:
        assert found.ids == []
        return
    lowest, highest = np.quantile(known, [low, high])

    def away(i: int) -> tuple[float, int]:
        smaller = sum(v < values[i] for v in known)
        equal = sum(v == values[i] for v in known)
        return round(abs(smaller + equal / 2 - len(known) * (low + high) / 2), 9), i

    inside = [i for i, v in enumerate(values) if v is not None and lowest <= v <= highest]
    expected = sorted(inside, key=away)[:count]
    assert [away(i)[0] for i in places(rows, found.ids)] == [away(i)[0] for i in expected]


def test_equal_values_are_all_inside_and_go_by_id() -> None:
    rows = numbers([2.0] * 9)
    for name in ("low", "middle", "high"):
        assert band(by="score", quantiles=name)(rows, ALL, Context()).ids == rows["id"].to_list()


@pytest.mark.parametrize(
    ("quantiles", "says"),
    [
        ([0.6, 0.2], "the first quantile must be the lower one"),
        ([0.2, 20], "less than or equal to 1"),
        ("mid", "'low', 'middle' or 'high'"),
    ],
)
def test_quantiles_that_mean_nothing_are_refused(quantiles: object, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        registry.get("select", "band").bind({"by": "score", "quantiles": quantiles})
