"""Greedy k-center: rows that leave no region of the pool far from a chosen one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.ranking import figure
from treadle.data.selection import UNSCORED, Budget, Selection, has_length, tokens_of, vectors
from treadle.geometry.k_center import greedy_k_center
from treadle.op import select


@select(
    reference="arXiv:1708.00489",
    cost="O(rows * chosen * width), no model call beyond the embedding",
    needs=lambda options: (options["on"],),
)
def k_center(*, on: str = "embedding") -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose, again and again, the row farthest from all rows chosen so far.

    The distance (Euclidean) from any row to its nearest chosen one ends at most twice as large as
    the best choice could make it. Starts at the row nearest the mean. Seeks outliers: broken or
    foreign rows are far from everything and come first, so clean the pool or cut by a score before
    (`score_then_diverse`). Exact copies are chosen last, by id.

    Args:
        on: a measure that gives a vector, or such a column of your own.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        points, is_scored = vectors(rows, on)
        inside = np.flatnonzero(is_scored & has_length(rows))
        tokens = tokens_of(rows)
        found = greedy_k_center(
            points[inside],
            count=budget.rows_of(rows.height),
            tokens_N=tokens[inside],
            token_limit=budget.token_limit,
        )
        chosen = [int(inside[i]) for i in found.order]
        why = [f"distance {figure(d)} to the chosen rows" for d in found.distances]
        why[:1] = ["nearest to the mean of all rows"] * len(why[:1])
        outside = np.setdiff1d(np.arange(rows.height), inside)
        return Selection.of(rows, chosen, why, left=dict.fromkeys(outside.tolist(), UNSCORED))

    return choose
