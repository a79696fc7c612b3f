"""Best rows first, without near-copies of those already kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import rank, upper_limit
from treadle.data.selection import Budget, Selection, tokens_of
from treadle.geometry.cosine import NEAR_COPY, directed, near_copies
from treadle.op import select

LOOK_AHEAD = 2


@select(
    reference="arXiv:2312.15685",
    cost="one sort and O(rows walked * rows kept * width), no model call beyond score and embedding",
    needs=lambda options: (options["by"], options["on"]),
)
def score_first_filter(
    *,
    by: str,
    on: str = "embedding",
    limit: Annotated[float, Field(ge=-1, le=1)] = 0.9,
    ascending: bool = False,
    drop_above: float | None = None,
    drop_below: float | None = None,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Walk rows from the best score down, and pass over those too similar to a row kept before.

    DEITA's filter, over any score: its paper takes complexity times quality. Exact: a row is
    compared with every kept row and with no rejected one. The score decides, and diversity only
    forbids; so a pool with many good rows of one kind, each a little different, fills the budget
    with that kind. The right limit depends on the embedding (0.9 was chosen for a model of 7B);
    when few rows pass it, the selection stays below its budget. Drops as `top` does: by IFD, rows
    above 1.

    Args:
        by: a measure, or a numeric column of your own.
        on: a measure that gives a vector, or such a column of your own.
        limit: the largest cosine to a kept row at which a row is still kept.
        ascending: walk from the lowest score up.
        drop_above: leave out rows above this value of the score.
        drop_below: leave out rows below this value of the score.
    """
    highest = upper_limit(by, drop_above)

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        vectors, tokens = directed(rows, on), tokens_of(rows)
        ranking = rank(rows, by, ascending=ascending, drop_above=highest, drop_below=drop_below)
        left = ranking.left | vectors.left
        place_in_grid = np.full(rows.height, -1, dtype=np.int64)
        place_in_grid[vectors.positions] = np.arange(len(vectors.positions))
        order = ranking.order[place_in_grid[ranking.order] >= 0]
        if budget.token_limit is not None:
            order = order[tokens[order] <= budget.token_limit]
        is_kept = np.zeros(0, dtype=np.bool_)
        for is_copy in near_copies(vectors.grid, place_in_grid[order], limit=limit, against="kept"):
            is_kept = np.concatenate([is_kept, ~is_copy])
            if _is_enough(budget, order[: len(is_kept)][is_kept], tokens):
                break
        walked = order[: len(is_kept)]
        chosen = budget.take(walked[is_kept], tokens)
        left |= _copies(walked, is_kept, chosen)
        return Selection.of(rows, chosen, ranking.reasons(chosen), left=left)

    return choose


def _is_enough(budget: Budget, kept: NDArray[np.int64], tokens: NDArray[np.int64]) -> bool:
    """Whether these rows fill the budget (of tokens: twice, since its last row may come later)."""
    if budget.token_limit is None:
        return len(kept) >= budget.rows_of(len(tokens))
    return int(tokens[kept].sum()) >= LOOK_AHEAD * budget.token_limit


def _copies(
    walked: NDArray[np.int64], is_kept: NDArray[np.bool_], chosen: list[int]
) -> dict[int, str]:
    """Name the rejected rows; those after the last chosen one only if all kept rows were chosen."""
    end = len(walked)
    if len(chosen) < is_kept.sum():
        end = int(np.flatnonzero(np.isin(walked, chosen)).max(initial=-1)) + 1
    return dict.fromkeys(walked[:end][~is_kept[:end]].tolist(), NEAR_COPY)
