"""The words of a row: one list a row, of the part that was asked for."""

import polars as pl
import pytest

from treadle.context import Context
from treadle.data.parts import Part, part_texts
from treadle.data.row import Message, Row, to_frame
from treadle.measure.words import words
from treadle.text.words import words as split

CHAT = Row(
    "chat",
    (
        Message("system", "Be brief."),
        Message("user", "One?"),
        Message("assistant", "ONE!", trains=True),
        Message("user", "And two?"),
        Message("assistant", "Don't: 汉字", trains=True),
    ),
)
PREFERENCE = Row("preference", (Message("user", "Pick"),), chosen="good", rejected="bad")
UNTRAINED = Row("chat", (Message("user", "hello"), Message("assistant", "there")))
SIGNS = Row("chat", (Message("user", "?"), Message("assistant", "!!", trains=True)))
NOTHING = Row("chat", ())


def found(row: Row, of: Part = "row") -> list[str] | None:
    frame = words(of=of)(to_frame([row]), Context())
    assert frame.schema == {"words": pl.List(pl.String)}
    value: list[str] | None = frame["words"].to_list()[0]
    return value


def test_words_are_folded_split_at_signs_and_in_order() -> None:
    assert found(CHAT, "reply") == ["don", "t", "汉", "字"]


def test_the_prompt_is_all_that_stands_before_the_last_reply() -> None:
    assert found(CHAT, "prompt") == ["be", "brief", "one", "one", "and", "two"]


def test_the_row_is_all_its_text_with_the_rejected_answer() -> None:
    assert found(CHAT) == split(CHAT.text)
    assert found(PREFERENCE) == ["pick", "good", "bad"]
    assert found(PREFERENCE, "reply") == ["good"]


@pytest.mark.parametrize("row", [SIGNS, NOTHING])
@pytest.mark.parametrize("of", ["row", "prompt", "reply"])
def test_a_part_without_words_is_missing(row: Row, of: Part) -> None:
    assert found(row, of) is None


def test_a_row_without_a_reply_has_no_words_of_the_reply() -> None:
    assert found(UNTRAINED, "reply") is None
    assert found(UNTRAINED, "prompt") == ["hello", "there"]


@pytest.mark.parametrize("of", ["row", "prompt", "reply"])
def test_an_empty_batch_has_the_column(of: Part) -> None:
    frame = words(of=of)(to_frame([]), Context())
    assert frame.schema == {"words": pl.List(pl.String)}
    assert frame.height == 0


def test_parts_are_those_of_the_row_and_white_space_is_no_text() -> None:
    rows = [CHAT, PREFERENCE, UNTRAINED, Row("answer", (Message("user", " \n"),), answer="42")]
    frame = to_frame(rows)
    by_id = {row.id: row for row in rows}
    ordered = [by_id[key] for key in frame["id"]]
    assert part_texts(frame, "row") == [row.text for row in ordered]
    assert part_texts(frame, "reply") == [row.reply or None for row in ordered]
    prompts = ["\n".join(turn.content for turn in row.prompt) for row in ordered]
    assert part_texts(frame, "prompt") == [text if text.strip() else None for text in prompts]
