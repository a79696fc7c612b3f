"""Budgets in FLOPs: what choosing costs comes out of training, counted by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import treadle
from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, from_frame
from treadle.data.template import Tokens, tokenise
from treadle.errors import BudgetError, DataError, RecipeError
from treadle.flywheel.check_compare import length_of_training
from treadle.flywheel.features import measure_pool
from treadle.flywheel.flops import Training, affordable_steps, flops_a_token
from treadle.flywheel.school import School
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store
from treadle.models.meter import Meter
from treadle.models.protocol import Scorable
from treadle.models.scripted import PARAMETERS
from treadle.op import BoundOp
from treadle.report.comparison import write_comparison
from treadle.report.numbers import flops
from treadle.train.lessons import schedule
from turns import QUICK, records, write_lines, write_turn

MILLION = 1_000_000


def test_the_scripted_student_has_a_million_weights_in_name() -> None:
    assert models.load("scripted").parameters == PARAMETERS == MILLION


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2e15 FLOPs", (2e15, "flop")),
        ("3.5e9 flops", (3.5e9, "flop")),
        ("1000FLOP", (1000.0, "flop")),
        ("8 epochs", (8.0, "epoch")),
        ("0.5 epochs", (0.5, "epoch")),
        ("60 steps", (60.0, "step")),
    ],
)
def test_lengths_of_training_are_read(text: str, found: tuple[float, str]) -> None:
    assert length_of_training(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2e15 FLIPs", "is not a length of training. Write `1 epoch`, `60 steps` or `2e15 FLOPs`"),
        ("2e15", "is not a length of training"),
        ("2e15 FLOPs a day", "is not a length of training"),
        ("0 FLOPs", "must be above 0"),
        ("-2e15 FLOPs", "must be above 0"),
        ("1e999 FLOPs", "must be above 0 and finite"),
        ("0 epochs", "must be above 0"),
        ("1.5 steps", "is not a whole number of steps"),
    ],
)
def test_what_is_no_length_of_training_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        length_of_training(text)
    assert said in str(error.value)
    assert repr(text) in str(error.value)


def sequences() -> list[Scorable]:
    """Three sequences of 4, 6 and 3 tokens; the last one predicts nothing."""
    found = []
    for length, wanted in ((4, [2, 3]), (6, [5]), (3, [0])):
        is_wanted = np.zeros(length, dtype=np.bool_)
        is_wanted[wanted] = True
        found.append(Scorable(np.arange(length, dtype=np.int32) + 65, is_wanted))
    return found


def lent() -> tuple[Meter, Any]:
    meter = Meter()
    return meter, meter.models({"student": models.load("scripted")})["student"]


def test_a_pass_costs_two_operations_a_weight_and_token() -> None:
    meter, student = lent()
    plain = models.load("scripted").score(sequences())
    for one, other in zip(student.score(sequences()), plain, strict=True):
        assert np.array_equal(one.logprobs, other.logprobs, equal_nan=True)
    assert meter.flops == 2 * MILLION * (4 + 6)  # nobody reads what has nothing to predict
    student.hidden([one.ids for one in sequences()])
    assert meter.flops == 2 * MILLION * (10 + 13)
    student.next_logprobs([one.ids for one in sequences()], [66])
    assert meter.flops == 2 * MILLION * (10 + 13 + 13)


def test_a_gradient_costs_three_passes() -> None:
    meter, student = lent()
    options: dict[str, Any] = {"width": 16, "epsilon": "outside", "seed": 0}
    student.gradients(sequences(), b"", **options)
    assert meter.flops == 6 * MILLION * 10


def test_writing_costs_a_pass_over_prompt_and_reply() -> None:
    meter, student = lent()
    (reply,) = student.generate([[Message("user", "Hello?")]], max_new_tokens=4)
    assert meter.flops == 2 * MILLION * (reply.prompt_tokens + reply.tokens)
    assert reply.tokens > 0


def test_an_embedder_that_counts_letters_costs_nothing() -> None:
    meter = Meter()
    meter.models({"embedder": models.load_embedder("hashed")})["embedder"].embed(["a", "b"])
    assert meter.flops == 0


@pytest.mark.slow
def test_real_models_tell_their_weights() -> None:
    student, meter = models.load("proxy"), Meter()
    weights = student.model.state_dict(keep_vars=True).values()  # type: ignore[attr-defined]
    assert student.parameters == sum(w.numel() for w in {id(w): w for w in weights}.values())
    lent = meter.models({"student": student})["student"]
    warm = lent.warm_up(
        sequences(), lora=2, epochs=3, checkpoints=2, learning_rate=1e-3, seed=0
    )  # fmt: skip
    assert meter.flops == 3 * 4 * student.parameters * 10
    meter.flops = 0
    lent.gradients(sequences()[:2], warm, width=16, epsilon="outside", seed=0)
    assert meter.flops == 2 * 6 * student.parameters * 10


def ngram(**options: Any) -> BoundOp:
    return registry.get("train", "ngram").bind(options)


def test_an_adapter_trains_for_two_thirds_of_the_price() -> None:
    sft = registry.get("train", "sft")
    assert flops_a_token(sft.bind({"lora": 8}), 100) == 400
    assert flops_a_token(sft.bind({"lora": 0}), 100) == 600
    assert flops_a_token(ngram(), 100) == 600


def test_steps_that_a_budget_pays_are_those_of_a_plain_count() -> None:
    rng = np.random.default_rng(1)
    for seed in range(30):
        lengths = rng.integers(1, 50, int(rng.integers(1, 12))).tolist()
        size, tokens = int(rng.integers(1, 5)), float(rng.integers(1, 800))
        batches = schedule(lengths, batch_size=size, epochs=1, steps=900, seed=seed)
        steps, left = 0, tokens
        for batch in batches:
            left -= sum(lengths[i] for i in batch)
            if left < 0:
                break
            steps += 1
        assert affordable_steps(lengths, ngram(batch_size=size), seed, tokens) == steps


def test_what_choosing_leaves_is_trained_by_hand() -> None:
    # Two rows of 10 tokens, one a step: a step costs 6 · 5 · 10 = 300 FLOPs.
    training = Training(ngram(batch_size=1), 1_000)
    (all_of_it,) = training.trainers([[10, 10]], [0], 5)
    (some,) = training.trainers([[10, 10]], [400], 5)  # 600 are left, two steps to the last FLOP
    assert all_of_it.options["steps"] == 3
    assert some.options["steps"] == 2
    assert training.trainers([[10, 10]], [701], 5) == ()
    assert training.trainers([[10, 10]], [2_000], 5) == ()
    assert training.trainers([[10, 10]] * 2, [0, 2_000], 5) == ()  # one seed is too few


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    found = {"student": models.load("scripted"), "embedder": models.load_embedder("hashed")}
    yield Context(models=found, engine=LocalEngine(Store(tmp_path / "store"), ledger))
    ledger.close()


def small_pool(tmp_path: Path) -> Pool:
    write_turn(tmp_path / "data", rows=20)
    return treadle.load(tmp_path / "data" / "pool.jsonl").pool


def tokens_of(pool: Pool) -> dict[str, Tokens]:
    rows = list(pool.rows())
    tokenizer = models.load("scripted").tokenizer
    return dict(
        zip((row.id for row in rows), tokenise(rows, tokenizer, max_tokens=4096), strict=True)
    )


def read_for_ifd(pool: Pool) -> int:
    """Tokens of each row, and of each different reply with the header that opens it."""
    tokens = tokens_of(pool).values()
    alone = {Scorable.reply_alone(t).ids.tobytes(): Scorable.reply_alone(t).ids for t in tokens}
    return sum(len(t.ids) for t in tokens) + sum(map(len, alone.values()))


def test_a_measure_costs_what_was_read_for_it_now_or_earlier(
    tmp_path: Path, context: Context
) -> None:
    pool = small_pool(tmp_path)
    for _ in range(2):  # the second time nothing is computed
        found = measure_pool(pool, ["ifd", "embedding"], {}, context)
        assert found.flops["token_logprobs"] == 2 * MILLION * read_for_ifd(pool)
        assert found.flops["ifd"] == found.flops["length"] == found.flops["embedding"] == 0


def test_what_a_measure_reads_first_is_counted_once(tmp_path: Path, context: Context) -> None:
    pool = small_pool(tmp_path)
    found = measure_pool(pool, ["one_shot_gain"], {"one_shot_gain": {"anchors": 2}}, context)
    target = pool.keep(pool.ids[:5])
    later = measure_pool(
        target, ["one_shot_gain"], {"one_shot_gain": {"anchors": 2}}, context, fitted_on=pool
    )
    rows = measure_pool(
        pool.keep(pool.ids[5:]), ["one_shot_gain"], {"one_shot_gain": {"anchors": 2}}, context,
        fitted_on=pool,
    )  # fmt: skip
    fit = found.flops["one_shot_gain"] - later.flops["one_shot_gain"] - rows.flops["one_shot_gain"]
    assert 0 < fit < found.flops["one_shot_gain"]  # the anchors alone


def test_a_student_trained_on_the_way_is_paid_for(tmp_path: Path, context: Context) -> None:
    pool = small_pool(tmp_path)
    rows = measure_pool(pool, ["length"], {}, context).frame
    school = School(pool, ngram(epochs=2), {}, context)
    for _ in range(2):
        school.teach("select.some", ["nll"], rows, pool.ids[:7])
    trained = sum(len(tokens_of(pool)[key].ids) for key in pool.ids[:7])
    once = [2 * 6 * MILLION * trained, 2 * MILLION * read_for_ifd(pool)]
    assert school.flops == once * 2


RICH, POOR = 2e11, 2.5e10
FLOPS = f"""\
compare:
  methods: {{ifd: {{by: ifd}}, k_center: }}
  keep: [20%]
  train_for: [1 epoch, {RICH:.0e} FLOPs, {POOR:g} FLOPs]
