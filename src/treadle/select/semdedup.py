"""SemDeDup: rows that say nothing twice, by near-copies within clusters of embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import figure
from treadle.data.selection import Budget, Selection, tokens_of
from treadle.geometry.clusters import Clusters, spherical_k_means
from treadle.geometry.cosine import NEAR_COPY, Grid, directed, near_copies
from treadle.op import select


@select(
    reference="arXiv:2303.09540",
    cost="O(rows * clusters * width) a round of k-means (at most 20) and O(rows * largest cluster * "
    "width), no model call beyond the embedding",
    needs=lambda options: (options["on"],),
    draws=True,
)
def semdedup(
    *,
    on: str = "embedding",
    eps: Annotated[float, Field(ge=0, le=2)] = 0.05,
    against: Literal["earlier", "kept"] = "earlier",
    prefer: Literal["hard", "easy"] = "hard",
    clusters: Annotated[int, Field(ge=1)] | None = None,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Drop rows within cosine distance `eps` of another in their cluster, then keep unusual rows.

    Rows are clustered by direction and walked, in each cluster, from the one farthest from the
    centroid. A row nearer than `eps` to one before is dropped. The published rule compares with
    `earlier` rows, dropped ones included: in a chain a ~ b ~ c, c goes for its likeness to b although
    b is gone and a is far. `kept` compares with kept rows only, so each dropped row is within `eps` of
    a kept one. Rows left then fill the budget over all clusters, farthest from their centroid first.

    Copies that fall into two clusters are not seen: more clusters are faster and miss more. The
    clusters start from rows that the run's seed draws, so another seed moves their borders. What
    `eps` means depends on the embedding; look at the pairs it joins before trusting it. When few
    rows are left, the selection stays below its budget.

    Args:
        on: a measure that gives a vector, or such a column of your own.
        eps: rows whose cosine is above 1 - `eps` say the same.
        against: which rows of its cluster a row is compared with.
        prefer: `hard` walks and keeps rows far from their centroid first, `easy` those nearest.
        clusters: how many; by default the square root of the number of rows.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        vectors = directed(rows, on)
        total = len(vectors.positions)
        count = clusters or max(1, round(math.sqrt(total)))
        found = spherical_k_means(vectors.grid, count, context.rng("select.semdedup"))
        walk = np.argsort(found.nearness if prefer == "hard" else -found.nearness, kind="stable")
        is_copy = _copies(vectors.grid, found, walk, 1 - eps, against)
        left = vectors.left | dict.fromkeys(vectors.positions[is_copy].tolist(), NEAR_COPY)
        kept = vectors.positions[walk[~is_copy[walk]]]
        chosen = budget.take(kept, tokens_of(rows))
        away = dict(zip(vectors.positions.tolist(), (1 - found.nearness).tolist(), strict=True))
        why = [f"cosine distance {figure(max(0.0, away[i]))} to its centroid" for i in chosen]
        return Selection.of(rows, chosen, why, left=left)

    return choose


def _copies(
    grid_ND: Grid,
    clusters: Clusters,
    walk: NDArray[np.int64],
    limit: float,
    against: Literal["earlier", "kept"],
) -> NDArray[np.bool_]:
    """Return which rows are dropped when each cluster is walked in the order given."""
    is_copy = np.zeros(len(grid_ND), dtype=np.bool_)
    by_cluster = walk[np.argsort(clusters.labels[walk], kind="stable")]
    ends = np.cumsum(np.bincount(clusters.labels, minlength=1))
    for members in np.split(by_cluster, ends[:-1]):
        found = near_copies(grid_ND, members, limit=limit, against=against)
        is_copy[members] = np.concatenate([np.zeros(0, dtype=np.bool_), *found])
    return is_copy
