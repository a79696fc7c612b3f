"""Students trained on the way of a selection: cached, resumed, paid for, estimated, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import treadle
from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.selection import Budget, Selection
from treadle.errors import BudgetError, RecipeError
from treadle.flywheel.arms import choose
from treadle.flywheel.features import measure_pool
from treadle.flywheel.readings import TEMPLATE_TOKENS, tokens_of
from treadle.flywheel.school import School
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger, Limits
from treadle.machinery.store import Store
from turns import QUICK, records, write_turn

WAYS = [
    "select: {method: mods, by: quality, drop_below: 1, keep: 40%}",
    "select: {method: diversify_and_conquer, rounds: 2, clusters: 3, keep: 40%}",
    "select: {method: p3, rounds: 3, keep: 40%}",
]
METHODS = ["mods", "diversify_and_conquer", "p3"]


def recipe(way: str) -> str:
    return QUICK.replace("select: {by: ifd, diverse: k_center, keep: 30%}", way)


class Counting:
    """Notes which stages do work, and stops before a wanted one."""

    def __init__(self) -> None:
        self.worked: list[str] = []
        self.stop_before: str | None = None

    def __call__(self, stage: Any, done: int, was_cached: bool) -> None:
        if not was_cached:
            self.worked.append(stage.name)
            if stage.name == self.stop_before:
                raise KeyboardInterrupt


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    lines = "".join(json.dumps(record) + "\n" for record in records(30, 1))
    (tmp_path / "rows.jsonl").write_text(lines)
    return treadle.load(tmp_path / "rows.jsonl").pool


@pytest.fixture
def work() -> Counting:
    return Counting()


@pytest.fixture
def context(tmp_path: Path, work: Counting) -> Iterator[Context]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    found = {"student": models.load("scripted"), "embedder": models.load_embedder("hashed")}
    yield Context(models=found, engine=LocalEngine(Store(tmp_path / "store"), ledger, work))
    ledger.close()


def school(pool: Pool, context: Context) -> School:
    return School(pool, registry.get("train", "ngram").bind(), {}, context)


def chosen(name: str, pool: Pool, context: Context, **options: Any) -> Selection:
    bound = registry.get("select", name).bind(options)
    rows = measure_pool(pool, ["length", *bound.needs], {}, context).frame
    return choose("some", bound, rows, Budget("rows", 12), context, school(pool, context).teach)


def test_it_is_told_what_the_trained_student_makes_of_every_row(
    pool: Pool, context: Context, tmp_path: Path
) -> None:
    rows = measure_pool(pool, ["length", "nll"], {}, context).frame
    ids = rows["id"].to_list()[:10]
    answer = school(pool, context).teach("select.some", ["nll"], rows, ids)
    assert answer.columns == ["id", "nll"]
    assert answer["id"].to_list() == rows["id"].to_list()
    student = models.load("scripted")
    trained = trained_plainly(student, pool, ids, tmp_path / "plain", context)
    alone = measure_pool(
        pool, ["nll"], {}, replace(context, models={**context.models, "student": trained})
    )
    assert answer["nll"].to_list() == alone.frame["nll"].to_list()
    learnt = (rows["nll"] - answer["nll"]).to_list()
    assert min(learnt[:10]) > 0, "what it was trained on has become likelier"


def trained_plainly(
    student: Any, pool: Pool, ids: Sequence[str], folder: Path, context: Context
) -> Any:
    run = registry.get("train", "ngram").bind().make()
    run(pool.keep(ids).frame, student, 0, folder, context)
    return student.tuned(folder)


@pytest.mark.parametrize(("name", "options"), [
    ("mods", {"by": "quality"}),
    ("diversify_and_conquer", {"rounds": 3, "clusters": 3}),
    ("p3", {"rounds": 3}),
])  # fmt: skip
def test_it_stops_anywhere_and_goes_on_without_a_second_training(
    name: str, options: dict[str, Any], pool: Pool, context: Context, work: Counting
) -> None:
    whole = chosen(name, pool, context, **options)
    assert whole.chosen.height == 12
    done = work.worked.copy()
    trainings = done.count("select.some.train")
    assert trainings == len(registry.get("select", name).bind(options).trainings)
    assert done.count("select.some") == trainings + 1, "a task a question, and one for the answer"
    assert sum("measure.nll" in stage for stage in done if "select" in stage) == trainings
    work.worked.clear()
    again = chosen(name, pool, context, **options)
    assert again.chosen.equals(whole.chosen)
    assert work.worked == [], "everything is in the store"


@pytest.mark.parametrize("stop", ["select.some", "select.some.train", "select.some.measure.nll"])
def test_a_stopped_selection_loses_no_finished_stage(
    stop: str, pool: Pool, context: Context, work: Counting
) -> None:
    work.stop_before = stop
    stopped: list[str] = []
    for _ in range(12):
        try:
            found = chosen("p3", pool, context, rounds=3)
            break
        except KeyboardInterrupt:
            stopped += work.worked
            work.worked.clear()
    else:
        pytest.fail("it never came to an end")
    stopped += work.worked
    assert stopped.count(stop) == (3 if stop == "select.some" else 2)
    assert stopped.count("select.some.train") == 2
    assert found.chosen.height == 12


@pytest.mark.parametrize("way", WAYS, ids=METHODS)
def test_a_whole_run_pays_for_it_under_select_and_reports_it(way: str, tmp_path: Path) -> None:
    run = treadle.run(
        write_turn(tmp_path, recipe(way), rows=40), out=tmp_path / "r", progress=False
    )
    costs = {cost["stage"]: cost for cost in run.costs()}
    inner = [stage for stage in costs if stage.startswith("select.selected.")]
    assert {"select.selected.train", "select.selected.measure.nll"} <= set(inner)
    assert costs["select.selected.train"]["tokens"] > 0
    assert costs["select.selected.measure.token_logprobs"]["tokens"] > 0
    trained = [stage for stage in costs if stage.startswith("train.")]
    assert len(trained) == 3, "the arms are what they were"
    page = run.report.read_text(encoding="utf-8")
    assert "select.selected.train" in page
    counts = run.counts
    parts = ("quarantined", "merged", "held_out", "selected")
    rest = sum(counts["dropped"].values()) + sum(counts["left"].values())
    assert counts["read"] == sum(counts[part] for part in parts) + rest


def test_a_run_that_reaches_its_budget_in_the_selection_goes_on_with_a_larger_one(
    tmp_path: Path,
) -> None:
    place = write_turn(tmp_path, recipe(WAYS[2]), rows=40)
    whole = treadle.run(place, out=tmp_path / "whole" / "r", progress=False)
    spent = {c["stage"]: c["tokens"] for c in whole.costs()}
    before = sum(n for stage, n in spent.items() if stage.startswith("measure."))
    enough = before + spent["select.selected.train"]
    with pytest.raises(BudgetError):
        treadle.run(place, out=tmp_path / "cut" / "r", progress=False,
                    overrides=[f"budget.tokens={enough}"])  # fmt: skip
    cut = treadle.run(place, out=tmp_path / "cut" / "r", progress=False)
    assert cut.selection.equals(whole.selection)
    assert {c["stage"]: c["tokens"] for c in cut.costs()} == spent, "nothing was paid twice"


def test_a_filter_of_several_steps_may_ask_students_too(tmp_path: Path) -> None:
    way = "select: [{method: p3, rounds: 2, keep: 60%}, {by: nll, keep: 50%}]"
    run = treadle.run(
        write_turn(tmp_path, recipe(way), rows=40), out=tmp_path / "r", progress=False
    )
    stages = {cost["stage"] for cost in run.costs()}
    assert "select.step-1.train" in stages


def test_a_comparison_trains_for_each_budget_and_draw(tmp_path: Path) -> None:
    text = recipe("select: {by: ifd}").replace("seeds: 1", "seeds: 2")
    text += (
        "compare: {methods: {p3: {rounds: 2}, diversify_and_conquer: {rounds: 2}}, keep: [30%]}\n"
    )
    table = treadle.compare(write_turn(tmp_path, text, rows=40), out=tmp_path / "r", progress=False)
    assert {"p3", "diversify_and_conquer"} <= {cell["method"] for cell in table["cells"]}
    stages = {c["stage"]: c["tasks"] for c in treadle.Run(tmp_path / "r").costs()}
    assert stages["select.p3 30%.train"] == 1
    assert stages["select.diversify_and_conquer 30%.train"] == 2, "it is drawn anew for each seed"


@pytest.mark.parametrize("method", METHODS)
def test_select_on_plain_files_trains_as_train_does(
    method: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"mods": {"by": "quality"}}.get(method, {"rounds": 2})
    found = treadle.select_rows(
        pool, keep="12 rows", method=method, model="scripted", embedder="hashed", **options
    )
    assert found.chosen.height == 12
    assert found.chosen.height + found.left.height == len(pool)


def test_check_counts_the_trainings_on_the_way(tmp_path: Path) -> None:
    student = "student: proxy"  # whose parameters are known
    text = recipe("select: {method: p3, rounds: 3, keep: 40%}").replace(
        "student: scripted", student
    )
    text = text.replace("train: {method: ngram}", "train: {epochs: 2}")
    place = write_turn(tmp_path, text, rows=40)
    _, dear = treadle.check(place)
    _, cheap = treadle.check(place, overrides=["select={method: dpp, by: nll, keep: 40%}"])
    assert "select" not in cheap.minutes
    assert dear.minutes["select"] > 0
    rows = treadle.load(tmp_path / "pool.jsonl").pool
    tokens = tokens_of(rows)
    trained = tokens * 0.4 * (1 / 3 + 2 / 3) * 2
    scored = 2 * (1.6 * tokens - TEMPLATE_TOKENS * len(rows))
    assert dear.tokens - cheap.tokens == pytest.approx(trained + scored, abs=2)
    assert dear.disk_mb > cheap.disk_mb
    _, more = treadle.check(place, overrides=["select.rounds=6"])
    assert more.minutes["select"] > dear.minutes["select"]


def test_nobody_to_teach_is_said_clearly(pool: Pool, context: Context) -> None:
    bound = registry.get("select", "p3").bind()
    rows = measure_pool(pool, ["length", *bound.needs], {}, context).frame
    with pytest.raises(RecipeError, match=r"select\.p3.*nobody can train"):
        choose("some", bound, rows, Budget("rows", 9), context)
    with pytest.raises(RecipeError, match="trains a student on the way"):
        bound.make()(rows, Budget("rows", 9), context)


def test_one_that_asks_more_often_than_it_declares_is_refused(
    pool: Pool, context: Context, tmp_path: Path
) -> None:
    plugin = tmp_path / "nosy.py"
    plugin.write_text(
        '"""A selector that never stops asking."""\n'
        "from treadle.op import select\n\n\n"
        '@select(reference="a test", cost="no end", learns=("nll",), trainings=(1.0,))\n'
        "def nosy():\n"
        '    """Ask, and ask again."""\n'
        "    def run(rows, budget, context):\n"
        "        for i in range(1, 9):\n"
        "            context.after_training(rows['id'].to_list()[:i])\n"
        "    return run\n"
    )
    registry.load_plugin(plugin)
    try:
        with pytest.raises(RecipeError, match=r"select\.nosy.*more often than it declares"):
            chosen("nosy", pool, context)
    finally:
        registry._REGISTRY.pop(("select", "nosy"))


@pytest.mark.slow
def test_a_real_student_is_trained_on_the_way(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = recipe(WAYS[0]).replace("student: scripted", "student: proxy")
    text = text.replace("train: {method: ngram}", "train: {}")
    run = treadle.run(write_turn(tmp_path, text, rows=40), out=tmp_path / "r", progress=False)
    reasons = run.selection.filter(arm="selected")["reason"].drop_nulls().to_list()
    assert any(reason.startswith("seed: ") for reason in reasons)
    assert any(reason.startswith("nll_after_seed ") for reason in reasons)


def test_the_ledgers_limit_holds_on_the_way(pool: Pool, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "tight.sqlite", Limits(tokens=10))
    found = {"student": models.load("scripted"), "embedder": models.load_embedder("hashed")}
    context = Context(models=found, engine=LocalEngine(Store(tmp_path / "s"), ledger))
    rows = pl.DataFrame({"id": pool.ids, "length_total": [9] * len(pool), "length": 5})
    with pytest.raises(BudgetError):
        school(pool, context).teach("select.some", ["nll"], rows, pool.ids[:5])
    ledger.close()
