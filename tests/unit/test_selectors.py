"""Selectors: budgets, reasons, conserved counts, missing scores, ties and order."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle
from treadle import op as registry
from treadle.context import Context
from treadle.data.ranking import figure, rank, snake
from treadle.data.selection import (
    LEAST_LOOK_AHEAD,
    Budget,
    Selection,
    has_length,
    matched_budget,
    scored,
    tokens_of,
    vectors,
)
from treadle.errors import DataError, RecipeError
from treadle.select.k_center import k_center
from treadle.select.longest import longest
from treadle.select.random import random
from treadle.select.score_then_diverse import score_then_diverse
from treadle.select.top import top

Choose = Callable[[pl.DataFrame, Budget, Context], Selection]
SELECTORS: dict[str, Choose] = {
    "random": random(),
    "random_like": random(like="source"),
    "random_like_number": random(like="score"),
    "longest": longest(),
    "top": top(by="score"),
    "top_ascending": top(by="score", ascending=True),
    "k_center": k_center(),
    "score_then_diverse": score_then_diverse(by="score"),
}
BUDGETS = [Budget("rows", 7), Budget("share", 0.3), Budget("tokens", 900), Budget("rows", 10_000)]
every_selector = pytest.mark.parametrize("choose", SELECTORS.values(), ids=SELECTORS)
every_budget = pytest.mark.parametrize("budget", BUDGETS, ids=str)


def pool(total: int = 40, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    length = rng.integers(3, 80, size=total)
    ids = sorted(f"{rng.integers(16**8):08x}{i:04x}" for i in range(total))
    return pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.String),
            "length": pl.Series(length, dtype=pl.Int64),
            "length_total": pl.Series(length + rng.integers(5, 30, size=total), dtype=pl.Int64),
            "score": pl.Series(rng.integers(0, 12, size=total) / 8, dtype=pl.Float64),
            "source": pl.Series([f"s{i}" for i in rng.integers(0, 3, size=total)], dtype=pl.String),
            "embedding": pl.Series(rng.normal(size=(total, 5)).tolist(), dtype=pl.List(pl.Float32)),
        }
    )


def total_tokens(rows: pl.DataFrame, selection: Selection) -> int:
    return int(rows.filter(pl.col("id").is_in(selection.ids))["length_total"].sum())


@every_selector
@every_budget
@pytest.mark.parametrize("total", [0, 1, 2, 40])
def test_every_row_is_chosen_or_left_with_a_reason_and_no_budget_is_passed(
    choose: Choose, budget: Budget, total: int
) -> None:
    rows = pool(total)
    selection = choose(rows, budget, Context(seed=3))
    assert sorted([*selection.ids, *selection.left["id"]]) == rows["id"].to_list()
    assert selection.chosen["rank"].to_list() == list(range(selection.chosen.height))
    assert all(len(reason) > 5 for reason in selection.chosen["reason"])
    assert all(re.fullmatch(r"[a-z0-9_]+", reason) for reason in selection.left["reason"])
    if budget.unit == "tokens":
        assert total_tokens(rows, selection) <= budget.amount
    else:
        assert selection.chosen.height == budget.rows_of(total)


@every_selector
@every_budget
def test_the_order_of_the_rows_changes_nothing(choose: Choose, budget: Budget) -> None:
    rows = pool()
    first = choose(rows, budget, Context(seed=3))
    for seed in range(3):
        again = choose(rows.sample(fraction=1, shuffle=True, seed=seed), budget, Context(seed=3))
        assert again.chosen.equals(first.chosen)
        assert again.left.equals(first.left)


@every_selector
def test_a_row_without_a_value_is_never_chosen_and_says_so(choose: Choose) -> None:
    rows = pool().with_row_index("n")
    hole = {
        "length": pl.when(pl.col("n") % 5 == 0).then(None).otherwise(pl.col("length")),
        "length_total": pl.when(pl.col("n") % 5 == 0).then(None).otherwise(pl.col("length_total")),
        "score": pl.when(pl.col("n") % 5 == 0).then(float("nan")).otherwise(pl.col("score")),
        "source": pl.when(pl.col("n") % 5 == 0).then(None).otherwise(pl.col("source")),
        "embedding": pl.when(pl.col("n") % 5 == 0)
        .then(pl.lit([0.0, None, 0.0, 0.0, 0.0], dtype=pl.List(pl.Float32)))
        .otherwise(pl.col("embedding")),
    }
    missing = rows.filter(pl.col("n") % 5 == 0)["id"].to_list()
    selection = choose(rows.with_columns(**hole).drop("n"), Budget("share", 1.0), Context())
    reasons = dict(selection.left.select("id", "reason").iter_rows())
    assert set(missing) == set(reasons)
    assert set(reasons.values()) == {"unscored"}


@every_selector
def test_a_row_of_unknown_training_length_is_never_chosen_either(choose: Choose) -> None:
    rows = pool().with_columns(
        pl.when(pl.int_range(40) % 5 == 0).then(None).otherwise(pl.col("length_total"))
        .alias("length_total")
    )  # fmt: skip
    selection = choose(rows, Budget("share", 1.0), Context())
    missing = rows.filter(pl.col("length_total").is_null())["id"].to_list()
    assert sorted(selection.left["id"]) == missing
    assert set(selection.left["reason"]) == {"unscored"}


@every_selector
def test_a_pool_in_which_nothing_is_scored_gives_an_empty_selection(choose: Choose) -> None:
    names = ["length", "length_total", "score", "source", "embedding"]
    rows = pool().with_columns(pl.lit(None).cast(pool().schema[n]).alias(n) for n in names)
    selection = choose(rows, Budget("rows", 5), Context())
    assert not selection.ids
    assert set(selection.left["reason"]) == {"unscored"}


@every_selector
def test_rows_of_equal_value_are_taken_in_the_order_of_their_ids(choose: Choose) -> None:
    rows = pool().with_columns(
        pl.lit(9).alias("length"),
        pl.lit(20).alias("length_total"),
        pl.lit(0.5).alias("score"),
        pl.lit([1.0, 2.0, 0.0, 0.0, 0.0], dtype=pl.List(pl.Float32)).alias("embedding"),
    )
    selection = choose(rows, Budget("rows", 9), Context())
    if selection.chosen["reason"][0].startswith("random"):
        assert selection.ids != rows["id"].to_list()[:9]
    else:
        assert selection.ids == rows["id"].to_list()[:9]


def test_random_keeps_a_rows_place_when_other_rows_come_or_go() -> None:
    rows = pool(200)
    small = rows.filter(pl.col("score") < 1)
    whole = random()(rows, Budget("share", 1.0), Context(seed=1)).ids
    part = random()(small, Budget("share", 1.0), Context(seed=1)).ids
    assert part == [i for i in whole if i in set(small["id"])]
    assert random()(rows, Budget("share", 1.0), Context(seed=2)).ids != whole


@pytest.mark.slow
def test_random_gives_every_row_the_same_chance() -> None:
    rows = pool(20)
    counts = dict.fromkeys(rows["id"], 0)
    for seed in range(2000):
        for key in random()(rows, Budget("rows", 5), Context(seed=seed)).ids:
            counts[key] += 1
    found = np.array(list(counts.values()))
    chi_square = ((found - 500) ** 2 / (500 * 0.75)).sum() * 0.75 * 20 / 19
    assert chi_square < 43.8  # the 99.9% point at 19 degrees of freedom


def test_random_like_a_column_gives_each_value_its_share_at_any_size() -> None:
    rows = pool(1000).with_columns(
        pl.Series("source", ["big"] * 700 + ["small"] * 290 + ["rare"] * 10)
    )
    for size in (100, 250, 800):
        counts = []
        for seed in range(20):
            ids = random(like="source")(rows, Budget("rows", size), Context(seed=seed)).ids
            chosen = rows.filter(pl.col("id").is_in(ids))["source"].value_counts()
            counts.append(dict(chosen.iter_rows()))
        for name, share in (("big", 0.7), ("small", 0.29), ("rare", 0.01)):
            sizes = [c.get(name, 0) for c in counts]
            assert all(abs(n - share * size) <= 2 for n in sizes)
        if size == 250:  # 2.5 rare rows: chance decides between two and three
            assert {c.get("rare", 0) for c in counts} == {2, 3}


def test_random_like_a_number_gives_each_tenth_its_share() -> None:
    rows = pool(1000).with_columns(pl.Series("length", range(1000)))
    ids = random(like="length")(rows, Budget("rows", 100), Context()).ids
    tenths = rows.filter(pl.col("id").is_in(ids))["length"] // 100
    assert all(9 <= n <= 11 for n in tenths.value_counts()["count"])


def test_top_takes_the_best_and_names_value_and_rank() -> None:
    rows = pool(4).with_columns(pl.Series("score", [0.5, 0.831234, -2.0, 0.7]))
    selection = top(by="score")(rows, Budget("rows", 2), Context())
    assert selection.ids == [rows["id"][1], rows["id"][3]]
    assert selection.chosen["reason"].to_list() == ["score 0.831, rank 1", "score 0.7, rank 2"]
    assert set(selection.left["reason"]) == {"over_budget"}
    lowest = top(by="score", ascending=True)(rows, Budget("rows", 1), Context())
    assert lowest.chosen["reason"].to_list() == ["score -2, rank 1"]


@pytest.mark.parametrize("method", [top, score_then_diverse])
def test_an_ifd_above_one_is_left_out_unless_the_limit_is_moved(
    method: Callable[..., Choose],
) -> None:
    rows = pool(5).with_columns(pl.Series("ifd", [0.4, 1.0, 1.0000001, 2.5, 0.9]))
    ids = rows["id"].to_list()
    selection = method(by="ifd")(rows, Budget("rows", 5), Context())
    assert set(selection.ids) == {ids[0], ids[1], ids[4]}
    assert set(selection.left["reason"]) == {"ifd_above_1"}
    assert (
        len(method(by="ifd", drop_above=float("inf"))(rows, Budget("rows", 5), Context()).ids) == 5
    )
    strict = method(by="ifd", drop_above=0.5)(rows, Budget("rows", 5), Context())
    assert strict.ids == [ids[0]]
    assert set(strict.left["reason"]) == {"ifd_above_0_5"}
    low = method(by="ifd", drop_below=0.95)(rows, Budget("rows", 5), Context())
    assert sorted(low.left["reason"]) == ["ifd_above_1"] * 2 + ["ifd_below_0_95"] * 2


def test_longest_takes_the_longest_replies_and_names_their_unit() -> None:
    rows = pool(4).with_columns(pl.Series("length", [5, 900, 1234, 40]))
    selection = longest()(rows, Budget("rows", 2), Context())
    assert selection.chosen["reason"].to_list() == [
        "1234 reply tokens, rank 1",
        "900 reply tokens, rank 2",
    ]


def test_k_center_takes_one_of_each_cluster_before_a_second_of_any() -> None:
    rng = np.random.default_rng(5)
    centres = 10 * rng.normal(size=(6, 5))
    cluster = rng.integers(6, size=60)
    cluster[:6] = range(6)
    points = centres[cluster] + 0.01 * rng.normal(size=(60, 5))
    rows = pool(60).with_columns(pl.Series("embedding", points.tolist()))
    selection = k_center()(rows, Budget("rows", 6), Context())
    places = {key: i for i, key in enumerate(rows["id"])}
    assert {int(cluster[places[key]]) for key in selection.ids} == set(range(6))
    assert selection.chosen["reason"][0] == "nearest to the mean of all rows"
    assert selection.chosen["reason"][1].startswith("distance ")


def test_score_then_diverse_stays_within_the_best_rows_and_spreads_there() -> None:
    rng = np.random.default_rng(5)
    rows = pool(100).with_columns(pl.Series("score", rng.permutation(100) / 100))
    best = set(top(by="score")(rows, Budget("rows", 20), Context()).ids)
    selection = score_then_diverse(by="score")(rows, Budget("rows", 10), Context())
    assert set(selection.ids) <= best
    assert set(selection.ids) != set(top(by="score")(rows, Budget("rows", 10), Context()).ids)
    reasons = selection.left["reason"].value_counts().sort("reason")
    assert list(reasons.iter_rows()) == [("outside_score_pool", 80), ("over_budget", 10)]
    assert re.fullmatch(
        r"score 0\.\d+, rank \d+; nearest to the mean of the best rows",
        selection.chosen["reason"][0],
    )
    narrow = score_then_diverse(by="score", pool_factor=1)(rows, Budget("rows", 10), Context())
    assert set(narrow.ids) == set(top(by="score")(rows, Budget("rows", 10), Context()).ids)
    inside = k_center()(rows.filter(pl.col("id").is_in(best)), Budget("rows", 10), Context())
    assert selection.ids == inside.ids


def test_score_then_diverse_comes_close_to_a_token_budget() -> None:
    rows = pool(400)
    selection = score_then_diverse(by="score")(rows, Budget("tokens", 5000), Context())
    assert 4950 <= total_tokens(rows, selection) <= 5000


def test_features_are_declared_from_the_options() -> None:
    def needs(name: str, **options: object) -> tuple[str, ...]:
        return registry.get("select", name).bind(options).needs

    assert needs("top", by="ifd") == ("ifd",)
    assert needs("score_then_diverse", by="ifd") == ("ifd", "embedding")
    assert needs("k_center") == ("embedding",)
    assert needs("random") == ()
    assert needs("random", like="source") == ("source",)
    assert needs("longest") == ("length",)


def test_a_pool_factor_below_one_is_refused_before_anything_runs() -> None:
    with pytest.raises(RecipeError, match="pool_factor"):
        registry.get("select", "score_then_diverse").bind({"by": "ifd", "pool_factor": 0.5})


def test_a_column_that_cannot_be_ranked_is_named() -> None:
    with pytest.raises(DataError, match=r"no column 'scor'.*'score'"):
        top(by="scor")(pool(), Budget("rows", 1), Context())
    with pytest.raises(DataError, match="'source' holds String, not numbers"):
        top(by="source")(pool(), Budget("rows", 1), Context())
    with pytest.raises(DataError, match="'score' holds Float64, not vectors"):
        k_center(on="score")(pool(), Budget("rows", 1), Context())
    with pytest.raises(DataError, match=r"like: .*'embedding'"):
        random(like="embedding")(pool(), Budget("rows", 1), Context())


def test_a_selection_that_names_a_row_twice_or_a_foreign_row_is_refused() -> None:
    rows = pool(3)
    with pytest.raises(ValueError, match="twice"):
        Selection.of(rows, [0, 0], "why")
    with pytest.raises(ValueError, match="not given"):
        Selection.of(rows, [-1], "why")
    for foreign in (-1, rows.height):
        with pytest.raises(ValueError, match="not given"):
            Selection.of(rows, [0], "why", left={foreign: "why not"})
    with pytest.raises(TypeError):
        Selection.of(rows, [0.5], "why")  # type: ignore[list-item]
    good = Selection.of(rows, [0], "why")
    with pytest.raises(ValueError, match="twice"):
        Selection(good.chosen, pl.concat([good.left, good.left]))
    with pytest.raises(ValueError, match="twice"):
        Selection(good.chosen, good.chosen.select("id", "reason"))


def test_vectors_of_a_foreign_width_are_unscored_and_both_layouts_are_read() -> None:
    values = [[1.0, 2.0], [3.0], None, [4.0, 5.0], [float("inf"), 1.0], []]
    rows = pl.DataFrame({"v": pl.Series(values, dtype=pl.List(pl.Float64))})
    matrix, known = vectors(rows, "v")
    assert known.tolist() == [True, False, False, True, False, False]
    assert matrix.tolist() == [[1, 2], [0, 0], [0, 0], [4, 5], [0, 0], [0, 0]]
    fixed = pl.DataFrame({"v": pl.Series([[1, 2], None], dtype=pl.Array(pl.Float32, 2))})
    matrix, known = vectors(fixed, "v")
    assert matrix.tolist() == [[1, 2], [0, 0]]
    assert known.tolist() == [True, False]


def test_scores_read_numbers_and_truths_and_nothing_is_missing_by_accident() -> None:
    rows = pl.DataFrame({"b": [True, None, False], "i": [1, 2, None], "n": [None, None, None]})
    assert scored(rows, "b")[1].tolist() == [True, False, True]
    assert scored(rows, "i")[0].tolist()[:2] == [1.0, 2.0]
    assert not scored(rows, "n")[1].any()


def test_figures_and_reasons_are_readable() -> None:
    assert [figure(x) for x in (0.0, -0.0, 3.0, 0.12345, 1234.56, -7.0)] == [
        "0", "0", "3", "0.123", "1235", "-7",
    ]  # fmt: skip
    assert snake("Score A_above_-0.5") == "score_a_above_minus_0_5"


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("30%", "share", 0.3),
        (0.3, "share", 0.3),
        (1.0, "share", 1.0),
        ("100%", "share", 1.0),
        (1, "rows", 1),
        (300, "rows", 300),
        ("300 rows", "rows", 300),
        ("1 row", "rows", 1),
        ("20_000 tokens", "tokens", 20_000),
        ("1,000,000 tokens", "tokens", 1_000_000),
    ],
)
def test_a_budget_is_read_as_people_write_it(text: str | float, unit: str, amount: float) -> None:
    budget = Budget.parse(text)
    assert (budget.unit, budget.amount) == (unit, pytest.approx(amount))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,5%", "is not a budget"),
        ("30 %%", "is not a budget"),
        ("1e3", "is not a budget"),
        ("", "is not a budget"),
        (True, "is not a budget"),
        ("-3", "is not a budget"),
        ("0", "out of range"),
        ("150%", "out of range"),
        ("30.5", r"Did you mean 30.5%\?"),
        ("0.5 tokens", "not a whole number of tokens"),
        (float("nan"), "is not a budget"),
    ],
)
def test_a_budget_that_means_nothing_is_refused_with_the_value(text: object, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as raised:
        Budget.parse(text, where="here")  # type: ignore[arg-type]
    assert str(raised.value).startswith("here: ")


@given(st.one_of(st.integers(), st.floats(), st.text(max_size=12)))
def test_reading_a_budget_gives_a_usable_one_or_a_recipe_error(value: str | float) -> None:
    try:
        budget = Budget.parse(value)
    except RecipeError:
        return
    assert budget.amount > 0
    assert budget.unit == "share" or budget.amount == int(budget.amount)
    assert 1 <= budget.rows_of(100) <= 100


@given(
    st.lists(st.integers(1, 500), max_size=60),
    st.integers(1, 5000),
    st.randoms(use_true_random=False),
)
def test_a_token_budget_is_never_passed_and_no_late_row_fills_it(
    lengths: list[int], limit: int, chance: Random
) -> None:
    """A slow walk by the rule's own words: to the first misfit, then one of the next few."""
    tokens = np.array(lengths, dtype=np.int64)
    order = list(range(len(lengths)))
    chance.shuffle(order)
    taken = Budget("tokens", limit).take(order, tokens)
    expected, left = [], limit
    walk = [i for i in order if tokens[i] <= limit]
    while walk and tokens[walk[0]] <= left:
        left -= int(tokens[walk[0]])
        expected.append(walk.pop(0))
    near = max(LEAST_LOOK_AHEAD, (len(expected) + len(walk)) // 10)
    expected += [i for i in walk[1 : 1 + near] if tokens[i] <= left][:1]
    assert taken == expected
    assert int(tokens[taken].sum()) <= limit


def test_a_random_draw_under_a_token_budget_leans_little_towards_short_rows() -> None:
    rng = np.random.default_rng(0)
    tokens = np.maximum(3, rng.lognormal(4.5, 0.8, 4000)).astype(np.int64)
    budget = Budget("tokens", 40 * float(tokens.mean()) // 1)
    means = [tokens[budget.take(rng.permutation(len(tokens)), tokens)].mean() for _ in range(2000)]
    assert np.mean(means) / tokens.mean() > 0.96
    spent = [tokens[budget.take(rng.permutation(len(tokens)), tokens)].sum() for _ in range(200)]
    assert np.mean(spent) > 0.98 * budget.amount


@given(st.integers(0, 400), st.floats(0.001, 1.0))
def test_a_share_is_rounded_to_whole_rows_and_never_to_none(total: int, share: float) -> None:
    rows = Budget("share", share).rows_of(total)
    assert rows == 0 if total == 0 else 1 <= rows <= total
    assert abs(rows - share * total) <= 1


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(0, 5), st.sampled_from(sorted(SELECTORS)))
def test_larger_budgets_of_rows_only_add_rows(total: int, seed: int, name: str) -> None:
    if name == "score_then_diverse":  # its pool of best rows grows with the budget
        return
    rows = pool(total, seed)
    few = SELECTORS[name](rows, Budget("rows", 5), Context()).ids
    many = SELECTORS[name](rows, Budget("rows", 15), Context()).ids
    assert many[: len(few)] == few


def test_a_row_of_unknown_length_fits_no_budget() -> None:
    rows = pool(3).with_columns(pl.Series("length_total", [10, None, 20]))
    assert has_length(rows).tolist() == [True, False, True]
    assert Budget("tokens", 10**9).take([0, 1, 2], tokens_of(rows)) == [0, 2]


def test_a_matched_control_has_the_tokens_of_the_tested_arm_within_a_percent() -> None:
    rng = np.random.default_rng(1)
    total = 3000
    lengths = np.clip(rng.lognormal(4.3, 0.6, size=total), 5, 2000).astype(int)
    rows = pool(total).with_columns(
        pl.Series("length", lengths), pl.Series("length_total", lengths + 20)
    )
    means = []
    for seed in range(20):
        tested = top(by="score")(rows, Budget("share", 0.1), Context())
        budget = matched_budget(tested, rows)
        assert budget.amount == total_tokens(rows, tested)
        for control in (random(), longest()):
            arm = control(rows, budget, Context(seed=seed))
            assert 0.99 * budget.amount <= total_tokens(rows, arm) <= budget.amount
        drawn = random()(rows, budget, Context(seed=seed)).ids
        means.append(rows.filter(pl.col("id").is_in(drawn))["length_total"].mean())
    error = lengths.std() / np.sqrt(300 * 20)
    assert abs(np.mean(means) - (lengths.mean() + 20)) < 4 * error


def test_a_matched_control_is_as_large_on_rows_that_people_train_on(shared_data: Path) -> None:
    lines = (shared_data / "alpaca_pool" / "pool.part0.jsonl").read_text("utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    length = [len(r["output"].split()) + 1 for r in records]
    prompt = [len((r["instruction"] + " " + r["input"]).split()) + 8 for r in records]
    rows = pl.DataFrame({"id": [r["id"] for r in records], "length": length}).with_columns(
        (pl.col("length") + pl.Series(prompt)).alias("length_total")
    )
    for tested in (top(by="length", ascending=True), longest(), random()):
        selection = tested(rows, Budget("share", 0.02), Context(seed=9))
        budget = matched_budget(selection, rows)
        for control in (random(), longest()):
            arm = control(rows, budget, Context(seed=1))
            assert 0.99 * budget.amount <= total_tokens(rows, arm) <= budget.amount


def test_matching_the_tokens_of_nothing_is_refused() -> None:
    rows = pool(3)
    with pytest.raises(DataError, match="no control of equal size"):
        matched_budget(Selection.of(rows, [], "why"), rows)


def test_ranking_is_stable_and_leaves_reasons_for_all_others() -> None:
    rows = pool(6).with_columns(pl.Series("score", [1.0, None, 2.0, 1.0, 3.0, 2.0]))
    ranking = rank(rows, "score", drop_above=2.5, drop_below=1.5)
    assert ranking.order.tolist() == [2, 5]
    assert ranking.left == {
        0: "score_below_1_5", 1: "unscored", 3: "score_below_1_5", 4: "score_above_2_5",
    }  # fmt: skip


def test_ties_among_thousands_of_rows_go_by_id() -> None:
    rows = pool(3000)
    expected = rows.sort("score", "id", descending=[True, False])["id"].to_list()
    assert top(by="score")(rows, Budget("share", 1.0), Context()).ids == expected


def test_the_file_that_a_row_came_from_is_a_column(tmp_path: Path) -> None:
    for name, count in (("a", 30), ("b", 6)):
        lines = [f'{{"prompt": "{name}{i}?", "completion": "yes {i}"}}\n' for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    pool = treadle.load([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]).pool
    found = treadle.select_rows(pool, keep=10, method="quota", by="file", model="scripted")
    reasons = found.chosen["reason"].str.split(",").list.first()
    assert sorted(reasons) == ["file a.jsonl"] * 5 + ["file b.jsonl"] * 5
