"""A judge of pairs that tells how sure it is, over HTTP."""

import math
from pathlib import Path

import numpy as np
import pytest

from judging import endpoint_at, scripted
from treadle.errors import RecipeError
from treadle.judge.pairs import Pair
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.rubric import read_rubric, shipped

PAIRS = [
    Pair("p", "1 + 1?", "2", "3", 1),
    Pair("q", "2 + 2?", "5", "4", 2),
    Pair("shell", "3 + 3?", "6", "", 1),
]


def sure(folder: Path) -> Path:
    path = folder / "sure.yaml"
    path.write_text(shipped()["helpful"] + "reading: confidence\n")
    return path


def test_verdicts_say_how_sure_the_judge_was_and_a_rule_is_not_asked(tmp_path: Path) -> None:
    gold = [
        {"name": p.name, "request": p.request, "answer_1": p.answer_1, "answer_2": p.answer_2,
         "label": p.label}
        for p in PAIRS
    ]  # fmt: skip
    with scripted(tmp_path, gold) as endpoint:
        told = PairwiseJudge(endpoint, read_rubric(sure(tmp_path))).compare(PAIRS)
        plain = PairwiseJudge(endpoint).compare(PAIRS)
    assert told.settled.tolist() == plain.settled.tolist() == [1, 2, 1]
    assert told.confidence is not None
    assert told.confidence[:2] == pytest.approx(
        math.exp(-0.1)
    )  # what the script says of each token
    assert np.isnan(told.confidence[2])
    assert plain.confidence is None


def test_a_rubric_reads_pairs_and_scores_each_in_its_own_way(tmp_path: Path) -> None:
    with (
        endpoint_at("http://127.0.0.1:9/v1", tmp_path, wire="anthropic") as endpoint,
        pytest.raises(RecipeError, match="without them"),
    ):
        PairwiseJudge(endpoint, read_rubric(sure(tmp_path)))
    path = tmp_path / "wrong.yaml"
    for name, reading in (("helpful", "expectation"), ("alpagasus", "confidence")):
        text = shipped()[name].replace("\nreading: line\n", "\n")
        path.write_text(f"{text}reading: {reading}\n")
        with pytest.raises(RecipeError, match="a pair by line or confidence"):
            read_rubric(path)
