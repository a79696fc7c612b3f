"""Instruction-following difficulty: how much does the instruction help the model say the answer?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import polars as pl

from treadle.context import Context
from treadle.op import measure


@measure(reference="arXiv:2308.12032", cost="none beyond token_logprobs", needs=("token_logprobs",))
def ifd(
    *,
    variant: Literal["loss_ratio", "perplexity_ratio"] = "loss_ratio",
    min_tokens: int = 3,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure mean NLL(answer | instruction) relative to mean NLL(answer).

    Low: the answer follows easily. High: hard to follow. Above 1 the instruction hurts, which mostly
    means a mismatched pair. `loss_ratio` divides the losses (Cherry); `perplexity_ratio` is the
    exponential of their difference (Superfiltering) and gives another order. On Alpaca it correlates
    strongly with length: read it beside the longest-rows control. Of several turns the last reply
    counts. Answers under `min_tokens` tokens stay unscored.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        last = pl.col("token_logprobs_last")
        direct = pl.col("token_logprobs_direct").cast(pl.List(pl.Float64))
        given = pl.col("token_logprobs").cast(pl.List(pl.Float64)).list.tail(last)
        # Where a template has no header, the first token alone has no prediction: adding 0 · direct
        # drops that token from both means, so that both are over the same tokens.
        with_prompt = -(given + direct * 0).list.mean()
        alone = -direct.list.mean()
        ratio = with_prompt / alone if variant == "loss_ratio" else (with_prompt - alone).exp()
        is_scored = (last >= min_tokens) & (alone > 0)
        return batch.select(pl.when(is_scored).then(ratio).otherwise(None).alias("ifd"))

    return run
