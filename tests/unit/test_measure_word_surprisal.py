"""Word surprisal against a count by hand."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from treadle import op as registry
from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.measure.words import words


def rows_of(*texts: str) -> pl.DataFrame:
    frame = to_frame(Row("chat", (Message("user", text),)) for text in texts)
    return frame.with_columns(words()(frame, Context())["words"])


def measured(rows: pl.DataFrame, pool: pl.DataFrame) -> list[float | None]:
    bound = registry.get("measure", "word_surprisal").bind()
    assert bound.op.fit is not None
    context = replace(Context(), fitted=bound.op.fit(pool, bound.options, Context()))
    found: list[float | None] = bound.make()(rows, context)["word_surprisal"].to_list()
    return found


def slow(text: list[str], texts: list[list[str]]) -> float:
    counts = Counter(word for one in texts for word in one)
    total = sum(counts.values()) + len(counts) + 1
    return sum(-math.log((counts[word] + 1) / total) for word in text) / len(text)


def test_it_is_the_mean_surprisal_of_the_words() -> None:
    rng = np.random.default_rng(2)
    made = (" ".join(rng.choice(list("aaaabbcdefgh"), int(rng.integers(1, 9)))) for _ in range(60))
    pool = rows_of(*made)
    texts = pool["words"].to_list()
    assert measured(pool, pool) == pytest.approx([slow(text, texts) for text in texts])


def test_shares_of_the_words_and_of_one_unknown_word_sum_to_1() -> None:
    pool = rows_of("a a a b", "b c")
    singles = measured(rows_of("a", "b", "c", "unknown"), pool)
    assert sum(math.exp(-value) for value in singles if value is not None) == pytest.approx(1)


def test_rare_words_surprise_more_and_unknown_ones_most() -> None:
    pool = rows_of("the cat", "the dog", "the the the")
    rows = rows_of("the", "cat", "emu")
    by_text = dict(zip(rows["words"].list.first(), measured(rows, pool), strict=True))
    assert (by_text["the"] or 0) < (by_text["cat"] or 0) < (by_text["emu"] or 0)


def test_a_row_without_words_is_missing() -> None:
    pool = rows_of("a b", "?")
    found = dict(zip(pool["words"].list.first(), measured(pool, pool), strict=True))
    assert found[None] is None
    assert found["a"] is not None
    assert measured(rows_of("?"), rows_of("?")) == [None]
    assert measured(rows_of(), rows_of()) == []
