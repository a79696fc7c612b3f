"""Quotas: shares at every size, leftovers, orders within a value, and chance without one."""

from collections import Counter
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import op as registry
from treadle.context import Context
from treadle.data.selection import Budget
from treadle.errors import DataError, RecipeError
from treadle.select.quota import quota
from vectors import frame, places

SIZES = {"big": 700, "rare": 10, "small": 290}


def sources(**sizes: int) -> pl.DataFrame:
    names = [name for name, size in sizes.items() for _ in range(size)]
    points = np.ones((len(names), 1), dtype=np.float32)
    return frame(points, source=pl.Series(names, dtype=pl.String))


def counts(rows: pl.DataFrame, ids: list[str]) -> Counter[str]:
    return Counter(rows[places(rows, ids)]["source"].to_list())


def test_without_a_score_it_is_source_balanced_random() -> None:
    rows = sources(**SIZES)
    draws = [quota(by="source")(rows, Budget("rows", 24), Context(seed=s)).ids for s in range(300)]
    assert all(counts(rows, ids) == {"big": 8, "rare": 8, "small": 8} for ids in draws)
    often = Counter(i for ids in draws for i in places(rows, ids))
    rare = [often[i] for i in range(700, 710)]
    assert sum(rare) == 300 * 8
    assert all(abs(n - 240) < 4 * (300 * 0.8 * 0.2) ** 0.5 for n in rare)
    assert max(often[i] for i in range(700)) < 20


def test_what_a_value_cannot_fill_goes_to_the_others() -> None:
    rows = sources(**SIZES)
    found = quota(by="source")(rows, Budget("rows", 210), Context())
    assert counts(rows, found.ids) == {"big": 100, "rare": 10, "small": 100}
    found = quota(by="source")(rows, Budget("rows", 810), Context())
    assert counts(rows, found.ids) == {"big": 510, "rare": 10, "small": 290}
    named = quota(by="source", shares={"rare": 6, "small": 2, "big": 1})
    found = named(rows, Budget("rows", 100), Context())
    assert counts(rows, found.ids) == {"big": 30, "rare": 10, "small": 60}


def test_proportional_shares_are_those_of_the_pool() -> None:
    rows = sources(**SIZES)
    found = quota(by="source", shares="proportional")(rows, Budget("rows", 100), Context())
    assert counts(rows, found.ids) == {"big": 70, "rare": 1, "small": 29}


def sainte_lague(sizes: dict[str, int], shares: dict[str, int], seats: int) -> Counter[str]:
    """Give seat after seat to the value with the largest share / (2 * seats + 1)."""
    given = Counter(dict.fromkeys(sizes, 0))
    for _ in range(min(seats, sum(sizes.values()))):
        able = [name for name in sorted(sizes) if given[name] < sizes[name]]
        given[max(able, key=lambda name: Fraction(shares[name], 2 * given[name] + 1))] += 1
    return +given


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 12), min_size=1),
    st.lists(st.integers(1, 9), min_size=5, max_size=5),
    st.integers(1, 50),
)
def test_rows_are_apportioned_as_seats_are(
    sizes: dict[str, int], weights: list[int], seats: int
) -> None:
    shares = dict(zip("abcde", weights, strict=True))
    choose = quota(by="source", shares={name: shares[name] for name in sizes})
    rows = sources(**sizes)
    found = choose(rows, Budget("rows", seats), Context())
    assert counts(rows, found.ids) == sainte_lague(sizes, shares, seats)


def test_each_value_gives_its_best_rows_and_says_so() -> None:
    rows = sources(a=50, b=50)
    for ascending in (False, True):
        choose = quota(by="source", order="score", ascending=ascending)
        chosen = rows[places(rows, choose(rows, Budget("rows", 10), Context()).ids)]
        for name in ("a", "b"):
            mine = rows.filter(pl.col("source") == name).sort("score", descending=not ascending)
            assert (
                chosen.filter(pl.col("source") == name)["id"].to_list() == mine["id"][:5].to_list()
            )
    first = choose(rows, Budget("rows", 3), Context()).chosen["reason"].to_list()
    assert first == [
        "source a, row 1 by score",
        "source b, row 1 by score",
        "source a, row 2 by score",
    ]


def test_under_a_token_budget_shares_are_of_tokens() -> None:
    rng = np.random.default_rng(0)
    rows = sources(long=400, short=2000).with_columns(
        pl.Series("length_total", np.r_[rng.integers(80, 120, 400), rng.integers(8, 12, 2000)])
    )
    found = quota(by="source")(rows, Budget("tokens", 10_000), Context())
    spent = rows[places(rows, found.ids)].group_by("source").agg(pl.col("length_total").sum())
    assert all(4_800 < n <= 5_200 for n in spent["length_total"])
    assert 9_900 <= spent["length_total"].sum() <= 10_000
    huge = rows.with_columns(
        pl.when(pl.int_range(pl.len()) < 100).then(10**6).otherwise("length_total")
        .alias("length_total")
    )  # fmt: skip
    found = quota(by="source")(huge, Budget("tokens", 10_000), Context())
    spent = rows[places(rows, found.ids)].group_by("source").agg(pl.col("length_total").sum())
    assert all(4_800 < n <= 5_200 for n in spent["length_total"])


def test_a_larger_budget_only_adds_rows() -> None:
    rows = sources(**SIZES)
    choose = quota(by="source", shares={"big": 1.5, "rare": 0.2})
    many = choose(rows, Budget("rows", 300), Context()).ids
    for count in (1, 7, 60):
        assert choose(rows, Budget("rows", count), Context()).ids == many[:count]


def test_a_value_without_a_share_is_left_and_says_so() -> None:
    rows = sources(a=3, b=3)
    found = quota(by="source", shares={"a": 1})(rows, Budget("rows", 6), Context())
    assert counts(rows, found.ids) == {"a": 3}
    assert found.left["reason"].to_list() == ["no_share"] * 3


def test_a_share_for_a_value_that_no_row_has_is_refused() -> None:
    choose = quota(by="source", shares={"a": 1, "bb": 5})
    with pytest.raises(DataError, match="'bb', and no row has that value of 'source'"):
        choose(sources(a=3, b=3), Budget("rows", 6), Context())


def test_numbers_are_values_too_and_lists_are_not() -> None:
    rows = frame(np.ones((6, 1), dtype=np.float32), level=[1, 1, 1, 1, 2, None])
    found = quota(by="level")(rows, Budget("rows", 2), Context())
    assert sorted(r.split(",")[0] for r in found.chosen["reason"]) == ["level 1", "level 2"]
    with pytest.raises(DataError, match="'embedding' holds List"):
        quota(by="embedding")(rows, Budget("rows", 2), Context())


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": -1}, {"a": float("inf")}, "even"])
def test_shares_that_mean_nothing_are_refused(shares: object) -> None:
    with pytest.raises(RecipeError, match="shares"):
        registry.get("select", "quota").bind({"by": "source", "shares": shares})
