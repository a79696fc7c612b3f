"""Importance resampling: draw rows until their words are spread like the target's (DSIR)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from treadle.context import Context
from treadle.data.randomness import gumbel_order
from treadle.data.ranking import figure
from treadle.data.selection import (
    UNSCORED,
    Budget,
    Selection,
    column_of,
    has_length,
    scored,
    tokens_of,
)
from treadle.errors import DataError
from treadle.geometry.targets import scored_targets
from treadle.op import select

BUCKETS, COUNTS, TOKENS = "hashed_ngrams", "hashed_ngrams_counts", "hashed_ngrams_tokens"
SMALLEST = 1e-8
BLOCK_ROWS = 2**15

Floats = NDArray[np.float64]


@select(
    reference="arXiv:2302.03169 (DSIR)",
    cost="two passes over the n-gram counts, no model call",
    needs=lambda options: (BUCKETS, COUNTS, TOKENS) if options["per_token"] else (BUCKETS, COUNTS),
    target=(BUCKETS, COUNTS),
    draws=lambda options: options["temperature"] > 0,
)
def importance_resampling(
    *, per_token: bool = False, temperature: Annotated[float, Field(ge=0)] = 1.0
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Draw rows without replacement, by how much likelier the target makes their n-grams.

    A row's log weight is the sum over its n-grams (by hash bucket) of
    log(share in the target + 1e-8) - log(share in the pool + 1e-8). Rows are then drawn with
    probability proportional to the weight, so that the choice resembles the target as a whole
    where a ranking would repeat its most typical words.

    The sum grows with length, to both sides: most rows of a mixed pool are below 0, and short ones
    of any kind beat long ones that are nearly on target. DSIR leaves out rows under 100 tokens for
    that; nothing is left out here. It also makes weights differ by far more than the noise: long
    rows are all but ranked. An n-gram that the target lacks costs up to log(1e-8) = -18, so a
    target of few rows punishes every word that it happens not to use.

    Args:
        per_token: divide a row's log weight by its tokens (not as published).
        temperature: how much chance counts: 1 as published, 0 none (the largest weights first).

    Raises:
        DataError: the n-gram columns hold no lists of whole numbers, or no target row has n-grams.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        target = context.target_rows.sort("id")
        target = scored_targets(target, _has_ngrams(target), BUCKETS)
        may = _has_ngrams(rows) & has_length(rows)
        if per_token:
            lengths, is_known = scored(rows, TOKENS)
            may &= is_known & (lengths > 0)
        inside = np.flatnonzero(may)
        weights = log_weights(rows.select(BUCKETS, COUNTS)[inside], target)
        if per_token:
            weights /= lengths[inside]
        ids = rows["id"].gather(inside).to_list()
        key = context.rng("select.importance_resampling").bytes(32)
        order = gumbel_order(weights, ids, key, temperature=temperature)
        drawn = {int(inside[i]): (place, i) for place, i in enumerate(order, start=1)}
        chosen = budget.take(inside[order], tokens_of(rows))
        word = "draw" if temperature else "rank"
        why = [
            f"log weight {figure(weights[i])}, {word} {place}"
            for place, i in map(drawn.__getitem__, chosen)
        ]
        left = dict.fromkeys(np.flatnonzero(~may).tolist(), UNSCORED)
        return Selection.of(rows, chosen, why, left=left)

    return choose


def log_weights(rows: pl.DataFrame, target: pl.DataFrame) -> Floats:
    """Return each row's sum of log ratios; every row of both frames has n-grams."""
    joined = _totals(rows).join(_totals(target), on="bucket", how="full", coalesce=True)
    shares = joined.sort("bucket").fill_null(0)
    raw, wanted = (
        shares[name].to_numpy() / max(1.0, shares[name].sum()) for name in ("count", "count_right")
    )
    ratios = np.log(wanted + SMALLEST) - np.log(raw + SMALLEST)
    known = shares["bucket"].to_numpy()
    found = np.empty(rows.height)
    for part, buckets, counts, ends in _blocks(rows):
        codes = np.searchsorted(known, buckets)
        table = sparse.csr_matrix((counts, codes, ends), shape=(len(ends) - 1, len(known)))
        found[part] = table @ ratios
    return found


def _totals(rows: pl.DataFrame) -> pl.DataFrame:
    """Count all n-grams of all rows by bucket."""
    parts = [
        pl.DataFrame({"bucket": buckets, "count": counts}).group_by("bucket").sum()
        for _, buckets, counts, _ in _blocks(rows)
    ]
    empty = pl.DataFrame(schema={"bucket": pl.Int64, "count": pl.Float64})
    return pl.concat([empty, *parts]).group_by("bucket").sum()


def _blocks(
    rows: pl.DataFrame,
) -> Iterator[tuple[slice, NDArray[np.int64], Floats, NDArray[np.int64]]]:
    """Yield a block of rows: its place, all buckets in one array, their counts, where rows end."""
    for begin in range(0, rows.height, BLOCK_ROWS):
        part = slice(begin, begin + BLOCK_ROWS)
        block = rows[part]
        buckets = block[BUCKETS].explode().cast(pl.Int64).to_numpy()
        counts = block[COUNTS].explode().cast(pl.Float64).to_numpy()
        yield part, buckets, counts, np.append(0, np.cumsum(block[BUCKETS].list.len().to_numpy()))


def _has_ngrams(rows: pl.DataFrame) -> NDArray[np.bool_]:
    """Return which rows have buckets and as many counts, all of them known."""
    for name in (BUCKETS, COUNTS):
        dtype = column_of(rows, name).dtype
        if dtype in (pl.Null, pl.List(pl.Null)):
            return np.zeros(rows.height, np.bool_)
        if not (isinstance(dtype, pl.List) and dtype.inner.is_integer()):
            raise DataError(
                f"select.importance_resampling: column {name!r} holds {dtype}, not lists of whole "
                "numbers."
            )
    lists = [pl.col(name).list for name in (BUCKETS, COUNTS)]
    sizes = [part.len() for part in lists] + [part.drop_nulls().list.len() for part in lists]
    is_full = pl.all_horizontal(sizes[0] > 0, *(size == sizes[0] for size in sizes[1:]))
    return rows.select(is_full.fill_null(False)).to_series().to_numpy()
