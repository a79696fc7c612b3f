"""Evaluate students on the sealed items, one task a student, every item kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool, from_parquet, to_parquet
from treadle.data.row import from_frame
from treadle.data.template import tokenise
from treadle.data.verdict import RESULT_SCHEMA
from treadle.evaluate.sealed import SealedSets, items_of
from treadle.machinery.engine import Output, Stage, Task, gather
from treadle.machinery.folders import unpack
from treadle.models.protocol import Student
from treadle.op import BoundOp

OPTIONAL: dict[str, type[pl.DataType]] = {
    "reply": pl.String,
    "has_stopped": pl.Boolean,
    "has_answer": pl.Boolean,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A student to evaluate: its arm, training seed and packed weights (none: untrained)."""

    arm: str
    seed: int
    weights: tuple[str, ...] = ()


def evaluate_students(
    sealed: SealedSets,
    candidates: Sequence[Candidate],
    bound: BoundOp,
    context: Context,
    *,
    cluster: str | None = None,
) -> pl.DataFrame:
    """Return the results of every candidate (RESULT_SCHEMA, then OPTIONAL)."""
    assert context.engine is not None
    store = context.engine.store
    items = items_of(sealed, cluster=cluster)
    blob = store.put(to_parquet(Pool(items).content.frame))
    worst = _most_tokens(items, bound, context.model("student"))
    tasks = [Task((blob, *c.weights), tokens=worst) for c in candidates]
    options = {"op": bound.op.name, "options": dict(bound.options)}
    fingerprint = f"{bound.fingerprint}/{context.model('student').fingerprint}"
    stage = Stage("evaluate", evaluate_one, tasks, fingerprint, options, context.for_task())
    frames = []
    for commit, candidate in zip(gather(context.engine, stage), candidates, strict=True):
        result = from_parquet(store.get(commit.blobs[0]))
        arm = pl.lit(candidate.arm).alias("arm")
        frames.append(result.with_columns(arm, pl.lit(candidate.seed, pl.Int64).alias("seed")))
    return pl.concat(frames).select(*RESULT_SCHEMA, *OPTIONAL)


def _most_tokens(items: pl.DataFrame, bound: BoundOp, student: Student) -> int:
    """What one student reads and writes at the most: every item whole, and replies to the limit."""
    limit = int(bound.options.get("max_tokens", student.max_tokens))
    reach = min(limit, student.max_tokens)
    read = sum(
        len(row.ids) for row in tokenise(from_frame(items), student.tokenizer, max_tokens=reach)
    )
    return read + items.height * int(bound.options.get("max_new_tokens", 0))


def evaluate_one(blobs: Sequence[bytes], options: Mapping[str, Any], context: Context) -> Output:
    """Evaluate one student (the work of a task)."""
    items = from_parquet(blobs[0])
    bound = registry.get("evaluate", options["op"]).bind(options["options"])
    student = context.model("student")
    with tempfile.TemporaryDirectory(prefix="treadle-") as folder:
        if blobs[1:]:
            unpack(blobs[1:], Path(folder))
            student = student.tuned(Path(folder))
        found: pl.DataFrame = bound.make()(student, items, context)
    for name, kind in OPTIONAL.items():
        if name not in found.columns:
            found = found.with_columns(pl.lit(None, dtype=kind).alias(name))
    # An op that does not say what it read and wrote is taken to have used all that was set aside.
    known = "tokens" in found.columns
    tokens = int(found["tokens"].sum()) if known else _most_tokens(items, bound, student)
    found = items.select("item", "source").join(found, on="item", how="left").sort("item")
    found = found.select("item", "source", "score", "value", *OPTIONAL)
    scored = int(found["score"].is_not_null().sum())
    return Output(
        [to_parquet(found)],
        rows_in=items.height,
        kept=scored,
        dropped=items.height - scored,
        tokens=tokens,
    )
