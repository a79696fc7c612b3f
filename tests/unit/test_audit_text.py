"""Words and hashes: what counts as the same text, and that hashes never change."""

import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treadle.text.words import (
    TEXTS_AT_ONCE,
    hash_each,
    hash_words,
    ngrams,
    normalise,
    shingle_sets,
    sorted_sets,
    words,
    words_hash,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat sat.", "the cat sat"),
        ("  The\tCAT —\r\nsat!! ", "the cat sat"),
        ("Ｔｈｅ ｃａｔ ｓａｔ", "the cat sat"),
        ("t\u200bhe c\u00adat \u202esat\ufeff", "the cat sat"),
        ("snake_case, __init__", "snake case init"),
        ("don't 3.14", "don t 3 14"),
        ("STRASSE Straße", "strasse strasse"),
        ("ﬁne x² ½", "fine x2 1 2"),
        ("cafe\u0301 café", "café café"),
        ("हिन्दी में", "हिन्दी में"),
        ("שָׁלוֹם العربية", "שָׁלוֹם العربية"),
        ("你好world再见", "你 好 world 再 见"),
        ("カタカナ ｶﾅ", "カ タ カ ナ カ ナ"),
        ("한국어 문장", "한국어 문장"),
        ("a\x00b\x1bc", "a b c"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("+-*/ … 🙂🏳️‍🌈"[:9], ""),
        ("", ""),
    ],
)
def test_texts_that_read_alike_normalise_alike(text: str, expected: str) -> None:
    assert normalise(text) == unicodedata.normalize("NFKC", expected)
    assert words(text) == normalise(text).split()


@given(st.text())
def test_normalising_twice_changes_nothing_and_leaves_single_spaces(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


@given(st.text(st.characters(codec="utf-8")))
def test_case_and_outer_space_do_not_matter(text: str) -> None:
    assert normalise(f"\n {text}\t") == normalise(text)
    assert normalise(text.casefold()) == normalise(text)


@given(st.lists(st.text(), max_size=4))
def test_the_words_of_a_text_are_those_of_its_lines(lines: list[str]) -> None:
    assert words("\n".join(lines)) == [word for line in lines for word in words(line)]


def test_a_hundred_thousand_marks_on_a_letter_are_cut_to_thirty() -> None:
    # Uncut, Unicode normalisation would take time in the square of the number of marks.
    assert len(normalise("a" + "\u0300\u0327" * 500_000)) <= 31
    assert normalise("é" + "\u0301" * 20) != normalise("é" + "\u0301" * 19)


def test_lone_surrogates_can_be_hashed() -> None:
    assert words_hash(words("a\ud800b")) == words_hash(["a", "b"])
    assert hash_words(["\udfff"]).counts.tolist() == [0]


def test_hashes_are_the_same_on_any_machine_python_and_hash_seed() -> None:
    values = [
        words_hash(["the", "cat", "sat"]),
        *ngrams(hash_words(["a b c d"]), 2).values.tolist(),
    ]
    assert values == EXPECTED
    code = (
        "from treadle.text.words import *; "
        "print([words_hash(['the', 'cat', 'sat']), *ngrams(hash_words(['a b c d']), 2).values.tolist()])"
    )
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == str(EXPECTED)


EXPECTED = [16623999794430607575, 8064652577661087557, 172904124966619790, 11831252092812715224]

some_texts = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=6)


def naive_ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    found = text.split()
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]


@given(some_texts, st.integers(1, 5))
def test_ngrams_never_cross_texts_and_are_equal_only_if_their_words_are(
    texts: list[str], n: int
) -> None:
    runs = ngrams(hash_words(texts), n)
    naive = [naive_ngrams(text, n) for text in texts]
    assert runs.counts.tolist() == [len(one) for one in naive]
    flat = [one for of_text in naive for one in of_text]
    assert len(set(zip(flat, runs.values.tolist(), strict=True))) == len(set(flat))
    assert len(set(runs.values.tolist())) == len(set(flat))


def test_the_order_of_words_matters_to_an_ngram() -> None:
    assert len(set(ngrams(hash_words(["a b a"]), 2).values.tolist())) == 2


@given(some_texts, st.integers(1, 5))
def test_shingle_sets_are_sorted_distinct_and_whole_for_short_texts(
    texts: list[str], n: int
) -> None:
    hashed = hash_words(texts)
    sets = shingle_sets(hashed, n)
    for i, text in enumerate(texts):
        own = sets.values[sets.bounds[i] : sets.bounds[i + 1]]
        assert (np.diff(own.astype(object)) > 0).all()
        size = min(n, len(text.split()))
        assert len(own) == (len(set(naive_ngrams(text, size))) if size else 0)


@given(some_texts)
def test_hashes_of_a_text_do_not_depend_on_its_neighbours(texts: list[str]) -> None:
    together = shingle_sets(hash_words(texts), 2)
    for i, text in enumerate(texts):
        alone = shingle_sets(hash_words([text]), 2).values
        assert (
            together.values[together.bounds[i] : together.bounds[i + 1]].tolist() == alone.tolist()
        )


def test_taking_texts_keeps_their_hashes_in_the_order_asked_for() -> None:
    hashed = hash_words(["a b", "", "c", "d e f"])
    taken = hashed.take(np.array([3, 1, 0, 3]))
    assert taken.counts.tolist() == [3, 0, 2, 3]
    assert taken.values.tolist() == [
        *hashed.values[3:6].tolist(),
        *hashed.values[:2].tolist(),
        *hashed.values[3:6].tolist(),
    ]


def test_an_ngram_has_at_least_one_word() -> None:
    with pytest.raises(ValueError, match="n=0"):
        ngrams(hash_words(["a"]), 0)


@given(st.lists(st.text(), max_size=20))
@example(
    [
        "",
        "\n",
        " \x00 a\nB",
        "\ud800 x",
        "_A_b",
        "\x1f\x1ca",
        "\u00c9\u0301x \u00df\u4e2d\u6587\u200d ok",
    ]
)
def test_words_hashed_in_one_buffer_are_those_hashed_one_by_one(said: list[str]) -> None:
    found, expected = hash_words(said), hash_each(map(words, said))
    assert found.values.tolist() == expected.values.tolist()
    assert found.bounds.tolist() == expected.bounds.tolist()


def test_words_of_more_texts_than_fit_one_buffer() -> None:
    said = [f"Row {i}, row!" * (i % 3) for i in range(TEXTS_AT_ONCE + 10)]
    assert hash_words(said).values.tolist() == hash_each(map(words, said)).values.tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 7, 2**64 - 1])), max_size=60))
def test_sorted_sets_are_those_of_python(pairs: list[tuple[int, int]]) -> None:
    owners = np.array([owner for owner, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=np.uint64)
    found = sorted_sets(owners, values, 6)
    for text in range(6):
        inside = found.values[found.bounds[text] : found.bounds[text + 1]].tolist()
        assert inside == sorted({value for owner, value in pairs if owner == text})
