"""Numbers: what tells problems of one template apart."""

import pytest

from treadle.data.row import Message, Row
from treadle.data.sealed_index import numbers_hash
from treadle.text.numbers import numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Tom has 12 apples and 1,500 pears.", ("12", "1500")),
        ("7 or 7, not 3.", ("3", "7", "7")),
        ("3.50 is not 3.5", ("3.5", "3.50")),
        ("twelve", ()),
        ("", ()),
        ("x1y22", ("1", "22")),
    ],
)
def test_numbers_are_read_as_written_but_for_commas(text: str, found: tuple[str, ...]) -> None:
    assert numbers(text) == found


def test_the_hash_tells_a_number_asked_from_one_answered() -> None:
    def chat(prompt: str, reply: str) -> Row:
        return Row("chat", (Message("user", prompt), Message("assistant", reply, trains=True)))

    assert numbers_hash(chat("a 1", "b 2")) == numbers_hash(chat("other 1", "words 2"))
    assert numbers_hash(chat("a 1", "b 2")) != numbers_hash(chat("a 2", "b 1"))
    assert numbers_hash(chat("a 1 2", "b")) != numbers_hash(chat("a 12", "b"))
