"""Single stages of the wheel on plain files or pools, without a recipe.

    treadle.load("mine.jsonl").pool
    treadle.select_rows("mine.jsonl", keep="30%", by="ifd", diverse="k_center")

What was computed once is kept in `runs/.store`, as it is for whole runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from treadle import models
from treadle import op as registry
from treadle.data.formats.outcomes import check_folder
from treadle.data.formats.read import Loaded, read
from treadle.data.lint import LintReport, lint
from treadle.data.pool import Pool
from treadle.data.selection import Budget, Findings, Selection
from treadle.errors import RecipeError
from treadle.evaluate.sealed import SealedSets
from treadle.evaluate.stage import Candidate, evaluate_students
from treadle.flywheel.arms import choose
from treadle.flywheel.audits import audit_context
from treadle.flywheel.check_endpoints import asking_of
from treadle.flywheel.check_parts import short_form
from treadle.flywheel.check_recipe import AUDITED
from treadle.flywheel.features import Features, measure_pool
from treadle.flywheel.progress import Observer, watched
from treadle.flywheel.school import School
from treadle.machinery.disk import explained
from treadle.machinery.folders import pack
from treadle.workshop import STORE, Asking, Workshop, open_workshop

Rows = Pool | str | Path
AUDITS: Mapping[str, Mapping[str, Any]] = {name: {} for name in AUDITED}
"""The audits that are run unless others are named, with their options."""
PAYER = "single stages"
"""Who pays for what endpoints are asked, in the call book."""


def load(source: str | Path | Sequence[str | Path], *, layout: str | None = None) -> Loaded:
    """Read rows from files; malformed ones are in `.quarantine`, with file, line and reason."""
    return read(source, layout=layout)


def _pool(rows: Rows) -> Pool:
    return rows if isinstance(rows, Pool) else read(rows).pool


@contextmanager
def _workshop(
    progress: bool | Observer,
    student: str | None = None,
    embedder: str | None = None,
    seed: int = 0,
    judge: Mapping[str, Any] | None = None,
    budget: Mapping[str, Any] | None = None,
) -> Iterator[Workshop]:
    """Open a workshop whose costs are forgotten, but for those of endpoints (see `treadle cost`)."""
    addresses, limits = asking_of({"judge": judge}, budget)
    with (
        watched(progress) as observer,
        open_workshop(
            store=Path("runs") / STORE, observer=observer, student=student, embedder=embedder,
            seed=seed, asking=Asking(PAYER, addresses, limits),
        ) as shop,
    ):  # fmt: skip
        yield shop


def lint_rows(rows: Rows, *, model: str = "embedded", max_tokens: int | None = None) -> LintReport:
    """Check that rows are ready for training with a model's chat template."""
    student = models.load(model)
    return lint(_pool(rows), student.tokenizer, max_tokens=max_tokens or student.max_tokens)


def audit_rows(
    rows: Rows,
    *,
    against: Mapping[str, Rows] | None = None,
    ops: Mapping[str, Mapping[str, Any]] = AUDITS,
    embedder: str = "minilm",
    progress: bool | Observer = False,
) -> dict[str, Findings]:
    """Run audits: by default profile, exact and near duplicates, contamination.

    Args:
        against: evaluation sets that no row may come from, each under a name of its own.
        ops: audits and their options, instead of the default ones.
        embedder: whose vectors are compared, by audits that compare meaning.
    """
    audits = {name: registry.get("audit", name).bind(options) for name, options in ops.items()}
    pool, sets = _pool(rows), None
    if against:
        sets = SealedSets({name: _pool(found) for name, found in against.items()})
    with _workshop(progress, embedder=embedder) as shop:
        context = audit_context(audits, pool, sets, shop.context, {})
        return {name: bound.make()(pool, context) for name, bound in audits.items()}


