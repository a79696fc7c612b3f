"""ActivePrune: commonplace rows and good ones, in rounds that turn to what has not yet come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import figure
from treadle.data.selection import UNSCORED, Budget, Selection, has_length, scored, tokens_of
from treadle.op import select

Floats = NDArray[np.float64]


@select(
    reference="arXiv:2410.04275",
    cost="a sort a round, beyond the two features",
    needs=lambda options: (options["perplexity"], options["by"]),
)
def active_prune(
    *,
    by: str = "self_rating",
    perplexity: str = "ngram_perplexity",
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    rounds: Annotated[int, Field(ge=1, le=100)] = 5,
    beta: Annotated[float, Field(ge=0)] = 0.5,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose, in rounds, rows of the lowest perplexity, and of the others those rated best.

    Low perplexity under a cheap model is fluent and usual; of the rows that this passes over, a
    costlier judge picks the good ones, which are unusual for a reason. After each round, `beta` times
    the mean distance |perplexity - perplexity of a row just chosen| is taken off the perplexity of
    each row left, so that the next round turns to kinds of rows that have not come yet.

    Variant: the paper prunes a pool for an acquisition function that then picks what to label; here
    what is left is the selection, and the rounds are equal parts of its budget. Distances are those
    of the perplexities as measured. Two steps of a recipe, `select: [{by: ngram_perplexity,
    ascending: true, keep: 50%}, {by: self_rating, keep: 30%}]`, are another method, the good among the
    usual, but spare the judge half of the pool, where this one has every row judged: put a random
    step before it where that is too dear.

    The perplexity of an n-gram model is low for templates and near copies, so drop these before. At a
    `beta` of 1 the rows of the highest perplexities, noise among them, end up level with the rest.

    Args:
        by: the quality, highest first: a measure, or a numeric column of your own.
        perplexity: a measure, or such a column, lowest first.
        share: of each round's part of the budget, for the rows of the lowest perplexity.
        rounds: parts of the budget.
        beta: how strongly a round turns away from what the one before chose; 0: not at all.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        measured, is_known = scored(rows, perplexity)
        quality, is_rated = scored(rows, by)
        may = is_known & is_rated & has_length(rows)
        left = dict.fromkeys(np.flatnonzero(~may).tolist(), UNSCORED)
        tokens, now = tokens_of(rows), measured.copy()
        chosen: list[int] = []
        why: list[str] = []
        for turn in range(1, rounds + 1):
            part = budget.times(turn / rounds).after(rows, chosen)
            if part is None:
                continue
            low = part.times(share).take(_lowest(now, may), tokens)
            may[low] = False
            rest = part.after(rows, low)
            good = [] if rest is None else rest.take(_lowest(-quality, may), tokens)
            may[good] = False
            why += [f"round {turn}, {perplexity} {figure(float(measured[i]))}" for i in low]
            why += [f"round {turn}, {by} {figure(float(quality[i]))}" for i in good]
            chosen += [*low, *good]
            now[may] -= beta * mean_distances(measured[may], measured[[*low, *good]])
        return Selection.of(rows, chosen, why, left=left)

    return choose


def _lowest(values: Floats, may: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the positions that may be chosen, lowest value first; equal ones by position."""
    inside = np.flatnonzero(may)
    return inside[np.argsort(values[inside], kind="stable")]


def mean_distances(values: Floats, others: Floats) -> Floats:
    """Return the mean of |value - other| over the others, for each value; 0 where there is none."""
    if not len(others):
        return np.zeros(len(values))
    others = np.sort(others)
    sums = np.concatenate([[0.0], np.cumsum(others)])
    below = np.searchsorted(others, values, side="right")
    above = len(others) - below
    total = values * below - sums[below] + (sums[-1] - sums[below]) - values * above
    found: Floats = total / len(others)
    return found
