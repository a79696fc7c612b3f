"""`treadle compare`: every method beside random rows of the same tokens, and nothing hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import treadle
from treadle import op as registry
from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.errors import BudgetError, DataError, RecipeError
from treadle.flywheel.check_recipe import read_recipe
from treadle.flywheel.compare_table import Cell, _answers, _correct
from treadle.models import scripted
from treadle.stages import train_rows
from turns import QUICK, RECIPE, records, write_lines, write_turn

COMPARE = """\
compare:
  methods: {ifd: {by: ifd}, k_center: }
  keep: [10%, 30%]
  train_for: [1 epoch, 12 steps]
  columns: [quality]
"""
METHODS = ["random", "longest", "ifd", "ifd~length", "k_center", "k_center~length"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare")
    write_turn(place, RECIPE + COMPARE)
    treadle.compare(place / "recipe.yaml", out=place / "runs" / "x", progress=False)
    return place / "runs" / "x"


@pytest.fixture(scope="module")
def table(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    return found


def cell(table: dict[str, Any], *key: str) -> dict[str, Any]:
    return next(c for c in table["cells"] if (c["method"], c["keep"], c["train_for"]) == key)


@pytest.mark.slow
def test_every_method_meets_every_budget_and_training(table: dict[str, Any]) -> None:
    keys = [(c["method"], c["keep"], c["train_for"]) for c in table["cells"]]
    wanted = [
        (method, keep, train_for)
        for keep in ("10%", "30%")
        for train_for in ("1 epoch", "12 steps")
        for method in METHODS
    ]
    wanted += [("full", "100%", "1 epoch"), ("full", "100%", "12 steps")]
    assert sorted(keys) == sorted([*wanted, ("before", "0%", "not trained")])


@pytest.mark.slow
def test_arms_of_one_budget_cost_alike(table: dict[str, Any]) -> None:
    whole = cell(table, "full", "100%", "1 epoch")["tokens"]
    for one in table["cells"]:
        if one["role"] == "reference":
            continue
        share = int(one["keep"].rstrip("%")) / 100
        slack = 0.35 if one["method"].endswith("~length") else 0.0  # rows, not tokens, are matched
        assert one["tokens"] <= share * whole * (1 + slack) + 1
        assert one["tokens"] > 0.5 * share * whole
        if one["train_for"] == "12 steps":
            assert one["steps"] == 12


@pytest.mark.slow
def test_differences_are_paired_by_item_and_seed(table: dict[str, Any], folder: Path) -> None:
    results = pl.read_parquet(folder / "results.parquet")
    one = cell(table, "k_center", "30%", "1 epoch")
    mine = results.filter(arm=one["name"]).sort("seed", "item")
    random = results.filter(arm="random 30% 1 epoch").sort("seed", "item")
    assert mine["item"].to_list() == random["item"].to_list()
    assert one["difference"] == pytest.approx((mine["score"] - random["score"]).mean())
    assert one["low"] < one["difference"] < one["high"]
    by_seed = mine.group_by("seed", maintain_order=True).agg(pl.col("value").mean())["value"]
    assert one["by_seed"] == pytest.approx(by_seed.to_list())
    assert one["sd"] == pytest.approx(np.std(one["by_seed"], ddof=1))


@pytest.mark.slow
def test_the_whole_pool_and_the_untrained_student_are_not_compared(table: dict[str, Any]) -> None:
    for one in table["cells"]:
        is_compared = one["role"] != "reference" and one["method"] != "random"
        assert (one["p_better"] is not None) == is_compared
        assert (one["p_holm"] is not None) == (one["role"] == "method")


def test_holm_by_hand() -> None:
    lines = [{"role": "method", "p_better": p} for p in (0.01, 0.04, 0.03, 0.005)]
    lines.append({"role": "control", "p_better": 0.0001})
    _correct(lines)
    assert [line["p_holm"] for line in lines] == pytest.approx([0.03, 0.06, 0.06, 0.02, None])


@pytest.mark.slow
def test_random_draws_differ_by_seed_and_choices_do_not(folder: Path) -> None:
    chosen = pl.read_parquet(folder / "selections.parquet").filter(keep="30%")
    draws = {
        method: [set(part["id"]) for part in group.partition_by("draw")]
        for (method,), group in chosen.partition_by("method", as_dict=True).items()
    }
    assert len(draws["ifd"]) == len(draws["longest"]) == 1
    for method in ("random", "ifd~length"):
        assert len(draws[method]) == 3
        assert draws[method][0] != draws[method][1]


@pytest.mark.slow
def test_a_method_that_draws_is_drawn_anew_for_each_seed(tmp_path: Path) -> None:
    methods = "compare: {methods: {even: {method: quota, by: quality}}, keep: [20%]}\n"
    write_turn(tmp_path, RECIPE + methods, rows=60)
    treadle.compare(tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", progress=False)
    chosen = pl.read_parquet(tmp_path / "runs" / "x" / "selections.parquet").filter(method="even")
    draws = [set(part["id"]) for part in chosen.partition_by("draw")]
    assert len(draws) == 3
    assert draws[0] != draws[1] != draws[2]


@pytest.mark.slow
def test_overlap_and_composition_are_those_of_the_rows(table: dict[str, Any], folder: Path) -> None:
    chosen = pl.read_parquet(folder / "selections.parquet").filter(keep="30%", draw=0)
    one, other = (set(chosen.filter(method=m)["id"]) for m in ("longest", "ifd"))
    pair = next(
        x for x in table["overlap"]
        if x["keep"] == "30%" and {x["a"], x["b"]} == {"longest", "ifd"}
    )  # fmt: skip
    assert pair["jaccard"] == pytest.approx(len(one & other) / len(one | other))
    full = cell(table, "full", "100%", "1 epoch")["composition"]["quality"]
    assert sum(full.values()) == pytest.approx(1.0)
    assert set(full) == {"0", "1", "2", "3", "4"}


@pytest.mark.slow
def test_the_page_has_the_table_and_runs_nothing(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "script-src" not in page
    table = json.loads((folder / "comparison.json").read_text())
    assert table["headline"] in page
    for name in METHODS:
        assert name in page
    assert pl.read_csv(folder / "comparison.csv").height == len(table["cells"])


@pytest.mark.slow
def test_a_second_call_does_no_work_and_gives_the_same_bytes(folder: Path) -> None:
    names = ("comparison.csv", "results.parquet", "selections.parquet")
    before = {name: (folder / name).read_bytes() for name in names}
    costs = treadle.Run(folder).costs()
    recipe = folder.parent.parent / "recipe.yaml"
    treadle.compare(recipe, out=folder, progress=False)

    def work(found: list[dict[str, Any]]) -> int:
        return sum(c["tasks"] for c in found if c["stage"].startswith(("measure", "train", "eval")))

    assert work(treadle.Run(folder).costs()) == work(costs)
    assert {name: (folder / name).read_bytes() for name in names} == before


@pytest.mark.slow
def test_it_is_listed_among_runs(folder: Path) -> None:
    (listed,) = treadle.runs(folder.parent)
    assert listed["decision"] == "compared"
    assert "beat random rows" in listed["sentence"]


@pytest.mark.slow
def test_a_comparison_goes_on_after_its_budget_ran_out(tmp_path: Path) -> None:
    write_turn(tmp_path, RECIPE + COMPARE)
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "runs" / "x"
    with pytest.raises(BudgetError):
        treadle.compare(recipe, out=out, overrides=["budget.tokens=20000"], progress=False)
    assert not (out / "comparison.json").exists()
    found = treadle.compare(recipe, out=out, progress=False)
    assert len(found["cells"]) == 27


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("compare: {methods: {}}", "name at least one"),
        ("compare: {methods: [k_centre]}", "unknown selector 'k_centre'. Did you mean 'k_center'?"),
        ("compare: {methods: [random]}", "'random' cannot be the name of a method"),
        ("compare: {methods: {a: {by: ifd, drop_abov: 1}}}", "unknown option 'drop_abov'"),
        ("compare: {methods: {a: [{by: ifd}, {by: length}]}}", "say how much this step keeps"),
        (
            "compare: {methods: {a: [{by: ifd, keep: 5}, {by: length, keep: 9%}]}}",
            "Drop its own keep",
        ),
        ("compare: {methods: {a: {by: ifd, keep: 9%}}}", "Drop its own keep"),
        ("compare: {methods: {a: [ifd, length]}}", "methods: value error, a must be one selector"),
        ("compare: {methods: {a: 3}}", "methods: value error, a must be one selector"),
        ("compare: {methods: {a: []}}", "unknown selector 'a'"),
        (
            "compare: {methods: {a: [{by: ifd, keep: lots}, {by: length}]}}",
            "'lots' is not a budget",
        ),
        (
            "compare: {methods: {a: [{by: ifd, of: 1, keep: 5}, {by: length}]}}",
            "unknown option 'of'",
        ),
        (
            "compare: {methods: {a: [{method: bm25, keep: 9%}, {by: ifd}]}}",
            "rows like those of a target",
        ),
        ("compare: {methods: [k_center], keep: [300 rows]}", "is no share"),
        ("compare: {methods: [k_center], train_for: [soon]}", "is not a length of training"),
        ("compare: {methods: [k_center], controls: [random]}", "random is always there"),
        ("compare: {methods: [k_center], controls: [shortest]}", "unknown select op 'shortest'"),
        ("compare: {methods: [k_center], seeds: 3}", "unknown key 'seeds'"),
        ("compare: {methods: [k_center], columns: [colour]}", "'colour' is neither"),
    ],
)
def test_mistakes_are_told_before_anything_is_spent(
    tmp_path: Path, section: str, said: str
) -> None:
    write_turn(tmp_path, RECIPE + section + "\n")
    with pytest.raises(RecipeError) as error:
        treadle.compare(tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", progress=False)
    assert said in str(error.value)


def test_a_recipe_without_the_section_says_what_to_write(tmp_path: Path) -> None:
    write_turn(tmp_path, RECIPE)
    with pytest.raises(RecipeError, match="has no section `compare`"):
        treadle.compare(tmp_path / "recipe.yaml", progress=False)


def test_check_estimates_the_comparison(tmp_path: Path) -> None:
    write_turn(tmp_path, (RECIPE + COMPARE).replace("student: scripted", "student: proxy"))
    recipe = tmp_path / "recipe.yaml"
    overrides = ["train={method: sft}"]
    _, whole = treadle.check(recipe, overrides=overrides)
    _, half = treadle.check(recipe, overrides=[*overrides, "compare.keep=[10%]"])
    _, turn = treadle.check(recipe, overrides=[*overrides, "compare={methods: [longest]}"])
    # 6 names, 3 seeds: at 10% and 30%, an epoch each and 12 steps of 8 rows
    assert whole.tokens > half.tokens > turn.tokens > 0


def test_check_estimates_what_the_encoder_reads(tmp_path: Path) -> None:
    write_turn(tmp_path, RECIPE.replace("student: scripted", "student: proxy"))

    def minutes(*overrides: str) -> dict[str, float]:
        given = ["train={method: sft}", *overrides]
        return dict(treadle.check(tmp_path / "recipe.yaml", overrides=given)[1].minutes)

    plain = minutes("embedder=minilm", "select={by: length, keep: 30%}")
    chosen = minutes("embedder=minilm", "select={diverse: k_center, keep: 30%}")
    audited = minutes(
        "embedder=minilm",
        "select={diverse: k_center, keep: 30%}",
        "audit={semantic_duplicates: true}",
    )
    hashed = minutes("embedder=hashed", "select={diverse: k_center, keep: 30%}")
    assert chosen["measure"] > plain["measure"]
    assert audited["audit"] > chosen["audit"]
    assert hashed["measure"] == plain["measure"]


def test_run_takes_a_recipe_with_the_section_and_ignores_it(tmp_path: Path) -> None:
    write_turn(tmp_path, QUICK + COMPARE, rows=40)
    found = treadle.run(tmp_path / "recipe.yaml", out=tmp_path / "runs" / "x", progress=False)
    assert found.verdict["decision"]


STEPS = """\
compare:
  methods:
    filtered: [{by: length, keep: 60%}, {by: ifd}]
    ifd: {by: ifd}
    drawn: [{method: random, keep: 50%}, {by: ifd}]
  keep: [5%, 10%]
  controls: []
  length_matched: false