def measure_rows(
    rows: Rows,
    features: Sequence[str],
    *,
    model: str = "embedded",
    embedder: str = "minilm",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    judge: Mapping[str, Any] | None = None,
    budget: Mapping[str, Any] | None = None,
    progress: bool | Observer = False,
) -> Features:
    """Measure features.

    Args:
        judge: where the judge answers, as in a recipe: `{"url": …, "model": …}`.
        budget: what endpoints may cost, over all single stages: `{"usd": 5, "requests": 1000}`.

    Returns:
        `frame`, with `id` and one column or more a feature, and `failed`: the rows on which a
        measure failed (`id`, `op`, `reason`), whose values are null.
    """
    with _workshop(progress, model, embedder, judge=judge, budget=budget) as shop:
        return measure_pool(_pool(rows), list(features), options or {}, shop.context)


def select_rows(
    rows: Rows,
    *,
    keep: str | float,
    method: str | None = None,
    model: str = "embedded",
    embedder: str = "minilm",
    seed: int = 0,
    target: Rows | None = None,
    judge: Mapping[str, Any] | None = None,
    budget: Mapping[str, Any] | None = None,
    progress: bool | Observer = False,
    **options: Any,
) -> Selection:
    """Select rows, e.g. `select_rows("pool.jsonl", keep="30%", by="ifd", diverse="k_center")`.

    Rows on which a measure failed are left out, with the error as their reason. A selector that
    trains students on the way trains them as `train_rows` does by default.

    Args:
        target: examples of the capability, for selectors that look for rows like them.
        judge: where the judge answers, and `budget` what it may cost, as for `measure_rows`.
    """
    amount = Budget.parse(keep, where="keep")
    name, own = short_form({**options, "method": method} if method else options)
    bound = registry.get("select", name).bind(own)
    needs = list(dict.fromkeys(["length", *bound.needs]))
    with _workshop(progress, model, embedder, seed, judge, budget) as shop:
        pool, context = _pool(rows), shop.context
        found = measure_pool(pool, needs, {}, context)
        if target is not None and bound.target:
            like = measure_pool(_pool(target), bound.target, {}, context, fitted_on=pool)
            context = replace(context, target=like.frame)
        reason = pl.concat_str("op", pl.lit(": "), "reason").alias("reason")
        failed = found.failed.select("id", reason)
        whole = found.frame.join(failed, on="id", how="anti").sort("id")
        school = School(pool, _trainer(None, model), {}, shop.context)
        selection = choose("alone", bound, whole, amount, context, school.teach)
    return Selection(selection.chosen, pl.concat([selection.left, failed]))


def _trainer(method: str | None, model: str, **options: Any) -> registry.BoundOp:
    name = method or ("ngram" if model == "scripted" else "sft")
    return registry.get("train", name).bind(options)


def train_rows(
    rows: Rows,
    *,
    out: str | Path,
    model: str = "embedded",
    method: str | None = None,
    seed: int = 0,
    progress: bool | Observer = False,
    **options: Any,
) -> dict[str, Any]:
    """Train a model on all rows; its adapter goes to `out`. Returns steps, tokens and losses."""
    bound = _trainer(method, model, **options)
    folder = Path(out)
    check_folder(folder)
    with explained(folder):
        if folder.exists() and any(folder.iterdir()):
            raise RecipeError(f"{folder}: is not empty. Choose another folder.")
        pool = _pool(rows)
        folder.mkdir(parents=True, exist_ok=True)
    with _workshop(progress, model) as shop:
        student = shop.context.model("student")
        figures: dict[str, Any] = bound.make()(pool.frame, student, seed, folder, shop.context)
    return figures


def evaluate_rows(
    rows: Rows,
    *,
    model: str = "embedded",
    adapter: str | Path | None = None,
    metric: str = "nll",
    progress: bool | Observer = False,
    **options: Any,
) -> pl.DataFrame:
    """Evaluate a model, with or without an adapter, item by item."""
    bound = registry.get("evaluate", metric).bind(options)
    if adapter is not None and not Path(adapter).is_dir():
        raise RecipeError(f"{adapter}: no such folder. Name one that `train` wrote.")
    sealed = SealedSets({"items": _pool(rows)})
    with _workshop(progress, model) as shop:
        weights: tuple[str, ...] = ()
        if adapter is not None:
            with explained(Path(adapter)):
                blobs = pack(Path(adapter))
            weights = tuple(shop.engine.store.put(blob) for blob in blobs)
        candidate = Candidate("tuned" if adapter else "before", 0, weights)
        return evaluate_students(sealed, [candidate], bound, shop.context)
