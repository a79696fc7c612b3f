"""Which words and word pairs does a row use? DSIR's hashed n-gram counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.parts import Part, part_texts
from treadle.op import measure
from treadle.text.hashed_ngrams import count_ngrams


@measure(reference="arXiv:2302.03169 (DSIR)", cost="1 hash for each distinct n-gram of a shard")
def hashed_ngrams(
    *,
    of: Part = "row",
    n: Annotated[int, Field(ge=1, le=5)] = 2,
    buckets: Annotated[int, Field(ge=2, le=2**32)] = 10_000,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure how many of the row's 1- to `n`-grams fall into each of `buckets` hash buckets.

    Columns: `hashed_ngrams`, the buckets that are not empty, rising; `hashed_ngrams_counts`, the
    n-grams in each, at the same positions; `hashed_ngrams_tokens`, the tokens of the text. An
    n-gram's bucket is its SHA-256 modulo `buckets`; tokens are runs of word characters or of signs,
    lower-cased: the same numbers as DSIR's. Unrelated n-grams share buckets, and counts grow with
    length, so a sum over them favours long rows. The published tool drops rows under 100 tokens; none
    is dropped here. A part without tokens is missing.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        counted = count_ngrams(part_texts(batch, of), n=n, buckets=buckets)
        return counted.select(
            pl.col("buckets").alias("hashed_ngrams"),
            pl.col("counts").alias("hashed_ngrams_counts"),
            pl.col("tokens").alias("hashed_ngrams_tokens"),
        )

    return run
