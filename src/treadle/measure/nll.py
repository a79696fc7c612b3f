"""Mean negative log-likelihood of a row's replies under the student."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.op import measure


@measure(
    reference="teacher-forced likelihood", cost="none beyond token_logprobs",
    needs=("token_logprobs",),
)  # fmt: skip
def nll() -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the mean NLL per trained token, in nats, the stop token included.

    Low: the student would have said this already. High: new to the student, or wrong, or noise; the
    number alone does not tell which. Short replies scatter more.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        mean = pl.col("token_logprobs").cast(pl.List(pl.Float64)).list.mean()
        return batch.select((-mean).alias("nll"))

    return run