"""


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("steps")
    write_turn(place, QUICK.replace("seeds: 1", "seeds: 2") + STEPS, rows=120)
    treadle.compare(place / "recipe.yaml", out=place / "runs" / "x", progress=False)
    return place / "runs" / "x"


@pytest.mark.slow
def test_the_last_step_chooses_from_what_the_filters_let_through(stepped: Path) -> None:
    chosen = pl.read_parquet(stepped / "selections.parquet")
    whole = chosen.filter(method="full")["id"]
    table = json.loads((stepped / "comparison.json").read_text())
    for keep in ("5%", "10%"):
        mine = chosen.filter(method="filtered", keep=keep).sort("rank")["id"].to_list()
        one = cell(table, "filtered", keep, table["cells"][0]["train_for"])
        assert one["left"]["step_1_top: over_budget"] == len(whole) - round(0.6 * len(whole))
        # Of the longest 60%, by hand: the recipe's `select` with the same steps and tokens.
        budget = int(int(keep[:-1]) / 100 * cell(table, "full", "100%", one["train_for"])["tokens"])
        steps = f"[{{by: length, keep: 60%}}, {{by: ifd, keep: {budget} tokens}}]"
        recipe = stepped.parent.parent / "recipe.yaml"
        out = stepped.parent / f"turn-{keep[:-1]}"
        treadle.run(recipe, out=out, overrides=[f"select={steps}"], progress=False)
        turned = pl.read_parquet(out / "selection.parquet").filter(
            pl.col("rank") >= 0, arm="selected"
        )
        assert mine == turned.sort("rank")["id"].to_list()
        assert mine != chosen.filter(method="ifd", keep=keep).sort("rank")["id"].to_list()


@pytest.mark.slow
def test_a_method_with_a_step_that_draws_is_drawn_anew_for_each_seed(stepped: Path) -> None:
    chosen = pl.read_parquet(stepped / "selections.parquet").filter(method="drawn", keep="10%")
    one, other = (set(part["id"]) for part in chosen.partition_by("draw"))
    assert one != other


@pytest.mark.slow
def test_filters_that_leave_less_than_the_budget_are_refused(tmp_path: Path) -> None:
    write_turn(tmp_path, QUICK + STEPS.replace("60%", "2 rows"), rows=60)
    out = tmp_path / "runs" / "x"
    with pytest.raises(DataError, match=r"step 1, top, leaves 2 rows .* 10% of the pool"):
        treadle.compare(
            tmp_path / "recipe.yaml", out=out, overrides=["compare.keep=[10%]"], progress=False
        )
    assert not any(c["stage"].startswith("train") for c in treadle.Run(out).costs())


def test_steps_are_written_out_as_they_are_read(tmp_path: Path) -> None:
    write_turn(tmp_path, RECIPE + STEPS)
    first = read_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "again.yaml").write_text(first.text())
    again = read_recipe(tmp_path / "again.yaml")
    assert again.resolved() == first.resolved()
    assert isinstance(first.resolved()["compare"]["methods"]["filtered"], list)  # type: ignore[index]


@pytest.mark.slow
def test_every_line_says_what_share_of_the_pools_tokens_it_holds(table: dict[str, Any]) -> None:
    whole = cell(table, "full", "100%", "1 epoch")["tokens"]
    for one in table["cells"]:
        if one["rows"]:
            assert one["token_share"] == pytest.approx(one["tokens"] / whole)
        else:
            assert one["token_share"] is None


def test_rows_of_several_files_are_counted_by_file(tmp_path: Path) -> None:
    methods = "compare: {methods: [k_center], keep: [30%], controls: [], length_matched: false}\n"
    recipe = write_turn(tmp_path, QUICK + methods, rows=40)
    write_lines(tmp_path / "more.jsonl", records(40, seed=7))
    overrides = ["data.train=[pool.jsonl, more.jsonl]"]
    found = treadle.compare(
        recipe, out=tmp_path / "runs" / "x", overrides=overrides, progress=False
    )
    (line,) = (one for one in found["cells"] if one["method"] == "k_center")
    chosen = pl.read_parquet(tmp_path / "runs" / "x" / "selections.parquet")
    mine = chosen.filter(method="k_center")["id"].to_list()
    more = set(treadle.load(tmp_path / "more.jsonl").pool.ids)
    by_hand = sum(key in more for key in mine) / len(mine)
    assert 0 < by_hand < 1
    assert line["composition"]["file"]["more.jsonl"] == pytest.approx(by_hand)
    assert "more.jsonl" in (tmp_path / "runs" / "x" / "report.html").read_text()


def test_failures_of_form_are_counted_apart_from_wrong_answers() -> None:
    replies = {"1?": "It is 1", "2?": "It is 9", "3?": "no idea", "4?": ""}
    items = to_frame(
        [
            Row("chat", (Message("user", q), Message("assistant", f"It is {q[0]}", trains=True)))
            for q in replies
        ]
    )
    items = items.with_columns(pl.col("id").alias("item"))
    student = scripted.load(replies)
    for name, without in (("last_number", 2), ("exact_match", 1)):
        found = registry.get("evaluate", name).bind({}).make()(student, items, Context())
        assert found["score"].sum() == 1
        assert found["has_answer"].to_list().count(False) == without
        results = found.with_columns(pl.lit("x").alias("arm"))
        assert (
            _answers(results, Cell("x", "method", "", "", ()))["share_without_answer"]
            == without / 4
        )


def test_the_page_shows_failures_of_form(tmp_path: Path) -> None:
    methods = "compare: {methods: [k_center], keep: [30%], controls: [], length_matched: false}\n"
    recipe = write_turn(tmp_path, QUICK + methods, rows=30)
    overrides = ["gate.metric=exact_match", "evaluate.max_new_tokens=4"]
    found = treadle.compare(
        recipe, out=tmp_path / "runs" / "x", overrides=overrides, progress=False
    )
    for one in found["cells"]:
        assert 0 <= one["share_without_answer"] <= 1
    assert "Hold no answer" in (tmp_path / "runs" / "x" / "report.html").read_text()


def test_the_targets_own_rows_are_trained_on_as_a_reference(tmp_path: Path) -> None:
    methods = "compare: {methods: [bm25], keep: [30%], controls: [], length_matched: false}\n"
    recipe = write_turn(tmp_path, QUICK + methods, rows=40)
    target = [*records(6, seed=8), records(30, seed=2)[0]]  # the last one is an evaluation item
    write_lines(tmp_path / "dev.jsonl", target)
    overrides = ["data.target=dev.jsonl"]
    out = tmp_path / "runs" / "x"
    with_target = treadle.check(recipe, overrides=overrides)[1].tokens
    found = treadle.compare(recipe, out=out, overrides=overrides, progress=False)
    (line,) = (one for one in found["cells"] if one["method"] == "target_rows")
    assert (line["role"], line["rows"], line["choosing_flops"]) == ("reference", 6, 0)
    assert line["p_better"] is line["p_holm"] is None
    chosen = pl.read_parquet(out / "selections.parquet").filter(method="target_rows")["id"]
    loaded = treadle.load(tmp_path / "dev.jsonl").pool
    leaked = treadle.load(tmp_path / "heldout.jsonl").pool.ids
    assert sorted(chosen) == sorted(set(loaded.ids) - set(leaked))
    alone = train_rows(loaded.keep(chosen), out=tmp_path / "own", model="scripted", seed=0)
    assert alone["tokens"] == line["trained_tokens"]
    assert "target_rows" in (out / "report.html").read_text()
    other = treadle.check(recipe, overrides=[*overrides, "data.target=heldout.jsonl"])[1].tokens
    assert other > with_target
