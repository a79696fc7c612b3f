"""What every selector of this list keeps to: counts, budgets, order, missing values, ties."""

import re
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from treadle.context import Context
from treadle.data.selection import Budget, Selection
from treadle.select.band import band
from treadle.select.dpp import dpp
from treadle.select.facility_location import facility_location
from treadle.select.quota import quota
from treadle.select.score_first_filter import score_first_filter
from treadle.select.semdedup import semdedup
from treadle.select.tag_cover import tag_cover
from vectors import clustered, frame

Choose = Callable[[pl.DataFrame, Budget, Context], Selection]
SELECTORS: dict[str, Choose] = {
    "band": band(by="score", quantiles=(0.1, 0.8)),
    "score_first_filter": score_first_filter(by="score"),
    "facility_location": facility_location(),
    "facility_location_sparse": facility_location(exact_up_to=0, neighbours=9),
    "semdedup": semdedup(),
    "semdedup_kept": semdedup(against="kept", prefer="easy"),
    "dpp": dpp(),
    "dpp_of_score": dpp(by="score"),
    "dpp_without_ridge": dpp(ridge=0),
    "tag_cover": tag_cover(by="tags"),
    "quota": quota(by="source"),
    "quota_of_score": quota(by="source", order="score", shares="proportional"),
}
FILTERS = {
    "dpp_without_ridge",
    "band",
    "score_first_filter",
    "semdedup",
    "semdedup_kept",
}  # these may leave a budget unfilled
BUDGETS = [Budget("rows", 7), Budget("share", 0.3), Budget("tokens", 900), Budget("rows", 10_000)]
READ = ["score", "embedding", "source", "tags", "length_total"]
every_selector = pytest.mark.parametrize("name", SELECTORS)
every_budget = pytest.mark.parametrize("budget", BUDGETS, ids=str)


def pool(total: int = 60) -> pl.DataFrame:
    rng = np.random.default_rng(total)
    tags = [list(rng.choice(list("abcdefghijk"), rng.integers(1, 5))) for _ in range(total)]
    source = [f"s{i}" for i in rng.integers(0, 3, size=total)]
    rows = frame(clustered(total), tags=pl.Series("tags", tags, dtype=pl.List(pl.String)))
    score = pl.col("score") + 0.01
    return rows.with_columns(score, pl.Series("source", source, dtype=pl.String))


@every_selector
@every_budget
@pytest.mark.parametrize("total", [0, 1, 2, 60])
def test_every_row_is_chosen_or_left_with_a_reason_and_no_budget_is_passed(
    name: str, budget: Budget, total: int
) -> None:
    rows = pool(total)
    found = SELECTORS[name](rows, budget, Context(seed=3))
    assert sorted([*found.ids, *found.left["id"]]) == rows["id"].to_list()
    assert found.chosen["rank"].to_list() == list(range(found.chosen.height))
    assert all(len(reason) > 5 for reason in found.chosen["reason"])
    assert all(re.fullmatch(r"[a-z0-9_]+", reason) for reason in found.left["reason"])
    spent = int(rows.filter(pl.col("id").is_in(found.ids))["length_total"].sum())
    if budget.unit == "tokens":
        assert spent <= budget.amount
        if total > 50 and name not in FILTERS:
            assert spent >= 0.95 * budget.amount
    elif name in FILTERS:
        assert found.chosen.height <= budget.rows_of(total)
    else:
        assert found.chosen.height == budget.rows_of(total)
    assert total < 50 or found.ids


@every_selector
@every_budget
def test_the_order_of_the_rows_changes_nothing(name: str, budget: Budget) -> None:
    rows = pool()
    first = SELECTORS[name](rows, budget, Context(seed=3))
    for seed in range(3):
        mixed = rows.sample(fraction=1, shuffle=True, seed=seed)
        again = SELECTORS[name](mixed, budget, Context(seed=3))
        assert again.chosen.equals(first.chosen)
        assert again.left.equals(first.left)


@every_selector
def test_a_row_without_a_value_is_never_chosen_and_says_so(name: str) -> None:
    rows = pool()
    is_hole = pl.int_range(pl.len()) % 5 == 0
    holes = [pl.when(is_hole).then(None).otherwise(pl.col(n)).alias(n) for n in READ]
    found = SELECTORS[name](rows.with_columns(holes), Budget("share", 1.0), Context())
    reasons = dict(found.left.iter_rows())
    missing = rows["id"].to_list()[::5]
    assert {reasons.get(key) for key in missing} == {"unscored"}
    assert set(missing) == {key for key, reason in reasons.items() if reason == "unscored"}


@every_selector
def test_a_row_of_unknown_length_is_never_chosen_either(name: str) -> None:
    rows = pool()
    is_hole = pl.int_range(pl.len()) % 5 == 0
    length = pl.when(is_hole).then(None).otherwise(pl.col("length_total")).alias("length_total")
    found = SELECTORS[name](rows.with_columns(length), Budget("share", 1.0), Context())
    reasons = dict(found.left.iter_rows())
    assert {reasons.get(key) for key in rows["id"].to_list()[::5]} == {"unscored"}


@every_selector
def test_a_pool_in_which_nothing_is_scored_gives_an_empty_selection(name: str) -> None:
    rows = pool()
    rows = rows.with_columns(pl.lit(None).cast(rows.schema[n]).alias(n) for n in READ)
    found = SELECTORS[name](rows, Budget("rows", 5), Context())
    assert not found.ids
    assert set(found.left["reason"]) == {"unscored"}
