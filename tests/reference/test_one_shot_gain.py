"""One-shot gain: exact counts against naive concatenation, one sequence at a time, without a cache."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reference.test_likelihood import chat, made_up, slow_tokens, tiny
from treadle import models
from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.data.template import tokenise
from treadle.geometry.k_center import representatives
from treadle.measure.embedding import embedding
from treadle.measure.length import length
from treadle.measure.one_shot_gain import choose_anchors, one_shot_gain

COLUMNS = ["one_shot_gain", "one_shot_gain_mean"]


def context(student=None) -> Context:
    student = student or models.load("scripted")
    return Context(models={"student": student, "embedder": models.load_embedder("hashed")})


def prepared(rows: Sequence[Row], world: Context) -> pl.DataFrame:
    frame = to_frame(rows)
    return pl.concat([frame, embedding()(frame, world), length()(frame, world)], how="horizontal")


def fitted(rows: Sequence[Row], world: Context, **options) -> Context:
    settings = {"anchors": 10, "window": 2048, **options}
    return replace(world, fitted=choose_anchors(prepared(rows, world), settings, world))


def measured(rows: Sequence[Row], world: Context, **options) -> dict[str, tuple]:
    """(share, mean) by row id."""
    frame = prepared(rows, world)
    found = one_shot_gain(**options)(frame, fitted(rows, world, **options))
    return dict(zip(frame["id"], found.select(COLUMNS).iter_rows(), strict=True))


def mean_logprob(turns: Sequence[Message], student) -> float:
    """Of the last turn, in one pass over one sequence."""
    silent = (replace(turn, trains=False) for turn in turns[:-1])
    row = Row("chat", (*silent, turns[-1]))
    tokens = tokenise([row], student.tokenizer, max_tokens=1024)[0]
    found = slow_tokens(student, tokens.ids, np.flatnonzero(tokens.trains))
    return sum(logprob for logprob, _ in found) / len(found)


def test_counts_equal_naive_concatenation() -> None:
    student = tiny()
    rows = made_up(15)[:12]
    world = context(student)
    anchors = [a["id"] for a in json.loads(fitted(rows, world, anchors=5, window=1024).fitted)]
    assert len(anchors) == 5
    found = measured(rows, world, anchors=5, window=1024)
    asked = {row.id: row for row in rows}
    for row in rows:
        gains = []
        for key in anchors:
            if key != row.id:
                turns = asked[key].messages
                shown = mean_logprob([*row.messages, *turns], student)
                gains.append(shown - mean_logprob(turns, student))
        share, mean = found[row.id]
        assert round(share * len(gains)) == sum(gain > 0 for gain in gains), "exact counts"
        assert share == sum(gain > 0 for gain in gains) / len(gains)
        assert mean == pytest.approx(sum(gains) / len(gains), abs=1e-3)
    assert len({share for share, _ in found.values()}) > 2, "rows differ"


def test_a_row_s_bits_do_not_depend_on_the_others() -> None:
    world = context(tiny())
    rows = made_up(15)[:12]
    frame = prepared(rows, world)
    ready = fitted(rows, world, anchors=3)
    together = one_shot_gain()(frame, ready)
    for i in range(frame.height):
        assert one_shot_gain()(frame[i], ready).equals(together[i])


def test_an_example_that_gives_the_answer_away_gains_and_no_row_is_tried_on_itself() -> None:
    rows = [
        chat("Where does the river end?", "In the great salt lake."),
        chat("Where does that river end then?", "In the great salt lake."),
        chat("What is 2+2?", "It is 4, of course."),
    ]
    found = measured(rows, context(), anchors=1)
    anchor = json.loads(fitted(rows, context(), anchors=1).fitted)[0]["id"]
    assert found[anchor] == (None, None), "it has no other row to be tried on"
    twins = [row.id for row in rows[:2]]
    assert anchor in twins
    other = twins[1 - twins.index(anchor)]
    assert found[other][0] == 1.0
    assert found[other][1] > found[rows[2].id][1]


def test_rows_without_reply_or_room_are_unscored_and_chosen_as_no_anchor() -> None:
    silent = Row("chat", (Message("user", "hello"), Message("assistant", "unscored")))
    endless = chat("Go on", "word " * 200)
    rows = [*made_up(9)[:6], silent, endless]
    ready = fitted(rows, context(), anchors=8, window=1000)
    assert silent.id not in {a["id"] for a in json.loads(ready.fitted)}
    found = measured(rows, context(), anchors=8, window=1000)
    assert found[silent.id] == found[endless.id] == (None, None)
    assert all(found[row.id][0] is not None for row in rows[:6])


def test_an_anchor_s_answer_is_cut_and_no_longer_than_half_the_window() -> None:
    rows = [chat("Tell me", "word " * 300), *made_up(6)[:3]]
    anchors = json.loads(fitted(rows, context(), anchors=4, window=1000).fitted)
    longest = next(a for a in anchors if a["id"] == rows[0].id)
    assert len("<u>Tell me") < longest["tokens"] < 500
    assert measured(rows, context(), anchors=4, window=1000)[rows[1].id][0] is not None


def test_system_turns_are_left_out() -> None:
    bare = chat("Why?", "Because it rained.")
    told = Row("chat", (Message("system", "Be brief."), *bare.messages))
    world = context(tiny())
    ready = fitted(made_up(9)[:6], world, anchors=3)
    values = [one_shot_gain()(prepared([row], world), ready).row(0) for row in (bare, told)]
    assert values[0] == values[1]


@pytest.mark.parametrize("count", [0, 1])
def test_a_pool_without_a_second_row_is_unscored(count: int) -> None:
    rows = made_up(4)[:count]
    assert list(measured(rows, context()).values()) == [(None, None)] * count


def test_representatives_are_the_middle_rows_of_separate_clouds() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    points = np.concatenate([c + rng.normal(0, 0.5, (30, 2)) for c in centres]).astype(np.float32)
    found = representatives(points, count=3)
    expected = []
    for part in range(3):
        cloud = points[part * 30 : part * 30 + 30].astype(np.float64)
        away = ((cloud - cloud.mean(axis=0)) ** 2).sum(axis=1)
        expected.append(part * 30 + int(away.argmin()))
    assert found == expected
    assert representatives(points[:0], count=3) == []
    assert representatives(points[:2], count=5) == [0, 1]
    assert representatives(np.ones((4, 2), np.float32), count=3) == [0], "copies are one region"
