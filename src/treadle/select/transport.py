"""Rows that pull the pool toward the target: gradients of optimal transport (GOT-D)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import rank
from treadle.data.selection import Budget, Selection, tokens_of
from treadle.geometry.cosine import directed
from treadle.geometry.targets import vector_targets
from treadle.geometry.transport import mass_gradients
from treadle.op import select

SCORE = "transport_gradient"


@select(
    reference="openreview QmYNBVukex (GOT-D)",
    cost="some tens of passes over all pairs of a row and a target row, each a matrix product",
    needs=lambda options: (options["on"],),
    target=lambda options: (options["on"],),
)
def transport(
    *, on: str = "embedding", regularization: Annotated[float, Field(gt=0)] = 0.05
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose the rows whose larger weight would bring the pool nearest to the target.

    Nearness is the cost of optimal transport (1 - cosine) from the pool, where each row has the same
    mass, to the target rows. Its gradient with respect to a row's mass, less the mean of the others,
    says what more of that row would change; the most negative come first. So a target row of which
    the pool has little counts more than one that it serves already, and a row like no target row
    comes last. In the paper the pool stands for what the model was pre-trained on.

    The gradient holds for a small change, and the choice is a large one: every copy of a good row has
    its gradient, and the rows chosen are not weighed against each other (`tsds` draws by shares,
    `round_robin` takes turns). The transport is regularised: more passes and sharper differences
    with less of it. Equal gradients go by id.

    Args:
        on: a measure that gives a vector, or such a column of your own.
        regularization: weight of the entropy, as a share of the mean cost.

    Raises:
        DataError: no target row has a vector, vectors differ in width from the pool's, or the
            regularization is too small to find a solution.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        found = directed(rows, on)
        wanted = vector_targets(context.target_rows, on, found.grid.shape[1])
        gradients = np.full(rows.height, np.nan)
        gradients[found.positions] = mass_gradients(
            found.grid, wanted.grid, regularization=regularization, tick=context.tick
        )
        named = rows.with_columns(pl.Series(SCORE, gradients))
        ranking = rank(named, SCORE, ascending=True)
        chosen = budget.take(ranking.order, tokens_of(rows))
        return Selection.of(rows, chosen, ranking.reasons(chosen), left=ranking.left)

    return choose
