"""Names: words with a capital that do not begin a sentence, and which texts they tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.text.names import Names, names
from treadle.text.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Which coast is Oregon on, and Maine?", {"oregon", "maine"}),
        ("What is SQL?", {"sql"}),
        ("SQL is what?", {"sql"}),
        ("Name a student. Please do.\nNow go! \"Then\" stop", set()),
        ("is it string or wind: Panduri, Zurna", {"panduri", "zurna"}),
        ("then I think i am", set()),
        ("an iPhone of McDonald's", {"iphone", "mcdonald"}),
        ("nach Ägypten", {"ägypten"}),
        ("", set()),
        ("到 中文", set()),
    ],
)  # fmt: skip
def test_names_of_a_text(text: str, expected: set[str]) -> None:
    assert names(text) == expected


WORDS = st.lists(st.sampled_from(["Oregon", "oregon", "Maine", "SQL", "coast", "."]), max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_texts_are_apart_where_each_names_what_the_other_does_not_say(
    said: list[list[str]],
) -> None:
    texts = ["so " + " ".join(one) for one in said]
    own, all_words = [names(text) for text in texts], [set(words(text)) for text in texts]
    every = np.arange(len(texts))
    found = Names.of(texts).apart(every, every[::-1])
    for i in every:
        for place, j in enumerate(every[::-1]):
            expected = bool(own[i] - all_words[j]) and bool(own[j] - all_words[i])
            assert found[i, place] == expected


def test_no_texts_and_no_names() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert Names.of([]).apart(nothing, nothing).shape == (0, 0)
    assert not Names.of(["a b", "c"]).apart(np.arange(2), np.arange(2)).any()
