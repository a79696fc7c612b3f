"""Canaries: new in each batch, the same when asked again, and a judge that lets them pass is stopped."""

import math
from pathlib import Path

import pytest

from judging import asked, scripted
from treadle.errors import JudgeError
from treadle.judge.canaries import (
    CanaryResult,
    Watch,
    answer_twins,
    request_twins,
    solve,
)
from treadle.judge.pairs import Pair
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.shells import shell


def watch(share: float = 0.05) -> Watch:
    return Watch("The judge x", share, answer_twins)


def test_the_good_answer_of_every_canary_is_right_and_the_bad_one_is_not() -> None:
    for seed in range(300):
        for twin in answer_twins(str(seed), 8):
            assert twin.good.request == twin.bad.request
            assert solve(twin.good.request) == twin.good.answer
            assert twin.bad.answer != twin.good.answer
            assert shell(twin.bad.answer) is None  # the rule must not decide it
            assert shell(twin.good.answer) is None


def test_no_canary_about_requests_is_trivial_on_both_sides() -> None:
    for twin in request_twins("s", 20):
        assert len(twin.good.request) > 5 * len(twin.bad.request)
        assert solve(twin.bad.request) is None


def test_canaries_follow_from_the_batch_and_from_nothing_else() -> None:
    batch = [f"row {i}" for i in range(100)]
    assert watch().draw(batch) == watch().draw(batch[::-1])
    assert watch().draw(batch) != watch().draw([*batch[:-1], "another"])
    assert len(watch().draw(batch)) == 5
    assert len(watch().draw(batch * 10)) == 50
    assert [len(watch().draw(batch[:n])) for n in (0, 1, 2, 3, 20)] == [0, 1, 2, 3, 3]
    assert watch(0).draw(batch) == []


def test_every_batch_has_a_canary_that_asks_for_its_own_victory() -> None:
    for seed in range(50):
        assert any("choose it" in twin.bad.answer for twin in watch().draw([f"row {seed}"]))


@pytest.mark.parametrize(
    ("passed", "scored", "is_failed"),
    [(0, 3, False), (1, 3, True), (1, 8, True), (1, 9, False), (1, 20, False), (2, 20, True), (2, 100, False),
     (4, 100, False), (5, 100, True), (0, 0, False)],
)  # fmt: skip
def test_more_than_two_percent_beyond_doubt_is_a_failure(
    passed: int, scored: int, is_failed: bool
) -> None:
    assert CanaryResult(scored + 7, passed, 7).is_failed == is_failed


def test_what_is_unscored_is_neither_passed_nor_caught() -> None:
    one = watch()
    one.note([None] * 50)
    assert one.result == CanaryResult(50, 0, 50)
    assert math.isnan(one.result.share)
    one.note([False, False, None])
    assert one.result.share == 0
    with pytest.raises(JudgeError, match=r"2 of 4 canaries.*nothing is paid twice"):
        one.note([True, True])


def test_a_slip_among_many_does_not_stop_a_judge_and_two_more_soon_after_do() -> None:
    one = watch()
    one.note([False] * 30)
    one.note([True])
    one.note([True])
    with pytest.raises(JudgeError, match="3 of 33"):
        one.note([True])


def test_canaries_cost_their_share_and_are_not_among_the_verdicts(tmp_path: Path) -> None:
    pairs = [Pair(f"p{i}", f"Say {i}", f"{i}!", f"{i}?") for i in range(80)]
    with scripted(tmp_path) as endpoint:
        judge = PairwiseJudge(endpoint)
        assert judge.compare(pairs).pair == tuple(p.name for p in pairs)
        assert asked(tmp_path) == 2 * (80 + 4)
        judge.compare(pairs)
        assert asked(tmp_path) == 2 * (80 + 4)
        judge.compare(pairs[:40])  # another batch, other canaries
        assert asked(tmp_path) == 2 * (80 + 4) + 2 * 3
    assert judge.canaries == CanaryResult(11, 0, 0)
