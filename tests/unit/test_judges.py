"""Judges of pairs, answers and requests before a scripted model on loopback."""

import json
from pathlib import Path

import pytest

from judging import asked, endpoint_at, scripted
from treadle.errors import BudgetError, DataError, JudgeError, RecipeError
from treadle.judge import asking
from treadle.judge.figures.verdicts import UNSCORED
from treadle.judge.pairs import Item, Pair, Score
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.rubric import read_rubric
from treadle.judge.scoring import RubricJudge
from treadle.judge.tagging import TagJudge
from treadle.machinery.calls import Limits
from treadle.machinery.code import sources
from treadle.models.endpoint.fault_server import FaultServer

PAIRS = [
    Pair(f"p{i}", f"What is {i} + {i}?", str(2 * i if i % 2 else 2 * i + 1),
         str(2 * i + 1 if i % 2 else 2 * i), 1 if i % 2 else 2)
    for i in range(20)
]  # fmt: skip
GOLD = [
    {"name": p.name, "request": p.request, "answer_1": p.answer_1, "answer_2": p.answer_2,
     "label": p.label}
    for p in PAIRS
]  # fmt: skip
ITEMS = [Item(f"i{i}", f"Say {i}.", f"It is {i}.") for i in range(12)]
SCORES = [
    {"name": item.name, "request": item.request, "answer": item.answer, "score": 1 + i % 5}
    for i, item in enumerate(ITEMS)
]


def test_pairs_are_judged_in_both_orders_and_asked_once(tmp_path: Path) -> None:
    with scripted(tmp_path, GOLD) as endpoint:
        judge = PairwiseJudge(endpoint, "helpful", canary_share=0)
        verdicts = judge.compare(PAIRS)
        assert asked(tmp_path) == 40
        again = PairwiseJudge(endpoint, "helpful", canary_share=0).compare(PAIRS)
        assert asked(tmp_path) == 40
        judge.compare(PAIRS, sample=1)
        assert asked(tmp_path) == 80
    assert verdicts.pair == tuple(p.name for p in PAIRS)
    assert verdicts.first.tolist() == verdicts.second.tolist() == [p.label for p in PAIRS]
    assert again.settled.tolist() == verdicts.label.tolist()
    assert verdicts.length_1 is not None
    assert verdicts.length_1.tolist() == [len(p.answer_1) for p in PAIRS]
    assert verdicts.own is None


def test_a_judge_that_takes_the_first_says_one_then_two_and_settles_on_a_tie(
    tmp_path: Path,
) -> None:
    with scripted(tmp_path, GOLD, primacy=1.0) as endpoint:
        verdicts = PairwiseJudge(endpoint, canary_share=0).compare(PAIRS)
    assert set(verdicts.first.tolist()) == {1}
    assert set(verdicts.second.tolist()) == {2}
    assert set(verdicts.settled.tolist()) == {0}


def test_a_plain_rule_decides_what_needs_no_judge(tmp_path: Path) -> None:
    pairs = [
        Pair("shell", "2+2?", "4", "Thought process:", 1),
        Pair("empty", "2+2?", " \n", "5", 2),
        Pair("both", "2+2?", ":", "", 0),
        Pair("equal", "2+2?", "4\r\n", "4", None, own=1),
        Pair("long", "2+2?", "4", "x" * 10 * 2**20, 1, own=0),
    ]
    with scripted(tmp_path) as endpoint:
        judge = PairwiseJudge(endpoint)
        verdicts, rulings = judge.compare(pairs), judge.rulings(pairs)
        assert judge.canaries.shown == 0
        scorer = RubricJudge(endpoint, "alpagasus")
        compared = scorer.compare(pairs)
        scores = scorer.score([Item(p.name, p.request, p.answer_2) for p in pairs[:1] + pairs[4:]])
        empty = judge.compare([]), scorer.compare([]), scorer.score([])
    assert asked(tmp_path) == 0
    for found in (verdicts, compared):
        assert found.first.tolist() == [1, 2, 0, 0, UNSCORED]
        assert found.second.tolist() == [1, 2, 0, 0, UNSCORED]
        assert found.label.tolist() == [1, 2, 0, UNSCORED, 1]
        assert found.own is None
    assert [one.first.rule for one in rulings] == [
        "opener",
        "empty",
        "punctuation, empty",
        "equal",
        None,
    ]
    assert "10,485,765 characters" in (rulings[4].first.unscored or "")
    assert scores[0] == Score(0.0, parts={"rule": 1.0})
    assert scores[1].value is None
    assert "too long" in (scores[1].unscored or "")
    assert (len(empty[0]), len(empty[1]), empty[2]) == (0, 0, [])


