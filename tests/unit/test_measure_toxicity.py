"""Offensive words: found where people found them, missing where there is no text."""

import csv
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.errors import ModelError
from treadle.measure import toxicity as module
from treadle.measure.toxicity import toxicity


def said(text: str, reply: str = "") -> Row:
    return Row("chat", (Message("user", text), Message("assistant", reply, trains=True)))


def scores_of(texts: list[str]) -> list[float]:
    """The value of each text, in the order of the texts; a frame has an order of its own."""
    frame = to_frame([said(text) for text in texts])
    found = dict(zip(frame["id"], toxicity()(frame, Context())["toxicity"], strict=True))
    return [found[said(text).id] for text in texts]


def test_an_insult_scores_above_a_plain_question() -> None:
    insult, question = scores_of(["You are a fucking idiot.", "Where does the river begin?"])
    assert insult > 0.9
    assert question < 0.1


def test_only_the_part_that_was_asked_for_is_read() -> None:
    frame = to_frame([said("Say something rude.", "You stupid bastard.")])
    prompt = toxicity(of="prompt")(frame, Context())["toxicity"][0]
    assert toxicity(of="reply")(frame, Context())["toxicity"][0] > prompt


def test_a_part_without_text_is_missing() -> None:
    assert toxicity(of="reply")(to_frame([said("hello", " \n")]), Context()).row(0) == (None,)
    assert toxicity()(to_frame([]), Context()).schema == {"toxicity": pl.Float64}


def test_it_agrees_with_people_as_far_as_the_docstring_says(shared_data: Path) -> None:
    with (shared_data / "toxicity_surge" / "toxicity_en.csv").open(encoding="utf-8") as file:
        comments = list(csv.DictReader(file))
    values = np.array(scores_of([one["text"] for one in comments]))
    is_toxic = np.array([one["is_toxic"] == "Toxic" for one in comments])
    pairs = values[is_toxic][:, None] - values[~is_toxic][None, :]
    assert (pairs > 0).mean() + (pairs == 0).mean() / 2 == pytest.approx(0.84, abs=0.01)
    assert (values[is_toxic] >= 0.5).mean() == pytest.approx(0.48, abs=0.02)
    assert (values[~is_toxic] >= 0.5).mean() == pytest.approx(0.036, abs=0.01)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    module._classifier.cache_clear()
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    with pytest.raises(ModelError, match=r"pip install 'treadle\[text\]'"):
        toxicity()(to_frame([said("hello")]), Context())
    module._classifier.cache_clear()
