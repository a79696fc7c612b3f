"""How rare are a row's words in the pool?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.pool import from_parquet, to_parquet
from treadle.op import measure


def count_words(rows: pl.DataFrame, options: Mapping[str, Any], context: Context) -> bytes:
    """Count every word of the pool."""
    counted = rows.select(word=pl.col("words").drop_nulls().explode()).group_by("word").len("count")
    return to_parquet(counted.sort("word"))


@measure(
    reference="arXiv:2406.14124 (inverse word frequency, H(W, f))",
    cost="none beyond words; one pass over the pool to count", needs=("words",), fit=count_words,
)  # fmt: skip
def word_surprisal() -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the mean of -ln p(word) over the row's words, p being the word's share of the pool.

    High: rare words, thus names, numbers, code and typing errors as much as knowledge; low:
    commonplaces. Order and sense of the words play no part. p = (count + 1) / (all words + different
    words + 1), so that a word that the pool lacks has a value too. The row's own words are among
    those counted, as in the paper, which prunes the rows with the lowest mean of this and of the NLL
    under a model (`nll`). It reads `words`, with that measure's options; a row without words is
    missing.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        assert context.fitted is not None
        counts = from_parquet(context.fitted)
        total = int(counts["count"].sum()) + counts.height + 1
        flat = batch["words"].drop_nulls().explode().to_frame("word")
        seen = flat.join(counts, on="word", how="left", maintain_order="left")["count"]
        surprisals = np.log(total) - np.log(seen.fill_null(0).to_numpy() + 1.0)
        lengths = batch["words"].list.len().fill_null(0).to_numpy()
        sums = np.bincount(np.repeat(np.arange(len(lengths)), lengths), surprisals, len(lengths))
        means = np.full(len(lengths), np.nan)
        np.divide(sums, lengths, out=means, where=lengths > 0)
        return pl.DataFrame({"word_surprisal": means}).fill_nan(None)

    return run
