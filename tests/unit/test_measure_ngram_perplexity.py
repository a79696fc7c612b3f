"""The n-gram model against the formulas written out with dictionaries, and the measure over it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from treadle import op as registry
from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.measure.words import words
from treadle.text.kneser_ney import KneserNey, count, log_probabilities
from treadle.text.words import Ragged, hash_each

Texts = list[list[str]]


def corpus(size: int, seed: int = 0) -> Texts:
    """Return texts whose words follow Zipf's law, with a few copies."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{i}" for i in range(40)]
    weights = 1 / np.arange(1, 41)
    made = [
        list(map(str, rng.choice(vocabulary, int(rng.integers(1, 12)), p=weights / weights.sum())))
        for _ in range(size)
    ]
    return [*made, *made[:3]]


class Slow:
    """Modified Kneser-Ney, one n-gram at a time."""

    def __init__(self, texts: Texts, order: int, every: Slow | None = None) -> None:
        self.order = order
        raw = [Counter(g for text in texts for g in self.grams(text, k)) for k in range(order + 2)]
        self.adjusted: list[dict[tuple[str, ...], int]] = [{}]
        for k in range(1, order + 1):
            preceded = Counter(gram[1:] for gram in raw[k + 1])
            is_raw = {gram: k == order or gram[0] == "<s>" for gram in raw[k]}
            self.adjusted.append({g: raw[k][g] if is_raw[g] else preceded[g] for g in raw[k]})
        self.after: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
        for (*history, word), times in ((g, a) for one in self.adjusted for g, a in one.items()):
            self.after[tuple(history)][word] = times
        self.discounts = every.discounts if every else [self.discount(a) for a in self.adjusted]
        self.vocabulary = every.vocabulary if every else {gram[0] for gram in raw[1]} | {"<unk>"}

    def grams(self, text: Sequence[str], k: int) -> list[tuple[str, ...]]:
        marked = ["<s>", *text, "</s>"]
        found = [tuple(marked[i : i + k]) for i in range(len(marked) - k + 1)] if k else []
        return [gram for gram in found if gram != ("<s>",)]

    def discount(self, adjusted: dict[tuple[str, ...], int]) -> list[float]:
        n = Counter(adjusted.values())
        if not (n[1] and n[2] and n[3] and n[4]):
            return [0, 0.5, 1, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return found if min(found[1:]) > 0 else [0, 0.5, 1, 1.5]

    def chance(self, word: str, history: tuple[str, ...]) -> float:
        history = history[max(0, len(history) - self.order + 1) :]
        k = len(history) + 1
        shorter = self.chance(word, history[1:]) if history else 1 / len(self.vocabulary)
        after = self.after[history]
        total = sum(after.values())
        if not total:
            return shorter if history else math.nan
        d = self.discounts[k]
        free = sum(d[min(a, 3)] for a in after.values())
        own = after.get(word, 0)
        return (max(own - d[min(own, 3)], 0) + free * shorter) / total

    def logs(self, text: Sequence[str]) -> list[float]:
        marked = ["<s>", *text, "</s>"]
        cut = [tuple(marked[max(0, i - self.order + 1) : i]) for i in range(len(marked))]
        return [math.log(self.chance(marked[i], cut[i])) for i in range(1, len(marked))]


def fitted(texts: Texts, order: int) -> KneserNey:
    return count(hash_each(texts), np.arange(len(texts)), order=order)


def scored(model: KneserNey, text: Sequence[str], key: int = -1) -> list[float]:
    found: list[float] = log_probabilities(model, hash_each([text]), np.array([key])).tolist()
    return found


@pytest.mark.parametrize("size", [1, 6, 80])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_text_that_was_not_counted_scores_as_in_a_slow_model(size: int, order: int) -> None:
    texts = corpus(size)
    model, slow = fitted(texts, order), Slow(texts, order)
    for text in ([*texts[0]], ["w0", "new", "w1", "w0"], ["new"], *corpus(4, seed=9)):
        assert scored(model, text) == pytest.approx(slow.logs(text), rel=1e-12)


@pytest.mark.parametrize("size", [2, 6, 80])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_counted_text_scores_as_if_it_had_not_been_counted(size: int, order: int) -> None:
    texts = corpus(size)
    every = Slow(texts, order)
    ids = np.arange(len(texts))
    found = log_probabilities(fitted(texts, order), hash_each(texts), ids)
    slow: list[float] = []
    for i, text in enumerate(texts[:20]):
        slow += Slow(texts[:i] + texts[i + 1 :], order, every).logs(text)
    assert found[: len(slow)].tolist() == pytest.approx(slow, rel=1e-12)
    if size == 80:
        assert all(d != [0, 0.5, 1, 1.5] for d in every.discounts[1:3]), "discounts are estimated"


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("size", [3, 80])
def test_probabilities_sum_to_1_over_the_vocabulary(size: int, order: int) -> None:
    texts = corpus(size)
    model = fitted(texts, order)
    vocabulary = sorted({word for text in texts for word in text})
    contexts = [[], ["w0"], ["w0", "w1"], ["new"], ["w0", "new"], ["new", "w0"], texts[0]]
    for context in contexts:
        at = len(context)
        total = math.exp(scored(model, context)[at]) if context else 0.0
        total += sum(math.exp(scored(model, [*context, w])[at]) for w in [*vocabulary, "<unk>"])
        if context:
            assert total == pytest.approx(1, abs=1e-12)
        else:
            assert total <= 1, "no text was empty, but one may be"


def test_discounts_are_those_of_chen_and_goodman() -> None:
    texts = corpus(80)
    model, slow = fitted(texts, 3), Slow(texts, 3)
    for one, known in zip(model.orders, slow.discounts[1:], strict=True):
        assert one.discounts.tolist() == pytest.approx(known)
        assert all(0 < d <= j for j, d in enumerate(one.discounts) if j)


def test_unusual_counts_leave_no_probability_at_zero() -> None:
    texts = [["a", "b"]] * 2 + [["c", "d"]] * 3 + [["e"], ["f", "g"], ["h"]] + [["i", "i"]] * 4
    for order in (1, 2, 3):
        for text in (["a", "new"], ["c", "a"], ["i", "i", "i"]):
            assert all(-20 < value < 0 for value in scored(fitted(texts, order), text))


def test_a_model_is_the_same_bytes_whatever_the_order_of_the_texts() -> None:
    texts = corpus(30)
    turned = count(hash_each(texts[::-1]), np.arange(len(texts))[::-1].copy(), order=3)
    assert fitted(texts, 3).encode() == turned.encode()
    again = KneserNey.decode(turned.encode())
    assert scored(again, texts[4], 4) == scored(turned, texts[4], 4)


def test_a_score_does_not_depend_on_the_batch() -> None:
    texts = corpus(30)
    model, ids = fitted(texts, 3), np.arange(len(texts))
    together = log_probabilities(model, hash_each(texts), ids)
    alone = [value for i, text in enumerate(texts) for value in scored(model, text, i)]
    assert together.tolist() == alone


def test_no_texts_are_no_error() -> None:
    nothing = count(hash_each([]), np.empty(0, np.int64), order=3)
    assert np.isnan(scored(nothing, ["w0"])).all()
    empty = Ragged(np.empty(0, np.uint64), np.zeros(1, np.int64))
    assert len(log_probabilities(fitted(corpus(3), 2), empty, np.empty(0, np.int64))) == 0


def rows_of(*texts: str) -> pl.DataFrame:
    rows = [Row("chat", (Message("user", text),)) for text in texts]
    frame = to_frame(rows)
    return frame.with_columns(words()(frame, Context())["words"])


def measured(rows: pl.DataFrame, pool: pl.DataFrame, **options: int) -> dict[str, float | None]:
    bound = registry.get("measure", "ngram_perplexity").bind(options)
    assert bound.op.fit is not None
    context = replace(Context(), fitted=bound.op.fit(pool, bound.options, Context()))
    values = bound.make()(rows, context)
    texts = rows["messages"].list.first().struct.field("content")
    return dict(zip(texts, values["ngram_perplexity"], strict=True))


SENTENCES = [f"the {a} {b} on the {c}" for a in ("cat", "dog", "cow") for b in ("sat", "lay")
             for c in ("mat", "bed", "rug", "lawn")]  # fmt: skip
ODD = "zyzzyva quixotry beneath parallax"


def test_the_perplexity_is_that_of_the_words_and_the_end() -> None:
    pool = rows_of(*SENTENCES, ODD)
    found = measured(pool, pool)
    texts = pool["words"].to_list()
    every = Slow(texts, 3)
    for i, text in enumerate(texts):
        logs = Slow(texts[:i] + texts[i + 1 :], 3, every).logs(text)
        assert found[" ".join(text)] == pytest.approx(math.exp(-sum(logs) / len(logs)), rel=1e-12)


def test_an_odd_row_is_the_most_surprising_although_it_was_counted() -> None:
    pool = rows_of(*SENTENCES, ODD)
    found = measured(pool, pool)
    assert max(found, key=lambda text: found[text] or 0) == ODD
    lowered = measured(rows_of(ODD), rows_of(*SENTENCES, ODD, ODD + "!"))
    assert (lowered[ODD] or 0) < (found[ODD] or 0) / 2, "a near copy makes it known"


def test_a_row_of_another_pool_is_scored_by_all_counts() -> None:
    others = rows_of(*SENTENCES)
    found = measured(rows_of(ODD, "the cat lay on the dog"), others)
    slow = Slow(others["words"].to_list(), 3).logs(["the", "cat", "lay", "on", "the", "dog"])
    value = math.exp(-sum(slow) / len(slow))
    assert found["the cat lay on the dog"] == pytest.approx(value, rel=1e-12)
    assert (found[ODD] or 0) > value


def test_missing_is_null() -> None:
    pool = rows_of(*SENTENCES, "!")
    assert measured(pool, pool)["!"] is None, "no words"
    one = rows_of(ODD)
    assert measured(one, one) == {ODD: None}, "nothing to compare with"
    nothing = rows_of()
    assert measured(nothing, nothing) == {}
    assert measured(one, nothing) == {ODD: None}