def test_two_pairs_or_items_of_one_name_are_refused(tmp_path: Path) -> None:
    with scripted(tmp_path) as endpoint:
        for judge in (PairwiseJudge(endpoint), RubricJudge(endpoint, "alpagasus")):
            with pytest.raises(DataError, match="'p0' comes 2 times"):
                judge.compare([PAIRS[0], PAIRS[0]])
        with pytest.raises(DataError, match="'i0' comes 2 times"):
            TagJudge(endpoint).tag([ITEMS[0], ITEMS[0]])
    assert asked(tmp_path) == 0


def test_scores_are_read_and_the_higher_one_wins(tmp_path: Path) -> None:
    with scripted(tmp_path, SCORES) as endpoint:
        judge = RubricJudge(endpoint, "alpagasus")
        scores = judge.score(ITEMS)
        pair = Pair("x", ITEMS[0].request, ITEMS[0].answer, "No.")
        gold = [*SCORES, {"request": pair.request, "answer": "No.", "score": 4}]
        assert judge.canaries.shown == 3
        assert judge.canaries.share == 0
    assert [one.value for one in scores] == [1 + i % 5 for i in range(12)]
    with scripted(tmp_path, gold) as endpoint:
        verdicts = RubricJudge(endpoint, "alpagasus", canary_share=0).compare([pair])
    assert (verdicts.first[0], verdicts.second[0], verdicts.label[0]) == (2, 2, UNSCORED)


def test_an_expectation_comes_with_its_confidence(tmp_path: Path) -> None:
    with scripted(tmp_path, SCORES) as endpoint:
        scores = RubricJudge(endpoint, "deita_quality").score(ITEMS)
    values = [one.value for one in scores]
    weights = [2.718281828459045 ** -((n - 3) ** 2) for n in range(1, 7)]
    mean = sum(n * w for n, w in enumerate(weights, 1)) / sum(weights)
    assert values[2] == pytest.approx(mean)
    assert scores[2].confidence == pytest.approx(1 / sum(weights))
    assert values[0] is not None
    assert values[0] < mean < (values[4] or 0)


def test_the_complexity_of_a_request_is_asked_once_whatever_its_answers(tmp_path: Path) -> None:
    request = "Write a program that sorts words by their last letter, and prove that it is stable."
    items = [
        Item("a", request, "1"),
        Item("b", request, "2"),
        Item("c", "Hi", ""),
        Item("d", " ", "x"),
    ]
    with scripted(tmp_path) as endpoint:
        judge = RubricJudge(endpoint, "deita_complexity", canary_share=0)
        scores = judge.score(items)
        assert asked(tmp_path) == 2
        compared = judge.compare([Pair("two requests", "", "Hi", request, 2)])
        assert compared.first.tolist() == compared.second.tolist() == [2]
        assert asked(tmp_path) == 2, "these two were scored above"
        watched = RubricJudge(endpoint, "deita_complexity")
        watched.score(items)
        assert watched.canaries.shown == 3
        assert watched.canaries.passed == 0
    assert scores[0] == scores[1]
    assert scores[2].value is not None
    assert scores[0].value is not None
    assert scores[2].value < scores[0].value
    assert scores[3] == Score(1.0, parts={"rule": 1.0})


def test_dimensions_are_asked_line_by_line_and_averaged(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\nkind: score\ninstructions: Rate it.\nscale: {low: 1, high: 5}\n"
        "dimensions: {right: is it right, clear: is it clear}\ncanaries: none\n"
    )
    with scripted(tmp_path, SCORES) as endpoint:
        scores = RubricJudge(endpoint, str(path)).score(ITEMS[:2])
    assert scores[1] == Score(2.0, parts={"right": 2.0, "clear": 2.0})


def test_tags_come_in_one_spelling_with_the_code(tmp_path: Path) -> None:
    items = [Item("a", "Convert miles to kilometres", ""), Item("b", " ", "")]
    with scripted(tmp_path) as endpoint:
        tagged = TagJudge(endpoint).tag(items)
    assert tagged[0].tags == ("convert", "kilometres", "miles")
    assert tagged[1].tags == ()
    with scripted(tmp_path, persona="silent") as endpoint:
        assert TagJudge(endpoint).tag([Item("a", "Convert feet", "")])[0].tags is None
    with FaultServer(tmp_path) as server, endpoint_at(server.url, tmp_path) as endpoint:
        (other,) = TagJudge(endpoint).tag([Item("a", "Convert inches", "")])
    assert other.tags is None
    assert "code" in (other.unscored or "")


