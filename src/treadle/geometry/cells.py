"""Cells: a pool cut by direction, so that a row is compared with the rows around it and no others.

    cut = cells(grid_ND, size=512)
    for some, others in neighbourhoods(grid_ND, cut, probes=16): ...     the rows to compare, by cell

A pool of n rows has n * n pairs; with cells each row meets `probes * size` others, so time and memory
grow with n. What is lost are neighbours that lie in none of the cells compared: this is approximate,
and the ops that use it say from which size on. The same rows in the same order give the same cells on
any machine: directions are whole numbers, and the clusters start from rows drawn by a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from treadle.data.randomness import derived_rng
from treadle.geometry.clusters import spherical_k_means
from treadle.geometry.cosine import Grid, cosines, directions

Positions = NDArray[np.int64]

CELL_ROWS = 512
PROBES = 16

LEARNT_FROM = 64
ROUNDS = 8


def cells(grid_ND: Grid, size: int) -> list[Positions]:
    """Cut rows into cells of about `size`, none larger than twice that; positions rise in each.

    k-means on directions leaves cells of very different sizes; a large one is cut into slabs along
    the direction of its outermost row, so that copies, which no direction can part, stay bounded
    too.
    """
    total = len(grid_ND)
    count = -(-total // size)
    if count < 2:
        return [np.arange(total)] if total else []
    rng = derived_rng(0, "geometry.cells")
    found = spherical_k_means(grid_ND, count, rng, rounds=ROUNDS, rows_a_centroid=LEARNT_FROM)
    members = np.argsort(found.labels, kind="stable")
    ends = np.cumsum(np.bincount(found.labels, minlength=count))
    cut: list[Positions] = []
    for inside in np.split(members, ends[:-1]):
        if len(inside) > 2 * size:
            outermost = inside[found.nearness[inside].argmin()]
            along = cosines(grid_ND[inside], grid_ND[[outermost]])[:, 0]
            ranked = inside[np.argsort(-along, kind="stable")]
            cut += [np.sort(slab) for slab in np.array_split(ranked, -(-len(inside) // size))]
        elif len(inside):
            cut.append(inside)
    return cut


def neighbourhoods(
    grid_ND: Grid, cut: list[Positions], probes: int
) -> Iterator[tuple[Positions, Positions]]:
    """Yield each cell, and the rows of the `probes` cells nearest to it (itself is the first).

    Both rise. Cells are as near as the directions of their sums.
    """
    sums = [grid_ND[inside].sum(axis=0, dtype=np.float64) for inside in cut]
    middles = directions(np.array(sums))
    for number, inside in enumerate(cut):
        near = cosines(middles[[number]], middles)[0]
        near[number] = np.inf
        probed = np.argsort(-near, kind="stable")[:probes]
        yield inside, np.sort(np.concatenate([cut[other] for other in probed.tolist()]))
