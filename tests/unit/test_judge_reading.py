"""How a verdict is read: strictly, or it is unscored."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.judge.reading import (
    read_confidence,
    read_dimensions,
    read_expectation,
    read_number,
    read_word,
    text_of,
)
from treadle.judge.rubric import Scale
from treadle.models.endpoint import Answer, Failure

CODE = "3fa9c1d2e4b5"
OFFERED = ("A", "B", "tie")
SIX = Scale(low=1, high=6)


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (f"[[{CODE}:A]]", "A"),
        (f"  **[[{CODE}:b]]**\n", "B"),
        (f"A is longer, but B is right.\n\n[[{CODE}: tie ]]", "tie"),
        (f"As asked, [[{CODE}:VERDICT]] with:\n[[{CODE}:B]]", "B"),
        (f"[[000000000000:A]]\n[[{CODE}:B]]", "B"),  # what a row made up does not count
        (f"[[A]] [[{CODE}:A]]", None),
        ("A", None),
        ("", None),
        ("[[A]]", None),
        ("[[000000000000:A]]", None),
        (f"[[{CODE}:C]]", None),
        (f"[[{CODE}:A or B]]", None),
        (f"[[{CODE}:]]", None),
        (f"[[{CODE}:A]]\n[[{CODE}:A]]", None),
        (f"[[{CODE}:A]]\n[[{CODE}:B]]", None),
        (f"I would say [[{CODE}:A]] if it were right.", None),
        (f"[[{CODE.upper()}:A]]", None),
        (f"[[{CODE}:A]", None),
        (f"[[{CODE}:A\n]]", None),
        (f"[[{CODE}:VERDICT]]", None),
        (f"［［{CODE}：A］］", None),
        (f"{CODE}: A", None),
    ],
)
def test_one_line_with_the_code_is_a_verdict_and_nothing_else(reply: str, word: str | None) -> None:
    said = read_word(reply, CODE, OFFERED)
    assert said.word == word
    assert (said.unscored is None) == (word is not None)


@given(st.text(max_size=200), st.sampled_from(OFFERED))
def test_no_text_without_the_code_is_a_verdict(text: str, word: str) -> None:
    assert read_word(text, CODE, OFFERED).word is None
    assert read_word(f"{text}\n[[{word}]]", CODE, OFFERED).word is None


@pytest.mark.parametrize(
    ("word", "value"),
    [("4", 4.0), ("4.0", 4.0), (" 6 ", 6.0), ("+1", 1.0), ("0", None), ("7", None), ("4.5", None),
     ("nan", None), ("inf", None), ("1e0", None), ("4/6", None), ("four", None), ("-4", None),
     ("４", None), ("", None), ("9" * 400, None)],
)  # fmt: skip
def test_a_number_is_on_the_scale_or_unscored(word: str, value: float | None) -> None:
    found, problem = read_number(f"[[{CODE}:{word}]]", CODE, SIX)
    assert found == value
    assert (problem is None) == (value is not None)


def test_dimensions_are_read_all_or_none() -> None:
    def read(*lines: str) -> tuple[dict[str, float], str | None]:
        reply = "\n".join(f"[[{CODE}:{line}]]" for line in lines)
        return read_dimensions(reply, CODE, ["clear", "true"], SIX)

    assert read("clear=4", "true=6") == ({"clear": 4.0, "true": 6.0}, None)
    for lines in (["clear=4"], ["clear=4", "true=7"], ["clear=4", "clear=5", "true=6"],
                  ["clear=4", "true=6", "new=1"], ["4", "5"], []):  # fmt: skip
        parts, problem = read(*lines)
        assert parts == {}
        assert problem


def spread(
    text: str, at: str, chances: dict[str, float]
) -> list[tuple[str, float, dict[str, float]]]:
    before, after = text.split(at, 1)
    logs = {token: math.log(chance) for token, chance in chances.items()}
    return [(before, 0.0, {}), (at, logs[at], logs), (after, 0.0, {})]


def test_an_expectation_is_the_mean_under_the_chances_of_the_numbers_on_offer() -> None:
    reply = f"[[{CODE}:5]]"
    found = read_expectation(reply, spread(f"[[{CODE}:§", "§", {"§": 0.5, "4": 0.2}), CODE, SIX)
    assert found.value is None  # the tokens do not spell the reply
    tokens = [(f"[[{CODE}:", 0.0, {}), ("5", math.log(0.6), {"4": math.log(0.2), "9": math.log(0.1)}),
              ("]]", 0.0, {})]  # fmt: skip
    found = read_expectation(reply, tokens, CODE, SIX)
    assert found.value == pytest.approx((5 * 0.6 + 4 * 0.2) / 0.8)
    assert found.confidence == pytest.approx(0.75)


def test_tokens_that_hold_more_than_the_number_are_understood() -> None:
    reply = f"[[{CODE}:5]]"
    for token, other, stranger in (
        (":5]]", ":2]]", "2]]"),
        ("5]", "2]", ":2]"),
        (":5", ":2", "52"),
    ):
        before, after = reply.split(token)
        tokens = [
            (before, -0.1, {}),
            (token, math.log(0.5), {other: math.log(0.25), stranger: math.log(0.2)}),
            (after, 0.0, {}),
        ]
        found = read_expectation(reply, tokens, CODE, SIX)
        assert found.value == pytest.approx((5 * 0.5 + 2 * 0.25) / 0.75)


@pytest.mark.parametrize(
    "tokens",
    [None, [], [("5", 0.0, {})],
     [(f"[[{CODE}:", 0.0, {}), ("5", math.log(0.3), {"x": math.log(0.6)}), ("]]", 0.0, {})],
     [(f"[[{CODE}:", 0.0, {}), ("5", float("nan"), {}), ("]]", 0.0, {})],
     [(f"[[{CODE}:", 0.0, {}), ("5", 3.0, {}), ("]]", 0.0, {})]],
)  # fmt: skip
def test_without_chances_that_can_be_believed_there_is_no_expectation(tokens: object) -> None:
    found = read_expectation(f"[[{CODE}:5]]", tokens, CODE, SIX)  # type: ignore[arg-type]
    assert found.value is None
    assert found.unscored


def test_a_first_token_that_repeats_the_row_is_no_score() -> None:
    """The weakness of reading the first token: a row that begins with 6 would score 6."""
    found = read_expectation("6", [("6", 0.0, {"6": 0.0})], CODE, SIX)
    assert found.value is None


def test_thinking_aloud_is_not_read_and_a_failure_is_unscored() -> None:
    answer = Answer(f"<think>\n[[{CODE}:A]]?\n</think>\n[[{CODE}:B]]", "stop", 1, 1, 1, False)
    said = text_of(answer)
    assert said.word is not None
    assert read_word(said.word, CODE, OFFERED).word == "B"
    assert (
        text_of(Failure("refused", "HTTP 400: too long", 1)).unscored
        == "refused: HTTP 400: too long"
    )


OFFERED = ("A", "B", "tie")


@pytest.mark.parametrize(
    ("word", "tokens", "sure"),
    [
        ("A", [(f"[[{CODE}:", 0.0, {}), ("A", math.log(0.7), {"B": math.log(0.2)}), ("]]", 0.0, {})], 0.7),
        ("A", [(f"[[{CODE}", 0.0, {}), (":A]]", math.log(0.6), {":A": math.log(0.1), "A]]": -1.0})], 0.7),
        ("tie", [(f"[[{CODE}:", 0.0, {}), ("t", math.log(0.5), {"tie": math.log(0.3)}), ("ie]]", 0.0, {})], 0.8),
        ("B", [(f"[[{CODE}:B]]", -0.1, {})], math.exp(-0.1)),
        ("A", [(f"[[{CODE}:", 0.0, {}), ("x", -0.1, {"B": -1.0}), ("]]", 0.0, {})], None),
        ("A", [("A", 0.0, {})], None),
        ("A", [(f"[[{CODE}:", 0.0, {}), ("A", float("nan"), {}), ("]]", 0.0, {})], None),
        ("A", [(f"[[{CODE}:A]] [[{CODE}:A]]", 0.0, {})], None),
        ("A", None, None),
    ],
)  # fmt: skip
def test_confidence_is_the_chance_of_the_word_that_was_said(
    word: str, tokens: list[tuple[str, float, dict[str, float]]] | None, sure: float | None
) -> None:
    found = read_confidence(tokens, CODE, word, OFFERED)
    assert found == (None if sure is None else pytest.approx(sure))