def test_a_reply_that_is_none_leaves_its_pair_unscored_with_a_reason(tmp_path: Path) -> None:
    with (
        FaultServer(tmp_path, plan=("400",) * 4) as server,
        endpoint_at(server.url, tmp_path) as endpoint,
    ):
        judge = PairwiseJudge(endpoint, canary_share=0)
        rulings = judge.rulings(PAIRS[:2])
        scores = RubricJudge(endpoint, "alpagasus", canary_share=0).score(ITEMS[:1])
    assert "refused" in (rulings[0].first.unscored or "")
    assert scores[0].value is None
    assert "refused" in (scores[0].unscored or "")
    with FaultServer(tmp_path) as server, endpoint_at(server.url, tmp_path) as endpoint:
        verdicts = PairwiseJudge(endpoint, canary_share=0).compare(PAIRS[2:4])
    assert verdicts.first.tolist() == [UNSCORED] * 2


def test_a_resumed_judge_asks_with_the_same_codes_and_needs_no_request(tmp_path: Path) -> None:
    with scripted(tmp_path, GOLD) as endpoint:
        before = PairwiseJudge(endpoint).compare(PAIRS)
        url = endpoint.address.url
    with endpoint_at(url, tmp_path, Limits(requests=0)) as endpoint:
        endpoint.session.limits = Limits(requests=0)
        judge = PairwiseJudge(endpoint)
        assert judge.compare(PAIRS).settled.tolist() == before.settled.tolist()
        with pytest.raises(BudgetError):
            judge.compare(PAIRS, sample=7)


def test_the_system_turn_is_the_same_for_all_rows_and_holds_nothing_of_them(tmp_path: Path) -> None:
    with scripted(tmp_path, GOLD) as endpoint:
        PairwiseJudge(endpoint).compare(PAIRS)
    bodies = [json.loads(line) for line in (tmp_path / "asked.txt").read_text().splitlines()]
    assert len({body["messages"][0]["content"] for body in bodies}) == 1
    codes = {body["messages"][1]["content"].split("\n")[0] for body in bodies}
    assert len(codes) == len(bodies)
    assert all(turn["role"] in ("system", "user") for body in bodies for turn in body["messages"])


def test_an_identity_changes_with_model_address_rubric_and_kind(tmp_path: Path) -> None:
    with scripted(tmp_path) as endpoint:
        one = PairwiseJudge(endpoint).identity
        assert one == PairwiseJudge(endpoint, read_rubric("helpful")).identity
        changed = read_rubric("helpful").model_copy(update={"instructions": "Which one?"})
        others = [
            PairwiseJudge(endpoint, changed).identity,
            RubricJudge(endpoint, "alpagasus").identity,
            TagJudge(endpoint).identity,
        ]
    assert one.url == endpoint.address.base
    assert one.model == "scripted"
    assert len({one.hash, *(other.hash for other in others)}) == 4


@pytest.mark.parametrize("name", ["pairwise", "scoring", "tagging"])
def test_an_identity_hashes_every_module_that_asks_or_reads(name: str) -> None:
    """What is imported and not hashed must not decide what is asked or how it is read."""
    elsewhere = {
        "treadle.judge", "treadle.judge.canaries", "treadle.judge.pairs", "treadle.judge.figures.verdicts",
        "treadle.judge.figures.proportions", f"treadle.judge.{name}",
    }  # fmt: skip
    files = {n for n, source in sources(f"treadle.judge.{name}").items() if source}
    found = {n for n in files if n.startswith("treadle.judge")}
    assert found - elsewhere <= set(asking.DECIDES)


def test_a_rubric_of_another_kind_is_refused_with_those_that_fit(tmp_path: Path) -> None:
    with scripted(tmp_path) as endpoint:
        with pytest.raises(RecipeError, match=r"alpagasus is of kind score, and pairwise.*helpful"):
            PairwiseJudge(endpoint, "alpagasus")
        with pytest.raises(RecipeError, match="score is needed"):
            RubricJudge(endpoint, "helpful")
        with pytest.raises(RecipeError, match="tags is needed"):
            TagJudge(endpoint, "helpful")
    with endpoint_at("http://127.0.0.1:9/v1", tmp_path, wire="anthropic") as endpoint:
        RubricJudge(endpoint, "alpagasus")
        with pytest.raises(RecipeError, match="log-probabilities"):
            RubricJudge(endpoint, "deita_quality")


def test_a_judge_that_takes_known_bad_answers_is_stopped(tmp_path: Path) -> None:
    with scripted(tmp_path, GOLD + SCORES, fooled=1.0) as endpoint:
        judge = PairwiseJudge(endpoint)
        with pytest.raises(JudgeError, match="3 of 3 canaries"):
            judge.compare(PAIRS)
        assert judge.canaries.share == 1
        with pytest.raises(JudgeError, match="nothing is paid twice"):
            RubricJudge(endpoint, "alpagasus").score(ITEMS)
        before = asked(tmp_path)
        PairwiseJudge(endpoint, canary_share=0).compare(PAIRS)
        assert asked(tmp_path) == before  # what it said of the rows is kept
