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
    tokens: Literal["aligned", "compatible"] = "aligned",
    min_tokens: int = 3,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure mean NLL(answer | instruction) relative to mean NLL(answer).

    Low: the answer follows easily. High: hard to follow. Above 1 the instruction hurts, which mostly
    means a mismatched pair. `loss_ratio` divides the losses (Cherry); `perplexity_ratio` is the
    exponential of their difference (Superfiltering) and gives another order. On Alpaca it correlates
    strongly with length: read it beside the longest-rows control. Of several turns the last reply
    counts. Answers under `min_tokens` tokens stay unscored.

    Where a template writes no header before a reply, the answer's first token has no prediction
    without its instruction. `aligned` leaves it out of both means. `compatible` leaves it out of the
    second alone, so that T tokens stand against T - 1, as in Superfiltering's script. Under a header
    the two are the same, and the tokens are those of Cherry's script, which writes one. Both scripts
    end without a stop token; here it counts if the template writes one.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        last = pl.col("token_logprobs_last")
        direct = pl.col("token_logprobs_direct").cast(pl.List(pl.Float64))
        given = pl.col("token_logprobs").cast(pl.List(pl.Float64)).list.tail(last)
        # A token without a prediction is null, and adding 0 · direct drops it from this mean too.
        with_prompt = -(given + direct * 0 if tokens == "aligned" else given).list.mean()
        alone = -direct.list.mean()
        ratio = with_prompt / alone if variant == "loss_ratio" else (with_prompt - alone).exp()
        is_scored = (last >= min_tokens) & (alone > 0)
        return batch.select(pl.when(is_scored).then(ratio).otherwise(None).alias("ifd"))

    return run
