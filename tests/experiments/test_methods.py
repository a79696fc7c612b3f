"""The lists of the experiments name every measure and selector that treadle has, and call them rightly."""

import json
from pathlib import Path

import polars as pl
import pytest

from concordance import Interval
from methods import LEFT_OUT, METHODS, METHODS_LEFT_OUT, SCORES, scores_of, selections, with_columns
from planting import pair
from tables import Tables, markdown
from treadle import Pool
from treadle import op as registry


def test_every_measure_and_selector_appears_or_is_left_out_with_a_reason() -> None:
    def own(role: str) -> set[str]:  # other tests of this process may have registered ops of theirs
        ops = registry.ops(role)
        return {op.name for op in ops if op.factory.__module__.startswith("treadle.")}

    measures = own("measure")
    assert measures == {score.measure for score in SCORES} | LEFT_OUT.keys()
    selectors = {method.selector for method in METHODS}
    assert own("select") == selectors | METHODS_LEFT_OUT.keys()
    assert not selectors & METHODS_LEFT_OUT.keys()
    assert len({method.label for method in METHODS}) == len(METHODS)
    assert len({score.label for score in SCORES}) == len(SCORES)


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.label)
def test_a_score_binds_and_says_rightly_whether_it_needs_the_student(score) -> None:
    known = {op.name: op for op in registry.ops("measure")}

    def roles(name: str, options) -> set[str]:
        bound = known[name].bind(options)
        return set(bound.models).union(*(roles(need, {}) for need in bound.needs))

    asks = "student" in roles(score.measure, score.options) and score.measure != "length"
    assert asks == score.needs_student
    assert score.needs_student or not score.costly


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
def test_a_method_binds_and_names_what_it_reads(method) -> None:
    bound = registry.get("select", method.selector).bind(method.options)
    read = {
        need for need in (*bound.needs, *bound.target) if need not in ("words", "length", "group")
    }
    read -= {need for need in read if need.startswith("hashed_ngrams")}
    assert read - {"gradient_plain"} == set(method.reads)
    assert (method.family == "target") == bool(bound.target)
    assert method.draws == bound.draws or method.selector == "random"


def test_measured_columns_become_the_users_own_and_selectors_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # finished work is kept in `runs/` of the folder one is in
    pool = Pool.of(pair(f"question {i}", "word " * (i + 1)) for i in range(6))
    frame = scores_of(pool, [SCORES[1]], progress=False)
    assert sorted(frame["length_words"].to_list()) == [1, 2, 3, 4, 5, 6]
    own = frame.select("id", mine=-pl.col("length_words"))
    (method,) = (one for one in METHODS if one.label == "top nll")
    by_mine = type(method)("mine", "top", {"by": "mine"}, "score", ("mine",))
    (chosen,) = selections(with_columns(pool, own), by_mine, 2)
    short = frame.sort("length_words")["id"].to_list()[:2]
    assert chosen.ids == short


def test_tables_are_written_as_json_and_markdown(tmp_path: Path, capsys) -> None:
    tables = Tables(tmp_path / "out", {"rows": 3})
    row = {"score": "nll", "AUC": Interval(0.51234, 0.4, 0.6), "lift": float("nan"), "p": 2e-5}
    tables.put("Scores", [row, {"score": "ifd"}], "A note.")
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["about"] == {"rows": 3}
    assert told["tables"]["Scores"][0] == {
        "score": "nll", "AUC": [0.51234, 0.4, 0.6], "lift": None, "p": 2e-5,
    }  # fmt: skip
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "| nll | 0.512 (0.400 to 0.600) | – | 2e-05 |" in text
    assert "| ifd | – | – | – |" in text
    assert markdown([]) == ""
    assert "Scores: 2 lines" in capsys.readouterr().out
