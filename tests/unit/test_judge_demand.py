"""Judges of requests: what asks for more is more demanding, and they are examined on that."""

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from command_line import treadle
from licensed import Knobs, KnownJudge
from treadle.errors import LicenceError
from treadle.judge.benchmark import demand
from treadle.judge.benchmark.whole import build, is_complete
from treadle.judge.licensing.licence import earn, licence_path, load
from treadle.judge.scripted_judge import ScriptedJudge
from treadle.machinery.store import Store


@pytest.mark.parametrize("form", demand.LADDERS)
def test_each_rung_asks_for_more_than_the_one_below(form: str) -> None:
    for seed in range(50):
        rungs = demand.LADDERS[form](random.Random(seed))
        assert len(set(rungs)) == 4
        parts = [Counter(rung.replace(",", " ").replace(".", " ").split()) for rung in rungs]
        for less, more in itertools.pairwise(parts):
            assert more.total() > less.total()
        if form in ("conditions", "parts", "program"):  # nothing that a rung asks for is taken back
            assert all(more.startswith(less) for less, more in itertools.pairwise(rungs))


def test_pairs_hold_requests_and_length_gives_no_label_away() -> None:
    made = build(3, 200, "request")
    assert is_complete(made)
    pairs = [pair for found in made.sets.values() for pair in found]
    assert {pair.request for pair in pairs} == {""}
    for name in ("verifier", "adversarial", "plain", "lengths", "shells"):
        labels = Counter(pair.label for pair in made.sets[name])
        assert abs(labels[1] - labels[2]) <= 0.2 * labels.total(), name
    longer = [
        (len(pair.answer_1) > len(pair.answer_2)) == (pair.label == 1)
        for pair in made.sets["lengths"]
    ]
    assert 0.4 < sum(longer) / len(longer) < 0.65
    texts = {text for pair in made.sets["verifier"] for text in (pair.answer_1, pair.answer_2)}
    assert len(texts) > 350, "a judge is not asked the same again and again"


def test_a_judge_of_requests_earns_and_loses_its_licence(tmp_path: Path) -> None:
    made, store = build(3, 600, "request"), Store(tmp_path)
    rubric = {"about": "request"}
    judge = KnownJudge(made, Knobs(accuracy=1.0))
    licence, _ = earn(judge, made, store=store, rubric=rubric)
    assert licence.power == "filter", licence.findings["in_the_way"]["filter"]
    path = licence_path(tmp_path, judge.identity)
    assert load(path, judge.without_money(), store=store) == licence
    swayed, _ = earn(KnownJudge(made, Knobs(longer=0.3)), made, store=store, rubric=rubric)
    assert "length gap" in swayed.findings["in_the_way"]["filter"]


def test_a_licence_of_answers_is_none_of_requests(tmp_path: Path) -> None:
    made, store = build(3, 60), Store(tmp_path)
    judge = KnownJudge(made, Knobs())
    earn(judge, made, store=store, rubric={"about": "request"})
    with pytest.raises(LicenceError, match="not those that follow from the seed"):
        load(licence_path(tmp_path, judge.identity), judge.without_money(), store=store)


@pytest.mark.slow
def test_the_command_examines_a_rubric_about_requests(tmp_path: Path) -> None:
    """The scripted judge calls long requests demanding: right for most, and swayed by length."""
    words = [
        "judge",
        "license",
        "--model",
        "scripted",
        "--rubric",
        "deita_complexity",
        "--fresh",
        "100",
    ]
    with ScriptedJudge() as server:
        told = treadle(*words, "--url", server.url, "--seed", "1", "--json", cwd=tmp_path)
        refused = treadle(*words, "--url", server.url, "--people", "people.csv", cwd=tmp_path)
    assert told.returncode == 3, told.stderr
    found = json.loads(told.stdout)["findings"]
    figures = {one["name"]: one for one in found["figures"]}
    assert found["power"] != "filter"
    assert figures["accuracy"]["value"] > 0.6
    assert figures["length gap"]["value"] > 0.3
    assert figures["robustness to repeated"]["state"] == "failed"
    assert set(found["families"]) == set(demand.LADDERS)
    assert refused.returncode == 2
    assert "--people: these hold answers" in refused.stderr.replace("\n", " ")
