"""DSIR's hashed n-grams against a slow count, and against published buckets."""

import hashlib
from collections import Counter

import numpy as np
import polars as pl
import pytest

from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.measure.hashed_ngrams import hashed_ngrams
from treadle.text.hashed_ngrams import count_ngrams, hash_bucket, tokens

TEXTS = [
    "Alice went to the market, and Alice came back.",
    "def f(x):\n    return x+1  # naïve_name ...!?",
    "Ünïcode — ÉTÉ 汉字 👩‍👩‍👧",
    "one",
    "a a a a",
]


def slow_counts(text: str, n: int, buckets: int) -> dict[int, int]:
    """Count one character, one token and one n-gram at a time."""
    found: list[str] = []
    last = " "
    for char in text.lower():
        kind = " " if char.isspace() else "w" if char.isalnum() or char == "_" else "s"
        if kind == last != " ":
            found[-1] += char
        elif kind != " ":
            found.append(char)
        last = kind
    counts: Counter[int] = Counter()
    for size in range(1, n + 1):
        for start in range(len(found) - size + 1):
            ngram = " ".join(found[start : start + size])
            counts[int(hashlib.sha256(ngram.encode()).hexdigest(), 16) % buckets] += 1
    return dict(counts)


def test_buckets_are_those_that_dsir_publishes() -> None:
    assert hash_bucket("alice") == 6720
    assert hash_bucket("alice went") == 114


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("buckets", [7, 10_000])
def test_counts_equal_a_slow_count(n: int, buckets: int) -> None:
    counted = count_ngrams(TEXTS, n=n, buckets=buckets)
    for text, row in zip(TEXTS, counted.iter_rows(named=True), strict=True):
        assert dict(zip(row["buckets"], row["counts"], strict=True)) == slow_counts(
            text, n, buckets
        )
        assert row["buckets"] == sorted(row["buckets"])
        assert row["tokens"] == len(tokens(text))


def test_tokens_are_runs_of_word_characters_or_of_signs() -> None:
    assert tokens("Don't stop_me -- $3.14!") == [
        "don", "'", "t", "stop_me", "--", "$", "3", ".", "14", "!",
    ]  # fmt: skip


def test_every_ngram_is_counted_once() -> None:
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(list("abcdefgh"), size)) for size in range(1, 30)]
    counted = count_ngrams(texts, n=2, buckets=50)
    total = counted.select(pl.col("counts").list.sum().cast(pl.Int64)).to_series()
    assert total.to_list() == [2 * size - 1 for size in range(1, 30)]


def test_the_measure_reads_the_part_and_leaves_an_empty_part_missing() -> None:
    chat = Row("chat", (Message("user", "Alice"), Message("assistant", "went", trains=True)))
    silent = Row("chat", (Message("user", "Alice"), Message("assistant", "", trains=True)))
    for row, of, bucket in ((chat, "prompt", 6720), (chat, "reply", hash_bucket("went"))):
        record = hashed_ngrams(of=of)(to_frame([row]), Context()).row(0)  # type: ignore[arg-type]
        assert record == ([bucket], [1], 1)
    assert hashed_ngrams(of="reply")(to_frame([silent]), Context()).row(0) == (None, None, None)
    whole = hashed_ngrams()(to_frame([chat]), Context()).row(0, named=True)
    assert whole["hashed_ngrams_tokens"] == 2
    assert 114 in whole["hashed_ngrams"]


def test_an_empty_batch_keeps_its_types() -> None:
    full = hashed_ngrams()(
        to_frame([Row("answer", (Message("user", "a"),), answer="b")]), Context()
    )
    assert hashed_ngrams()(to_frame([]), Context()).schema == full.schema
