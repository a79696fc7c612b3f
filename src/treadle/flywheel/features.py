"""Measure a pool: features are computed once a shard, cached, and never by a selector.

A row on which a measure fails is quarantined with its error; all other rows keep their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool, from_parquet, to_parquet
from treadle.data.row import column
from treadle.errors import BudgetError, DataError, ModelError, RecipeError, StoreError, nearest
from treadle.machinery.engine import Output, Stage, Task, gather
from treadle.op import BoundOp

QUARANTINE = {"id": pl.String, "op": pl.String, "reason": pl.String}


@dataclass(frozen=True)
class Features:
    """Feature columns by row id, and the rows on which a measure failed."""

    frame: pl.DataFrame
    quarantined: pl.DataFrame


def plan(needs: Iterable[str], options: Mapping[str, Mapping[str, Any]]) -> list[BoundOp]:
    """Return the measures that are needed, each after those that it needs itself."""
    known = {op.name: op for op in registry.ops("measure")}
    ordered: dict[str, BoundOp] = {}

    def add(name: str) -> None:
        if name in ordered or name not in known:
            return
        bound = known[name].bind(options.get(name))
        for inner in bound.needs:
            add(inner)
        ordered[name] = bound

    for name in needs:
        add(owner_of(name, known))
    return list(ordered.values())


def owner_of(column_name: str, measures: Iterable[str]) -> str:
    """Return the measure that makes a column: `length` for `length_words`; else the name itself."""
    owners = [m for m in measures if column_name == m or column_name.startswith(f"{m}_")]
    return max(owners, key=len, default=column_name)


def measure_pool(
    pool: Pool, needs: Sequence[str], options: Mapping[str, Mapping[str, Any]], context: Context
) -> Features:
    """Compute every needed feature, shard by shard, through the engine.

    Names in `needs` that are no registered measure are taken from the user's own columns.

    Raises:
        RecipeError: a name is neither a measure nor a column.
        DataError: a measure failed on every row.
    """
    assert context.engine is not None
    engine, store = context.engine, context.engine.store
    shards = [store.put(to_parquet(shard)) for shard in pool.shards()]
    outputs: dict[str, list[str]] = {}
    frame = pool.frame.select("id")
    bad: list[pl.DataFrame] = []
    planned = plan(needs, options)
    for bound in planned:
        stage = _stage(bound, shards, outputs, context)
        commits = gather(engine, stage)
        outputs[bound.op.name] = [commit.blobs[0] for commit in commits]
        parts = [from_parquet(store.get(commit.blobs[0])) for commit in commits]
        failed = [from_parquet(store.get(commit.blobs[1])) for commit in commits]
        bad += failed
        _refuse_broken(bound, len(pool), failed)
        if parts:
            frame = frame.join(pl.concat(parts), on="id", how="left")
    measured = {bound.op.name for bound in planned}
    for name in needs:
        if owner_of(name, measured) not in measured:
            frame = frame.join(_user_column(pool, name), on="id", how="left")
    quarantined = pl.concat(bad) if bad else pl.DataFrame(schema=QUARANTINE)
    quarantined = quarantined.unique("id", keep="first", maintain_order=True)
    return Features(frame.sort("id"), quarantined.sort("id"))


def _stage(
    bound: BoundOp, shards: Sequence[str], outputs: Mapping[str, list[str]], context: Context
) -> Stage:
    """Build the stage: one task a shard, reading the shard and the features that the op needs."""
    reads = list(bound.needs)
    if "student" in bound.models and "length" in outputs:
        reads.append("length")  # what the model will read at the most, for the token budget
    tasks = []
    for i, shard in enumerate(shards):
        inputs = (shard, *(outputs[name][i] for name in reads))
        worst = _tokens(context, inputs[-1]) if reads[-1:] == ["length"] else 0
        tasks.append(Task(inputs, tokens=worst))
    prints = [bound.fingerprint, *(context.model(role).fingerprint for role in bound.models)]
    options = {"op": bound.op.name, "options": dict(bound.options)}
    name = f"measure.{bound.op.name}"
    return Stage(name, measure_shard, tasks, "/".join(prints), options, context)


def _tokens(context: Context, lengths: str) -> int:
    assert context.engine is not None
    return _model_tokens(from_parquet(context.engine.store.get(lengths)))


def _model_tokens(lengths: pl.DataFrame) -> int:
    """Tokens of the rows and of their replies alone: what a scoring pass reads at the most."""
    return int(lengths["length_total"].sum() or 0) + int(lengths["length"].sum() or 0)


def measure_shard(blobs: Sequence[bytes], options: Mapping[str, Any], context: Context) -> Output:
    """Compute one measure on one shard (the work of a task)."""
    bound = registry.get("measure", options["op"]).bind(options["options"])
    batch = from_parquet(blobs[0])
    for blob in blobs[1:]:
        batch = batch.join(from_parquet(blob), on="id", how="left", maintain_order="left")
    values, errors = _bisect(bound, batch, context)
    failed = pl.DataFrame(errors, schema=QUARANTINE, orient="row")
    calls_model = "student" in bound.models and "length_total" in batch.columns
    return Output(
        [to_parquet(values), to_parquet(failed)],
        rows_in=batch.height,
        kept=batch.height - failed.height,
        quarantined=failed.height,
        tokens=_model_tokens(batch) if calls_model else 0,
    )


def _bisect(
    bound: BoundOp, batch: pl.DataFrame, context: Context
) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """Run the op; when it fails, halve the batch until the failing rows stand alone."""
    function = bound.make()
    try:
        return _checked(bound, batch, function(batch, context)), []
    except (BudgetError, StoreError, RecipeError, ModelError):
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


def _refuse_broken(bound: BoundOp, rows: int, failed: Sequence[pl.DataFrame]) -> None:
    """An op that fails on every row is broken itself; say so instead of quarantining the pool."""
    bad = pl.concat(failed) if failed else pl.DataFrame(schema=QUARANTINE)
    if rows and bad.height == rows:
        raise DataError(
            f"measure.{bound.op.name} failed on all {rows} rows, first with: {bad['reason'][0]}"
        )


def _user_column(pool: Pool, name: str) -> pl.DataFrame:
    values = column(pool.frame, name)
    if values is None:
        known = [op.name for op in registry.ops("measure")]
        raise RecipeError(
            f"select: {name!r} is neither a measure nor a column of the data.{nearest(name, known)}"
        )
    return pl.DataFrame([pool.frame["id"], values])
