"""Clusters in rounds: what a student has learnt of a cluster decides how much more of it comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.randomness import gumbel_order
from treadle.data.ranking import figure, snake
from treadle.data.selection import UNSCORED, Budget, Selection, scored, tokens_of
from treadle.geometry.clusters import spherical_k_means
from treadle.geometry.cosine import directed
from treadle.op import select

NAME = "select.diversify_and_conquer"

Floats = NDArray[np.float64]


@select(
    reference="arXiv:2409.11378",
    cost="k-means once; each round but the last a training on all rows chosen so far, and one pass "
    "over all rows after it",
    needs=lambda options: (options["on"], *([options["by"]] if options["by"] else [])),
    draws=True,
    learns=("nll", "token_entropy"),
    trainings=lambda options: tuple(
        (i + 1) / options["rounds"] for i in range(options["rounds"] - 1)
    ),
)
def diversify_and_conquer(
    *,
    on: str = "embedding",
    by: str | None = None,
    clusters: Annotated[int, Field(ge=1)] | None = None,
    rounds: Annotated[int, Field(ge=2, le=10)] = 3,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Draw rows cluster by cluster, in rounds; after each, ask a student which clusters need more.

    All clusters begin with one weight, so that rare kinds of rows come as often as common ones. In
    each round an equal part of the budget is drawn: a cluster with the chance of its weight, a row
    within it with that of its quality. Then a copy of the student is trained on all rows chosen so
    far, and each cluster's weight is multiplied by exp(its score). The score is the mean over the
    cluster's rows not yet chosen of (nll - entropy): by how much the given reply is less likely to
    the trained student than what it would say itself. It is high where the student is sure of
    something else; it is near 0 for what is learnt, and for noise, of which a student is as unsure
    as it is surprised.

    Variant: the paper compares the given reply with one that the student generates, by perplexity
    or by a reward model, on the rows that it has trained on; its code takes a softmax of the last
    round's scores, without the weights before. The entropy stands for the generated reply, token by
    token, because it costs no generation, and rows not trained on tell what was learnt and not what
    was memorised. Weights are multiplied as in the paper, by exp(score) since a score may be
    negative.

    A small or overconfident student is sure of nonsense, and then asks for more of what it cannot
    learn. Clusters by embedding part topics, not skills. Few rows in a cluster make a loud score.

    Args:
        on: a measure that gives a vector, or such a column of your own.
        by: the quality, a column with values above 0, of which only the ratios count; rows at 0 or
            below are left out. Without it a cluster's rows are equally good.
        clusters: how many; by default the square root of the number of rows.
        rounds: parts of the budget; all but the last cost a training.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        found, quality = directed(rows, on), np.ones(rows.height)
        left, may = dict(found.left), np.ones(rows.height, dtype=np.bool_)
        if by is not None:
            quality, may = scored(rows, by)
            left |= dict.fromkeys(np.flatnonzero(~may).tolist(), UNSCORED)
            bad = np.flatnonzero(may & (quality <= 0))
            left |= {i: snake(f"{by}_not_positive") for i in bad.tolist() if i not in found.left}
            may &= quality > 0
        inside = may[found.positions]
        members = found.positions[inside]
        count = clusters or max(1, round(math.sqrt(len(members))))
        labels = spherical_k_means(found.grid[inside], count, context.rng(NAME)).labels
        ids, tokens = rows["id"].to_list(), tokens_of(rows)
        weights, rest = np.zeros(count), np.ones(len(members), dtype=np.bool_)
        chosen: list[int] = []
        why: list[str] = []
        for turn in range(1, rounds + 1):
            part = budget.times(turn / rounds).after(rows, chosen)
            if part is not None and rest.any():
                at = np.flatnonzero(rest)
                chances = row_chances(weights, labels[at], quality[members[at]])
                key = context.rng(NAME, turn).bytes(32)
                order = at[gumbel_order(chances, [ids[i] for i in members[at]], key)]
                taken = part.take(members[order], tokens)
                chosen += taken
                at = np.searchsorted(members, taken)
                rest[at] = False
                why += [_reason(turn, weights, int(cluster)) for cluster in labels[at]]
            if turn == rounds or not chosen or not rest.any() or budget.after(rows, chosen) is None:
                break
            answer = context.after_training([ids[i] for i in chosen]).sort("id")
            surplus = (answer["nll"] - answer["token_entropy"]).cast(pl.Float64).fill_null(np.nan)
            weights = weights + cluster_scores(surplus.to_numpy()[members], labels, rest, count)
        return Selection.of(rows, chosen, why, left=left)

    return choose


def row_chances(weights: Floats, labels: NDArray[np.int64], quality: Floats) -> Floats:
    """Return the log of each row's chance: its cluster's weight, shared out by quality."""
    sums = np.bincount(labels, weights=quality, minlength=len(weights))
    chances: Floats = weights[labels] + np.log(quality) - np.log(sums[labels])
    return chances


def cluster_scores(
    surplus: Floats, labels: NDArray[np.int64], rest: NDArray[np.bool_], count: int
) -> Floats:
    """Return the mean surplus of each cluster's rows that are left; where there is none, the mean."""
    known = rest & np.isfinite(surplus)
    sizes = np.bincount(labels[known], minlength=count)
    sums = np.bincount(labels[known], weights=surplus[known], minlength=count)
    scores = sums / np.maximum(sizes, 1)
    scores[sizes == 0] = scores[sizes > 0].mean() if sizes.any() else 0.0
    return scores


def _reason(turn: int, log_weights: Floats, cluster: int) -> str:
    share = 1 / float(np.exp(log_weights - log_weights[cluster]).sum())
    return f"round {turn}, cluster {cluster} of weight {figure(share)}"
