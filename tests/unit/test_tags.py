"""Tags in one spelling."""

import polars as pl
import pytest

from treadle.data.tags import tag_lists
from treadle.errors import DataError


def test_strings_are_cut_and_lists_are_taken_as_they_are() -> None:
    text = pl.Series("skills", ["Math, code ; MATH", "word  problem|code", "one\ntwo", " "])
    found = tag_lists(text)
    assert found.name == "skills"
    assert found.to_list() == [["math", "code"], ["word problem", "code"], ["one", "two"], None]
    lists = pl.Series("skills", [["Math, applied", " CODE ", "code"], ["", None], []])
    assert tag_lists(lists).to_list() == [["math, applied", "code"], [], []]


def test_missing_stays_missing_and_an_empty_list_is_no_tags() -> None:
    assert tag_lists(pl.Series("t", [["a"], None, []])).to_list() == [["a"], None, []]
    assert tag_lists(pl.Series("t", ["a", None])).to_list() == [["a"], None]
    assert tag_lists(pl.Series("t", [[], []])).to_list() == [[], []]
    assert tag_lists(pl.Series("t", [], dtype=pl.String)).to_list() == []


def test_separators_without_tags_give_none() -> None:
    assert tag_lists(pl.Series("t", [", ;a,,"])).to_list() == [["a"]]


@pytest.mark.parametrize("values", [[1, 2], [[1.5]], [True]])
def test_other_columns_are_refused(values: list[object]) -> None:
    with pytest.raises(DataError, match="scores: tags are strings"):
        tag_lists(pl.Series("scores", values))
