"""The sealed index: what it finds, what it tells, and that it survives a trip through bytes."""

from dataclasses import fields

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.data.pool import Pool, to_parquet
from treadle.data.row import Message, Row
from treadle.data.sealed_index import SealedIndex, SealedSet, exact_hashes
from treadle.data.text import hash_words, ngrams
from treadle.errors import DataError


def chat(prompt: str, reply: str, system: str | None = None) -> Row:
    start = () if system is None else (Message("system", system),)
    return Row("chat", (*start, Message("user", prompt), Message("assistant", reply, trains=True)))


def is_equal(one: SealedIndex, other: SealedIndex) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(SealedIndex)]
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype if isinstance(a, np.ndarray) else a == b
        for a, b in pairs
    )


some_texts = st.lists(st.sampled_from(["ab", "cd", "ef"]), max_size=8).map(" ".join)
some_rows = st.lists(st.builds(chat, some_texts, some_texts), max_size=6)


@settings(deadline=None)
@given(some_rows, some_rows, st.randoms(use_true_random=False))
def test_bytes_depend_on_the_items_alone_and_give_the_index_back(
    first: list[Row], second: list[Row], random: object
) -> None:
    index = SealedIndex.build({"b": Pool.of(first), "a": Pool.of(second)}, ngram=3)
    again = SealedIndex.build({"a": Pool.of(second[::-1]), "b": Pool.of(first[::-1])}, ngram=3)
    assert index.to_bytes() == again.to_bytes()
    assert is_equal(SealedIndex.from_bytes(index.to_bytes()), index)


@pytest.mark.parametrize("blob", [b"", b"not a table", b"PAR1" * 10])
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(DataError, match=r"not a sealed index .* Publish the index again"):
        SealedIndex.from_bytes(blob)


def test_a_table_of_something_else_is_refused() -> None:
    other = to_parquet(pl.DataFrame({"hash": [1], "item": [2], "is_gram": [True]}))
    with pytest.raises(DataError, match="not a sealed index"):
        SealedIndex.from_bytes(other)


def test_its_bytes_hold_no_word_of_an_item() -> None:
    items = Pool.of([chat("the zebra crossed", "a platypus answered in xylophone tones " * 3)])
    blob = SealedIndex.build({"zoo": items}, ngram=3).to_bytes()
    assert b"zoo" in blob
    for word in (b"zebra", b"platypus", b"xylophone"):
        assert word not in blob


def test_items_are_numbered_by_id_within_their_set_and_short_ones_are_counted() -> None:
    rows = [chat(f"prompt {i} {'more ' * i}", "ok") for i in range(5)]
    index = SealedIndex.build({"z": Pool.of(rows), "a": Pool.of(rows[:1])}, ngram=6)
    assert index.sets == (SealedSet("a", 1, 1), SealedSet("z", 5, 3))
    assert (index.items, index.short_items) == (6, 4)
    order = sorted(row.id for row in rows)
    for row in rows[1:]:
        hits = index.exact_hits(exact_hashes([chat("other", "thing"), row]))
        assert hits.rows() == [(1, "z", order.index(row.id))]
    assert index.exact_hits(exact_hashes(rows[:1]))["set"].to_list() == ["a", "z"]


def naive_hits(
    rows: list[Row], items: Pool, n: int, most: int
) -> list[tuple[int, int, int, float]]:
    def grams(row: Row) -> set[tuple[str, ...]]:
        words = row.text.split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    of_items = [grams(item) for item in items.rows()]
    every = [gram for own in of_items for gram in own]
    telling = [{gram for gram in own if every.count(gram) <= most} for own in of_items]
    return [
        (r, i, len(grams(row) & own), len(grams(row) & own) / len(own))
        for r, row in enumerate(rows)
        for i, own in enumerate(telling)
        if grams(row) & own
    ]


@settings(max_examples=150, deadline=None)
@given(some_rows, some_rows, st.integers(1, 4), st.integers(1, 4))
def test_ngram_hits_are_those_of_sets_of_words(
    rows: list[Row], items: list[Row], n: int, most: int
) -> None:
    pool = Pool.of(items)
    index = SealedIndex.build({"set": pool}, ngram=n)
    found = index.gram_hits(ngrams(hash_words(row.text for row in rows), n), most_items=most)
    assert found.select("row", "item", "shared", "share").rows() == naive_hits(rows, pool, n, most)


@settings(max_examples=150, deadline=None)
@given(some_rows, some_rows)
def test_exact_hits_are_those_of_equal_texts_prompts_and_long_replies(
    rows: list[Row], items: list[Row]
) -> None:
    def parts(row: Row) -> set[str]:
        texts = {" ".join(row.text.split()), " ".join(row.prompt[0].content.split())}
        if len(row.reply.split()) >= 8:
            texts.add(" ".join(row.reply.split()))
        return texts - {""}

    pool = Pool.of(items)
    found = SealedIndex.build({"set": pool}).exact_hits(exact_hashes(rows))
    assert found.select("row", "item").rows() == [
        (r, i)
        for r, row in enumerate(rows)
        for i, item in enumerate(pool.rows())
        if parts(row) & parts(item)
    ]


def test_a_system_turn_is_no_part_of_the_question() -> None:
    index = SealedIndex.build({"set": Pool.of([chat("what is it?", "an owl", "Be brief.")])})
    hits = index.exact_hits(exact_hashes([chat("What is it", "a cat"), chat("Be brief.", "yes")]))
    assert hits.rows() == [(0, "set", 0)]


def test_items_with_nothing_but_a_template_are_counted() -> None:
    template = "answer with one of the letters below"
    items = Pool.of(
        [*(chat(template, "!" * i) for i in range(5)), chat(f"{template} wholly new", "")]
    )
    index = SealedIndex.build({"set": items}, ngram=7)
    assert index.template_items(5) == 5
    assert index.template_items(6) == 0
