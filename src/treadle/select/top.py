"""The rows that score highest (or lowest) on one feature."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.ranking import rank, upper_limit
from treadle.data.selection import Budget, Selection, tokens_of
from treadle.op import select


@select(
    reference="arXiv:2308.12032 (by IFD)",
    cost="one sort, beyond the feature itself",
    needs=lambda options: (options["by"],),
)
def top(
    *,
    by: str,
    ascending: bool = False,
    drop_above: float | None = None,
    drop_below: float | None = None,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose the rows with the highest value of a feature, best first.

    A score says nothing of what the other rows say: near-copies of one good row all rank alike
    (`score_then_diverse` spreads the choice), and many scores are length in disguise (compare with
    `longest`). By IFD, rows above 1 are left out, since there the instruction hurts; an explicit
    `drop_above` replaces that limit (`.inf` removes it).

    Args:
        by: a measure, or a numeric column of your own.
        ascending: choose the lowest values instead.
        drop_above: leave out rows above this value, however the ranking goes.
        drop_below: leave out rows below this value.
    """
    limit = upper_limit(by, drop_above)

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        ranking = rank(rows, by, ascending=ascending, drop_above=limit, drop_below=drop_below)
        chosen = budget.take(ranking.order, tokens_of(rows))
        return Selection.of(rows, chosen, ranking.reasons(chosen), left=ranking.left)

    return choose