"""
RECIPE = QUICK.replace("seeds: 1", "seeds: 2")
ENOUGH, TOO_LITTLE = "2e11 FLOPs", "2.5e10 FLOPs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("flops")
    write_turn(place, RECIPE + FLOPS, rows=60)
    treadle.compare(place / "recipe.yaml", out=place / "runs" / "x", progress=False)
    return place / "runs" / "x"


@pytest.fixture(scope="module")
def table(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    return found


def cell(table: dict[str, Any], method: str, train_for: str) -> dict[str, Any]:
    return next(c for c in table["cells"] if c["method"] == method and c["train_for"] == train_for)


def test_choosing_costs_what_the_student_has_read(table: dict[str, Any], folder: Path) -> None:
    ids = pl.read_parquet(folder / "selections.parquet").filter(method="full")["id"].to_list()
    pool = treadle.load(folder.parent.parent / "pool.jsonl").pool.keep(ids)
    by_hand = 2 * MILLION * read_for_ifd(pool)
    for train_for in ("1 epoch", ENOUGH, TOO_LITTLE):
        assert cell(table, "ifd", train_for)["choosing_flops"] == by_hand
        assert cell(table, "ifd~length", train_for)["choosing_flops"] == by_hand
        for free in ("random", "longest", "k_center", "k_center~length", "full"):
            assert cell(table, free, train_for)["choosing_flops"] == 0


def test_choosing_and_training_keep_to_the_budget_and_use_it(
    table: dict[str, Any], folder: Path
) -> None:
    longest = max(len(t.ids) for t in tokens_of(small_pool_of(folder)).values())
    for method in ("random", "longest", "ifd", "ifd~length", "k_center", "full"):
        one = cell(table, method, ENOUGH)
        spent = one["choosing_flops"] + one["training_flops"]
        assert (
            RICH - 6 * MILLION * 8 * longest < spent <= RICH
        )  # less than a step of 8 rows is left
        assert one["training_flops"] == 6 * MILLION * one["trained_tokens"]
        ratio = one["choosing_flops"] / one["training_flops"]
        assert one["choosing_to_training"] == pytest.approx(ratio)
    assert cell(table, "random", ENOUGH)["steps"] > cell(table, "ifd", ENOUGH)["steps"]


def small_pool_of(folder: Path) -> Pool:
    return treadle.load(folder.parent.parent / "pool.jsonl").pool


def test_a_method_that_cannot_pay_for_its_choosing_is_a_result(
    table: dict[str, Any], folder: Path
) -> None:
    for method in ("ifd", "ifd~length"):
        one = cell(table, method, TOO_LITTLE)
        assert not one["affordable"]
        assert one["choosing_flops"] > POOR
        for name in ("mean", "difference", "steps", "training_flops", "choosing_to_training"):
            assert one[name] is None
        assert one["by_seed"] == []
        assert one["rows"] > 0
    assert cell(table, "k_center", TOO_LITTLE)["p_holm"] is not None
    results = pl.read_parquet(folder / "results.parquet")
    assert not results["arm"].str.contains("ifd.* 2.5e10").any()
    stages = [c["stage"] for c in treadle.Run(folder).costs()]
    assert not any(s.startswith("train.ifd 20% 2.5e10") for s in stages)
    assert any(s.startswith("train.k_center 20% 2.5e10") for s in stages)
    assert "of 5 comparisons" in table["headline"]
    assert (
        f"Not affordable, because choosing alone takes the budget: ifd at 20%, {TOO_LITTLE}"
        in (table["sentence"])
    )


def test_page_and_file_show_what_choosing_costs(table: dict[str, Any], folder: Path) -> None:
    page = (folder / "report.html").read_text()
    one = cell(table, "ifd", ENOUGH)
    for text in ("FLOPs to choose", "FLOPs to train", "Choosing to training", "not affordable"):
        assert text in page
    assert flops(one["choosing_flops"]) in page
    lines = pl.read_csv(folder / "comparison.csv")
    mine = lines.filter(method="ifd", train_for=TOO_LITTLE)
    assert mine["affordable"].to_list() == [False]
    assert mine["mean"].to_list() == [None]
    assert lines.filter(method="ifd", train_for=ENOUGH)["training_flops"].item() > 0


def test_a_comparison_of_an_earlier_version_still_has_a_page(
    table: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    new = ("affordable", "choosing_flops", "training_flops", "choosing_to_training")
    old = [{k: v for k, v in c.items() if k not in new} for c in table["cells"] if c["affordable"]]
    (tmp_path / "comparison.json").write_text(json.dumps({**table, "cells": old}))
    (tmp_path / "results.parquet").write_bytes((folder / "results.parquet").read_bytes())
    assert "FLOPs to choose" in write_comparison(tmp_path).read_text()


@pytest.mark.slow
def test_it_goes_on_after_a_stop_to_the_same_table(table: dict[str, Any], tmp_path: Path) -> None:
    recipe = write_turn(tmp_path, RECIPE + FLOPS, rows=60)
    out = tmp_path / "runs" / "x"
    with pytest.raises(BudgetError):
        treadle.compare(recipe, out=out, overrides=["budget.tokens=60000"], progress=False)
    again = treadle.compare(recipe, out=out, progress=False)

    def lasting(found: dict[str, Any]) -> list[dict[str, Any]]:
        return [{k: v for k, v in c.items() if k != "train_seconds"} for c in found["cells"]]

    assert lasting(again) == lasting(table)


def test_a_budget_that_pays_no_step_of_random_rows_is_refused(tmp_path: Path) -> None:
    recipe = write_turn(tmp_path, RECIPE + FLOPS, rows=30)
    out = tmp_path / "runs" / "x"
    with pytest.raises(DataError, match=r"1e6 FLOPs does not pay one step .* random rows"):
        treadle.compare(
            recipe, out=out, overrides=["compare.train_for=[1e6 FLOPs]"], progress=False
        )
    assert not any(c["stage"].startswith("train") for c in treadle.Run(out).costs())


def test_the_resolved_recipe_says_what_was_written(tmp_path: Path) -> None:
    checked, _ = treadle.check(write_turn(tmp_path, RECIPE + FLOPS, rows=30))
    assert checked.compare is not None
    assert checked.compare.resolved()["train_for"] == ["1 epoch", ENOUGH, TOO_LITTLE]


def test_check_estimates_what_a_budget_in_flops_trains(tmp_path: Path) -> None:
    recipe = write_turn(tmp_path, RECIPE + FLOPS, rows=60)

    def tokens(*train_for: str) -> int:
        told = [f"compare.train_for=[{', '.join(train_for)}]", "compare.length_matched=false"]
        return treadle.check(recipe, overrides=told)[1].tokens

    # 2 seeds of random, longest, k_center and ifd, and the whole pool once: 9 trainings.
    more = tokens("6e12 FLOPs") - tokens("3e12 FLOPs")
    assert more == pytest.approx(9 * 3e12 / (6 * MILLION), abs=2)
    assert tokens("1e8 FLOPs") < tokens("1 epoch")


def test_the_targets_passes_and_students_on_the_way_are_part_of_choosing(tmp_path: Path) -> None:
    methods = (
        "compare: {methods: {near: {method: round_robin, on: hidden_state}, taught: {method: mods, "
        "by: length}}, keep: [30%], controls: [], length_matched: false}\n"
    )
    recipe = write_turn(tmp_path, QUICK + methods, rows=40)
    write_lines(tmp_path / "dev.jsonl", records(6, seed=8))
    out = tmp_path / "runs" / "x"
    overrides = ["data.target=dev.jsonl"]
    found = treadle.compare(recipe, out=out, overrides=overrides, progress=False)
    ids = pl.read_parquet(out / "selections.parquet").filter(method="full")["id"].to_list()
    pool = treadle.load(tmp_path / "pool.jsonl").pool.keep(ids)
    target = treadle.load(tmp_path / "dev.jsonl").pool
    near, taught = (
        next(c["choosing_flops"] for c in found["cells"] if c["method"] == name)
        for name in ("near", "taught")
    )
    read = sum(len(t.ids) for rows in (pool, target) for t in tokens_of(rows).values())
    assert near == 2 * MILLION * read
    stages = {c["stage"]: c["tokens"] for c in treadle.Run(out).costs()}
    trained = stages["select.taught 30%.train"]
    assert taught == 6 * MILLION * trained + 2 * MILLION * read_for_ifd(pool)


def keeping(folder: Path, budget: str, *overrides: str) -> treadle.Run:
    recipe = write_turn(folder, QUICK.replace("diverse: k_center, keep: 30%", f"keep: {budget}"), rows=60)  # fmt: skip
    return treadle.run(recipe, out=folder / "runs" / "x", overrides=overrides, progress=False)


def test_a_selection_may_take_flops_which_choosing_takes_a_part_of(tmp_path: Path) -> None:
    found = keeping(tmp_path, "6e10 FLOPs", "train.epochs=2")
    told = json.loads((found.path / "figures.json").read_text(encoding="utf-8"))
    spent = told["flops"]["choosing"]
    lengths = found.features.select("id", "length", "length_total")
    assert spent == 2 * MILLION * read_by_ifd(found), (
        "each row with its prompt, and its reply alone"
    )
    assert told["flops"]["tokens"] == (6e10 - spent) // (6 * MILLION * 2)
    chosen = found.selection.filter(arm="selected").drop_nulls("rank")
    kept = lengths.join(chosen, on="id")["length_total"].sum()
    assert told["flops"]["tokens"] - lengths["length_total"].max() < kept <= told["flops"]["tokens"]
    page = found.report.read_text(encoding="utf-8")
    assert f"Choosing took {flops(spent)} of 6e10 FLOPs" in page
    assert "keep: 60000000000 FLOPs" in (found.path / "recipe.yaml").read_text(encoding="utf-8")


def read_by_ifd(run: treadle.Run) -> int:
    """Tokens that the scripted student read to measure IFD: every clean row and its reply alone."""
    student = models.load("scripted")
    ids = run.features.drop_nulls("length_total")["id"]
    rows = tokenise(
        from_frame(run.pool.keep(ids.to_list()).frame), student.tokenizer, max_tokens=4096
    )
    return sum(len(Scorable.reply(row).ids) + len(Scorable.reply_alone(row).ids) for row in rows)


@pytest.mark.parametrize(
    ("budget", "override", "said"),
    [
        ("3e10 FLOPs", "train.steps=5", "training takes `train.steps`, whatever is kept"),
        ("3e10 FLOPs", "select={method: mods, by: length, keep: 3e10 FLOPs}", "trains students on the way"),
        ("1e6 FLOPs", "seed=0", "of 1e+06 FLOPs, which leaves no token to train on"),
        ("0 FLOPs", "seed=0", "is not a budget"),
    ],
)  # fmt: skip
def test_flops_that_leave_nothing_to_train_on_are_refused(
    tmp_path: Path, budget: str, override: str, said: str
) -> None:
    with pytest.raises((RecipeError, DataError)) as error:
        keeping(tmp_path, budget, override)
    assert said in str(error.value)


def test_only_the_last_step_takes_flops(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a budget"):
        keeping(tmp_path, "30%", "select=[{by: length, keep: 1e9 FLOPs}, {by: ifd, keep: 30%}]")
