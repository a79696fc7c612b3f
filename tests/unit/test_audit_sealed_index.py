"""The sealed index: what it finds, what it tells, and that it survives a trip through bytes."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.sealed_index import SealedIndex, SealedSet, row_hashes
from treadle.text.words import hash_words, ngrams


def chat(prompt: str, reply: str, system: str | None = None) -> Row:
    start = () if system is None else (Message("system", system),)
    return Row("chat", (*start, Message("user", prompt), Message("assistant", reply, trains=True)))


def is_equal(one: SealedIndex, other: SealedIndex) -> bool:
    kinds = [(getattr(one, kind), getattr(other, kind)) for kind in ("wholes", "parts", "grams")]
    return (one.ngram, one.sets) == (other.ngram, other.sets) and all(
        np.array_equal(a.hashes, b.hashes) and np.array_equal(a.items, b.items) for a, b in kinds
    )


some_texts = st.lists(st.sampled_from(["ab", "cd", "ef"]), max_size=8).map(" ".join)
some_rows = st.lists(st.builds(chat, some_texts, some_texts), max_size=6)


@given(some_rows, some_rows)
def test_the_index_depends_on_the_items_alone(first: list[Row], second: list[Row]) -> None:
    index = SealedIndex.build({"b": Pool.of(first), "a": Pool.of(second)}, ngram=3)
    again = SealedIndex.build({"a": Pool.of(second[::-1]), "b": Pool.of(first[::-1])}, ngram=3)
    assert is_equal(index, again)


def test_the_index_holds_names_and_numbers_and_no_text() -> None:
    items = Pool.of([chat("the zebra crossed", "a platypus answered in xylophone tones " * 3)])
    index = SealedIndex.build({"zoo": items}, ngram=3)
    assert index.sets == (SealedSet("zoo", 1, 0),)
    for kind in (index.wholes, index.parts, index.grams):
        assert kind.hashes.dtype == np.uint64
        assert kind.items.dtype == np.uint32
    assert {f.name for f in fields(SealedIndex)} == {"ngram", "sets", "wholes", "parts", "grams"}


def test_items_are_numbered_by_id_within_their_set_and_short_ones_are_counted() -> None:
    rows = [chat(f"prompt {i} {'more ' * i}", "ok") for i in range(5)]
    index = SealedIndex.build({"z": Pool.of(rows), "a": Pool.of(rows[:1])}, ngram=6)
    assert index.sets == (SealedSet("a", 1, 1), SealedSet("z", 5, 3))
    assert (index.items, index.short_items) == (6, 4)
    order = sorted(row.id for row in rows)
    for row in rows[1:]:
        hits = index.exact_hits(row_hashes([chat("other", "thing"), row]))
        assert hits.rows() == [(1, "z", order.index(row.id))]
    assert index.exact_hits(row_hashes(rows[:1]))["set"].to_list() == ["a", "z"]


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


@settings(max_examples=150)
@given(some_rows, some_rows, st.integers(1, 4), st.integers(1, 4))
def test_ngram_hits_are_those_of_sets_of_words(
    rows: list[Row], items: list[Row], n: int, most: int
) -> None:
    pool = Pool.of(items)
    index = SealedIndex.build({"set": pool}, ngram=n)
    grams = ngrams(hash_words(row.text for row in rows), n)
    found = index.without_templates(most).gram_hits(grams)
    assert found.select("row", "item", "shared", "share").rows() == naive_hits(rows, pool, n, most)


def parts(row: Row) -> list[str]:
    """The slow, obvious parts of a row of plain words; the last two may be empty."""
    asked, said = row.prompt[0].content.split(), row.reply.split()
    return [
        " ".join(asked) if len(asked) >= 8 else f"as written: {' '.join(asked)}" if asked else "",
        " ".join(said) if len(said) >= 8 else "",
        " ".join(asked + said) if asked and said else "",
    ]


@settings(max_examples=150)
@given(some_rows, some_rows, st.integers(1, 3))
def test_exact_hits_are_those_of_equal_texts_prompts_and_long_replies(
    rows: list[Row], items: list[Row], most: int
) -> None:
    pool = Pool.of(items)
    telling = [
        {" ".join(item.text.split())}
        | {one for one in parts(item) if sum(one in parts(i) for i in pool.rows()) <= most}
        for item in pool.rows()
    ]
    pairs = {
        (r, i)
        for r, row in enumerate(rows)
        for i, own in enumerate(telling)
        if own & {" ".join(row.text.split()), *parts(row)} - {""}
    }
    index = SealedIndex.build({"set": pool}).without_templates(most)
    found = set(index.exact_hits(row_hashes(rows)).select("row", "item").iter_rows())
    assert found <= pairs
    for place in (0, 1):
        assert {pair[place] for pair in found} == {pair[place] for pair in pairs}
    for row in {row for row, _ in pairs}:
        assert min(found & {(row, i) for i in range(len(pool))}) == min(
            pair for pair in pairs if pair[0] == row
        )


@pytest.mark.parametrize("kind", ["chat", "preference", "answer"])
def test_the_words_of_a_row_are_those_of_its_text(kind: str) -> None:
    prompt = (Message("system", "Be e\u0301xact."), Message("user", "\u0301What is it?"))
    reply = Message("assistant", "An owl", trains=True)
    row = {
        "chat": Row("chat", (*prompt, reply, Message("user", "Oh"))),
        "preference": Row("preference", prompt, chosen="An owl", rejected="A cat"),
        "answer": Row("answer", prompt, answer="An owl"),
    }[kind]
    expected = hash_words([row.text])
    assert row_hashes([row]).words.values.tolist() == expected.values.tolist()


def test_a_system_turn_is_no_part_of_the_question() -> None:
    index = SealedIndex.build({"set": Pool.of([chat("what is it?", "an owl", "Be brief.")])})
    hits = index.exact_hits(row_hashes([chat("What is it?", "a cat"), chat("Be brief.", "yes")]))
    assert hits.rows() == [(0, "set", 0)]


def test_items_with_nothing_but_a_template_are_counted() -> None:
    template = "answer with one of the letters below"
    items = Pool.of(
        [*(chat(template, "!" * i) for i in range(5)), chat(f"{template} wholly new", "")]
    )
    index = SealedIndex.build({"set": items}, ngram=7)
    assert index.items_with_grams == 6
    assert index.without_templates(5).items_with_grams == 1
    assert index.without_templates(6).items_with_grams == 6
