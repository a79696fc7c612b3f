"""What every selector that looks at target rows does with odd pools, odd targets and any budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import treadle
from aimed import aimed_at, frame_of, vector_column
from treadle.context import Context
from treadle.data.selection import Budget, Selection
from treadle.errors import DataError, RecipeError
from treadle.select.bm25 import bm25
from treadle.select.importance_resampling import importance_resampling
from treadle.select.influence import influence
from treadle.select.round_robin import round_robin
from treadle.select.transport import transport
from treadle.select.tsds import tsds
from turns import records, write_lines

Choose = Callable[[pl.DataFrame, Budget, Context], Selection]
SELECTORS: dict[str, Choose] = {
    "round_robin": round_robin(),
    "round_robin_group": round_robin(group="task"),
    "bm25": bm25(),
    "bm25_mean": bm25(aggregate="mean"),
    "importance_resampling": importance_resampling(),
    "importance_resampling_per_token": importance_resampling(per_token=True, temperature=0),
    "tsds": tsds(),
    "transport": transport(),
    "influence": influence(),
    "influence_clues": influence(variant="clues", group="task"),
}
BUDGETS = [Budget("rows", 7), Budget("share", 0.3), Budget("tokens", 900), Budget("rows", 10_000)]
NGRAMS = ("hashed_ngrams", "hashed_ngrams_counts")
FEATURES = ("embedding", "gradient", "gradient_plain", "words", *NGRAMS, "hashed_ngrams_tokens")
every_selector = pytest.mark.parametrize("choose", SELECTORS.values(), ids=SELECTORS)


def made(total: int, seed: int = 0, prefix: str = "row") -> pl.DataFrame:
    """Return rows with every feature that these selectors read."""
    rng = np.random.default_rng(seed)
    words = [[f"w{i}" for i in rng.integers(0, 20, rng.integers(1, 9))] for _ in range(total)]
    buckets = [sorted({int(word[1:]) for word in row}) for row in words]
    counts = [rng.integers(1, 4, len(row)).tolist() for row in buckets]
    vectors = {
        name: vector_column(rng.normal(size=(total, 4)))
        for name in ("embedding", "gradient", "gradient_plain")
    }
    return frame_of(
        total,
        seed=seed,
        prefix=prefix,
        **vectors,
        words=pl.Series(words, dtype=pl.List(pl.String)),
        hashed_ngrams=pl.Series(buckets, dtype=pl.List(pl.UInt32)),
        hashed_ngrams_counts=pl.Series(counts, dtype=pl.List(pl.UInt32)),
        hashed_ngrams_tokens=pl.Series([len(row) for row in words], dtype=pl.UInt32),
        task=pl.Series([f"t{i % 3}" for i in range(total)], dtype=pl.String),
    )


TARGET = made(6, seed=1, prefix="dev")


def without(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.lit(None, dtype=rows[name].dtype).alias(name) for name in FEATURES)


@every_selector
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("total", [0, 1, 2, 40])
def test_every_row_is_chosen_or_left_and_no_budget_is_passed(
    choose: Choose, budget: Budget, total: int
) -> None:
    rows = made(total)
    found = choose(rows, budget, aimed_at(TARGET))
    assert sorted([*found.ids, *found.left["id"]]) == rows["id"].to_list()
    assert len(found.ids) <= budget.rows_of(total)
    if budget.unit == "tokens":
        assert rows.filter(pl.col("id").is_in(found.ids))["length_total"].sum() <= 900
    if total == 40:
        assert found.ids


@every_selector
def test_neither_the_order_of_the_rows_nor_of_the_target_rows_counts(choose: Choose) -> None:
    rows = made(60)
    straight = choose(rows, Budget("rows", 20), aimed_at(TARGET))
    mixed = rows.sample(fraction=1.0, shuffle=True, seed=1)
    again = choose(mixed, Budget("rows", 20), aimed_at(TARGET[::-1]))
    assert again.chosen.equals(straight.chosen)
    assert again.left.equals(straight.left)


@every_selector
def test_rows_without_feature_or_length_are_unscored(choose: Choose) -> None:
    rows, bare = made(30), without(made(3, prefix="bare"))
    unmeasured = made(3, seed=5, prefix="nolength").with_columns(
        length_total=pl.lit(None, dtype=pl.Int64)
    )
    found = choose(pl.concat([rows, bare, unmeasured]), Budget("share", 1.0), aimed_at(TARGET))
    reasons = dict(found.left.iter_rows())
    assert {reasons[key] for key in [*bare["id"], *unmeasured["id"]]} == {"unscored"}
    assert choose(bare, Budget("rows", 3), aimed_at(TARGET)).ids == []


@every_selector
def test_target_rows_without_the_feature_are_passed_over(choose: Choose) -> None:
    rows = made(40)
    more = pl.concat([TARGET, without(made(4, prefix="bare"))])
    alone = choose(rows, Budget("rows", 10), aimed_at(TARGET))
    assert choose(rows, Budget("rows", 10), aimed_at(more)).chosen.equals(alone.chosen)
    with pytest.raises(DataError, match="none of the 6 target rows has a '"):
        choose(rows, Budget("rows", 10), aimed_at(without(TARGET)))
    with pytest.raises(DataError, match="none of the 0 target rows has a '"):
        choose(rows, Budget("rows", 10), aimed_at(TARGET[:0]))


@every_selector
def test_without_a_target_the_error_says_where_to_name_one(choose: Choose) -> None:
    with pytest.raises(RecipeError, match=r"data: \{target: dev\.jsonl\}"):
        choose(made(3), Budget("rows", 1), Context())


@every_selector
def test_zero_vectors_and_copies_of_one_row_do_no_harm(choose: Choose) -> None:
    rows = made(20)
    blank = [[0.0] * 4] * 5 + [[0.5] * 4] * 15
    rows = rows.with_columns(embedding=vector_column(blank), gradient=vector_column(blank))
    rows = rows.with_columns(
        pl.col(name).first().alias(name) for name in ("words", *NGRAMS, "hashed_ngrams_tokens")
    )
    found = choose(rows, Budget("rows", 20), aimed_at(TARGET))
    assert len(found.ids) + found.left.height == 20
    assert found.ids


@pytest.mark.parametrize("name", ["round_robin", "bm25", "transport", "influence"])
def test_a_row_like_the_target_is_found_first(name: str) -> None:
    rows = made(40)
    like = TARGET.with_columns(gradient="gradient_plain", id=pl.lit("row00020x"))[0]
    rows = pl.concat([rows, like])
    found = SELECTORS[name](rows, Budget("rows", 1), aimed_at(TARGET[:1]))
    assert found.ids == ["row00020x"]


def test_the_groups_of_a_target_file_reach_the_selector(tmp_path: Path) -> None:
    dev = [{**row, "task": f"t{i % 2}"} for i, row in enumerate(records(6, seed=9))]
    write_lines(tmp_path / "pool.jsonl", records(30, seed=1))
    write_lines(tmp_path / "dev.jsonl", dev)
    found = treadle.select_rows(
        tmp_path / "pool.jsonl", keep=4, method="round_robin", group="task",
        target=tmp_path / "dev.jsonl", model="scripted", embedder="hashed",
    )  # fmt: skip
    assert [why.split(" of task ")[1] for why in found.chosen["reason"]] == ["t0", "t1"] * 2
