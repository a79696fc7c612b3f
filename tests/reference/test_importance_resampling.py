"""DSIR: weights against the obvious loop, and the draw against exact probabilities."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from aimed import aimed_at, frame_of
from treadle.data.randomness import gumbel_order
from treadle.data.selection import Budget
from treadle.errors import DataError
from treadle.select import importance_resampling as module
from treadle.select.importance_resampling import importance_resampling, log_weights
from treadle.text.hashed_ngrams import count_ngrams

WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath"]


def texts(total: int, seed: int, words: list[str] = WORDS) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, rng.integers(1, 25))) for _ in range(total)]


def counted(found: list[str], prefix: str = "row") -> pl.DataFrame:
    made = count_ngrams(found, n=2, buckets=50)
    return frame_of(
        len(found),
        prefix=prefix,
        hashed_ngrams=made["buckets"],
        hashed_ngrams_counts=made["counts"],
        hashed_ngrams_tokens=made["tokens"],
    )


def bags(frame: pl.DataFrame) -> list[Counter[int]]:
    pairs = zip(frame["hashed_ngrams"], frame["hashed_ngrams_counts"], strict=True)
    return [Counter(dict(zip(buckets, counts, strict=True))) for buckets, counts in pairs]


def obvious_weights(rows: pl.DataFrame, target: pl.DataFrame) -> list[float]:
    raw, wanted = sum(bags(rows), Counter()), sum(bags(target), Counter())
    ratio = {
        bucket: math.log(wanted[bucket] / wanted.total() + 1e-8)
        - math.log(raw[bucket] / raw.total() + 1e-8)
        for bucket in range(50)
    }
    return [sum(n * ratio[bucket] for bucket, n in bag.items()) for bag in bags(rows)]


def test_weights_are_those_of_the_obvious_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, target = counted(texts(60, 1)), counted(texts(7, 2, WORDS[:4]), "dev")
    expected = obvious_weights(rows, target)
    np.testing.assert_allclose(log_weights(rows, target), expected, rtol=1e-12)
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    np.testing.assert_allclose(log_weights(rows, target), expected, rtol=1e-12)


def test_a_weight_worked_out_by_hand() -> None:
    rows = frame_of(2, hashed_ngrams=[[1, 4], [1]], hashed_ngrams_counts=[[2, 1], [3]])
    target = frame_of(1, hashed_ngrams=[[1, 9]], hashed_ngrams_counts=[[1, 3]])
    seen = math.log(1 / 4 + 1e-8) - math.log(5 / 6 + 1e-8)
    unseen = math.log(1e-8) - math.log(1 / 6 + 1e-8)
    found = log_weights(rows, target).tolist()
    assert found == pytest.approx([2 * seen + unseen, 3 * seen])


def test_draws_without_replacement_have_the_exact_probabilities() -> None:
    """All ordered pairs out of six: successive draws, each by the weights of those left."""
    logs = np.array([0.0, 1.0, -1.0, 0.5, 2.0, -0.5])
    weights = np.exp(logs)
    exact = {
        (a, b): weights[a] / weights.sum() * weights[b] / (weights.sum() - weights[a])
        for a, b in permutations(range(6), 2)
    }
    draws = 20_000
    seen = Counter(
        tuple(gumbel_order(logs, list("abcdef"), b"%d" % i)[:2].tolist()) for i in range(draws)
    )
    observed = [seen[pair] for pair in exact]
    assert chisquare(observed, [p * draws for p in exact.values()]).pvalue > 0.001
    included = np.array([sum(n for pair, n in seen.items() if i in pair) for i in range(6)]) / draws
    expected = [sum(p for pair, p in exact.items() if i in pair) for i in range(6)]
    np.testing.assert_allclose(included, expected, atol=0.015)


def test_temperature_flattens_the_draw_and_at_0_there_is_no_chance() -> None:
    logs = np.array([0.0, 2.0])
    share = {
        t: np.mean(
            [gumbel_order(logs, ["a", "b"], b"%d" % i, temperature=t)[0] for i in range(4000)]
        )
        for t in (0.0, 1.0, 4.0)
    }
    assert share[0.0] == 1.0
    assert share[1.0] == pytest.approx(1 / (1 + math.exp(-2)), abs=0.02)
    assert share[4.0] == pytest.approx(1 / (1 + math.exp(-0.5)), abs=0.03)


def test_at_temperature_0_the_largest_weights_come_first() -> None:
    rows, target = counted(texts(60, 1)), counted(texts(7, 2, WORDS[:4]), "dev")
    weights = obvious_weights(rows, target)
    for per_token in (False, True):
        by = [
            w / n if per_token else w
            for w, n in zip(weights, rows["hashed_ngrams_tokens"], strict=True)
        ]
        best = sorted(range(60), key=lambda i: (-round(by[i], 9), i))[:20]
        choose = importance_resampling(per_token=per_token, temperature=0)
        found = choose(rows, Budget("rows", 20), aimed_at(target))
        assert found.ids == [f"row{i:05d}" for i in best]
        assert found.chosen["reason"][0] == f"log weight {module.figure(by[best[0]])}, rank 1"


def test_the_seed_changes_the_draw_and_rows_that_leave_do_not() -> None:
    rows, target = counted(texts(60, 1)), counted(texts(7, 2), "dev")
    choose = importance_resampling(per_token=True)
    drawn = choose(rows, Budget("rows", 60), aimed_at(target))
    other = choose(rows, Budget("rows", 60), aimed_at(target, seed=8))
    assert drawn.ids != other.ids
    assert drawn.ids == choose(rows, Budget("rows", 60), aimed_at(target)).ids
    assert drawn.chosen["reason"][0].endswith(", draw 1")


def test_lists_that_do_not_fit_together_are_unscored() -> None:
    whole, holed = [[1, 2]], [[1, None]]
    rows = frame_of(
        6,
        hashed_ngrams=[*whole, *whole, *holed, *whole, [], None],
        hashed_ngrams_counts=[*whole, [1], *whole, *holed, [], *whole],
    )
    found = importance_resampling()(rows, Budget("rows", 6), aimed_at(rows[:1]))
    assert found.ids == ["row00000"]
    assert found.left["reason"].to_list() == ["unscored"] * 5


def test_a_column_of_other_things_is_refused() -> None:
    rows = frame_of(1, hashed_ngrams=[["a"]], hashed_ngrams_counts=[[1]])
    with pytest.raises(DataError, match="'hashed_ngrams' holds List"):
        importance_resampling()(rows, Budget("rows", 1), aimed_at(rows))
