"""Shortest replies: the sanity check that should lose. A selector of one's own, in one file."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.selection import Budget, Selection, tokens_of
from treadle.op import select


@select(reference="a sanity check", cost="none beyond length")
def shortest() -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose the rows with the shortest replies.

    A selection that cannot beat it has learnt nothing. It fails, by design, wherever long answers
    carry what is to be learnt.
    """

    def run(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("length", "id", nulls_last=True)
        scored = rows["length"].is_not_null().to_list()
        order = [i for i, known in enumerate(scored) if known]
        unscored = {i: "unscored" for i, known in enumerate(scored) if not known}
        chosen = budget.take(order, tokens_of(rows))
        return Selection.of(rows, chosen, "short reply", left=unscored)

    return run
