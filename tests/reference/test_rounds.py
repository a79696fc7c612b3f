"""Selectors that ask a student on the way, against slow and obvious loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from lessons import Pupil
from treadle.context import Context
from treadle.data.randomness import gumbel_order
from treadle.data.selection import Budget, Selection
from treadle.geometry.clusters import spherical_k_means
from treadle.geometry.cosine import directions
from treadle.select.diversify_and_conquer import diversify_and_conquer
from treadle.select.mods import mods
from treadle.select.p3 import p3
from vectors import clustered, cosine, frame

Choose = Callable[[pl.DataFrame, Budget, Context], Selection]
BUDGETS = [Budget("rows", 12), Budget("share", 0.5), Budget("tokens", 700)]
SEEDS = range(6)


def world(seed: int, total: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = frame(
        clustered(total, seed=seed),
        seed,
        kind=pl.Series(rng.integers(4, size=total)),
        base=pl.Series(rng.uniform(0.2, 4.0, size=total)),
    )
    return rows.with_columns(nll="base")


def run(
    choose: Choose, rows: pl.DataFrame, budget: Budget, seed: int = 0
) -> tuple[Selection, Pupil]:
    pupil = Pupil(rows)
    return choose(rows, budget, Context(seed=seed, learn=pupil.learn)), pupil


class Purse:
    """A budget counted out row by row, as a person would."""

    def __init__(self, rows: pl.DataFrame, budget: Budget) -> None:
        self.length = dict(rows.select("id", "length_total").iter_rows())
        tokens = budget.unit == "tokens"
        self.left = budget.amount if tokens else budget.rows_of(rows.height)
        self.by_tokens = tokens

    def part(self, rows: pl.DataFrame, budget: Budget, share: float, taken: list[str]) -> Purse:
        found = Purse(rows, Budget(budget.unit, budget.amount * share))
        if not self.by_tokens:  # a part of the rows, rounded
            whole = budget.amount * share
            found.left = round(whole * rows.height) if budget.unit == "share" else round(whole)
        else:
            found.left = round(budget.amount * share)
        for key in taken:
            found.pay(key)
        return found

    def price(self, key: str) -> float:
        return self.length[key] if self.by_tokens else 1

    def pay(self, key: str) -> None:
        self.left -= self.price(key)

    def take(self, ranking: list[str], known: int) -> list[str]:
        """Walk a ranking: to the first that does not fit, then the first of a few after it."""
        whole = self.left
        walk = [key for key in ranking if self.price(key) <= whole]
        taken: list[str] = []
        for place, key in enumerate(walk):
            if self.price(key) > self.left:
                if self.by_tokens:
                    few = walk[place + 1 :][: max(8, len(walk) // 10)]
                    taken += [k for k in few if self.price(k) <= self.left][:1]
                break
            taken.append(key)
            self.pay(key)
        return taken


def farthest(rows: pl.DataFrame, ids: list[str], purse: Purse) -> list[str]:
    """Greedy k-center by whole loops over unrounded vectors (no ties in random data)."""
    point = {k: np.array(v, np.float64) for k, v in rows.select("id", "embedding").iter_rows()}
    mean = np.mean([point[k] for k in ids], axis=0)
    taken: list[str] = []
    while True:
        fits = [k for k in ids if k not in taken and purse.price(k) <= purse.left]
        if not fits:
            return taken
        if not taken:
            best = min(fits, key=lambda k: float(np.sum((point[k] - mean) ** 2)))
        else:
            best = max(
                fits, key=lambda k: min(float(np.sum((point[k] - point[t]) ** 2)) for t in taken)
            )
        taken.append(best)
        purse.pay(best)


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_mods_takes_a_covering_seed_of_good_rows_then_what_the_trained_student_lacks(
    seed: int, budget: Budget
) -> None:
    rows = world(seed)
    found, pupil = run(mods(by="score", drop_below=0.3, seed_share=0.4), rows, budget)
    good = rows.filter(pl.col("score") >= 0.3)["id"].to_list()
    purse = Purse(rows, budget)
    first = farthest(rows, good, purse.part(rows, budget, 0.4, []))
    nll = dict(pupil.told(first).select("id", "nll").iter_rows())
    rest = sorted((k for k in good if k not in first), key=lambda k: (-nll[k], k))
    second = purse.part(rows, budget, 1.0, first).take(rest, rows.height)
    assert pupil.asked == [first]
    assert found.ids == first + second
    reasons = dict(found.left.select("id", "reason").iter_rows())
    assert {r for k, r in reasons.items() if k not in good} == {"score_below_0_3"}


def test_mods_leaves_what_the_trained_student_has_learnt() -> None:
    rows = world(1)
    choose = mods(by="score", seed_share=0.2, necessary_above=0.5)
    found, pupil = run(choose, rows, Budget("share", 1.0))
    nll = dict(pupil.told(pupil.asked[0]).select("id", "nll").iter_rows())
    learnt = {k for k in nll if nll[k] < 0.5 and k not in pupil.asked[0]}
    assert learnt
    assert learnt == set(found.left["id"])
    assert found.left["reason"].unique().to_list() == ["nll_after_seed_below_0_5"]


def test_mods_trains_nobody_where_nothing_is_left_to_ask() -> None:
    rows = world(2)
    none, pupil = run(mods(by="score", drop_below=2.0), rows, Budget("rows", 5))
    assert none.ids == []
    assert pupil.asked == []
    one, pupil = run(mods(by="score"), rows, Budget("rows", 1))
    assert len(one.ids) == 1
    assert pupil.asked == []


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_diversify_and_conquer_multiplies_weights_by_what_is_left_to_learn(
    seed: int, budget: Budget
) -> None:
    rows = world(seed)
    choose = diversify_and_conquer(by="score", clusters=5, rounds=3)
    rows = rows.with_columns(score=pl.col("score") + 0.1)
    found, pupil = run(choose, rows, budget, seed)
    context, name = Context(seed=seed), "select.diversify_and_conquer"
    grid = directions(np.array(rows["embedding"].to_list(), np.float32))
    cluster = dict(
        zip(rows["id"], spherical_k_means(grid, 5, context.rng(name)).labels.tolist(), strict=True)
    )
    quality = dict(rows.select("id", "score").iter_rows())
    weight = dict.fromkeys(range(5), 1.0)
    taken: list[str] = []
    purse = Purse(rows, budget)
    for turn in (1, 2, 3):
        rest = [k for k in rows["id"] if k not in taken]
        part = purse.part(rows, budget, turn / 3, taken)
        if part.left > 0 and rest:
            mass = {c: sum(quality[k] for k in rest if cluster[k] == c) for c in weight}
            chance = [weight[cluster[k]] * quality[k] / mass[cluster[k]] for k in rest]
            key = context.rng(name, turn).bytes(32)
            order = gumbel_order(np.log(np.array(chance)), rest, key)
            taken += part.take([rest[i] for i in order], rows.height)
        if turn == 3 or purse.part(rows, budget, 1.0, taken).left <= 0:
            break
        told = {r["id"]: r for r in pupil.told(taken).iter_rows(named=True)}
        unseen = [k for k in rows["id"] if k not in taken]
        scores = {}
        for c in weight:
            inside = [told[k]["nll"] - told[k]["token_entropy"] for k in unseen if cluster[k] == c]
            scores[c] = sum(inside) / len(inside) if inside else math.nan
        usual = np.nanmean(list(scores.values()))
        for c, s in scores.items():
            weight[c] *= math.exp(usual if math.isnan(s) else s)
    assert found.ids == taken
    assert len(pupil.asked) <= 2


def test_a_cluster_that_is_learnt_gets_less_and_one_that_is_not_gets_more() -> None:
    """Two clusters: of one the student learns all at once, of the other nothing."""
    total = 200
    points = np.zeros((total, 2), np.float32)
    points[: total // 2, 0] = points[total // 2 :, 1] = 1
    kinds = [0] * (total // 2) + list(range(1, total // 2 + 1))  # each a kind of its own
    rows = frame(points, kind=pl.Series(kinds), base=pl.Series([3.0] * total))
    shares = []
    for seed in range(8):
        found, _ = run(diversify_and_conquer(clusters=2, rounds=2), rows, Budget("rows", 80), seed)
        later = found.chosen.filter(pl.col("reason").str.starts_with("round 2"))["id"]
        hard = set(rows["id"][total // 2 :])
        shares.append(sum(k in hard for k in later) / len(later))
    assert np.mean(shares) > 0.8, "exp(1.5) to exp(-1.4): nearly all of the second round"


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_p3_takes_the_largest_determinant_among_the_rows_that_the_pace_allows(
    seed: int, budget: Budget
) -> None:
    rows = world(seed)
    found, pupil = run(p3(rounds=3, begin=0.4, end=0.9, ridge=0.05), rows, budget)
    similar = cosine(np.array(rows["embedding"].to_list(), np.float32))
    place = {k: i for i, k in enumerate(rows["id"])}
    nll = dict(rows.select("id", "nll").iter_rows())
    taken: list[str] = []
    purse = Purse(rows, budget)
    for turn, pace in ((1, 0.4), (2, 0.65), (3, 0.9)):
        hard = {k: 1 - math.exp(-v) for k, v in nll.items()}
        easiest = sorted(hard, key=lambda k: (hard[k], k))[: math.ceil(pace * len(hard) - 1e-9)]
        may = [k for k in easiest if k not in taken]
        part = purse.part(rows, budget, turn / 3, taken)
        new: list[str] = []
        while True:
            fits = [k for k in may if k not in new and part.price(k) <= part.left]
            if not fits:
                break

            def volume(key: str, before: list[str] = new, h: dict[str, float] = hard) -> float:
                at = [place[k] for k in [*before, key]]
                q = np.array([h[k] for k in [*before, key]])
                matrix = similar[np.ix_(at, at)]
                np.fill_diagonal(matrix, 1)
                sign, value = np.linalg.slogdet(np.outer(q, q) * (matrix + 0.05 * np.eye(len(q))))
                return float(value) if sign > 0 else -math.inf

            best = max(fits, key=volume)
            new.append(best)
            part.pay(best)
        taken += new
        if turn == 3 or purse.part(rows, budget, 1.0, taken).left <= 0:
            break
        nll = dict(pupil.told(taken).select("id", "nll").iter_rows())
    assert found.ids == taken


def test_p3_says_which_rows_were_beyond_the_pace() -> None:
    rows = world(3)
    found, _ = run(p3(rounds=2, begin=0.1, end=0.5), rows, Budget("share", 1.0))
    assert "beyond_pace" in found.left["reason"].to_list()
    assert found.chosen.height < rows.height


@pytest.mark.parametrize("choose", [mods(by="score"), diversify_and_conquer(), p3()],
                         ids=["mods", "diversify_and_conquer", "p3"])  # fmt: skip
def test_the_order_of_the_rows_changes_nothing(choose: Choose) -> None:
    rows = world(4)
    straight, _ = run(choose, rows, Budget("rows", 15))
    mixed, _ = run(choose, rows.sample(fraction=1.0, shuffle=True, seed=9), Budget("rows", 15))
    assert straight.ids == mixed.ids


@pytest.mark.parametrize("choose", [mods(by="score"), diversify_and_conquer(), p3()],
                         ids=["mods", "diversify_and_conquer", "p3"])  # fmt: skip
def test_a_row_that_the_trained_student_cannot_judge_does_not_break_the_rest(
    choose: Choose,
) -> None:
    rows = world(5)
    pupil, dumb = Pupil(rows), set(rows["id"].to_list()[::2])

    def learn(ids: object) -> pl.DataFrame:
        answer = pupil.learn(ids)  # type: ignore[arg-type]
        blank = pl.col("id").is_in(dumb)
        return answer.with_columns(
            pl.when(~blank).then(pl.col(name)).alias(name) for name in ("nll", "token_entropy")
        )

    found = choose(rows, Budget("rows", 20), Context(learn=learn))
    assert pupil.asked
    assert found.chosen.height + found.left.height == rows.height
    assert found.chosen.height >= 10
