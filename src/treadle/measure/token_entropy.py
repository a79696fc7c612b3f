"""How unsure is the student, token by token, along a row's replies?"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.op import measure


@measure(
    reference="predictive entropy", cost="none beyond token_logprobs", needs=("token_logprobs",)
)
def token_entropy() -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the mean entropy of the student's prediction at each trained token, in nats.

    It looks at the prediction and not at what came: an unsure student scores high on a plain answer,
    and a sure and wrong one scores low. Read it beside `nll`.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        mean = pl.col("token_logprobs_entropy").cast(pl.List(pl.Float64)).list.mean()
        return batch.select(mean.alias("token_entropy"))

    return run
