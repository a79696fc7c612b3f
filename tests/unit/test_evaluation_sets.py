"""Several evaluation sets: the figures of each beside those of all together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import treadle
from treadle.data.verdict import by_set
from turns import QUICK, records, write_lines, write_turn

SETS = "evaluate: {easy: heldout.jsonl, hard: other.jsonl, lone: one.jsonl}"
RECIPE = QUICK.replace("evaluate: heldout.jsonl", SETS).replace("seeds: 1", "seeds: 2")
COMPARE = """\
compare: {methods: [k_center], keep: [30%], controls: [], length_matched: false}
"""
SIZES = {"easy": 30, "hard": 20, "lone": 1}


def write_sets(folder: Path) -> Path:
    recipe = write_turn(folder, RECIPE + COMPARE, rows=60)
    write_lines(folder / "other.jsonl", records(20, seed=3))
    write_lines(folder / "one.jsonl", records(1, seed=4))
    return recipe


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compared")
    treadle.compare(write_sets(place), out=place / "runs" / "x", progress=False)
    return place / "runs" / "x"


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("turned")
    treadle.run(write_sets(place), out=place / "runs" / "x", progress=False)
    return place / "runs" / "x"


def test_an_item_belongs_to_the_set_that_its_name_begins_with() -> None:
    names = ["b:2", "a:1", "b: c:3", "a:4"]
    parts = by_set(pl.DataFrame({"item": names, "score": [1.0, 2.0, 3.0, 4.0]}))
    assert {name: part["score"].to_list() for name, part in parts.items()} == {
        "a": [2.0, 4.0],
        "b": [1.0],
        "b: c": [3.0],
    }


def of_set(folder: Path, name: str) -> pl.DataFrame:
    results = pl.read_parquet(folder / "results.parquet")
    return results.filter(pl.col("item").str.starts_with(f"{name}:")).sort("seed", "item")


def test_a_comparison_shows_each_set_as_if_it_were_alone(compared: Path) -> None:
    table: dict[str, Any] = json.loads((compared / "comparison.json").read_text())
    assert table["sets"] == SIZES
    assert table["items"] == 51
    for line in table["cells"]:
        assert set(line["sets"]) == set(SIZES)
        together = sum(line["sets"][name]["mean"] * n for name, n in SIZES.items()) / 51
        assert together == pytest.approx(line["mean"])
    line = next(c for c in table["cells"] if c["method"] == "k_center")
    for name in ("easy", "hard"):
        results, one = of_set(compared, name), line["sets"][name]
        mine = results.filter(arm=line["name"])
        random = results.filter(pl.col("arm").str.starts_with("random"))
        assert mine["item"].to_list() == random["item"].to_list()
        assert one["mean"] == pytest.approx(mine["value"].mean())
        assert one["difference"] == pytest.approx((mine["score"] - random["score"]).mean())
        assert one["low"] < one["difference"] < one["high"]
    assert line["sets"]["easy"]["difference"] != line["sets"]["hard"]["difference"]


def test_a_set_of_one_item_has_a_mean_and_no_comparison(compared: Path) -> None:
    table = json.loads((compared / "comparison.json").read_text())
    line = next(c for c in table["cells"] if c["method"] == "k_center")
    assert np.isfinite(line["sets"]["lone"]["mean"])
    assert line["sets"]["lone"]["difference"] is None


def test_file_and_page_of_a_comparison_hold_every_set(compared: Path) -> None:
    lines = pl.read_csv(compared / "comparison_by_set.csv")
    table = json.loads((compared / "comparison.json").read_text())
    assert lines.height == 3 * len(table["cells"])
    one = lines.filter(method="k_center", set="hard")
    line = next(c for c in table["cells"] if c["method"] == "k_center")
    assert one["difference"].item() == pytest.approx(line["sets"]["hard"]["difference"])
    page = (compared / "report.html").read_text()
    assert "Each evaluation set" in page
    assert "hard: 20 items" in page
    assert "lone: 1 item" in page


def test_a_run_shows_each_set_and_is_judged_by_all(turned: Path) -> None:
    found = json.loads((turned / "by_set.json").read_text())
    assert {name: one["items"] for name, one in found.items()} == SIZES
    assert found["lone"]["comparisons"] == []
    verdict = json.loads((turned / "verdict.json").read_text())
    whole = {c["against"]: c for c in verdict["comparisons"]}
    assert {c["items"] for c in whole.values()} == {51}
    for name in ("easy", "hard"):
        results = of_set(turned, name)
        mine = results.filter(arm="selected")
        for one in found[name]["comparisons"]:
            assert one["items"] == SIZES[name]
            if one["against"] == "random":
                other = results.filter(arm="random")
                assert one["effect"] == pytest.approx((mine["score"] - other["score"]).mean())
                assert one["effect"] != whole["random"]["effect"]
    lines = pl.read_csv(turned / "by_set.csv")
    assert set(lines["set"]) == {"easy", "hard"}
    assert set(lines["against"]) == set(whole)
    easy = of_set(turned, "easy").filter(arm="selected")["value"].mean()
    assert lines.filter(set="easy")["mean_selected"].to_list() == pytest.approx([easy] * len(whole))
    page = (turned / "report.html").read_text()
    assert "Each evaluation set" in page
    assert "hard: 20 items" in page


@pytest.mark.slow
def test_one_set_is_not_told_twice(tmp_path: Path) -> None:
    recipe = write_turn(tmp_path, QUICK + COMPARE, rows=40)
    run = treadle.run(recipe, out=tmp_path / "runs" / "x", progress=False)
    assert not (run.path / "by_set.json").exists()
    assert "Each evaluation set" not in (run.path / "report.html").read_text()
    found = treadle.compare(recipe, out=tmp_path / "runs" / "y", progress=False)
    assert "sets" not in found["cells"][0]
    assert not (tmp_path / "runs" / "y" / "comparison_by_set.csv").exists()
