"""Determinantal point process: good rows that are unlike each other, weighed in one figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import figure, snake
from treadle.data.selection import UNSCORED, Budget, Selection, scored, tokens_of
from treadle.geometry.cosine import directed
from treadle.geometry.volume import greedy_dpp
from treadle.op import select

NOTHING_NEW = "nothing_new"


@select(
    reference="arXiv:2408.05541 (P3, its diversity); greedy choice of arXiv:1709.05135",
    cost="O(rows * chosen * width); memory 8 bytes a coordinate of all and of the chosen rows",
    needs=lambda options: (options["on"], *([options["by"]] if options["by"] else [])),
)
def dpp(
    *,
    on: str = "embedding",
    by: str | None = None,
    weight: Annotated[float, Field(ge=0)] = 1.0,
    ridge: Annotated[float, Field(ge=0, le=1)] = 0.01,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose, again and again, the row that multiplies the volume of the chosen rows by most.

    The volume is the determinant of quality x cosine x quality. A row counts for what the chosen
    rows together do not explain, so a mix of two chosen rows adds little although it is near to
    neither; `k_center` and `facility_location` look at the nearest chosen row only. Quality and
    diversity weigh against each other in one figure: at the default ridge, a copy of a chosen row
    has to be about 7 times as good as a wholly new one. Without a quality it seeks outliers, as
    `k_center` does. The greedy choice carries no useful guarantee, but is the usual one.

    Args:
        on: a measure that gives a vector, or such a column of your own.
        by: the quality: a measure, or a numeric column of your own, with values above 0; only their
            ratios count. Rows at 0 or below are left out. Without it all rows are equally good.
        weight: the power to which the quality is raised.
        ridge: how much of each row is its own, whatever the others are. Without it (0), no more
            rows can be chosen than the vectors are wide.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        vectors = directed(rows, on)
        values, is_scored = np.ones(rows.height), np.ones(rows.height, dtype=np.bool_)
        if by is not None:
            values, is_scored = scored(rows, by)
        left = dict.fromkeys(np.flatnonzero(~is_scored).tolist(), UNSCORED) | vectors.left
        positive = is_scored & (values > 0)
        for i in np.flatnonzero(is_scored & ~positive).tolist():
            left.setdefault(i, snake(f"{by}_not_positive"))
        inside = positive[vectors.positions]
        positions = vectors.positions[inside]
        found = greedy_dpp(
            vectors.grid[inside],
            weight * np.log(values[positions]),
            ridge=ridge,
            count=budget.rows_of(rows.height),
            tokens_N=tokens_of(rows)[positions],
            token_limit=budget.token_limit,
        )
        left |= dict.fromkeys(positions[found.explained].tolist(), NOTHING_NEW)
        chosen = positions[found.order].tolist()
        quality = [f"{by} {figure(values[i])}, " if by else "" for i in chosen]
        new = [f"{figure(part / (1 + ridge))} of it new" for part in found.new_parts]
        why = [a + b for a, b in zip(quality, new, strict=True)]
        return Selection.of(rows, chosen, why, left=left)

    return choose
