"""Things that say the same, by chains of near vectors: single linkage, without a matrix of all pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from treadle.geometry.cosine import Grid
from treadle.geometry.nearest import cosine_blocks


def chained(grid_ND: Grid, least: float) -> NDArray[np.int64]:
    """Return the group of each direction: any two of a cosine of at least `least` share one.

    A vector of zeros is alone. Groups are numbered by their first member. Costs O(rows**2 * width).
    """
    total = len(grid_ND)
    starts, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for part, cosines in cosine_blocks(grid_ND, grid_ND):
        near, other = np.nonzero(cosines >= least)
        starts.append(near + part.start)
        ends.append(other)
    edges = (np.concatenate(starts), np.concatenate(ends))
    ones = np.ones(len(edges[0]), dtype=np.int8)
    graph = sparse.coo_matrix((ones, edges), shape=(total, total))
    labels = csgraph.connected_components(graph, directed=False)[1]
    _, first = np.unique(labels, return_index=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    found: NDArray[np.int64] = rank[labels]
    return found
