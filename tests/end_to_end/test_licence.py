"""The licence over HTTP: a scripted judge with knobs is examined by the command line as any model would be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from command_line import treadle
from judging import asked, endpoint_at
from treadle.errors import LicenceError
from treadle.judge.benchmark import fresh
from treadle.judge.benchmark.whole import build
from treadle.judge.licensing import checking
from treadle.judge.licensing.licence import _seal
from treadle.judge.model import JudgeModel
from treadle.judge.pairs import Pair
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.scripted_judge import ScriptedJudge, write_gold

SEED, SIZE = 5, 200


def own() -> list[Pair]:
    """Pairs of which the judge wrote one answer, wrong as often as right."""
    drawn = fresh.draw("theirs", 160, 1)
    return [
        replace(one.pair(one.right, one.wrong), own=one.label if i % 2 else 3 - one.label)
        for i, one in enumerate(drawn)
    ]


def people() -> list[Pair]:
    return [one.pair(one.right, one.wrong) for one in fresh.draw("people", 100, 2)]


def line(pair: Pair, **more: Any) -> dict[str, Any]:
    return {
        "name": pair.name, "request": pair.request, "answer_1": pair.answer_1,
        "answer_2": pair.answer_2, "label": pair.label, "own": pair.own, **more,
    }  # fmt: skip


def prepare(folder: Path, shells_fooled: float = 0.0) -> None:
    """Write what the judge knows, and the user's files. It ties what it does not know: most shells."""
    made = build(SEED, SIZE)
    gold = [line(p) for name, pairs in made.sets.items() if name != "shells" for p in pairs]
    shells = made.sets["shells"]
    fooled = shells[: round(shells_fooled * len(shells))]
    gold += [line(pair, label=3 - (pair.label or 0)) for pair in fooled]
    write_gold(folder / "gold.jsonl", [*gold, *map(line, own()), *map(line, people())])
    texts = ("request", "answer_1", "answer_2")
    given = [{k: line(p)[k] for k in (*texts, "label", "own")} for p in own()]
    said = [
        {**{k: line(p)[k] for k in texts}, "label": p.label, "annotator": who}
        for p in people()
        for who in ("ana", "ben")
    ]
    (folder / "mine.jsonl").write_text("".join(json.dumps(x) + "\n" for x in given))
    (folder / "people.jsonl").write_text("".join(json.dumps(x) + "\n" for x in said))


def words(url: str, *more: str) -> list[str]:
    return [
        "judge", "license", "--url", url, "--model", "scripted", "--fresh", str(SIZE), "--seed",
        str(SEED), "--no-own", "--pairs", "mine.jsonl", "--people", "people.jsonl", "--store", "store",
        "--json", *more,
    ]  # fmt: skip


def figures(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found["findings"]["figures"]}


