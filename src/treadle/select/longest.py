"""The rows with the longest replies: the cheapest selector, and a control that most methods fail."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.ranking import figure, rank
from treadle.data.selection import Budget, Selection, tokens_of
from treadle.op import select


@select(reference="arXiv:2402.04833", cost="one sort", needs=("length",))
def longest() -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose the rows with the longest replies, counted in tokens of the student.

    Many published selectors favour long replies and win by that alone, so this is the control that
    they have to beat. The unit matters: by words or characters, other rows are the longest (about
    one in ten on Alpaca). Fails where length is padding: repetition and boilerplate rank first.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        ranking = rank(rows, "length")
        chosen = budget.take(ranking.order, tokens_of(rows))
        places = {int(i): place for place, i in enumerate(ranking.order)}
        why = [f"{figure(ranking.values[i])} reply tokens, rank {places[i] + 1}" for i in chosen]
        return Selection.of(rows, chosen, why, left=ranking.left)

    return choose
