"""The best rows by a score, thinned to those that differ most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import figure, rank, upper_limit
from treadle.data.selection import UNSCORED, Budget, Selection, tokens_of, vectors
from treadle.geometry.k_center import greedy_k_center
from treadle.op import select

OUTSIDE = "outside_score_pool"


@select(
    reference="arXiv:2312.15685 (quality first, then diversity; with k-center in place of its filter)",
    cost="one sort and O(pool_factor * chosen**2 * width)",
    needs=lambda options: (options["by"], options["on"]),
)
def score_then_diverse(
    *,
    by: str,
    diverse: Literal["k_center"] = "k_center",
    on: str = "embedding",
    pool_factor: Annotated[float, Field(ge=1)] = 2.0,
    ascending: bool = False,
    drop_above: float | None = None,
    drop_below: float | None = None,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Keep the best `pool_factor` budgets of rows by a score, then spread the choice among them.

    The score keeps k-center from its habit of choosing outliers, and k-center keeps the score from
    choosing near-copies of one good row. With a factor of 1 it is `top` in another order; with a
    large one the score hardly counts. Drops as `top` does: by IFD, rows above 1.

    Args:
        by: a measure, or a numeric column of your own.
        diverse: how to spread the choice.
        on: a measure that gives a vector, or such a column of your own.
        pool_factor: how many budgets of rows the score lets through.
    """
    limit = upper_limit(by, drop_above)

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        points, has_point = vectors(rows, on)
        whole = rank(rows, by, ascending=ascending, drop_above=limit, drop_below=drop_below)
        left = whole.left | {int(i): UNSCORED for i in whole.order if not has_point[i]}
        order = whole.order[has_point[whole.order]]
        tokens = tokens_of(rows)
        best = np.sort(np.array(budget.times(pool_factor).take(order, tokens), dtype=np.int64))
        left |= dict.fromkeys(np.setdiff1d(order, best).tolist(), OUTSIDE)
        found = greedy_k_center(
            points[best],
            count=budget.rows_of(rows.height),
            tokens_N=tokens[best],
            token_limit=budget.token_limit,
        )
        chosen = [int(best[i]) for i in found.order]
        far = [f"; distance {figure(d)} to the chosen rows" for d in found.distances]
        far[:1] = ["; nearest to the mean of the best rows"] * len(far[:1])
        why = [told + spread for told, spread in zip(whole.reasons(chosen), far, strict=True)]
        return Selection.of(rows, chosen, why, left=left)

    return choose
