"""Every registered op is held to the contract of its role, unasked."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from conformance.conftest import ordinary_rows
from conformance.poison import poison_rows
from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool, to_parquet
from treadle.data.row import Message, Row
from treadle.data.selection import FINDING_SCHEMA, Budget, Findings, Selection
from treadle.data.verdict import Verdict
from treadle.errors import ModelError, RecipeError, TreadleError
from treadle.evaluate.sealed import SealedSets
from treadle.flywheel.audits import audit_context
from treadle.flywheel.features import Features, measure_pool, measure_shard, owner_of, plan
from treadle.flywheel.school import School
from treadle.op import BoundOp, Op

EVERY = registry.ops()
BUDGETS = [Budget("rows", 10), Budget("share", 0.3), Budget("tokens", 900), Budget("rows", 10**6)]
# Options without a default, and smaller ones for ops that are costly; any op may be added here.
OPTIONS: dict[str, dict[str, Any]] = {
    "top": {"by": "length_words"},
    "score_then_diverse": {"by": "length_words"},
    "band": {"by": "length_words"},
    "score_first_filter": {"by": "length_words"},
    "tag_cover": {"by": "quality"},
    "mods": {"by": "length_words"},
    "ds2": {"by": "quality", "scale": "ten_to_five"},
    "curated_score": {"by": "judged_complexity"},
    "diversify_and_conquer": {"clusters": 4, "rounds": 2},
    "p3": {"rounds": 2},
    "quota": {"by": "quality"},
    "one_shot_gain": {"anchors": 3},
    "prompt_uncertainty": {"samples": 3},
    "s_ifd": {"samples": 2},
    "answer_confidence": {"samples": 2},
}
NGRAM = registry.get("train", "ngram").bind()
MEASURED: dict[tuple[str, tuple[str, ...]], pl.DataFrame] = {}


COSTLY = {
    "gradient",
    "one_shot_gain",
    "prompt_uncertainty",
    "s_ifd",
    "self_rating",
    "influence",
    "active_prune",
}
"""Ops that have a model read a row many times."""


def of(role: registry.Role) -> Any:
    marked = [
        pytest.param(op, marks=[pytest.mark.slow] if op.name in COSTLY else [], id=op.name)
        for op in registry.ops(role)
    ]
    return pytest.mark.parametrize("op", marked)


def bound(op: Op) -> BoundOp:
    return op.bind(OPTIONS.get(op.name))


def features(pool: Pool, selector: BoundOp, context: Context) -> pl.DataFrame:
    """Return what the selector reads, measured once for all tests."""
    needs = ("length", *selector.needs)
    key = (pool.id, needs)
    if key not in MEASURED:
        MEASURED[key] = measure_pool(pool, needs, {}, context).frame
    return MEASURED[key]


def measured(pool: Pool, op: Op, context: Context, **fit: Pool) -> Features:
    return measure_pool(pool, ["length", op.name], {op.name: bound(op).options}, context, **fit)


def able(op: Op, context: Context) -> Context:
    """Give a measure the proxy where it says that the scripted student cannot serve it."""
    try:
        measured(Pool.of(ordinary_rows(1)), op, context)
    except ModelError as error:
        if "`proxy`" not in str(error):  # it must say who can
            raise
        pytest.importorskip("torch")
        return replace(context, models={**context.models, "student": models.load("proxy")})
    return context


def aimed(selector: BoundOp, rows: pl.DataFrame, context: Context) -> Context:
    """Hand a selector the target rows that it asks for, and a school for students on the way."""
    if selector.learns:
        school = School(Pool.of(ordinary_rows(120)), NGRAM, {}, context)
        asked = partial(school.teach, "select.some", selector.learns, rows)
        return replace(context, learn=asked)
    if not selector.target:
        return context
    made = measure_pool(Pool.of(ordinary_rows(8, seed=5)), selector.target, {}, context)
    return replace(context, target=made.frame)


def informed(op: Op, pool: Pool, context: Context) -> Context:
    """Hand an audit the features that it declares, of the rows and of the evaluation items."""
    sealed = SealedSets({"held": Pool.of(ordinary_rows(10, seed=99))})
    return audit_context({op.name: bound(op)}, pool, sealed, context, {})


def fitted(measure: BoundOp, batch: pl.DataFrame, context: Context) -> Context:
    """Let a measure read the whole pool, if it wants to."""
    if measure.op.fit is None:
        return context
    return replace(context, fitted=measure.op.fit(batch, measure.options, context))


@pytest.mark.parametrize("op", EVERY, ids=lambda op: f"{op.role}.{op.name}")
def test_it_says_what_it_does_where_it_comes_from_and_what_it_costs(op: Op) -> None:
    text = inspect.getdoc(op.factory) or ""
    assert op.title.endswith((".", "?")), f"the first line is one sentence: {op.title!r}"
    assert len(text) > len(op.title) + 60, "it also says why it works and when it fails"
    assert op.reference
    assert op.cost
    for parameter in op.parameters.values():
        assert parameter.kind is parameter.KEYWORD_ONLY, "options are keywords"
        assert parameter.annotation is not parameter.empty


@pytest.mark.parametrize("op", EVERY, ids=lambda op: f"{op.role}.{op.name}")
def test_an_unknown_option_is_refused_with_the_nearest_name(op: Op) -> None:
    with pytest.raises(RecipeError, match="unknown option 'no_such_option'"):
        op.bind({**OPTIONS.get(op.name, {}), "no_such_option": 1})


@pytest.mark.parametrize("op", EVERY, ids=lambda op: f"{op.role}.{op.name}")
def test_its_fingerprint_depends_on_its_options_and_not_on_the_moment(op: Op) -> None:
    assert bound(op).fingerprint == bound(op).fingerprint
    first = next(iter(op.parameters), None)
    if first is not None:
        other = replace(bound(op), options={**bound(op).options, first: "changed"})
        assert other.fingerprint != bound(op).fingerprint


@of("audit")
@pytest.mark.parametrize("kind", ["empty", "one row", "ordinary", "poison", "all alike"])
def test_an_audit_names_rows_of_the_pool_and_drops_nothing(
    op: Op, kind: str, context: Context
) -> None:
    alike = [Row("chat", (Message("user", f"  Hi{'!' * i}"), Message("assistant", "yes", True)))
             for i in range(20)]  # fmt: skip
    rows = {
        "empty": [],
        "one row": ordinary_rows(1),
        "ordinary": ordinary_rows(60),
        "poison": poison_rows(),
        "all alike": alike,
    }
    pool = Pool.of(rows[kind])
    found: Findings = bound(op).make()(pool, informed(op, pool, context))
    assert list(found.rows.columns) == list(FINDING_SCHEMA)
    assert set(found.rows["id"]) <= set(pool.ids)
    assert found.rows["reason"].null_count() == 0
    assert list(found.suspicions.columns) == list(FINDING_SCHEMA)
    assert set(found.suspicions["id"]) <= set(pool.ids) - set(found.rows["id"])
    assert found.rows.height < max(1, len(pool)) or not len(pool), "something must be left"
    turned = Pool.of(reversed(rows[kind]))
    again: Findings = bound(op).make()(turned, informed(op, turned, context))
    assert_frame_equal(found.rows, again.rows)
    assert_frame_equal(found.suspicions, again.suspicions)
    assert dict(found.figures) == dict(again.figures)


@of("measure")
@pytest.mark.parametrize("kind", ["empty", "one row", "ordinary", "poison"])
def test_a_measure_gives_one_value_a_row_and_never_a_nan(
    op: Op, kind: str, context: Context
) -> None:
    rows = {"empty": 0, "one row": 1, "ordinary": 40}.get(kind)
    pool = Pool.of(poison_rows() if rows is None else ordinary_rows(rows))
    found = measured(pool, op, able(op, context))
    assert found.failed.height == 0, found.failed.to_dicts()
    assert sorted(found.frame["id"]) == pool.ids
    if pool.ids:
        assert op.name in found.frame.columns
    for name, dtype in found.frame.schema.items():
        if dtype.is_float():
            assert not found.frame[name].is_nan().any()


@of("measure")
def test_a_measure_does_not_depend_on_the_other_rows_or_their_order(
    op: Op, context: Context
) -> None:
    clean = Pool.of(ordinary_rows(40))
    mixed = Pool.of([*reversed(ordinary_rows(40)), *poison_rows()])
    context = able(op, context)
    names = [known.name for known in registry.ops("measure")]
    alone = measured(clean, op, context, fitted_on=clean).frame
    alone = alone.select("id", *(c for c in alone.columns if owner_of(c, names) == op.name))
    among = measured(mixed, op, context, fitted_on=clean).frame.select(alone.columns)
    shared = among.join(alone.select("id"), on="id", how="semi").sort("id")
    assert to_parquet(alone.sort("id")) == to_parquet(shared)


@of("measure")
def test_a_measure_on_a_shuffled_batch_gives_each_row_the_same_value(
    op: Op, context: Context
) -> None:
    pool = Pool.of(ordinary_rows(30))
    context = able(op, context)
    batch = pool.frame
    for needed in plan(bound(op).needs, {}):
        made = needed.make()(batch, fitted(needed, batch, context))
        batch = pl.concat([batch, made], how="horizontal")
    context = fitted(bound(op), batch, context)
    shuffled = batch.sample(fraction=1.0, shuffle=True, seed=5)
    straight = bound(op).make()(batch, context).with_columns(batch["id"]).sort("id")
    mixed = bound(op).make()(shuffled, context).with_columns(shuffled["id"]).sort("id")
    assert_frame_equal(straight, mixed)


@of("measure")
def test_a_row_with_nothing_to_score_is_missing_and_not_zero(op: Op, context: Context) -> None:
    silent = Row("chat", (Message("user", "hello"), Message("assistant", "unscored", False)))
    pool = Pool.of([silent, *ordinary_rows(5)])
    frame = measured(pool, op, able(op, context)).frame
    value = frame.filter(pl.col("id") == silent.id)[op.name][0]
    if "token_logprobs" in (*bound(op).needs, op.name) and op.name != "token_logprobs":
        assert value is None


@of("select")
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_a_selector_accounts_for_every_row_within_its_budget(
    op: Op, budget: Budget, pool: Pool, context: Context
) -> None:
    rows = features(pool, bound(op), context)
    found: Selection = bound(op).make()(rows, budget, aimed(bound(op), rows, context))
    assert sorted(found.ids + found.left["id"].to_list()) == sorted(pool.ids)
    assert found.chosen["rank"].to_list() == list(range(found.chosen.height))
    assert found.chosen["reason"].null_count() == found.left["reason"].null_count() == 0
    assert found.chosen.height <= budget.rows_of(len(pool))
    if budget.unit == "tokens":
        spent = rows.filter(pl.col("id").is_in(found.ids))["length_total"].sum()
        assert spent <= budget.amount
    elif bound(op).needs == ():
        assert found.chosen.height == budget.rows_of(len(pool))


@of("select")
def test_a_selector_does_not_depend_on_the_order_of_the_rows(
    op: Op, pool: Pool, context: Context
) -> None:
    rows = features(pool, bound(op), context)
    context = aimed(bound(op), rows, context)
    straight: Selection = bound(op).make()(rows, Budget("rows", 25), context)
    mixed = rows.sample(fraction=1.0, shuffle=True, seed=11)
    assert bound(op).make()(mixed, Budget("rows", 25), context).ids == straight.ids


@of("select")
def test_a_selector_whose_choice_hangs_on_the_seed_says_so(
    op: Op, pool: Pool, context: Context
) -> None:
    rows = features(pool, bound(op), context)
    context = aimed(bound(op), rows, context)
    chosen = {
        tuple(bound(op).make()(rows, Budget("rows", 25), replace(context, seed=seed)).ids)
        for seed in range(4)
    }
    assert (len(chosen) > 1) == bound(op).draws


@of("select")
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_selector_takes_tiny_pools(op: Op, count: int, context: Context) -> None:
    pool = Pool.of(ordinary_rows(count))
    rows = features(Pool.of(ordinary_rows(3)), bound(op), context)
    rows = rows.filter(pl.col("id").is_in(pool.ids))
    found: Selection = bound(op).make()(rows, Budget("rows", 2), aimed(bound(op), rows, context))
    assert found.chosen.height + found.left.height == rows.height


@of("select")
def test_a_selector_never_chooses_an_unscored_row(op: Op, pool: Pool, context: Context) -> None:
    needs = [name for name in bound(op).needs if name != "length"]
    rows = features(pool, bound(op), context)
    missing = rows["id"].to_list()[::3]
    blank = [
        pl.when(pl.col("id").is_in(missing)).then(None).otherwise(pl.col(name)).alias(name)
        for name in needs
    ]
    context = aimed(bound(op), rows, context)
    found: Selection = bound(op).make()(rows.with_columns(blank), Budget("share", 1.0), context)
    if needs:
        assert not set(found.ids) & set(missing)
        reasons = found.left.filter(pl.col("id").is_in(missing))["reason"].unique().to_list()
        assert reasons == ["unscored"]


@of("train")
@pytest.mark.slow
def test_a_trainer_gives_the_same_weights_twice_and_leaves_the_student_alone(
    op: Op, context: Context, tmp_path: Path
) -> None:
    rows = Pool.of(ordinary_rows(24)).frame
    names, files = ("scripted", "proxy"), {}
    refusals = []
    for name in names:
        student = models.load(name)
        before = student.fingerprint
        try:
            for turn in ("first", "second"):
                folder = tmp_path / name / turn
                folder.mkdir(parents=True)
                figures = bound(op).make()(rows, student, 3, folder, context)
                assert figures["tokens"] > 0
                assert figures["steps"] > 0
                assert all(math.isfinite(loss) for loss in figures["losses"])
                files[turn] = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
        except TreadleError as error:
            refusals.append(str(error))
            continue
        assert files["first"] == files["second"]
        assert student.fingerprint == before
        assert student.tuned(folder).fingerprint != before
    assert len(refusals) < len(names), refusals


@of("evaluate")
def test_an_evaluation_gives_one_result_an_item_in_any_order(
    op: Op, pool: Pool, context: Context
) -> None:
    items = pool.frame[:12].with_columns(pl.col("id").alias("item"), pl.col("id").alias("source"))
    student = context.model("student")
    found = bound(op).make()(student, items, context)
    assert {"item", "value", "score"} <= set(found.columns)
    assert sorted(found["item"]) == sorted(items["item"])
    mixed = bound(op).make()(student, items.reverse(), context)
    assert_frame_equal(found.sort("item"), mixed.sort("item"))


@of("evaluate")
def test_an_evaluation_takes_poison_items(op: Op, context: Context) -> None:
    items = Pool.of(poison_rows()).frame.with_columns(
        pl.col("id").alias("item"), pl.col("id").alias("source")
    )
    short = {"max_new_tokens": 4} if "max_new_tokens" in op.parameters else {}
    found = op.bind(short).make()(context.model("student"), items, context)
    assert found.height == items.height
    assert not found["score"].is_nan().any()


@of("gate")
def test_a_gate_does_not_depend_on_the_order_of_the_results(
    op: Op, results: pl.DataFrame, context: Context
) -> None:
    verdict: Verdict = bound(op).make()(results, context)
    again: Verdict = bound(op).make()(results.sample(fraction=1, shuffle=True, seed=2), context)
    assert verdict == again
    assert verdict.sentence.endswith(".")
    assert {c.against for c in verdict.comparisons} >= {"random", "longest", "before"}


def test_a_measure_that_fails_on_a_row_leaves_all_others_byte_identical(
    context: Context, tmp_path: Path
) -> None:
    plugin = tmp_path / "brittle.py"
    plugin.write_text(
        '"""A measure that cannot stand the letter z."""\n'
        "import polars as pl\n"
        "from treadle.data.row import texts\n"
        "from treadle.op import measure\n\n\n"
        '@measure(reference="a test", cost="none")\n'
        "def brittle():\n"
        '    """Count characters, and fail on rows with a z in them, as real code does."""\n'
        "    def run(batch, context):\n"
        "        found = texts(batch)\n"
        "        if any('z' in text for text in found):\n"
        "            raise ValueError('z!')\n"
        "        return pl.DataFrame({'brittle': [float(len(text)) for text in found]})\n"
        "    return run\n"
    )
    registry.load_plugin(plugin)
    try:
        bad = [Row("chat", (Message("user", "zz"), Message("assistant", f"z{i}", True)))
               for i in range(3)]  # fmt: skip
        clean = measure_pool(Pool.of(ordinary_rows(50)), ["brittle"], {}, context)
        mixed = measure_pool(Pool.of([*ordinary_rows(50), *bad]), ["brittle"], {}, context)
        assert sorted(mixed.failed["id"]) == sorted(row.id for row in bad)
        assert mixed.failed["reason"].unique().to_list() == ["ValueError: z!"]
        kept = mixed.frame.filter(pl.col("brittle").is_not_null())
        assert to_parquet(kept) == to_parquet(clean.frame)
        shard = to_parquet(Pool.of([*ordinary_rows(50), *bad]).frame)
        output = measure_shard([shard], {"op": "brittle", "options": {}}, context)
        assert (output.rows_in, output.kept, output.quarantined) == (53, 50, 3)
    finally:
        registry._REGISTRY.pop(("measure", "brittle"))
