"""Panels of judges, and the best of several answers."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from judging import asked, endpoint_at, scripted
from treadle.errors import JudgeError, RecipeError
from treadle.judge.best_of import Best, Group, best_by_pairs, best_by_scores
from treadle.judge.figures.reliability import both_order_accuracy
from treadle.judge.figures.verdicts import UNSCORED
from treadle.judge.pairs import Pair
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.panel import Panel, majority
from treadle.judge.scoring import RubricJudge
from treadle.judge.scripted_judge import ScriptedJudge, write_gold

PAIRS = [
    Pair(f"p{i}", f"Question {i}", f"right {i}" if i % 2 else f"wrong {i}",
         f"wrong {i}" if i % 2 else f"right {i}", 1 if i % 2 else 2)
    for i in range(60)
]  # fmt: skip
GOLD = [
    {"name": p.name, "request": p.request, "answer_1": p.answer_1, "answer_2": p.answer_2,
     "label": p.label}
    for p in PAIRS
]  # fmt: skip


@contextlib.contextmanager
def seated(folder: Path, *settings: Mapping[str, Any]) -> Iterator[list[PairwiseJudge]]:
    """Judges with different knobs, each behind an address of its own."""
    write_gold(folder / "gold.jsonl", GOLD)
    with contextlib.ExitStack() as stack:
        judges = []
        for number, knobs in enumerate(settings):
            own = folder / str(number)
            own.mkdir()
            options: Any = {"gold": folder / "gold.jsonl", "seed": number, **knobs}
            server = stack.enter_context(ScriptedJudge(**options))
            endpoint = stack.enter_context(endpoint_at(server.url, own))
            judges.append(PairwiseJudge(endpoint, canary_share=0))
        yield judges


@pytest.mark.parametrize(
    ("votes", "said"),
    [([1, 1, 2], 1), ([2, 2, 2], 2), ([0, 0, 1], 0), ([1, 2, 0], 0), ([1, 2], 0), ([1, 1], 1),
     ([1, 1, UNSCORED], 1), ([1, 2, UNSCORED], 0), ([1, UNSCORED, UNSCORED], None),
     ([1, UNSCORED], None), ([UNSCORED] * 3, None), ([1, 1, 2, 2], 0), ([1, 1, 1, 2, 2], 1)],
)  # fmt: skip
def test_a_majority_is_more_than_half_of_those_that_were_read(
    votes: list[int], said: int | None
) -> None:
    assert majority(votes) == said


def test_three_judges_that_err_apart_are_right_more_often_than_each(tmp_path: Path) -> None:
    knobs = {"accuracy": 0.75}
    with seated(tmp_path, knobs, knobs, knobs) as judges:
        panel = Panel(judges)
        heard = panel.hear(PAIRS)
        identity = panel.identity
        assert identity == Panel(judges[::-1]).identity
        assert identity.hash != Panel(judges[:2]).identity.hash
    each = [both_order_accuracy(one).value for one in heard.members]
    expected = np.mean(np.sum([one.first == one.label for one in heard.members], axis=0) >= 2)
    assert both_order_accuracy(heard.majority).value == expected > max(each)
    assert 0 < heard.alpha < 0.5
    assert heard.majority.label.tolist() == [p.label for p in PAIRS]


def test_judges_that_agree_have_an_alpha_of_one_and_a_silent_one_does_not_vote(
    tmp_path: Path,
) -> None:
    with seated(tmp_path, {}, {}, {"persona": "silent"}) as judges:
        heard = Panel(judges).hear(PAIRS)
        assert len(Panel(judges).compare([])) == 0
        assert math.isnan(Panel(judges).hear([]).alpha)
    assert heard.alpha == 1
    assert heard.majority.settled.tolist() == [p.label for p in PAIRS]
    assert set(heard.members[2].first.tolist()) == {UNSCORED}


def test_a_panel_of_one_and_a_judge_that_votes_twice_are_refused(tmp_path: Path) -> None:
    with scripted(tmp_path, GOLD) as endpoint:
        judge = PairwiseJudge(endpoint)
        for judges in ([], [judge], [judge, PairwiseJudge(endpoint)]):
            with pytest.raises(RecipeError, match="at least two"):
                Panel(judges)


def test_a_member_that_lets_bad_answers_pass_ends_the_hearing(tmp_path: Path) -> None:
    with seated(tmp_path, {}, {"fooled": 1.0}) as judges:
        watched = [PairwiseJudge(judge.endpoint) for judge in judges]
        with pytest.raises(JudgeError):
            Panel(watched).compare(PAIRS)


SCORED = [
    {"request": f"Task {g}", "answer": f"answer {g}.{a}", "score": (g + 2 * a) % 5 + a / 10}
    for g in range(8)
    for a in range(4)
]
GROUPS = [Group(f"g{g}", f"Task {g}", tuple(f"answer {g}.{a}" for a in range(4))) for g in range(8)]


def test_the_best_by_scores_are_all_that_share_the_highest(tmp_path: Path) -> None:
    gold = [
        {"request": "Task", "answer": text, "score": score}
        for text, score in (("one", 3), ("two", 5), ("three", 5))
    ]
    groups = [
        Group("tie", "Task", ("one", "two", "three", "")),
        Group("shells", "Task", ("", ":")),
        Group("long", "Task", ("x" * 300_000,)),
        Group("none", "Task", ()),
    ]
    with scripted(tmp_path, gold) as endpoint:
        judge = RubricJudge(endpoint, "alpagasus", canary_share=0)
        found = best_by_scores(judge, groups)
    assert found == [Best((1, 2)), Best((0, 1)), Best(()), Best(())]


def test_the_best_answer_of_four_wins_its_knock_out_in_three_pairs(tmp_path: Path) -> None:
    gold = [
        {"request": group.request, "answer_1": one, "answer_2": other,
         "label": 1 if group.answers.index(one) == number % 4 else 2
         if group.answers.index(other) == number % 4 else 0}
        for number, group in enumerate(GROUPS)
        for one in group.answers for other in group.answers if one < other
    ]  # fmt: skip
    with scripted(tmp_path, gold) as endpoint:
        found = best_by_pairs(PairwiseJudge(endpoint, canary_share=0), GROUPS)
    assert [one.places for one in found] == [(number % 4,) for number in range(8)]
    assert {one.coins for one in found} == {1}  # the pair that the best one was not in
    assert asked(tmp_path) == 8 * 3 * 2


def test_coins_do_not_favour_a_place_and_do_not_hang_on_the_order_of_the_answers(
    tmp_path: Path,
) -> None:
    groups = [Group(f"g{g}", f"Task {g}", tuple(f"{g}.{a}" for a in range(4))) for g in range(200)]
    turned = [Group(one.name, one.request, one.answers[::-1]) for one in groups]
    with scripted(tmp_path) as endpoint:  # knows none of them: everything ties
        judge = PairwiseJudge(endpoint, canary_share=0)
        found = best_by_pairs(judge, groups)
        again = best_by_pairs(judge, turned)
    counts = np.bincount([one.places[0] for one in found], minlength=4)
    assert counts.min() > 25
    assert {one.coins for one in found} == {3}
    assert [3 - one.places[0] for one in again] == [one.places[0] for one in found]


def test_groups_of_none_one_and_three_answers_have_their_best(tmp_path: Path) -> None:
    groups = [
        Group("0", "T", ()), Group("1", "T", ("a",)), Group("3", "T", ("", "real", ":")),
        Group("same", "T", ("x", "x")),
    ]  # fmt: skip
    with scripted(tmp_path) as endpoint:
        found = best_by_pairs(PairwiseJudge(endpoint), groups)
    assert [one.places for one in found[:3]] == [(), (0,), (1,)]
    assert len(found[3].places) == 1  # either: they are the same