@pytest.mark.slow
def test_a_clean_judge_may_gate_is_required_of_and_loses_it_with_any_edit(tmp_path: Path) -> None:
    prepare(tmp_path)
    with ScriptedJudge(gold=tmp_path / "gold.jsonl", log=tmp_path / "asked.txt") as server:
        told = treadle(*words(server.url, "--out", "out"), cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        found = json.loads(told.stdout)
        assert found["findings"]["power"] == "gate", found["findings"]["in_the_way"]
        assert found["findings"]["people"]["kappa"]["value"] == 1
        assert "May gate" in (tmp_path / "out/report.html").read_text()
        before = asked(tmp_path)
        again = treadle(*words(server.url), cwd=tmp_path)
        assert figures(json.loads(again.stdout)) == figures(found)
        assert asked(tmp_path) == before  # everything came from the call book

        path = next((tmp_path / "store/licences").glob("*.json"))
        assert (tmp_path / "out/licence.json").read_bytes() != b""
        store = tmp_path / "store"
        with endpoint_at(server.url, store) as endpoint:
            judge, model = PairwiseJudge(endpoint), JudgeModel(endpoint, store / "licences")
            model.require(judge.identity, "gate")
            other = replace(judge.identity, rubric_hash="another")
            with pytest.raises(LicenceError, match="has no licence here"):
                model.require(other, "break_ties")
            path.with_name(f"{other.hash}.json").write_bytes(path.read_bytes())
            with pytest.raises(LicenceError, match="another judge"):
                model.require(other, "break_ties")
            with pytest.raises(LicenceError, match="has no licence here"):
                model.require(replace(judge.identity, model="another"), "filter")
            refuse_edits(path, endpoint, judge)
        assert asked(tmp_path) == before  # a check spends nothing


def refuse_edits(path: Path, endpoint: Any, judge: PairwiseJudge) -> None:
    """Whatever is changed, sealed anew or not, is noticed: also by a judge that was licensed before."""
    good = path.read_text()

    def edited(change: str, new: Any, *where: str) -> None:
        found = json.loads(good)
        part = found
        for key in where:
            part = part[key]
        part[change] = new
        for reseal in (False, True):
            if reseal:
                del found["seal"]
                found["seal"] = _seal(found)
            path.write_text(json.dumps(found))
            with pytest.raises(LicenceError):
                checking.require(endpoint, judge.identity, "filter", path.parents[1])

    edited("power", "filter", "findings")
    edited("figures", json.loads(good)["findings"]["figures"][1:], "findings")
    edited("model", "another", "identity")
    edited("seed", 6, "benchmark")
    edited("pairs", json.loads(good)["benchmark"]["labels"], "benchmark")
    edited("instructions", "Take the longer one.", "rubric")
    path.write_text(good)
    checking.require(endpoint, judge.identity, "filter", path.parents[1])


BAD: dict[str, tuple[dict[str, float], str, str]] = {
    "position": ({"primacy": 0.3}, "position bias", "break_ties"),
    "length": ({"longer": 0.3}, "length gap", "filter"),
    "self-preference": ({"own": 0.3}, "self-preference", "gate"),
    "accuracy": ({"accuracy": 0.65}, "accuracy", "filter"),
    "noise": ({"noise": 0.3}, "test-retest", "filter"),
    "shells": ({}, "shells", "break_ties"),
}


@pytest.mark.slow
@pytest.mark.parametrize("knob", BAD)
def test_each_bad_knob_is_refused_by_its_bar(knob: str, tmp_path: Path) -> None:
    knobs, bar, power = BAD[knob]
    prepare(tmp_path, shells_fooled=0.1 if knob == "shells" else 0.0)
    with ScriptedJudge(gold=tmp_path / "gold.jsonl", **knobs) as server:  # type: ignore[arg-type]
        told = treadle(*words(server.url), cwd=tmp_path)
    found = json.loads(told.stdout)
    assert bar in found["findings"]["in_the_way"][power]
    assert found["findings"]["power"] != "gate"
    assert told.returncode == (0 if found["findings"]["power"] == "filter" else 3)


@pytest.mark.slow
def test_an_examination_that_is_killed_goes_on_and_pays_for_no_reply_twice(tmp_path: Path) -> None:
    prepare(tmp_path)
    log = tmp_path / "asked.txt"
    with ScriptedJudge(gold=tmp_path / "gold.jsonl", log=log) as server:
        command = [
            word for word in words(server.url, "--concurrency", "8") if word not in ("--seed", str(SEED))
        ]  # fmt: skip
        start = "from treadle.cli import main; main()"
        process = subprocess.Popen([sys.executable, "-c", start, *command], cwd=tmp_path)
        while asked(tmp_path) < 600 and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() is None
        process.kill()
        process.wait()
        killed_at = asked(tmp_path)
        told = treadle(*command, cwd=tmp_path)
    assert told.returncode in (0, 3), told.stderr
    # Without --seed each examination draws a new one; this one went on with that of the killed one.
    bodies = Counter(log.read_bytes().splitlines())
    twice = sum(count - 1 for count in bodies.values())
    assert twice <= 8, (twice, killed_at)  # what was in flight when it died
    assert len(bodies) > 3_000
