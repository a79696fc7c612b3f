"""BM25 against the package rank-bm25, and the choice against the obvious loop."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from rank_bm25 import BM25Okapi

from aimed import aimed_at, frame_of
from treadle.data.selection import Budget
from treadle.errors import DataError
from treadle.select.bm25 import bm25
from treadle.text import bm25 as scoring
from treadle.text.bm25 import bm25_scores

Texts = list[list[str]]


def texts(total: int, seed: int, vocabulary: int = 60) -> Texts:
    """Return lists of words, a few of them in more than half of the lists (a negative idf)."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, vocabulary + 1)
    draws = [
        rng.choice(vocabulary, size=rng.integers(1, 30), p=share / share.sum())
        for _ in range(total)
    ]
    return [[f"w{i}" for i in draw] for draw in draws]


def series(found: Texts) -> pl.Series:
    return pl.Series("words", found, dtype=pl.List(pl.String))


def scores(rows: Texts, queries: Texts, k1: float = 1.5, b: float = 0.75) -> np.ndarray:
    blocks = [block for _, block in bm25_scores(series(rows), series(queries), k1=k1, b=b)]
    return np.concatenate(blocks)


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.0), (2.0, 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_rank_bm25(k1: float, b: float, seed: int) -> None:
    rows, queries = texts(200, seed), [*texts(15, seed + 50, 90), ["unknown"], ["w3"] * 5]
    oracle = BM25Okapi(rows, k1=k1, b=b)
    assert any(value == 0.25 * oracle.average_idf for value in oracle.idf.values())
    expected = np.array([oracle.get_scores(query) for query in queries]).T
    np.testing.assert_allclose(scores(rows, queries, k1, b), expected, rtol=1e-12, atol=1e-9)


def test_a_score_worked_out_by_hand() -> None:
    found = scores([["a", "b", "a"], ["b"], ["c"], ["b", "c"]], [["a", "a"]])
    idf = math.log(4 - 1 + 0.5) - math.log(1.5)
    assert found[:, 0].tolist() == pytest.approx(
        [2 * idf * 2 * 2.5 / (2 + 1.5 * (0.25 + 0.75 * 3 / 1.75)), 0, 0, 0]
    )


def test_blocks_do_not_change_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = texts(100, 1), texts(9, 2)
    whole = scores(rows, queries)
    monkeypatch.setattr(scoring, "BLOCK_ROWS", 7)
    assert (scores(rows, queries) == whole).all()


@pytest.mark.parametrize("aggregate", ["max", "mean"])
def test_the_rows_chosen_are_those_of_the_obvious_loop(aggregate: str) -> None:
    found, queries = texts(300, 5), texts(12, 6)
    rows = frame_of(300, words=series(found))
    target = frame_of(12, prefix="dev", words=series(queries))
    oracle = BM25Okapi(found)
    by_row = np.array([oracle.get_scores(query) for query in queries]).T
    score = by_row.max(axis=1) if aggregate == "max" else by_row.mean(axis=1)
    best = sorted(range(300), key=lambda i: (-round(score[i], 9), i))[:40]
    made = bm25(aggregate=aggregate)(rows, Budget("rows", 40), aimed_at(target))  # type: ignore[arg-type]
    assert made.ids == [f"row{i:05d}" for i in best]
    told = f"bm25 {score[best[0]]:.3g}, rank 1"
    by = f", by target dev{by_row[best[0]].argmax():05d}" if aggregate == "max" else ""
    assert made.chosen["reason"][0] == told + by


def test_rows_without_words_are_unscored_and_leave_the_others_scores_alone() -> None:
    found = texts(50, 1)
    target = frame_of(3, prefix="dev", words=series(texts(3, 2)))
    alone = bm25()(frame_of(50, words=series(found)), Budget("rows", 60), aimed_at(target))
    silent: list[list[str] | None] = [None, [], [None]]  # type: ignore[list-item]
    rows = frame_of(53, words=pl.Series([*found, *silent], dtype=pl.List(pl.String)))
    among = bm25()(rows, Budget("rows", 60), aimed_at(target))
    assert among.chosen.equals(alone.chosen)
    assert among.left["reason"].to_list() == ["unscored"] * 3


def test_a_column_that_holds_no_lists_of_words_is_refused() -> None:
    rows, target = frame_of(2, words=["a b", "c"]), frame_of(1, words=[["a"]])
    with pytest.raises(DataError, match="'words' holds String, not lists of words"):
        bm25()(rows, Budget("rows", 1), aimed_at(target))
