"""Measure a pool: features are computed once a shard, cached, and never by a selector.

A row on which a measure fails is set aside with its error; all other rows keep their values. A
fault of the machine (no memory, no file handles) is not the row's: it ends the run, to be resumed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool, from_parquet, to_parquet
from treadle.data.row import column
from treadle.errors import (
    BudgetError,
    DataError,
    JudgeError,
    LicenceError,
    ModelError,
    RecipeError,
    StoreError,
    nearest,
)
from treadle.judge.rows import licensed
from treadle.machinery.code import code_hash
from treadle.machinery.engine import Commit, Output, Stage, Task, gather
from treadle.machinery.store import Store
from treadle.models import meter
from treadle.op import BoundOp

_NO_ROWS = (
    BudgetError, StoreError, RecipeError, ModelError, LicenceError, JudgeError, OSError, MemoryError,
)  # fmt: skip
"""Faults that no row has: they end the run."""
FAILED = {"id": pl.String, "op": pl.String, "reason": pl.String}


@dataclass(frozen=True)
class Features:
    """Feature columns by row id, and the rows on which a measure failed (`id`, `op`, `reason`).

    `flops` says what the models computed for each measure, whenever that was (`models.meter`).
    """

    frame: pl.DataFrame
    failed: pl.DataFrame
    flops: Mapping[str, int] = field(default_factory=dict)


def plan(needs: Iterable[str], options: Mapping[str, Mapping[str, Any]]) -> list[BoundOp]:
    """Return the measures that are needed, each after those that it needs itself.

    Raises:
        RecipeError: a measure needs something that no measure makes.
    """
    known = {op.name: op for op in registry.ops("measure")}
    ordered: dict[str, BoundOp] = {}

    def add(name: str) -> None:
        if name in ordered or name not in known:
            return
        bound = known[name].bind(options.get(name))
        for inner in bound.needs:
            maker = owner_of(inner, known)
            if maker not in known:
                raise RecipeError(
                    f"measure.{name}: reads measures only, and {inner!r} is none."
                    f"{nearest(inner, known)} Equal rows must get equal features, so no measure sees "
                    "your own columns; selectors do."
                )
            add(maker)
        ordered[name] = bound

    for name in needs:
        add(owner_of(name, known))
    if any("student" in bound.models for bound in ordered.values()):
        add("length")  # what a model will read at the most, for the token budget
        ordered = {"length": ordered.pop("length"), **ordered}
    return list(ordered.values())


def user_columns(pool: Pool, needs: Iterable[str]) -> list[pl.DataFrame]:
    """Return the needed columns that are the user's own: `id` and the column.

    A column of the user's wins over a measure that only shares the beginning of its name.

    Raises:
        RecipeError: a name is neither a measure nor a column.
    """
    known = [op.name for op in registry.ops("measure")]
    found = []
    for name in dict.fromkeys(needs):
        if name in known:
            continue
        values = column(pool.frame, name)
        if values is not None:
            found.append(pl.DataFrame([pool.frame["id"], values]))
        elif owner_of(name, known) == name:
            raise RecipeError(
                f"select: {name!r} is neither a measure nor a column of the data."
                f"{nearest(name, known)}"
            )
    return found


def owner_of(column_name: str, measures: Iterable[str]) -> str:
    """Return the measure that makes a column: `length` for `length_words`; else the name itself."""
    owners = [m for m in measures if column_name == m or column_name.startswith(f"{m}_")]
    return max(owners, key=len, default=column_name)


def measure_pool(
    pool: Pool,
    needs: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    context: Context,
    *,
    fitted_on: Pool | None = None,
    stage: str = "measure",
) -> Features:
    """Compute every needed feature, shard by shard, through the engine.

    Names in `needs` that are no registered measure are taken from the user's own columns. Measures
    that need statistics of a whole pool take them from `fitted_on` (by default this pool itself):
    target rows are measured by the yardstick of the pool that is selected from. `stage` is the part
    of the wheel that pays.

    Raises:
        RecipeError: a name is neither a measure nor a column.
        DataError: a measure failed on every row.
    """
    assert context.engine is not None
    own = user_columns(pool, needs)
    names = {frame.columns[1] for frame in own}
    bounds = plan([name for name in needs if name not in names], options)
    fits: dict[str, Commit] = {}
    if fitted_on is not None and any(bound.op.fit for bound in bounds):
        _measure(fitted_on, bounds, context, fits, stage)
    measured = _measure(pool, bounds, context, fits, stage)
    frame = pool.frame.select("id")
    store = context.engine.store
    flops = {name: _flops(commits, store) for name, commits in measured.items()}
    if fitted_on is None:
        for name, fit in fits.items():
            flops[name] += _flops([fit], store)
    bad: list[pl.DataFrame] = []
    for bound in bounds:
        commits = measured[bound.op.name]
        failed = [from_parquet(store.get(commit.blobs[1])) for commit in commits]
        bad += failed
        if commits:
            parts = [from_parquet(store.get(commit.blobs[0])) for commit in commits]
            frame = frame.join(pl.concat(parts), on="id", how="left")
    for values in own:
        frame = frame.join(values, on="id", how="left")
    for name in needs:
        if len(pool) and name not in frame.columns:
            owner = owner_of(name, measured)
            made = [c for c in frame.columns if owner_of(c, [owner]) == owner]
            raise RecipeError(
                f"select: the measure {owner} makes no column {name!r}, but {', '.join(made)}."
                f"{nearest(name, made)}"
            )
    failed_rows = pl.concat(bad) if bad else pl.DataFrame(schema=FAILED)
    failed_rows = failed_rows.unique("id", keep="first", maintain_order=True)
    return Features(frame.sort("id"), failed_rows.sort("id"), flops)


def _flops(commits: Iterable[Commit], store: Store) -> int:
    """What the models computed in these tasks: each leaves that as its last blob."""
    return sum(int(json.loads(store.get(commit.blobs[-1]))) for commit in commits)


def _measure(
    pool: Pool, bounds: Sequence[BoundOp], context: Context, fits: dict[str, Commit], part: str
) -> dict[str, list[Commit]]:
    """Run measures, each after those that it needs; fit those that must be and are not in `fits`."""
    assert context.engine is not None
    engine = context.engine
    shards = [engine.store.put(to_parquet(shard)) for shard in pool.content.shards()]
    commits: dict[str, list[Commit]] = {}
    for bound in bounds:
        name = bound.op.name
        if bound.rubrics:  # each time, also where everything is cached: a licence may have ended
            licensed(context.model("judge"), bound.rubrics)
        # A model's work is counted in tokens, so who calls the student is given the lengths too.
        lengths = commits.get("length", []) if "student" in bound.models else []
        needs = [owner_of(need, commits) for need in bound.needs]
        reads = dict.fromkeys([*needs, *(["length"] if lengths else [])])
        inputs = [
            (shard, *(commits[read][i].blobs[0] for read in reads))
            for i, shard in enumerate(shards)
        ]
        if bound.op.fit and inputs and name not in fits:
            fits[name] = _fit(bound, inputs, context, part)
        read = [from_parquet(engine.store.get(commit.blobs[0])) for commit in lengths]
        tokens = [_model_tokens(one, bound) for one in read] or [0] * len(inputs)
        fitted = (fits[name].blobs[0],) if name in fits else ()
        tasks = [Task((*keys, *fitted), tokens=n) for keys, n in zip(inputs, tokens, strict=True)]
        options = {"op": name, "options": dict(bound.options)}
        fingerprint = _fingerprint(bound, context)
        stage = Stage(
            f"{part}.{name}", measure_shard, tasks, fingerprint, options, context.for_task()
        )
        commits[name] = gather(engine, stage)
        _refuse_broken(bound, len(pool), commits[name], engine.store)
    return commits


def _fingerprint(bound: BoundOp, context: Context) -> str:
    """What values and FLOPs of a measure depend on."""
    return f"{context.fingerprint(bound)}/{code_hash(meter.__name__)}"


def _fit(bound: BoundOp, inputs: Sequence[tuple[str, ...]], context: Context, part: str) -> Commit:
    """Let a measure read the whole pool, as one task, whose first blob is what it found."""
    assert context.engine is not None
    name, width = bound.op.name, len(inputs[0])
    task = Task(tuple(key for keys in inputs for key in keys))
    options = {"op": name, "options": dict(bound.options), "width": width}
    fingerprint = _fingerprint(bound, context)
    stage = Stage(f"{part}.{name}.fit", fit_pool, [task], fingerprint, options, context.for_task())
    (commit,) = gather(context.engine, stage)
    return commit


def fit_pool(blobs: Sequence[bytes], options: Mapping[str, Any], context: Context) -> Output:
    """Compute a measure's statistics of a whole pool (the work of a task)."""
    bound = registry.get("measure", options["op"]).bind(options["options"])
    assert bound.op.fit is not None
    width = options["width"]
    shards = [_joined(blobs[i : i + width]) for i in range(0, len(blobs), width)]
    rows = pl.concat(shards, how="diagonal_relaxed").sort("id")
    used = meter.Meter()
    found = bound.op.fit(rows, bound.options, _lent(context, used))
    return Output([found, _blob(used)], rows_in=rows.height, kept=rows.height)


