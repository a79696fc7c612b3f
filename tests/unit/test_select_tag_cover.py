"""Tag cover against pass after pass in plain sets."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.context import Context
from treadle.data.selection import Budget
from treadle.errors import DataError
from treadle.select.tag_cover import tag_cover
from vectors import clustered, frame, places

EVERY = Budget("share", 1.0)


def tagged(tags: list[list[str] | None]) -> pl.DataFrame:
    series = pl.Series("tags", tags, dtype=pl.List(pl.String))
    return frame(clustered(len(tags), width=2), tags=series)


def pass_after_pass(tags: list[set[str]], count: int) -> list[tuple[int, int]]:
    """Return rows in the order taken, each with its pass, by the words of the paper."""
    left = sorted((i for i in range(len(tags)) if tags[i]), key=lambda i: (-len(tags[i]), i))
    taken: list[tuple[int, int]] = []
    passes = 0
    while left and len(taken) < count:
        passes += 1
        seen: set[str] = set()
        for i in list(left):
            if len(taken) < count and tags[i] - seen:
                seen |= tags[i]
                taken.append((i, passes))
                left.remove(i)
    return taken


@settings(max_examples=80)
@given(st.lists(st.sets(st.sampled_from("abcdefg"), max_size=5), max_size=40), st.integers(1, 45))
def test_it_takes_the_rows_of_pass_after_pass(tags: list[set[str]], count: int) -> None:
    rows = tagged([sorted(row) for row in tags])
    found = tag_cover(by="tags")(rows, Budget("rows", count), Context())
    taken = pass_after_pass(tags, count)
    assert places(rows, found.ids) == [i for i, _ in taken]
    assert found.chosen["reason"].to_list() == [
        f"tag count {len(tags[i])}, pass {n}" for i, n in taken
    ]


def test_ten_thousand_rows_of_one_tag_are_one_walk() -> None:
    rows = tagged([["a"]] * 10_000)
    found = tag_cover(by="tags")(rows, EVERY, Context())
    assert found.ids == rows["id"].to_list()
    assert found.chosen["reason"][-1] == "tag count 1, pass 10000"


def test_a_row_without_tags_is_left_and_one_of_unknown_tags_is_unscored() -> None:
    rows = tagged([["a", "a", " a "], [], None, [" ", ""], ["b", "c"]])
    found = tag_cover(by="tags")(rows, EVERY, Context())
    assert places(rows, found.ids) == [4, 0]
    assert found.chosen["reason"][1] == "tag count 1, pass 1"
    assert found.left["reason"].to_list() == ["no_tags", "unscored", "no_tags"]


def test_texts_are_cut_and_numbers_are_one_tag() -> None:
    rows = frame(clustered(4), tags=["a, b", "B;a,", "c", None], level=[1, 1, 2, 3])
    cut = tag_cover(by="tags")(rows, EVERY, Context())
    assert places(rows, cut.ids) == [0, 2, 1]
    assert places(rows, tag_cover(by="level")(rows, EVERY, Context()).ids) == [0, 2, 3, 1]


def test_a_column_that_holds_no_tags_is_named() -> None:
    rows = frame(clustered(2), tags=[{"a": 1}, {"a": 2}])
    with pytest.raises(DataError, match="'tags' holds Struct"):
        tag_cover(by="tags")(rows, EVERY, Context())
