"""Prompt uncertainty against one version of one row at a time."""

import math

import numpy as np
import pytest

from reference.test_likelihood import chat, made_up, slow_tokens, tiny
from treadle import models
from treadle.context import Context
from treadle.data.row import Message, Row, from_frame, to_frame
from treadle.data.template import tokenise
from treadle.measure.prompt_uncertainty import _kept, _versions, prompt_uncertainty


def context(student) -> Context:
    return Context(models={"student": student})


def likelihood(row: Row, student) -> float:
    tokens = tokenise([row], student.tokenizer, max_tokens=1024)[0]
    found = slow_tokens(student, tokens.ids, np.flatnonzero(tokens.trains))
    return math.exp(sum(logprob for logprob, _ in found) / len(found))


def test_values_equal_one_version_at_a_time() -> None:
    rows, student = made_up(14), tiny()
    frame = to_frame(rows)
    found = prompt_uncertainty(samples=4)(frame, context(student))
    for row, (value, chance) in zip(from_frame(frame), found.iter_rows(), strict=True):
        first, *others = [likelihood(version, student) for version in _versions(row, 4, 0.2)]
        expected = sum(abs(first - other) for other in others) / 4
        assert value == pytest.approx(expected, rel=1e-3)
        assert chance == pytest.approx(first, rel=1e-3)
    assert found["prompt_uncertainty"].n_unique() > 10


def test_only_words_of_the_user_are_left_out() -> None:
    row = Row(
        "chat",
        (
            Message("system", "Be brief and kind."),
            Message("user", "Where  does it\nend?"),
            Message("assistant", "In a lake.", trains=True),
            Message("user", "Which one of the lakes?"),
            Message("assistant", "The salt one.", trains=True),
            Message("user", "Thanks"),
        ),
    )
    first, *others = _versions(row, 30, 0.3)
    assert [m.content for m in first.messages] == [m.content for m in row.messages[:5]]
    assert [m.trains for m in first.messages] == [False] * 4 + [True]
    for other in others:
        assert [other.messages[i] for i in (0, 2, 4)] == [first.messages[i] for i in (0, 2, 4)]
        assert other != first, "a word is left out in any case"
        for i in (1, 3):
            kept = iter(first.messages[i].content.split())
            assert all(word in kept for word in other.messages[i].content.split()), "in order"
    assert len({other.messages for other in others}) > 20


def test_words_are_left_out_at_the_asked_rate() -> None:
    rng = np.random.default_rng(0)
    shares = [1 - _kept(50, 0.2, rng).mean() for _ in range(400)]
    assert np.mean(shares) == pytest.approx(0.2, abs=0.01)
    assert not _kept(1, 0.2, rng).any()


def test_a_row_s_bits_do_not_depend_on_the_others() -> None:
    frame, world = to_frame(made_up(12)), context(tiny())
    measure = prompt_uncertainty(samples=3)
    together = measure(frame, world)
    for i in range(frame.height):
        assert measure(frame[i], world).equals(together[i])


def test_every_version_of_a_cut_reply_counts_the_same_tokens() -> None:
    student = models.load("scripted")
    row = chat("one two three four five six", "the river is long and it is wide")
    found = prompt_uncertainty(samples=3, max_tokens=45)(to_frame([row]), context(student))
    chances, counts = [], []
    for version in _versions(row, 3, 0.2):
        tokens = tokenise([version], student.tokenizer, max_tokens=45)[0]
        places = np.flatnonzero(tokens.trains)
        counts.append(len(places))
        shared = places[: counts[0]]
        likely = student.predict(tokens.ids, shared)[range(len(shared)), tokens.ids[shared]]
        chances.append(np.exp(np.log(likely).mean()))
    assert 0 < counts[0] < max(counts), "the whole prompt leaves the least room"
    expected = np.abs(np.array(chances[1:]) - chances[0]).mean()
    assert found.row(0) == pytest.approx((expected, chances[0]), rel=1e-5)


def test_without_words_or_reply_or_room_there_is_no_value() -> None:
    rows = [
        chat(" \n", "yes"),
        chat("Why?", ""),
        Row("chat", (Message("user", "hello"), Message("assistant", "silent"))),
        chat("word " * 100, "yes"),
        chat("Why?", "yes"),
    ]
    frame = to_frame(rows)
    world = context(models.load("scripted"))
    found = prompt_uncertainty(max_tokens=100)(frame, world)
    by_id = dict(zip(frame["id"], found["prompt_uncertainty"], strict=True))
    assert [by_id[row.id] is None for row in rows] == [True] * 4 + [False]
    assert prompt_uncertainty()(to_frame([]), world).schema == found.schema