def _lent(context: Context, used: meter.Meter) -> Context:
    """Return a context whose models count their work."""
    return replace(context, models=used.models(context.models))


def _blob(used: meter.Meter) -> bytes:
    return json.dumps(used.flops).encode()


def _joined(blobs: Sequence[bytes]) -> pl.DataFrame:
    """Put features beside the rows of a shard."""
    batch = from_parquet(blobs[0])
    for blob in blobs[1:]:
        batch = batch.join(from_parquet(blob), on="id", how="left", maintain_order="left")
    return batch


def _model_tokens(lengths: pl.DataFrame, bound: BoundOp) -> int:
    """What the student reads at the most: the rows and their replies alone, once a pass."""
    once = int(lengths["length_total"].sum() or 0) + int(lengths["length"].sum() or 0)
    return math.ceil(once * bound.passes)


def measure_shard(blobs: Sequence[bytes], options: Mapping[str, Any], context: Context) -> Output:
    """Compute one measure on one shard (the work of a task)."""
    bound = registry.get("measure", options["op"]).bind(options["options"])
    if bound.op.fit:
        *blobs, fitted = blobs
        context = replace(context, fitted=fitted)
    batch, used = _joined(blobs), meter.Meter()
    values, errors = _bisect(bound, batch, _lent(context, used))
    failed = pl.DataFrame(errors, schema=FAILED, orient="row")
    calls_model = "student" in bound.models and "length_total" in batch.columns
    return Output(
        [to_parquet(values), to_parquet(failed), _blob(used)],
        rows_in=batch.height,
        kept=batch.height - failed.height,
        quarantined=failed.height,
        tokens=_model_tokens(batch, bound) if calls_model else 0,
    )


