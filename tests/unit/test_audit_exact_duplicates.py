"""Exact duplicates: equal after normalisation, turn by turn; the longest row stays."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from treadle.audit.exact_duplicates import exact_duplicates
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Origin, Row
from treadle.data.selection import FINDING_SCHEMA, Findings

FIND = exact_duplicates()


def chat(*contents: str) -> Row:
    turns = [
        Message("assistant" if i % 2 else "user", content, trains=bool(i % 2))
        for i, content in enumerate(contents)
    ]
    return Row("chat", tuple(turns))


def find(*rows: Row) -> Findings:
    return FIND(Pool.of(rows), Context())


def test_the_longest_row_stays_and_the_others_name_it() -> None:
    rows = [
        chat("Say hi", "Hi"),
        chat("say hi.", "hi"),
        chat("SAY  HI!!", "hi…"),
        chat("Say", "hi"),
    ]
    found = find(*rows)
    assert found.rows["id"].to_list() == sorted([rows[0].id, rows[1].id])
    assert set(found.rows["other"]) == {rows[2].id}
    assert set(found.rows["reason"]) == {"exact_duplicate"}
    assert set(found.rows["figure"]) == {1.0}
    assert found.figures["groups"] == 1
    assert found.figures["dropped"] == 2


def test_of_equally_long_rows_the_least_id_stays() -> None:
    rows = [chat("say hi", "ok"), chat("SAY HI", "ok"), chat("Say Hi", "OK")]
    found = find(*rows)
    least, *rest = sorted(row.id for row in rows)
    assert found.rows["id"].to_list() == rest
    assert set(found.rows["other"]) == {least}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chat("a b", "c"), chat("a", "b c")),
        (chat("a", "b"), chat("b", "a")),
        (chat("a", "b"), chat("a", "b", "a", "b")),
        (chat("?", "same"), chat("!", "same")),
        (chat("🙂", "a face"), chat("🙁", "a face")),
        (chat("a", "b"), Row("answer", (Message("user", "a"),), answer="b")),
        (chat("a", "b"), Row("chat", (Message("system", "a"), Message("assistant", "b", True)))),
        (
            Row("preference", (Message("user", "a"),), chosen="b", rejected="c"),
            Row("preference", (Message("user", "a"),), chosen="c", rejected="b"),
        ),
    ],
)
def test_rows_that_say_different_things_are_no_duplicates(one: Row, other: Row) -> None:
    assert find(one, other).rows.is_empty()


def test_rows_that_differ_only_in_what_carries_loss_are_duplicates() -> None:
    turns = [Message("user", "a"), Message("assistant", "b", trains=True)]
    other = [Message("user", "a", trains=True), Message("assistant", "b", trains=True)]
    assert find(Row("chat", tuple(turns)), Row("chat", tuple(other))).rows.height == 1


def test_rows_merged_at_loading_are_counted_by_their_origins() -> None:
    row = chat("a", "b")
    places = [Row(row.kind, row.messages, origins=(Origin("f.jsonl", i),)) for i in (1, 2, 3)]
    found = find(*places, Row("chat", chat("c", "d").messages, origins=(Origin("f.jsonl", 4),)))
    assert found.rows.is_empty()
    assert found.figures["origins"] == 4
    assert found.figures["rows_with_several_origins"] == 1


@pytest.mark.parametrize("rows", [[], [chat("only", "one")]])
def test_nothing_is_found_in_pools_of_no_row_or_one(rows: list[Row]) -> None:
    found = find(*rows)
    assert dict(found.rows.schema) == FINDING_SCHEMA
    assert found.rows.is_empty()


some_rows = st.lists(
    st.builds(chat, *[st.sampled_from(["a", "A", "a!", "b", "", " "])] * 2), max_size=12
)


@given(some_rows, st.randoms(use_true_random=False))
def test_one_row_of_each_group_stays_whatever_the_order(rows: list[Row], random: Random) -> None:
    found = find(*rows)
    said = {row.id: tuple(m.content.strip("! ").lower() for m in row.messages) for row in rows}
    left = [text for key, text in said.items() if key not in set(found.rows["id"])]
    assert len(left) == len(set(left)) == len(set(said.values()))
    for key, other in found.rows.select("id", "other").iter_rows():
        assert said[key] == said[other]
    random.shuffle(rows)
    assert_frame_equal(find(*rows).rows, found.rows)
