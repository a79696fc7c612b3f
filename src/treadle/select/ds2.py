"""DS2: the best rows by a rating that was repaired first, and of equal ones the rarest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.randomness import derived_rng
from treadle.data.ranking import figure
from treadle.data.ratings import Scale, levels
from treadle.data.selection import UNSCORED, Budget, Selection, tokens_of
from treadle.geometry.cosine import Floats, directed
from treadle.geometry.curation import LEAST_AGREEMENT, Curated, curate
from treadle.op import select


@select(
    reference="arXiv:2410.10877",
    cost="O(rows**2 * width) in blocks, no model call beyond rating and embedding",
    needs=lambda options: (options["by"], options["on"]),
)
def ds2(
    *,
    by: str,
    on: str = "embedding",
    scale: Scale = "whole",
    voters: Annotated[int, Field(ge=3, le=50)] = 10,
    least_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5,
    least_agreement: Annotated[float, Field(ge=-1, le=1)] = LEAST_AGREEMENT,
    with_self: bool = False,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Repair noisy ratings by those of near rows, then take the best, and of equal ones the rarest.

    A rating has few levels, so most of a budget is filled by a tie: the long-tail score (distance to
    the nearest rows) breaks it. Repair makes the top level purer where near rows deserve the same,
    and draws every row to its surroundings where they do not: a good answer among bad ones counts as
    a slip of the rater. Where near rows agree little (`least_agreement`) nothing is repaired, and
    this is `top` with rare rows first: outliers, thus also other languages, code and noise. The
    measure `curated_score` shows the same repair row by row; there the figures are.

    Args:
        by: a rating of few levels: a measure, or a numeric column of your own.
        on: a measure that gives a vector, or such a column of your own.
        scale: `whole` rounds to whole numbers; `ten_to_five` folds 1 to 10 into 0 to 5 as published
            (up to 4 is 0, from 9 on is 5).
        voters: neighbours that vote, the row itself among them; as many count for the long tail.
        least_confidence: below it a doubted rating stays.
        least_agreement: Cohen's kappa of near rows' ratings below which nothing is repaired.
        with_self: count the row as its own nearest in the long tail, and round it to 4 decimals, as
            the published code does.

    Raises:
        DataError: the ratings have more than 12 levels.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        points = directed(rows, on)
        ratings, is_rated = levels(rows, by, scale)
        left = points.left | dict.fromkeys(np.flatnonzero(~is_rated).tolist(), UNSCORED)
        has_both = is_rated[points.positions]
        inside = points.positions[has_both]
        found = curate(
            points.grid[has_both],
            ratings[inside],
            voters=voters,
            least_confidence=least_confidence,
            least_agreement=least_agreement,
            with_self=with_self,
            rng=derived_rng("curated_score"),
            tick=context.tick,
        )
        order = np.lexsort((inside, -np.nan_to_num(found.long_tail), -found.rating))
        chosen = budget.take(inside[order], tokens_of(rows))
        reasons = dict(zip(inside.tolist(), _reasons(by, found, ratings[inside]), strict=True))
        return Selection.of(rows, chosen, [reasons[i] for i in chosen], left=left)

    return choose


def _reasons(by: str, found: Curated, before: Floats) -> list[str]:
    """Say of each row what its rating was and became, and how rare the row is."""
    why = []
    for old, new, sure, rare in zip(
        before.tolist(), found.rating.tolist(), found.confidence.tolist(),
        found.long_tail.tolist(), strict=True,
    ):  # fmt: skip
        repaired = f" (was {figure(old)}; confidence {sure:.2f})" if new != old else ""
        place = "alone" if math.isnan(rare) else f"long tail {figure(rare)}"
        why.append(f"{by} {figure(new)}{repaired}, {place}")
    return why
