"""The rows whose value of a feature lies in a band: the middle third of perplexity, for example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import AfterValidator, Field

from treadle.context import Context
from treadle.data.ranking import figure, rank, snake
from treadle.data.selection import Budget, Selection, tokens_of
from treadle.op import select

BANDS = {"low": (0.0, 1 / 3), "middle": (1 / 3, 2 / 3), "high": (2 / 3, 1.0)}


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError("the first quantile must be the lower one")
    return pair


Quantile = Annotated[float, Field(ge=0, le=1)]
Quantiles = Annotated[tuple[Quantile, Quantile], AfterValidator(_rising)]


@select(
    reference="arXiv:2405.20541 (perplexity pruning: low, medium and high)",
    cost="one sort, beyond the feature itself",
    needs=lambda options: (options["by"],),
)
def band(
    *, by: str, quantiles: Literal["low", "middle", "high"] | Quantiles = "middle"
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose rows whose value lies between two quantiles of the pool, the middle of the band first.

    For scores of which neither end is good: of the highest perplexity are broken rows, of the
    lowest are boilerplate. Which band is best depends on the pool and has to be tried; for
    instruction tuning both the top and the middle of perplexity were seen to lose to random rows.
    Values at the edges are inside. Nearness to the middle is counted in ranks, since such scores
    have long tails; equal values share a rank and go by id. So between 0 and 1 a budget of 50% takes
    the half around the median. For the very lowest or highest rows, or fixed limits, use `top`.

    Args:
        by: a measure, or a numeric column of your own.
        quantiles: a third of the scored rows by name, or two shares such as `[0.2, 0.6]`.
    """
    low, high = BANDS[quantiles] if isinstance(quantiles, str) else quantiles

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        ranking = rank(rows, by, ascending=True)
        values = ranking.values[ranking.order]
        if not len(values):
            return Selection.of(rows, [], "", left=ranking.left)
        lowest, highest = np.quantile(values, [low, high])
        left = dict(ranking.left)
        for is_out, word in ((values < lowest, "below"), (values > highest, "above")):
            left |= dict.fromkeys(ranking.order[is_out].tolist(), snake(f"{by}_{word}_band"))
        twice_rank = 2 * pl.Series(values).rank("average").to_numpy() - 1
        away = np.abs(twice_rank - (low + high) * len(values))
        inside = np.flatnonzero((values >= lowest) & (values <= highest))
        places = inside[np.lexsort((ranking.order[inside], away[inside]))]
        chosen = budget.take(ranking.order[places], tokens_of(rows))
        shares = (twice_rank / (2 * len(values))).tolist()
        at = dict(zip(ranking.order.tolist(), shares, strict=True))
        why = [f"{by} {figure(ranking.values[i])}, quantile {at[i]:.2f}" for i in chosen]
        return Selection.of(rows, chosen, why, left=left)

    return choose
