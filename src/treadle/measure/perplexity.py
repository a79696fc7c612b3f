"""Perplexity of a row's replies under the student."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.op import measure


@measure(
    reference="arXiv:2309.04564", cost="none beyond token_logprobs", needs=("token_logprobs",)
)  # fmt: skip
def perplexity() -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure exp(mean NLL) per trained token.

    The same order as `nll`; the scale that the literature uses. Selecting the lowest keeps what the
    student knows already, the highest keeps noise: bands in the middle are the usual choice.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        mean = pl.col("token_logprobs").cast(pl.List(pl.Float64)).list.mean()
        return batch.select((-mean).exp().alias("perplexity"))

    return run