def _bisect(
    bound: BoundOp, batch: pl.DataFrame, context: Context
) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """Run the op; when it fails, halve the batch until the failing rows stand alone."""
    function = bound.make()
    try:
        return _checked(bound, batch, function(batch, context)), []
    except _NO_ROWS:
        raise
    except (
        Exception
    ) as error:  # the row boundary: whatever a row does to an op is data, not a crash
        if batch.height <= 1:
            reason = f"{type(error).__name__}: {error}"[:500]
            rows = [(key, f"measure.{bound.op.name}", reason) for key in batch["id"]]
            return batch.select("id").clear(), rows
    half = batch.height // 2
    left, left_errors = _bisect(bound, batch[:half], context)
    right, right_errors = _bisect(bound, batch[half:], context)
    return pl.concat([left, right], how="diagonal"), left_errors + right_errors


def _checked(bound: BoundOp, batch: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Hold an op to its contract: one value a row, named after it, missing as null."""
    name = bound.op.name
    if values.height != batch.height:
        raise ValueError(f"returned {values.height} values for {batch.height} rows")
    if not values.columns or values.columns[0] != name:
        raise ValueError(f"the first column must be called {name!r}, got {values.columns}")
    floats = [c for c, kind in values.schema.items() if kind.is_float()]
    values = values.with_columns(pl.col(c).fill_nan(None) for c in floats)
    return pl.concat([batch.select("id"), values], how="horizontal")


def _refuse_broken(bound: BoundOp, rows: int, commits: Sequence[Commit], store: Store) -> None:
    """An op that fails on every row is broken itself; say so instead of quarantining the pool."""
    if rows and sum(commit.quarantined for commit in commits) == rows:
        first = from_parquet(store.get(commits[0].blobs[1]))["reason"][0]
        raise DataError(f"measure.{bound.op.name} failed on all {rows} rows, first with: {first}")
