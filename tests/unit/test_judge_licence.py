"""A licence says what a judge did, and whoever edits one is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from licensed import IDENTITY, Knobs, KnownJudge
from treadle.errors import BudgetError, LicenceError, RecipeError
from treadle.judge.benchmark import fresh
from treadle.judge.benchmark.own import own_pairs
from treadle.judge.benchmark.whole import Benchmark, build, own_tasks, with_given
from treadle.judge.labels.people import Label, People, content
from treadle.judge.licensing.licence import Licence, _seal, earn, licence_path, load
from treadle.judge.pairs import Item, Pair
from treadle.machinery.store import Store


def people() -> People:
    """Three people on 300 pairs; they follow what is right, one of them not always."""
    pairs, labels = [], []
    for i, one in enumerate(fresh.draw("people", 300, 9)):
        pair = replace(one.pair(one.right, one.wrong), label=None)
        pairs.append(pair)
        for who in ("ana", "ben", "cem"):
            value = 3 - one.label if who == "cem" and i % 10 == 0 else one.label
            labels.append(Label(content(pair), who, value, "2026-01-01"))
    return People(tuple(pairs), (), tuple(labels))


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    tasks = own_tasks(5, 600)
    replies = [one.task.right if i % 2 else one.task.wrong[1] for i, one in enumerate(tasks)]
    return with_given(build(5, 600), people=people(), own=own_pairs(tasks, replies))


def earned(
    benchmark: Benchmark, folder: Path, **knobs: float
) -> tuple[Licence, KnownJudge, Store, Path]:
    store, judge = Store(folder), KnownJudge(benchmark, Knobs(**knobs))  # type: ignore[arg-type]
    licence, _ = earn(judge, benchmark, store=store, by="ana")
    return licence, judge, store, licence_path(folder, judge.identity)


def in_the_way(licence: Licence, power: str) -> list[str]:
    names: list[str] = licence.findings["in_the_way"][power]
    return names


def test_a_clean_judge_may_gate_and_its_licence_loads(benchmark: Benchmark, tmp_path: Path) -> None:
    licence, judge, store, path = earned(benchmark, tmp_path, sure=1.0, accuracy=0.95)
    assert licence.power == "gate", in_the_way(licence, "gate")
    assert load(path, judge.without_money(), store=store) == licence
    assert licence.findings["people"]["kappa"]["value"] > 0.8
    assert licence.findings["people"]["ceiling"]["alpha"] > 0.8
    assert sum(one["items"] for one in licence.findings["calibration"]) > 500


BAD = {
    "right": ({"accuracy": 0.68}, "accuracy", "filter"),
    "place": ({"primacy": 0.2}, "position bias", "break_ties"),
    "length": ({"longer": 0.25}, "length gap", "filter"),
    "own": ({"own": 0.25}, "self-preference", "gate"),
    "shells": ({"fooled": 0.05}, "shells", "break_ties"),
    "noise": ({"noise": 0.3}, "test-retest", "filter"),
    "temptation": ({"tempted": 0.15}, "robustness to injection", "filter"),
    "silence": ({"silent": 0.4}, "accuracy", "filter"),
}


@pytest.mark.parametrize("knob", BAD)
def test_each_bad_knob_keeps_its_power_away(
    knob: str, benchmark: Benchmark, tmp_path: Path
) -> None:
    knobs, bar, power = BAD[knob]
    licence, judge, store, path = earned(benchmark, tmp_path, **knobs)
    assert bar in in_the_way(licence, power)
    assert licence.power != "gate"
    assert load(path, judge.without_money(), store=store).power == licence.power


def edit(path: Path, change: Callable[[dict[str, Any]], None], *, reseal: bool) -> None:
    found = json.loads(path.read_text())
    change(found)
    if reseal:
        del found["seal"]
        found["seal"] = _seal(found)
    path.write_text(json.dumps(found))


def raise_figure(found: dict[str, Any]) -> None:
    found["findings"]["figures"][0]["value"] += 0.001


def raise_power(found: dict[str, Any]) -> None:
    found["findings"]["power"] = "gate"


def lower_bar(found: dict[str, Any]) -> None:
    found["findings"]["figures"][0]["least"] = 0.1


def pass_bar(found: dict[str, Any]) -> None:
    for one in found["findings"]["figures"]:
        one["state"] = "passed"


def other_seed(found: dict[str, Any]) -> None:
    found["benchmark"]["seed"] += 1


def hide_pairs(found: dict[str, Any]) -> None:
    found["unanswered"]["pairs"] = [content(p) for p in build(5, 600).sets["verifier"]]


EDITS = (raise_figure, raise_power, lower_bar, pass_bar, other_seed, hide_pairs)


@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("reseal", [False, True])
def test_an_edited_licence_is_refused_whether_or_not_its_seal_was_made_anew(
    change: Callable[[dict[str, Any]], None], reseal: bool, benchmark: Benchmark, tmp_path: Path
) -> None:
    licence, judge, store, path = earned(benchmark, tmp_path, accuracy=0.7)
    assert licence.power != "gate"
    edit(path, change, reseal=reseal)
    with pytest.raises(LicenceError, match=r"edited|another store"):
        load(path, judge.without_money(), store=store)


def test_pairs_that_a_judge_got_wrong_cannot_be_left_out(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    _, judge, store, path = earned(benchmark, tmp_path, accuracy=0.7)
    right = tuple(p for p in benchmark.sets["verifier"] if judge.book[content(p), 0][0] == p.label)
    kind = replace(benchmark, sets={**benchmark.sets, "verifier": right})
    flattering, _ = earn(judge, kind, store=store, by="ana")
    accuracy = next(f for f in flattering.findings["figures"] if f["name"] == "accuracy")
    assert accuracy["value"] == 1.0
    with pytest.raises(LicenceError, match="not those that follow from the seed"):
        load(path, judge.without_money(), store=store)


def test_a_signature_cannot_be_changed_without_the_seal(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    _, judge, store, path = earned(benchmark, tmp_path)
    edit(path, lambda found: found["signed"].update(by="somebody else"), reseal=False)
    with pytest.raises(LicenceError, match="edited after it was signed"):
        load(path, judge.without_money(), store=store)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"model": "another"}, "the model changed"),
        ({"url": "http://127.0.0.1:8/v1"}, "the address changed"),
        ({"rubric_hash": "x"}, "the content of the rubric changed"),
        ({"prompt": "x"}, "the prompt, or the code that asks and reads changed"),
    ],
)
def test_a_licence_of_another_judge_is_refused(
    changed: dict[str, str], what: str, benchmark: Benchmark, tmp_path: Path
) -> None:
    _, judge, store, path = earned(benchmark, tmp_path)
    other = replace(judge.without_money(), identity=replace(IDENTITY, **changed))
    with pytest.raises(LicenceError, match=what):
        load(path, other, store=store)
    edit(path, lambda found: found["identity"].update(changed), reseal=True)
    with pytest.raises(LicenceError, match="not in the call book"):
        load(path, replace(other, book={}), store=store)


def test_without_its_replies_or_its_pairs_a_licence_is_worth_nothing(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    licence, judge, store, path = earned(benchmark, tmp_path)
    with pytest.raises(LicenceError, match="not in the call book"):
        load(path, replace(judge.without_money(), book={}), store=store)
    blob = store.path(licence.benchmark["pairs"])
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(LicenceError, match="not in the store"):
        load(path, judge.without_money(), store=store)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"kind": "treadle judge licence, form 1"}', "null", "\x00"]
)
def test_what_is_no_licence_is_refused(text: str, benchmark: Benchmark, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(LicenceError, match="no licence is here"):
        load(path, KnownJudge(benchmark), store=Store(tmp_path))
    path.write_text(text)
    with pytest.raises(LicenceError, match="no licence of ours"):
        load(path, KnownJudge(benchmark), store=Store(tmp_path))


def test_an_examination_that_stopped_goes_on_and_asks_nothing_twice(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    whole = KnownJudge(benchmark)
    earn(whole, benchmark, store=Store(tmp_path / "whole"))
    judge = KnownJudge(benchmark, dies_after=1_000)
    with pytest.raises(BudgetError):
        earn(judge, benchmark, store=Store(tmp_path / "a"))
    assert judge.asked == 1_000
    judge.dies_after = None
    earn(judge, benchmark, store=Store(tmp_path / "a"))
    assert judge.asked == whole.asked


def test_replies_that_never_came_are_no_ground_to_refuse_a_licence(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    licence, judge, store, path = earned(benchmark, tmp_path, silent=0.02)
    assert len(licence.unanswered["pairs"]) > 30
    assert load(path, judge.without_money(), store=store) == licence


def test_scores_of_people_are_compared_by_rank(tmp_path: Path) -> None:
    items = tuple(Item(f"i{i}", "Say something.", f"answer {i}") for i in range(60))
    labels = [
        Label(content(item), who, float(i + (who == "ben") * (i % 3)), "2026-01-01")
        for i, item in enumerate(items)
        for who in ("ana", "ben")
    ]
    scored = with_given(build(1, 40), people=People((), items, tuple(labels)))
    judge = KnownJudge(scored, scores={f"answer {i}": i**2 for i in range(58)})
    licence, _ = earn(judge, scored, store=Store(tmp_path), scorer=judge)
    found = licence.findings["people"]
    assert found["compared"] == 58
    assert found["spearman"] > 0.99
    assert found["ceiling"]["alpha"] > 0.99
    path = licence_path(tmp_path, judge.identity)
    silent = replace(judge.without_money())
    assert load(path, silent, store=Store(tmp_path), scorer=silent) == licence


def test_too_small_a_benchmark_is_refused_and_a_small_one_says_what_is_missing(
    tmp_path: Path,
) -> None:
    with pytest.raises(RecipeError, match="at least 40"):
        build(1, 10)
    small = build(1, 40)
    licence, _, _, _ = earned(small, tmp_path, accuracy=1.0)
    retest = next(f for f in licence.findings["figures"] if f["name"] == "test-retest")
    assert (retest["state"], retest["value"], retest["items"]) == ("failed", 1.0, 40)
    assert 40 <= retest["more_items"] <= 100  # 73 in all, by Wilson's interval


def test_own_answers_are_paired_and_what_is_no_answer_is_left_out() -> None:
    tasks = own_tasks(1, 40)[:4]
    replies = [
        tasks[0].task.right + ".", tasks[1].task.wrong[0], f"It is {tasks[2].task.right}, surely.", None
    ]  # fmt: skip
    pairs = own_pairs(tasks, replies)
    assert len(pairs) == 2
    assert pairs[0].own == pairs[0].label
    assert pairs[1].own == 3 - (pairs[1].label or 0)
    assert isinstance(pairs[0], Pair)
