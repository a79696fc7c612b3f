"""Task-specific selection by optimal transport that near-copies cannot crowd (TSDS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.randomness import gumbel_order
from treadle.data.ranking import figure
from treadle.data.selection import Budget, Selection, by_id, tokens_of
from treadle.geometry.cells import CELL_ROWS, PROBES, cells, neighbourhoods
from treadle.geometry.cosine import Floats, Grid, pointed
from treadle.geometry.nearest import cosine_blocks, most_similar
from treadle.geometry.points import Points
from treadle.geometry.targets import vector_targets
from treadle.op import select

FAR = "far_from_target"


@select(
    reference="arXiv:2410.11303 (TSDS)",
    cost="O((rows * target rows + near rows**2) * width), beyond `compared_up_to` near rows "
    "O((rows * target rows + near rows * 8,000) * width), no model call beyond the vectors",
    needs=lambda options: (options["on"],),
    target=lambda options: (options["on"],),
    draws=True,
)
def tsds(
    *,
    on: str = "embedding",
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5,
    C: Annotated[float, Field(gt=0)] = 5.0,
    sigma: Annotated[float, Field(ge=0)] = 0.75,
    max_K: Annotated[int, Field(ge=2)] = 5000,
    kde_K: Annotated[int, Field(ge=1)] = 1000,
    compared_up_to: Annotated[int, Field(ge=0)] = 20_000,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Draw rows with the probabilities that carry the target's mass to near rows, spread evenly.

    Each target row sends an equal mass to its nearest rows. Sent to the very nearest only, a few rows
    would take it all; sent further, it costs distance. `alpha` and `C` set where that balance lies. A
    row's share shrinks with the density around it, so a cluster of near-copies shares the mass of
    one row. A row to which no mass goes is never drawn: the choice may stay below the budget, with
    the others left as `far_from_target`.

    Distances are Euclidean between vectors of length 1, and exact; the published tool takes vectors
    as they come and searches approximately. It draws with replacement and without a seed, so rows
    repeat; here each is drawn once, by the run's seed. Neighbours are at most a tenth of the pool,
    as published, and density is taken among the neighbours of any target row only. Where these are
    more than `compared_up_to` rows, a density counts rows of the row's own and the 15 nearest other
    cells (of 512 rows, cut by direction), about 8,000, so it may miss a near-copy in a farther cell.

    Args:
        on: a measure that gives a vector, or such a column of your own.
        alpha: 0 spreads the mass as far as it can, 1 sends it to the nearest rows only.
        C: scales the cost of distance: a larger one spreads the mass further.
        sigma: the distance within which rows count as near-copies; 0: none do.
        max_K: the most neighbours that a target row sends mass to.
        kde_K: the most neighbours that density counts.
        compared_up_to: up to this many near rows, all pairs are compared for density.

    Raises:
        DataError: no target row has a vector, or vectors differ in width from the pool's.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = by_id(rows)
        found = pointed(rows, on)
        inside, points = found.positions, Points.of(found.vectors)
        wanted = vector_targets(context.target_rows, on, points.width, each=True)
        tenth = max(2, len(inside) // 10)
        everyone = np.arange(len(inside))
        near_MK, cosines_MK = most_similar(
            points, wanted.grid, wanted.starts, everyone, min(max_K, tenth)
        )
        crowds = densities(
            points.grid, near_MK, min(kde_K, tenth), sigma, compared_up_to=compared_up_to
        )
        shares_MK = transport_shares(_distance(cosines_MK), crowds[near_MK], alpha=alpha, C=C)
        shares = np.bincount(near_MK.ravel(), shares_MK.ravel(), minlength=len(inside))
        some = np.flatnonzero(shares > 0)
        key = context.rng("select.tsds").bytes(32)
        ids = rows["id"].gather(inside[some]).to_list()
        drawn = some[gumbel_order(np.log(shares[some]), ids, key)]
        chosen = budget.take(inside[drawn], tokens_of(rows))
        told = {
            int(inside[i]): f"probability {figure(shares[i])}, draw {n}"
            for n, i in enumerate(drawn, start=1)
        }
        left = found.left | dict.fromkeys(inside[shares <= 0].tolist(), FAR)
        return Selection.of(rows, chosen, [told[i] for i in chosen], left=left)

    return choose


def transport_shares(
    distances_MK: Floats, densities_MK: Floats, *, alpha: float, C: float
) -> Floats:
    """Return how much of all mass each target row sends to each of its K nearest rows.

    Target row j fills its neighbours in order, row k up to 1 / (M * s * density[j, k]), until its
    mass 1 / M is used up; the last one takes what is left. The larger s, the further mass goes. It
    grows through the values at which one more neighbour is reached, up to the first where
    alpha / C * (the distance that the mass would travel in excess) reaches (1 - alpha) * M.
    """
    targets, count = distances_MK.shape
    if count < 2:
        return np.full((targets, count), 1 / targets)
    weights = 1 / densities_MK
    reach = np.cumsum(weights, axis=1)
    travelled = np.cumsum(distances_MK * weights, axis=1)
    costs = distances_MK[:, 1:] * reach[:, :-1] - travelled[:, :-1]
    steps = np.diff(costs, axis=1, prepend=0.0).ravel()
    sizes = reach[:, :-1].ravel()
    # Equal sizes: the nearer neighbour first, then the lower target row.
    ranks, rows = np.meshgrid(np.arange(count - 1), np.arange(targets))
    order = np.lexsort((rows.ravel(), ranks.ravel(), sizes))
    is_enough = alpha / C * np.cumsum(steps[order]) >= (1 - alpha) * targets
    stop = int(is_enough.argmax()) if is_enough.any() else -1
    filled = np.minimum(reach / sizes[order[stop]], 1.0)
    filled[:, -1] = 1.0
    shares: Floats = np.diff(filled, axis=1, prepend=0.0) / targets
    return shares


def densities(
    grid: Grid,
    near_MK: NDArray[np.int64],
    count: int,
    sigma: float,
    *,
    compared_up_to: int,
    cell_rows: int = CELL_ROWS,
) -> Floats:
    """Return how crowded each of the near rows is among them: a sum of 1 - distance²/sigma².

    The row itself counts 1, so a row alone has density 1 (and so have the rows that are not near).
    """
    found = np.ones(len(grid))
    if sigma == 0:
        return found
    near = np.unique(near_MK)
    mine = grid[near]
    whole = [(np.arange(len(near)),) * 2]
    is_small = len(near) <= compared_up_to
    for some, others in whole if is_small else neighbourhoods(mine, cells(mine, cell_rows), PROBES):
        for part, block in cosine_blocks(mine[some], mine[others]):
            found[near[some[part]]] = _kernel_sums(block, count, sigma)
    return found


def _kernel_sums(block: Floats, count: int, sigma: float) -> Floats:
    """Return, for each line of cosines, the sum of the kernel over the `count` largest."""
    is_near = block > 1 - sigma**2 / 2
    crowded = np.flatnonzero(np.count_nonzero(is_near, axis=1) > count)
    is_near[crowded] = False
    line, column = np.nonzero(is_near)
    kernel = 1 - (2 - 2 * block[line, column]) / sigma**2
    sums: Floats = np.bincount(line, weights=kernel, minlength=len(block)).astype(np.float64)
    if len(crowded):
        edge = block.shape[1] - count
        largest = np.partition(block[crowded], edge, axis=1)[:, edge:]
        sums[crowded] = (1 - (2 - 2 * largest) / sigma**2).sum(axis=1)
    return sums


def _distance(cosine: Floats) -> Floats:
    """Return the Euclidean distance between vectors of length 1."""
    return np.sqrt(np.maximum(2 - 2 * cosine, 0.0))
