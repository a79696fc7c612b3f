"""Measures that read the whole pool first, and selectors that look for rows like a target's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import treadle
from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.selection import Budget
from treadle.errors import RecipeError
from treadle.flywheel.arms import choose
from treadle.flywheel.features import measure_pool
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store
from turns import QUICK, RECIPE, records, write_lines, write_turn

PLUGIN = '''"""A measure of how far a row's length is from the mean, and a selector of rows like a target."""
import json
import polars as pl
from treadle.data.selection import Selection
from treadle.op import measure, select

def mean(rows, options, context):
    return json.dumps(rows["length_words"].mean()).encode()

@measure(reference="a test", cost="none", needs=("length",), fit=mean)
def oddness():
    def run(batch, context):
        middle = json.loads(context.fitted)
        return batch.select((pl.col("length_words") - middle).abs().alias("oddness"))
    return run

@select(reference="a test", cost="none", needs=("oddness",), target=("oddness",))
def alike():
    def run(rows, budget, context):
        rows = rows.sort("id")
        wanted = context.target_rows["oddness"].mean()
        order = rows.with_row_index().sort((pl.col("oddness") - wanted).abs(), "id")["index"]
        chosen = budget.take(order.to_list(), rows["length_total"].to_numpy())
        return Selection.of(rows, chosen, f"near {wanted:g}")
    return run
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "odd.py"
    path.write_text(PLUGIN, encoding="utf-8")
    registry.load_plugin(path)
    yield path
    registry._REGISTRY.pop(("measure", "oddness"))
    registry._REGISTRY.pop(("select", "alike"))


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    loaded = {"student": models.load("scripted")}
    yield Context(models=loaded, engine=LocalEngine(Store(tmp_path / "store"), ledger))
    ledger.close()


def pool_of(*words: int) -> Pool:
    return Pool.of(
        Row("chat", (Message("user", f"q{i}"), Message("assistant", "w " * n, trains=True)))
        for i, n in enumerate(words)
    )


def oddness(found: pl.DataFrame) -> list[float]:
    return sorted(found["oddness"].to_list())


def test_a_fitted_measure_reads_the_whole_pool_first(plugin: Path, context: Context) -> None:
    found = measure_pool(pool_of(1, 2, 9), ["oddness"], {}, context)
    assert oddness(found.frame) == [2.0, 3.0, 5.0]


def test_a_pool_of_many_shards_is_fitted_as_a_whole(
    plugin: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = list(range(1, 101))
    monkeypatch.setattr(Pool.shards, "__defaults__", (10,))
    pool = pool_of(*lengths)
    assert len(list(pool.content.shards())) > 4
    found = measure_pool(pool, ["oddness"], {}, context)
    assert oddness(found.frame) == sorted(abs(n - 50.5) for n in lengths)


def test_target_rows_are_measured_by_the_yardstick_of_the_pool(
    plugin: Path, context: Context
) -> None:
    found = measure_pool(pool_of(4), ["oddness"], {}, context, fitted_on=pool_of(1, 2, 9))
    assert oddness(found.frame) == [0.0]
    assert oddness(measure_pool(pool_of(6), ["oddness"], {}, context).frame) == [0.0]


def test_another_pool_is_fitted_anew_and_the_same_one_is_not(
    plugin: Path, context: Context
) -> None:
    assert context.engine is not None
    ledger = context.engine.ledger  # type: ignore[attr-defined]

    def fits() -> int:
        return sum(c["tasks"] for c in ledger.costs() if c["stage"] == "measure.oddness.fit")

    measure_pool(pool_of(1, 2, 9), ["oddness"], {}, context)
    measure_pool(pool_of(1, 2, 9), ["oddness"], {}, context)
    assert fits() == 1
    found = measure_pool(pool_of(1, 2, 9, 12), ["oddness"], {}, context)
    assert oddness(found.frame) == [3.0, 4.0, 5.0, 6.0]
    assert fits() == 2


def test_a_selector_sees_the_features_of_the_target_rows(plugin: Path, tmp_path: Path) -> None:
    write_turn(tmp_path, QUICK)
    write_lines(tmp_path / "dev.jsonl", records(5, seed=9))
    arguments = {"out": tmp_path / "runs" / "x", "plugins": [plugin], "progress": False}
    overrides = ["select={method: alike, keep: 10 rows}", "data.target=dev.jsonl"]
    found = treadle.run(tmp_path / "recipe.yaml", overrides=overrides, **arguments)
    chosen = pl.read_parquet(found.path / "selection.parquet").filter(arm="selected")
    chosen = chosen.drop_nulls("rank")
    assert chosen.height == 10
    assert chosen["reason"].str.starts_with("near ").all()


def test_another_target_is_another_selection(plugin: Path, context: Context) -> None:
    pool = pool_of(*range(1, 30))
    bound = registry.get("select", "alike").bind()
    rows = measure_pool(pool, ["length", "oddness"], {}, context).frame
    chosen = []
    for words in (15, 1):
        like = measure_pool(pool_of(words), bound.target, {}, context, fitted_on=pool)
        aimed = replace(context, target=like.frame)
        found = choose("selected", bound, rows, Budget("rows", 3), aimed)
        chosen.append(rows.filter(pl.col("id").is_in(found.ids))["oddness"].mean())
    assert chosen[0] < 2 < 10 < chosen[1]


def test_a_selector_without_its_target_is_refused_before_anything_is_spent(
    plugin: Path, tmp_path: Path
) -> None:
    old = "select: {by: ifd, diverse: k_center, keep: 30%}"
    write_turn(tmp_path, RECIPE.replace(old, "select: {method: alike}"))
    with pytest.raises(RecipeError, match=r"recipe.yaml:4: select.alike looks for rows like"):
        treadle.check(tmp_path / "recipe.yaml", plugins=[plugin])
    with pytest.raises(RecipeError, match=r"--target dev\.jsonl"):
        treadle.select_rows(tmp_path / "pool.jsonl", keep=5, method="alike", model="scripted")


def test_select_rows_takes_a_target(plugin: Path, tmp_path: Path) -> None:
    write_turn(tmp_path, RECIPE)
    write_lines(tmp_path / "dev.jsonl", records(5, seed=9))
    found = treadle.select_rows(
        tmp_path / "pool.jsonl", keep=5, method="alike", model="scripted",
        target=tmp_path / "dev.jsonl",
    )  # fmt: skip
    assert found.chosen.height == 5


@pytest.mark.parametrize(
    ("name", "options", "passes"),
    [
        ("token_logprobs", {}, 1),
        ("prompt_uncertainty", {"samples": 3}, 4),
        ("self_rating", {}, 10),
        ("gradient", {"checkpoints": 2, "share": 0.5, "epochs": 1}, 2.5),
    ],
)
def test_what_the_student_reads_several_times_is_counted_as_often(
    context: Context, name: str, options: dict[str, float], passes: float
) -> None:
    pool = pool_of(3, 5, 8)
    found = measure_pool(pool, ["length", name], {name: options}, context)
    once = int(found.frame["length_total"].sum() + found.frame["length"].sum())
    assert context.engine is not None
    ledger = context.engine.ledger  # type: ignore[attr-defined]
    costs = {c["stage"]: c["tokens"] for c in ledger.costs()}
    assert costs[f"measure.{name}"] == math.ceil(once * passes)
    bound = registry.get("measure", name).bind(options)
    assert bound.passes == passes
