"""Rows that share the target's rare words: BM25, the ranking of search engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import rank
from treadle.data.selection import Budget, Selection, column_of, has_length, tokens_of
from treadle.errors import DataError
from treadle.geometry.targets import scored_targets
from treadle.op import select
from treadle.text.bm25 import bm25_scores

WORDS = "words"


@select(
    reference="Okapi BM25; for selection: openreview 4es2oO9tw1 (Compute-Constrained Data Selection)",
    cost="one sparse product of rows and target rows, no model pass",
    needs=(WORDS,),
    target=(WORDS,),
)
def bm25(
    *,
    aggregate: Literal["max", "mean"] = "max",
    k1: Annotated[float, Field(ge=0)] = 1.5,
    b: Annotated[float, Field(ge=0, le=1)] = 0.75,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose the rows whose words best match those of the target rows, rare words counting most.

    Needs no model, and where the compute of selecting counts too, little beats it. It matches words,
    not meanings: another language, a synonym or a task told by its form alone is not found. A long
    target row has more words to match and so higher scores: under `max`, long target rows decide,
    and nothing keeps one of them from taking all (`round_robin` takes turns). Rarity is counted over
    the pool, so scores of two pools do not compare.

    Args:
        aggregate: a row's score is its best, or its mean, over the target rows.
        k1: how much a repeated word still adds; at 0 only its presence counts.
        b: how much a row longer than the mean is marked down, from 0 (not) to 1.

    Raises:
        DataError: `words` is not a column of lists of text, or no target row has words.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        target = context.target_rows.sort("id")
        target = scored_targets(target, _has_words(target), WORDS)
        may = _has_words(rows) & has_length(rows)
        values, nearest = np.full(rows.height, np.nan), np.zeros(rows.height, np.int64)
        inside = np.flatnonzero(may)
        for part, block in bm25_scores(rows[WORDS].gather(inside), target[WORDS], k1=k1, b=b):
            values[inside[part]] = block.max(axis=1) if aggregate == "max" else block.mean(axis=1)
            nearest[inside[part]] = block.argmax(axis=1)
        ranking = rank(rows.with_columns(bm25=pl.Series(values)), "bm25")
        chosen = budget.take(ranking.order, tokens_of(rows))
        why = ranking.reasons(chosen)
        if aggregate == "max":
            best = target["id"].gather(nearest[chosen])
            why = [f"{told}, by target {key}" for told, key in zip(why, best, strict=True)]
        return Selection.of(rows, chosen, why, left=ranking.left)

    return choose


def _has_words(rows: pl.DataFrame) -> NDArray[np.bool_]:
    words = column_of(rows, WORDS)
    if words.dtype not in (pl.List(pl.String), pl.List(pl.Null), pl.Null):
        raise DataError(f"select.bm25: column {WORDS!r} holds {words.dtype}, not lists of words.")
    if words.dtype != pl.List(pl.String):
        return np.zeros(rows.height, np.bool_)
    return (words.list.drop_nulls().list.len() > 0).fill_null(False).to_numpy()
